package pki

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAPINames(t *testing.T) {
	id := Identity{NodeName: "n1", NodeIPs: []net.IP{net.ParseIP("10.0.1.10")}, AdvertiseIP: net.ParseIP("10.0.1.10"), ServiceIP: net.ParseIP("10.43.0.1"), ClusterDomain: "cluster.local"}
	n := APINames(id)
	if len(n.IPs) != 4 || len(n.DNS) != 6 {
		t.Errorf("%v", n)
	}
	id.TLSSANs = []string{"203.0.113.10", "api.example.test", "10.0.1.10"}
	n = APINames(id)
	if !slices.ContainsFunc(n.IPs, net.ParseIP("203.0.113.10").Equal) || !slices.Contains(n.DNS, "api.example.test") || len(n.IPs) != 5 {
		t.Errorf("%v", n)
	}
}

func TestLeafIsKeptUntilItsNamesChange(t *testing.T) {
	dir := t.TempDir()
	ca, err := LoadCA(dir, "server-ca", "k3s-server-ca")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(ca.Cert.Subject.CommonName, "k3s-server-ca@") {
		t.Error(ca.Cert.Subject)
	}
	if again, err := LoadCA(dir, "server-ca", "k3s-server-ca"); err != nil || !again.Cert.Equal(ca.Cert) {
		t.Fatal("the CA was not kept", err)
	}
	crt, key := filepath.Join(dir, "s.crt"), filepath.Join(dir, "s.key")
	read := func(f string) string {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	names := Names{DNS: []string{"b", "a", "a"}, IPs: []net.IP{net.IPv4(10, 0, 0, 2), net.IPv4(10, 0, 0, 1)}}
	issue := func() (string, string) {
		if err := ca.Serving(crt, key, "k3s", names, false); err != nil {
			t.Fatal(err)
		}
		return read(crt), read(key)
	}
	c1, k1 := issue()
	if c2, _ := issue(); c1 != c2 {
		t.Error("the certificate was made anew without a reason")
	}
	names.DNS = append(names.DNS, "c")
	c3, k3 := issue()
	if c3 == c1 || k3 != k1 {
		t.Error("changed names want a new certificate on the same key")
	}
	leaf, err := firstCert([]byte(c3))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "c"}); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(key); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}
}
