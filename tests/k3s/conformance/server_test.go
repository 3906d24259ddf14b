package conformance

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestVersion: A1, the first line's form; the stand-in says that it is one.
func TestVersion(t *testing.T) {
	out, err := exec.Command(k3s, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^k3s version v1\.\d+\.\d+\+k3s\d+ \([0-9a-f]{8}\)\ngo version go1\.`).Match(out) {
		t.Fatalf("%q", out)
	}
}

// TestStandInSaysSo: every surface of the stand-in says what it is, and what
// it has not ends loudly. The real K3s has nothing to say here.
func TestStandInSaysSo(t *testing.T) {
	if !isStandIn(t) {
		t.Skip("this is not the stand-in")
	}
	for _, args := range [][]string{{"--version"}, {"--help"}, {"server", "--help"}, {"server", "--no-such-flag"}, {"agent", "--no-such-flag"}, {"agent", "--help"}, {"token", "list"}, {"token", "--help"}, {"etcd-snapshot", "ls"}} {
		out, err := exec.Command(k3s, args...).CombinedOutput()
		if !strings.Contains(tail(string(out), 1000), "stand-in for tests") {
			t.Errorf("k3s %v does not say that this is a stand-in", args)
		}
		if help := strings.HasPrefix(args[len(args)-1], "--help") || args[0] == "--version"; help != (err == nil) {
			t.Errorf("k3s %v: %v", args, err)
		}
	}
	out, _ := exec.Command(k3s, "server", "--no-such-flag").CombinedOutput()
	if !strings.Contains(strings.SplitN(string(out), "\n", 2)[0], "stand-in for tests") {
		t.Errorf("the first log line does not say that this is a stand-in: %s", out)
	}
}

// TestReadyzBeforeReady: A5, agents get 503 until the core is ready.
func TestReadyzBeforeReady(t *testing.T) {
	t.Cleanup(clean)
	out, err := exec.Command("systemd-run", "--quiet", "--no-block", "--unit="+unit, "--service-type=notify", "-pKillMode=process", "-pDelegate=yes", "--", k3s, "server", "--token=early").CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	seen := map[int]int{}
	for end := time.Now().Add(readyIn); seen[200] == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never ready: %v", seen)
		}
		if code, ok := tryGet("/v1-k3s/readyz", "node", "early"); ok {
			seen[code]++
		}
	}
	if seen[503] == 0 || len(seen) != 2 {
		t.Errorf("answers before ready: %v, want 503 only", seen)
	}
	if out := kubectl(t, "get", "--raw", "/readyz"); out != "ok" {
		t.Error(out)
	}
}

// tryGet asks the public port, which may not listen yet.
func tryGet(path, user, password string) (int, bool) {
	c := http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:6443"+path, nil)
	if err != nil {
		return 0, false
	}
	r.SetBasicAuth(user, password)
	a, err := c.Do(r)
	if err != nil {
		return 0, false
	}
	a.Body.Close()
	return a.StatusCode, true
}

// TestServer looks at one running server from all sides.
func TestServer(t *testing.T) {
	node := hostname(t)
	stage(t)
	s := start(t, "--pause-image="+pauseImage)
	t.Run("ReadyMeansServed", func(t *testing.T) {
		if out := kubectl(t, "get", "--raw", "/readyz"); out != "ok" {
			t.Fatal(out)
		}
	})
	t.Run("NodeReady", func(t *testing.T) { nodeIs(t, node, readyPath, "True") })
	t.Run("NodeIdentity", func(t *testing.T) { nodeIdentity(t, node) })
	t.Run("Supervisor", supervisor)
	t.Run("NodeCertificate", nodeCertificate)
	t.Run("Anonymous", anonymous)
	t.Run("Tokens", tokens)
	t.Run("Modes", modes)
	t.Run("CertificateNames", func(t *testing.T) { certificateNames(t, node) })
	t.Run("NodePassword", func(t *testing.T) { nodePasswordSecret(t, node) })
	t.Run("KubeletRights", func(t *testing.T) { kubeletRights(t, node) })
	t.Run("ControllerRights", controllerRights)
	t.Run("Eviction", func(t *testing.T) { eviction(t, node) })
	t.Run("Networks", networks)
	t.Run("Kubeconfig", kubeconfigs)
	t.Run("Extraction", extraction)
	t.Run("PremadeNode", premadeNode)
	t.Run("PodExecAndWatch", podExecAndWatch)
	t.Run("StopsSoon", func(t *testing.T) {
		if d := s.stop(); d > 30*time.Second {
			t.Fatalf("SIGTERM took %s", d)
		}
		if p := processes("/run/k3s/containerd/containerd.sock --state"); len(p) > 0 {
			t.Fatalf("containerd outlived its server: %v", p)
		}
		if len(shims()) == 0 {
			t.Fatal("the pods' shims did not outlive the server (KillMode=process)")
		}
	})
}

func nodeIdentity(t *testing.T, node string) {
	for path, want := range map[string]string{
		"{.spec.providerID}": "k3s://" + node,
		`{.metadata.labels.node-role\.kubernetes\.io/control-plane}`: "true",
		`{.metadata.labels.node-role\.kubernetes\.io/master}`:        "true",
		`{.status.addresses[?(@.type=="Hostname")].address}`:         node,
		`{.metadata.annotations.k3s\.io/hostname}`:                   node,
		`{.metadata.annotations.k3s\.io/internal-ip}`:                nodeIP(t),
		`{.status.addresses[?(@.type=="InternalIP")].address}`:       nodeIP(t),
		`{.spec.podCIDR}`: "10.42.0.0/24",
		`{.spec.taints}`:  "",
	} {
		nodeIs(t, node, path, want)
	}
	if v := kubectl(t, "get", "node", node, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}"); !strings.Contains(v, "+k3s") {
		t.Errorf("kubelet's version %q is not K3s's form", v)
	}
}

// get asks the public port without trust and without credentials, or with
// basic ones.
func get(t *testing.T, path, user, password string) (int, string) {
	t.Helper()
	c := http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:6443"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body)
}

func supervisor(t *testing.T) {
	if code, body := get(t, "/ping", "", ""); code != 200 || strings.TrimSpace(body) != "pong" {
		t.Errorf("/ping: %d %q", code, body)
	}
	if code, body := get(t, "/cacerts", "", ""); code != 200 || body != read(t, dataDir, "server/tls/server-ca.crt") {
		t.Errorf("/cacerts is not server-ca.crt: %d", code)
	}
	password := secretOf(t, "server/node-token")
	for _, c := range []struct {
		user, password string
		want           int
	}{{"", "", 403}, {"node", "wrong", 401}, {"server", password, 403}, {"node", password, 200}} {
		if code, body := get(t, "/v1-k3s/readyz", c.user, c.password); code != c.want {
			t.Errorf("/v1-k3s/readyz as %q: %d %q, want %d", c.user, code, body, c.want)
		}
	}
}

// nodeCertificate: A5, the node's own certificate is good on agent routes.
func nodeCertificate(t *testing.T) {
	pair, err := tls.LoadX509KeyPair(dataDir+"/agent/client-kubelet.crt", dataDir+"/agent/client-kubelet.key")
	if err != nil {
		t.Fatal(err)
	}
	c := http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}}}
	a, err := c.Get("https://127.0.0.1:6443/v1-k3s/readyz")
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("/v1-k3s/readyz with the node's certificate: %d", a.StatusCode)
	}
}

func anonymous(t *testing.T) {
	if code, _ := get(t, "/readyz", "", ""); code != 401 {
		t.Errorf("/readyz without credentials: %d", code)
	}
	a, err := http.Get("http://127.0.0.1:10248/healthz")
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("kubelet's healthz: %d", a.StatusCode)
	}
}

// secretOf is the password in a token file.
func secretOf(t *testing.T, file string) string {
	t.Helper()
	text := strings.TrimSpace(read(t, dataDir, file))
	return text[strings.LastIndex(text, ":")+1:]
}

func tokens(t *testing.T) {
	sum := sha256.Sum256([]byte(read(t, dataDir, "server/tls/server-ca.crt")))
	text := read(t, dataDir, "server/token")
	if !regexp.MustCompile(`^K10` + hex.EncodeToString(sum[:]) + `::server:[0-9a-f]{32}\n$`).MatchString(text) {
		t.Errorf("server/token has not the form K10<sha256 of /cacerts>::server:<32 hex>")
	}
	for _, name := range []string{"node-token", "agent-token"} {
		if to, err := os.Readlink(filepath.Join(dataDir, "server", name)); err != nil || filepath.Base(to) != "token" {
			t.Errorf("server/%s: %q %v, want a link to token", name, to, err)
		}
	}
	passwd := read(t, dataDir, "server/cred/passwd")
	for _, want := range []string{"node,node,k3s:agent", "server,server,k3s:server"} {
		if !strings.Contains(passwd, want) {
			t.Errorf("server/cred/passwd has no %q", want)
		}
	}
}

func modes(t *testing.T) {
	for file, want := range map[string]os.FileMode{
		dataDir + "/server":                                        0o700,
		dataDir + "/server/token":                                  0o600,
		dataDir + "/server/cred/passwd":                            0o600,
		dataDir + "/server/cred/admin.kubeconfig":                  0o600,
		dataDir + "/server/tls/server-ca.key":                      0o600,
		dataDir + "/agent/client-kubelet.key":                      0o600,
		dataDir + "/agent/kubelet.kubeconfig":                      0o600,
		dataDir + "/agent/kubeproxy.kubeconfig":                    0o600,
		dataDir + "/agent/k3scontroller.kubeconfig":                0o600,
		configDir + "/k3s.yaml":                                    0o600,
		nodeDir:                                                    0o755,
		nodeDir + "/password":                                      0o600,
		dataDir + "/agent/etc/kubelet.conf.d/00-k3s-defaults.conf": 0o600,
	} {
		fi, err := os.Stat(file)
		if err != nil {
			t.Error(err)
		} else if fi.Mode().Perm() != want {
			t.Errorf("%s: mode %o, want %o", file, fi.Mode().Perm(), want)
		}
	}
	for _, file := range []string{"client-ca.crt", "server-ca.crt", "client-kubelet.crt", "serving-kubelet.crt", "serving-kubelet.key", "client-kube-proxy.crt", "client-k3s-controller.crt", "containerd", "etc/cni/net.d/10-flannel.conflist"} {
		if _, err := os.Stat(filepath.Join(dataDir, "agent", file)); err != nil {
			t.Error(err)
		}
	}
	if p := read(t, nodeDir, "password"); !regexp.MustCompile(`^[0-9a-f]{32}\n$`).MatchString(p) {
		t.Errorf("%s/password has not the form 32 hex and a newline", nodeDir)
	}
}

// served is the certificate on the public port.
func served(t *testing.T) *x509.Certificate {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, dataDir, "server/tls/server-ca.crt")))
	c, err := tls.Dial("tcp", "127.0.0.1:6443", &tls.Config{RootCAs: pool, ServerName: "kubernetes.default.svc"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func hasIP(c *x509.Certificate, ip string) bool {
	return slices.ContainsFunc(c.IPAddresses, net.ParseIP(ip).Equal)
}

func certificateNames(t *testing.T, node string) {
	c := served(t)
	for _, ip := range []string{"127.0.0.1", "::1", "10.43.0.1", nodeIP(t)} {
		if !hasIP(c, ip) {
			t.Errorf("no %s among the certificate's addresses %v", ip, c.IPAddresses)
		}
	}
	for _, name := range []string{"localhost", node, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"} {
		if !slices.Contains(c.DNSNames, name) {
			t.Errorf("no %s among the certificate's names %v", name, c.DNSNames)
		}
	}
}

func nodePasswordSecret(t *testing.T, node string) {
	name := node + ".node-password.k3s"
	var secret struct {
		Immutable bool              `json:"immutable"`
		Type      string            `json:"type"`
		Data      map[string]string `json:"data"`
	}
	if err := json.Unmarshal([]byte(kubectl(t, "-n", "kube-system", "get", "secret", name, "-o", "json")), &secret); err != nil {
		t.Fatal(err)
	}
	hash, err := base64.StdEncoding.DecodeString(secret.Data["hash"])
	if err != nil || !regexp.MustCompile(`^\$1:[0-9a-f]{16}:15:8:1:[A-Za-z0-9+/]{86}$`).Match(hash) {
		t.Errorf("hash has not K3s's form: %v", err)
	}
	if !secret.Immutable || secret.Type != "k3s.cattle.io/node-password" {
		t.Errorf("immutable=%v type=%q", secret.Immutable, secret.Type)
	}
	eventually(t, readyIn, "the Secret's owner", func() (string, bool) {
		out, _ := tryKubectl("-n", "kube-system", "get", "secret", name, "-o", "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}")
		return out, out == "Node/"+node
	})
}
