package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const external = "203.0.113.10"

// TestExternalAddress: A7, an external address is advertised unless an address
// to advertise is set; set to a private one, it is also not in the certificate.
func TestExternalAddress(t *testing.T) {
	node := hostname(t)
	t.Run("Advertised", func(t *testing.T) {
		start(t, "--node-external-ip="+external)
		if e := endpoint(t); e != external+":6443" {
			t.Errorf("advertised: %s", e)
		}
		if !hasIP(served(t), external) {
			t.Error("the advertised address is not in the certificate")
		}
		nodeIs(t, node, `{.status.addresses[?(@.type=="ExternalIP")].address}`, external)
		nodeIs(t, node, `{.metadata.annotations.k3s\.io/external-ip}`, external)
	})
	t.Run("PrivateAdvertised", func(t *testing.T) {
		start(t, "--node-external-ip="+external, "--advertise-address="+nodeIP(t))
		if e := endpoint(t); e != nodeIP(t)+":6443" {
			t.Errorf("advertised: %s", e)
		}
		if hasIP(served(t), external) {
			t.Error("an external address that is not advertised is in the certificate")
		}
	})
	t.Run("TLSSAN", func(t *testing.T) {
		start(t, "--node-external-ip="+external, "--advertise-address="+nodeIP(t), "--tls-san="+external, "--tls-san=api.example.test")
		c := served(t)
		if !hasIP(c, external) || c.VerifyHostname("api.example.test") != nil {
			t.Errorf("--tls-san is not in the certificate: %v %v", c.IPAddresses, c.DNSNames)
		}
	})
}

// TestFlannelInterface: A7, the interface gives the node's address.
func TestFlannelInterface(t *testing.T) {
	if out, err := exec.Command("ip", "link", "add", "conf0", "type", "bridge").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", "conf0").Run() })
	for _, args := range [][]string{{"addr", "add", "192.0.2.7/24", "dev", "conf0"}, {"link", "set", "conf0", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	start(t, "--flannel-iface=conf0")
	nodeIs(t, hostname(t), `{.status.addresses[?(@.type=="InternalIP")].address}`, "192.0.2.7")
}

// TestTokens: A4, the short form given; an agent token of its own; the server
// says by an Event when the node's password has changed (A6).
func TestTokens(t *testing.T) {
	s := start(t, "--token=first-secret", "--agent-token=agent-secret")
	if got := secretOf(t, "server/token"); got != "first-secret" {
		t.Error("server/token does not hold the given token")
	}
	text := read(t, dataDir, "server/agent-token")
	if !strings.HasPrefix(text, "K10") || !strings.HasSuffix(text, "::node:agent-secret\n") {
		t.Error("server/agent-token has not the form K10<hash>::node:<password>")
	}
	if fi, err := os.Lstat(dataDir + "/server/agent-token"); err != nil || fi.Mode().Perm() != 0o600 || !fi.Mode().IsRegular() {
		t.Errorf("server/agent-token: %v %v", fi, err)
	}
	for password, want := range map[string]int{"agent-secret": 200, "first-secret": 401} {
		if code, _ := get(t, "/v1-k3s/readyz", "node", password); code != want {
			t.Errorf("node with %s: %d, want %d", password, code, want)
		}
	}
	nodeIs(t, hostname(t), readyPath, "True")
	s.stop()
	write(t, nodeDir+"/password", strings.Repeat("0", 32)+"\n")
	s.again()
	eventually(t, readyIn, "the Event", func() (string, bool) {
		out, _ := tryKubectl("get", "events", "-A", "-o", "jsonpath={.items[*].reason}")
		return out, strings.Contains(out, "NodePasswordValidationFailed")
	})
}

// TestCustomCA: A4, with CA files made beforehand the full token is computable
// and accepted before any machine exists.
func TestCustomCA(t *testing.T) {
	t.Cleanup(clean)
	dir := dataDir + "/server/tls"
	for _, ca := range []string{"server-ca", "client-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca"} {
		base := filepath.Join(dir, ca)
		if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365", "-subj", "/CN=own "+strings.ReplaceAll(ca, "/", " "),
			"-addext", "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign", "-keyout", base+".key", "-out", base+".crt").CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	if out, err := exec.Command("openssl", "genrsa", "-traditional", "-out", dir+"/service.key", "2048").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	body := read(t, dir, "server-ca.crt")
	sum := sha256.Sum256([]byte(body))
	full := "K10" + hex.EncodeToString(sum[:]) + "::server:made-before"
	start(t, "--token="+full)
	if got := strings.TrimSpace(read(t, dataDir, "server/token")); got != full {
		t.Error("server/token is not the token made beforehand")
	}
	if _, got := get(t, "/cacerts", "", ""); got != body {
		t.Error("/cacerts is not the CA made beforehand")
	}
}

// TestClusterInit: A8, embedded etcd on its own ports, with its role label.
func TestClusterInit(t *testing.T) {
	node := hostname(t)
	start(t, "--cluster-init", "--secrets-encryption")
	nodeIs(t, node, readyPath, "True")
	nodeIs(t, node, `{.metadata.labels.node-role\.kubernetes\.io/etcd}`, "true")
	for _, file := range []string{"server/db/etcd/member/wal", "server/tls/etcd/server-ca.crt", "server/tls/etcd/peer-ca.crt", "server/tls/etcd/client.crt", "server/cred/encryption-config.json"} {
		if _, err := os.Stat(filepath.Join(dataDir, file)); err != nil {
			t.Error(err)
		}
	}
}

// TestDisabledCloudController: A7b, without it a Node keeps the taint.
func TestDisabledCloudController(t *testing.T) {
	node := hostname(t)
	start(t, "--disable-cloud-controller")
	nodeIs(t, node, readyPath, "True")
	nodeIs(t, node, `{.spec.taints[?(@.key=="node.cloudprovider.kubernetes.io/uninitialized")].effect}`, "NoSchedule")
	nodeIs(t, node, "{.spec.providerID}", "")
}

// TestDefaultRoute: A1, K3s does not start without a default route.
func TestDefaultRoute(t *testing.T) {
	out, err := exec.Command("ip", "route", "show", "default").Output()
	if err != nil {
		t.Fatal(err)
	}
	route := strings.Fields(strings.SplitN(string(out), "\n", 2)[0])
	if out, err := exec.Command("ip", "route", "delete", "default").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", append([]string{"route", "add"}, route...)...).CombinedOutput(); err != nil {
			t.Errorf("default route not restored: %v %s", err, out)
		}
	})
	refused(t, "default route")
}
