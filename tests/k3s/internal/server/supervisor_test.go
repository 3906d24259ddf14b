package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/pki"
)

// known is what the API server's authenticators would say, by a header.
var known = map[string]*user.DefaultInfo{
	"node":      {Name: "system:node:n1", Groups: []string{"system:nodes"}},
	"bootstrap": {Name: "system:bootstrap:abcdef", Groups: []string{"system:bootstrappers", "system:bootstrappers:k3s:default-node-token"}},
	"admin":     {Name: "system:admin", Groups: []string{"system:masters"}},
}

// testSupervisor has a cluster with the Node n1.
func testSupervisor(t *testing.T) (*supervisor, *fake.Clientset) {
	t.Helper()
	s := &Settings{Node: &node.Node{DataDir: t.TempDir()}}
	ca, err := pki.LoadCA(s.tls(), "ca", "ca")
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-1"}})
	v := &supervisor{settings: s, ca: &authorities{server: ca, client: ca}, flight: newFlight()}
	v.accounts.Store(&[]account{{"node", "pw", "k3s:agent"}, {"server", "pw", "k3s:server"}})
	v.api.Store(&apiserver{auth: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		switch name := r.Header.Get("Test-Known"); {
		case name == "":
			return nil, false, nil
		case known[name] != nil:
			return &authenticator.Response{User: known[name]}, true, nil
		}
		return nil, false, errors.New("invalid bearer token")
	})})
	v.core.Store(&core{client})
	return v, client
}

// ask makes one request with headers given as pairs; "basic" is user:password.
func ask(v *supervisor, method, path string, body []byte, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	for n := 0; n < len(headers); n += 2 {
		if headers[n] == "basic" {
			name, password, _ := strings.Cut(headers[n+1], ":")
			r.SetBasicAuth(name, password)
		} else {
			r.Header.Set(headers[n], headers[n+1])
		}
	}
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	return w
}

func TestRoles(t *testing.T) {
	v, _ := testSupervisor(t)
	for _, c := range []struct {
		path string
		as   []string
		want int
	}{
		{"/v1-k3s/readyz", nil, 403},
		{"/v1-k3s/readyz", []string{"basic", "node:pw"}, 200},
		{"/v1-k3s/readyz", []string{"basic", "node:no"}, 401},
		{"/v1-k3s/readyz", []string{"basic", "server:pw"}, 403},
		{"/v1-k3s/readyz", []string{"Test-Known", "node"}, 200},
		{"/v1-k3s/readyz", []string{"Test-Known", "bootstrap"}, 200},
		{"/v1-k3s/readyz", []string{"Test-Known", "expired"}, 401},
		{"/v1-k3s/readyz", []string{"Test-Known", "admin"}, 403},
		{"/v1-k3s/readyz", []string{"basic", "node:no", "Test-Known", "node"}, 200},
		{"/v1-k3s/client-ca.crt", []string{"Test-Known", "bootstrap"}, 200},
		{"/v1-k3s/apiservers", []string{"basic", "node:pw"}, 200},
		{"/v1-k3s/connect", []string{"basic", "node:pw"}, 403},
		{"/v1-k3s/connect", []string{"Test-Known", "bootstrap"}, 403},
		{"/v1-k3s/connect", []string{"Test-Known", "node"}, 501},
		{"/v1-k3s/server-bootstrap", []string{"basic", "node:pw"}, 403},
		{"/v1-k3s/server-bootstrap", []string{"Test-Known", "bootstrap"}, 403},
		{"/v1-k3s/server-bootstrap", []string{"basic", "server:pw"}, 400},
		{"/v1-k3s/encrypt/status", []string{"basic", "server:pw"}, 501},
		{"/v1-k3s/cert/cacerts", []string{"basic", "server:pw"}, 501},
		{"/v1-k3s/token", []string{"basic", "server:pw"}, 405},
		{"/v1-k3s/nothing", []string{"basic", "server:pw"}, 404},
	} {
		if w := ask(v, http.MethodGet, c.path, nil, c.as...); w.Code != c.want {
			t.Errorf("%s as %v: %d, want %d: %s", c.path, c.as, w.Code, c.want, w.Body)
		}
	}
	v.core.Store(nil)
	if w := ask(v, http.MethodGet, "/v1-k3s/readyz", nil, "basic", "node:pw"); w.Code != 503 {
		t.Errorf("before ready: %d", w.Code)
	}
	v.api.Store(nil)
	if w := ask(v, http.MethodGet, "/v1-k3s/readyz", nil, "Test-Known", "node"); w.Code != 401 {
		t.Errorf("before there are authenticators: %d", w.Code)
	}
}

func TestFlight(t *testing.T) {
	v, _ := testSupervisor(t)
	for range maxReads {
		if _, ok := v.flight.enter(http.MethodGet); !ok {
			t.Fatal("too few places")
		}
	}
	if w := ask(v, http.MethodGet, "/v1-k3s/readyz", nil, "basic", "node:pw"); w.Code != 429 {
		t.Errorf("%d, want 429", w.Code)
	}
	if _, ok := v.flight.enter(http.MethodPost); !ok {
		t.Error("writes wait for reads")
	}
}

