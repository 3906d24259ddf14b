package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"bowline.test/k3s/internal/access"
	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/pki"
)

// K3s's intervals: the second one grows by up to its own length at random.
const (
	connectRetry = 2 * time.Second
	configRetry  = 5 * time.Second
)

// agent is one `k3s agent`.
type agent struct {
	*node.Node
	server   string
	token    string
	password string
	balancer *balancer
}

func (a *agent) options() []access.Option {
	return []access.Option{access.WithUser("node"), access.WithClientCertificate(a.Agent("client-kubelet.crt"), a.Agent("client-kubelet.key"))}
}

// connect repeats the check of token and server until it works, for ever.
func (a *agent) connect(ctx context.Context) error {
	for {
		_, err := access.Validate(ctx, a.balancer.address(), a.token, a.options()...)
		if err == nil {
			return nil
		}
		logrus.Errorf("Failed to validate connection to cluster at %s: %v", a.server, err)
		if !pause(ctx, connectRetry) {
			return ctx.Err()
		}
	}
}

// join repeats getting configuration and certificates until it works, for ever.
func (a *agent) join(ctx context.Context) error {
	for {
		err := a.fetch(ctx)
		if err == nil {
			return nil
		}
		logrus.Infof("Waiting to retrieve agent configuration; server is not ready: %v", err)
		jitter, _ := rand.Int(rand.Reader, big.NewInt(int64(configRetry)))
		if !pause(ctx, configRetry+time.Duration(jitter.Int64())) {
			return ctx.Err()
		}
	}
}

// fetch is one try: the configuration, the CAs, this node's certificates.
func (a *agent) fetch(ctx context.Context) error {
	info, err := access.Validate(ctx, a.balancer.address(), a.token, a.options()...)
	if err != nil {
		return err
	}
	data, err := info.Get(ctx, "/v1-k3s/config")
	var config access.Config
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		return fmt.Errorf("failed to retrieve configuration from server: %w", err)
	}
	a.ClusterDNS, a.ClusterDomain, a.Backend = config.ClusterDNS, config.ClusterDomain, config.FlannelBackend
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		data, err := info.Get(ctx, "/v1-k3s/"+name)
		if err != nil {
			return err
		}
		if err := pki.Write(a.Agent(name), data, 0o600); err != nil {
			return fmt.Errorf("failed to write cert %s: %w", a.Agent(name), err)
		}
	}
	if a.password, err = node.Password(); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		ips  []net.IP
	}{{"serving-kubelet", append(append([]net.IP(nil), a.IPs...), a.ExternalIPs...)}, {"client-kubelet", a.IPs}, {"client-kube-proxy", nil}, {"client-k3s-controller", nil}} {
		if err := a.certificate(ctx, info, c.name, c.ips); err != nil {
			return fmt.Errorf("%s: %w", a.Agent(c.name+".crt"), err)
		}
	}
	for name, crt := range map[string]string{"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller"} {
		if err := node.Kubeconfig(a.Agent(name+".kubeconfig"), a.balancer.address(), a.Agent("server-ca.crt"), a.Agent(crt+".crt"), a.Agent(crt+".key"), false, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// certificate has a certificate signed for a key that stays here. With
// addresses it is this node's own, and its name and password go along.
func (a *agent) certificate(ctx context.Context, info *access.Info, name string, ips []net.IP) error {
	key, _, err := pki.EnsureKey(a.Agent(name + ".key"))
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	var header http.Header
	if ips != nil {
		var text []string
		for _, ip := range ips {
			text = append(text, ip.String())
		}
		header = http.Header{}
		header.Set("k3s-Node-Name", a.Name)
		header.Set("k3s-Node-Password", a.password)
		header.Set("k3s-Node-IP", strings.Join(text, ","))
	}
	crt, err := info.Request(ctx, http.MethodPost, "/v1-k3s/"+name+".crt", csr, header)
	var status *access.StatusError
	if header != nil && errors.As(err, &status) && status.Code == http.StatusForbidden {
		return fmt.Errorf("Node password rejected, duplicate hostname or contents of '%s' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag", node.Dir+"/password")
	}
	if err != nil {
		return err
	}
	return pki.Write(a.Agent(name+".crt"), crt, 0o600)
}

// learn asks for the cluster's servers now and then.
func (a *agent) learn(ctx context.Context) {
	for pause(ctx, configRetry) {
		if err := a.servers(ctx); err != nil && ctx.Err() == nil {
			logrus.Debugf("Failed to retrieve list of apiservers from server: %v", err)
		}
	}
}

func (a *agent) servers(ctx context.Context) error {
	info, err := access.Trusted(a.balancer.address(), a.Agent("server-ca.crt"), a.options()...)
	if err != nil {
		return err
	}
	data, err := info.Get(ctx, "/v1-k3s/apiservers")
	if err != nil {
		return err
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	a.balancer.update(list)
	return nil
}

// joined says whether this machine holds the certificate of an earlier join.
func (a *agent) joined() bool {
	_, err := tls.LoadX509KeyPair(a.Agent("client-kubelet.crt"), a.Agent("client-kubelet.key"))
	return err == nil
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
