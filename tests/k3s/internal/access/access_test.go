package access

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bowline.test/k3s/internal/pki"
	"bowline.test/k3s/internal/token"
)

// serve is a supervisor with its own CA: it answers by the credentials that it
// saw.
func serve(t *testing.T, handler http.HandlerFunc) (*httptest.Server, string) {
	t.Helper()
	var bundle []byte
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cacerts" {
			if r.Header.Get("Authorization") != "" {
				t.Error("credentials before the CA was checked")
			}
			_, _ = w.Write(bundle)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	bundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	hash, err := token.CAHash(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return s, hash
}

func TestValidate(t *testing.T) {
	s, hash := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Header.Get("Authorization"))) })
	wrong := strings.Repeat("0", 64)
	for _, c := range []struct{ name, token, words, header string }{
		{"full", "K10" + hash + "::server:pw", "", "Basic bm9kZTpwdw=="},
		{"no hash is a warning only", "pw", "", "Basic bm9kZTpwdw=="},
		{"bootstrap", "K10" + hash + "::abcdef.0123456789abcdef", "", "Bearer abcdef.0123456789abcdef"},
		{"short bootstrap", "abcdef.0123456789abcdef", "", "Bearer abcdef.0123456789abcdef"},
		{"wrong hash", "K10" + wrong + "::server:pw", "token CA hash does not match the Cluster CA certificate hash: " + wrong + " != " + hash, ""},
		{"none", "", "token must not be empty", ""},
	} {
		i, err := Validate(context.Background(), s.URL, c.token, WithUser("node"))
		if (err == nil) != (c.words == "") || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err != nil {
			continue
		}
		if got, err := i.Get(context.Background(), "/x"); err != nil || string(got) != c.header {
			t.Errorf("%s: %s %v", c.name, got, err)
		}
	}
	for address, words := range map[string]string{"http://127.0.0.1": "only https:// URLs", "https://127.0.0.1:1": "failed to get CA certs"} {
		if _, err := Validate(context.Background(), address, "pw"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestRetry: the certificate of a deleted Node is refused with 401, the token
// then does. Only requests for the node's own certificates are made again.
func TestRetry(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.LoadCA(dir, "ca", "ca")
	if err != nil {
		t.Fatal(err)
	}
	crt, key := filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key")
	if err := ca.Client(crt, key, "system:node:n", "system:nodes"); err != nil {
		t.Fatal(err)
	}
	s, hash := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	s.TLS.ClientAuth = tls.RequestClientCert
	for _, text := range []string{"K10" + hash + "::node:pw", ""} {
		i, err := Validate(context.Background(), s.URL, text, WithUser("node"), WithClientCertificate(crt, key))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if _, err := i.Get(context.Background(), "/v1-k3s/config"); err == nil || !strings.Contains(err.Error(), "/v1-k3s/config: 401 Unauthorized") {
			t.Errorf("%v", err)
		}
		if _, err := i.Request(context.Background(), http.MethodPost, "/v1-k3s/client-kubelet.crt", nil, http.Header{}); err != nil {
			t.Errorf("%v", err)
		}
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := Validate(context.Background(), s.URL, "", WithClientCertificate(crt, key)); err == nil {
		t.Error("neither token nor certificate")
	}
}

// TestStatus: what a server says of a refusal stands alone, except for a node's
// own certificate.
func TestStatus(t *testing.T) {
	said := ""
	s, hash := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(said))
	})
	i, err := Validate(context.Background(), s.URL, "K10"+hash+"::node:pw", WithUser("node"))
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"not authorized","code":401}`: "not authorized",
		`{"kind":"Status","apiVersion":"v1"}`: s.URL + "/x: 401 Unauthorized",
		`{"message":"not authorized"}`:        s.URL + "/x: 401 Unauthorized",
		"not authorized":                      s.URL + "/x: 401 Unauthorized",
	} {
		said = body
		if _, err := i.Get(context.Background(), "/x"); err == nil || err.Error() != want {
			t.Errorf("%s: %v", body, err)
		}
		if _, err := i.Request(context.Background(), http.MethodPost, "/x", nil, http.Header{}); err == nil || err.Error() != s.URL+"/x: 401 Unauthorized" {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestDifferences(t *testing.T) {
	_, a, _ := net.ParseCIDR("10.42.0.0/16")
	_, b, _ := net.ParseCIDR("10.52.0.0/16")
	mine := Config{Critical: Critical{ClusterIPRange: a, ClusterIPRanges: []*net.IPNet{a}, ServiceIPRange: a, ClusterDNS: net.IPv4(10, 43, 0, 10)}}
	same := mine
	same.ClusterDNS, same.HTTPSPort = mine.ClusterDNS.To4(), 1
	if d := mine.Differences(same); len(d) != 0 {
		t.Errorf("%v", d)
	}
	other := mine
	other.ClusterIPRange, other.ClusterIPRanges, other.EncryptSecrets, other.EncryptProvider, other.FlannelBackend = b, []*net.IPNet{b}, true, "secretbox", "none"
	if d := mine.Differences(other); !slices.Equal(d, []string{"cluster-cidr", "secrets-encryption", "secrets-encryption-provider", "flannel-backend"}) {
		t.Errorf("%v", d)
	}
}
