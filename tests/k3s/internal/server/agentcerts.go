package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"bowline.test/k3s/internal/pki"
)

// servingKubelet signs a kubelet's serving certificate for the name and the
// addresses in the request's headers.
func (v *supervisor) servingKubelet(w http.ResponseWriter, r *http.Request, who user.Info) {
	node, ok := v.nodeName(w, r, who)
	if !ok {
		return
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1)}
	if header := r.Header.Get("k3s-Node-IP"); header != "" {
		for _, text := range strings.Split(header, ",") {
			ip := net.ParseIP(text)
			if ip == nil {
				failure(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "invalid node IP address "+text)
				return
			}
			ips = append(ips, ip)
		}
	}
	names := pki.Names{DNS: []string{node, "localhost"}, IPs: ips}
	v.sign(w, r, v.ca.server, "serving-kubelet", node, nil, names, x509.ExtKeyUsageServerAuth)
}

// clientKubelet signs what makes the caller that node.
func (v *supervisor) clientKubelet(w http.ResponseWriter, r *http.Request, who user.Info) {
	if node, ok := v.nodeName(w, r, who); ok {
		v.sign(w, r, v.ca.client, "client-kubelet", "system:node:"+node, []string{user.NodesGroup}, pki.Names{}, x509.ExtKeyUsageClientAuth)
	}
}

// sharedClient signs certificates that are not one node's own.
func (v *supervisor) sharedClient(key, commonName string) agentHandler {
	return func(w http.ResponseWriter, r *http.Request, _ user.Info) {
		v.sign(w, r, v.ca.client, key, commonName, nil, pki.Names{}, x509.ExtKeyUsageClientAuth)
	}
}

// sign answers a POST with a signing request by a certificate for its key, and
// a GET by one for the key that all old agents share, with that key.
func (v *supervisor) sign(w http.ResponseWriter, r *http.Request, ca *pki.Authority, shared, commonName string, organizations []string, names pki.Names, usage x509.ExtKeyUsage) {
	var public crypto.PublicKey
	var key []byte
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil {
			failure(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		csr, err := x509.ParseCertificateRequest(body)
		if err != nil {
			failure(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "stand-in: the body of a POST must be a signing request in DER: "+err.Error())
			return
		}
		public = csr.PublicKey
	} else {
		signer, data, err := pki.EnsureKey(v.settings.tls(shared + ".key"))
		if err != nil {
			failure(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
			return
		}
		public, key = signer.Public(), data
	}
	crt, err := ca.Sign(public, commonName, organizations, names, usage)
	if err != nil {
		failure(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	plain(w, http.StatusOK, string(append(crt, key...)))
}

// nodeName settles which node asks: its headers, its certificate where it has
// one (the Node must still exist, 401), and its password (403).
func (v *supervisor) nodeName(w http.ResponseWriter, r *http.Request, who user.Info) (string, bool) {
	name, password := strings.ToLower(r.Header.Get("k3s-Node-Name")), r.Header.Get("k3s-Node-Password")
	fail := func(code int, reason metav1.StatusReason, err error) (string, bool) {
		failure(w, code, reason, err.Error())
		return "", false
	}
	if name == "" {
		return fail(http.StatusBadRequest, metav1.StatusReasonBadRequest, errors.New("node name not set"))
	}
	if password == "" {
		return fail(http.StatusBadRequest, metav1.StatusReasonBadRequest, errors.New("node password not set"))
	}
	identity, isNode := nodeIdentity(who)
	if isNode && identity != name {
		return fail(http.StatusBadRequest, metav1.StatusReasonBadRequest, errors.New("header node name does not match auth node name"))
	}
	core := v.core.Load()
	if core == nil {
		v.notReady(w)
		return "", false
	}
	if isNode {
		if _, err := core.client.CoreV1().Nodes().Get(r.Context(), name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return fail(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, fmt.Errorf("unable to verify node identity: %w", err))
		} else if err != nil {
			return fail(http.StatusInternalServerError, metav1.StatusReasonInternalError, err)
		}
	}
	// Another caller for the same name may be hashing; the Secret decides.
	switch err := ensurePassword(context.WithoutCancel(r.Context()), core.client, name, password); {
	case errors.Is(err, errVerify):
		return fail(http.StatusForbidden, metav1.StatusReasonForbidden, err)
	case err != nil:
		return fail(http.StatusInternalServerError, metav1.StatusReasonInternalError, err)
	}
	return name, true
}

// nodeIdentity is the node whose certificate somebody has.
func nodeIdentity(who user.Info) (string, bool) {
	name, found := strings.CutPrefix(who.GetName(), "system:node:")
	if !found {
		return "", false
	}
	for _, g := range who.GetGroups() {
		if g == user.NodesGroup {
			return name, true
		}
	}
	return "", false
}