func TestNodeCertificates(t *testing.T) {
	v, client := testSupervisor(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	request := func(as, name, password string) *httptest.ResponseRecorder {
		return ask(v, http.MethodPost, "/v1-k3s/client-kubelet.crt", csr, "Test-Known", as, "k3s-Node-Name", name, "k3s-Node-Password", password)
	}
	for _, c := range []struct {
		what, as, name, password string
		want                     int
	}{
		{"the first sets the password", "bootstrap", "New", "one", 200},
		{"and may come again", "bootstrap", "new", "one", 200},
		{"another with that name", "bootstrap", "new", "two", 403},
		{"a node's certificate", "node", "n1", "mine", 200},
		{"a node's certificate, other password", "node", "n1", "other", 403},
		{"a node's certificate for another", "node", "n2", "mine", 400},
		{"no name", "bootstrap", "", "x", 400},
		{"no password", "bootstrap", "x", "", 400},
	} {
		if w := request(c.as, c.name, c.password); w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.what, w.Code, c.want, w.Body)
		}
	}
	w := request("node", "n1", "mine")
	block, _ := pem.Decode(w.Body.Bytes())
	crt, err := x509.ParseCertificate(block.Bytes)
	if err != nil || crt.Subject.CommonName != "system:node:n1" || crt.Subject.Organization[0] != "system:nodes" || !crt.PublicKey.(*ecdsa.PublicKey).Equal(key.Public()) {
		t.Errorf("%v %v", crt.Subject, err)
	}
	if strings.Contains(w.Body.String(), "PRIVATE KEY") {
		t.Error("a key came along although the caller has its own")
	}
	if err := client.CoreV1().Nodes().Delete(context.Background(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if w := request("node", "n1", "mine"); w.Code != 401 {
		t.Errorf("the certificate of a deleted Node: %d", w.Code)
	}
	if w := request("bootstrap", "n1", "mine"); w.Code != 200 {
		t.Errorf("with a token instead: %d", w.Code)
	}
	old := ask(v, http.MethodGet, "/v1-k3s/serving-kubelet.crt", nil, "Test-Known", "bootstrap", "k3s-Node-Name", "old", "k3s-Node-Password", "x", "k3s-Node-IP", "10.0.1.5,192.0.2.1")
	if block, rest := pem.Decode(old.Body.Bytes()); old.Code != 200 || !strings.Contains(string(rest), "PRIVATE KEY") {
		t.Errorf("%d", old.Code)
	} else if crt, err := x509.ParseCertificate(block.Bytes); err != nil || crt.VerifyHostname("192.0.2.1") != nil || crt.VerifyHostname("old") != nil || len(crt.IPAddresses) != 3 {
		t.Errorf("%v %v", crt.IPAddresses, err)
	}
	for _, c := range [][]string{{http.MethodPost, "k3s-Node-IP", "10.0.1.5"}, {http.MethodGet, "k3s-Node-IP", "10.0.1.300"}} {
		w := ask(v, c[0], "/v1-k3s/serving-kubelet.crt", []byte("x"), "Test-Known", "bootstrap", "k3s-Node-Name", "old", "k3s-Node-Password", "x", c[1], c[2])
		if w.Code < 400 {
			t.Errorf("%v: %d", c, w.Code)
		}
	}
	v.core.Store(nil)
	if w := request("bootstrap", "new", "one"); w.Code != 503 {
		t.Errorf("before ready: %d", w.Code)
	}
}

func TestPasswordKeeper(t *testing.T) {
	_, client := testSupervisor(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, age := range map[string]time.Duration{"n1": time.Hour, "gone": time.Hour, "young": time.Minute} {
		_, err := client.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{Type: passwordType,
			ObjectMeta: metav1.ObjectMeta{Name: passwordSecret(name), CreationTimestamp: metav1.NewTime(time.Now().Add(-age))}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	k := &keeper{client: client, nodes: factory.Core().V1().Nodes().Informer(), age: 10 * time.Minute}
	if err := k.orphans(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	n1, err := client.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.own(ctx, n1), k.own(ctx, n1), k.orphans(ctx, time.Now())); err != nil {
		t.Fatal(err)
	}
	list, err := client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int{}
	for _, s := range list.Items {
		left[s.Name] = len(s.OwnerReferences)
	}
	if len(left) != 2 || left[passwordSecret("n1")] != 1 {
		t.Errorf("%v: want n1 with one owner, and young", left)
	}
}

func TestRotate(t *testing.T) {
	v, _ := testSupervisor(t)
	if w := ask(v, http.MethodPut, "/v1-k3s/token", []byte(`{"newToken":"other"}`), "basic", "server:pw"); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for password, want := range map[string]int{"pw": 401, "other": 200} {
		if w := ask(v, http.MethodGet, "/v1-k3s/readyz", nil, "basic", "node:"+password); w.Code != want {
			t.Errorf("node with %s: %d", password, w.Code)
		}
	}
	for _, body := range []string{"", "{}", `{"newToken":"K10::server:x"}`} {
		if w := ask(v, http.MethodPut, "/v1-k3s/token", []byte(body), "basic", "server:other"); w.Code < 400 {
			t.Errorf("%q: %d", body, w.Code)
		}
	}
}

func TestConfigAnswer(t *testing.T) {
	v, _ := testSupervisor(t)
	s := v.settings
	_, s.ClusterCIDR, _ = net.ParseCIDR("10.42.0.0/16")
	s.ServiceCIDR, s.ClusterDNS, s.AdvertiseIP, s.ListenPort = s.ClusterCIDR, net.IPv4(10, 43, 0, 10), net.IPv4(10, 0, 1, 10), 6443
	s.Values = parsed(t, "--disable=servicelb", "--secrets-encryption")
	w := ask(v, http.MethodGet, "/v1-k3s/config", nil, "Test-Known", "bootstrap")
	for _, want := range []string{`"ClusterDNS":"10.43.0.10"`, `"ClusterIPRange":{"IP":"10.42.0.0","Mask":"//8AAA=="}`, `"DisableServiceLB":true`, `"EncryptSecrets":true`, `"HTTPSPort":6443`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
}
