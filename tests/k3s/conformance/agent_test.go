package conformance

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	rejected = "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry"
	notReady = "Waiting to retrieve agent configuration; server is not ready: "
)

// newToken is what `k3s token create ARGS` prints.
func newToken(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(k3s, append([]string{"token", "create"}, args...)...).Output()
	if err != nil {
		t.Fatalf("k3s token create: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// TestAgent looks at one agent from its join by a bootstrap token on.
func TestAgent(t *testing.T) {
	start(t)
	full := newToken(t, "--ttl=1h", "--description=conformance")
	b := newBox(t, 2)
	write(t, b.path(configDir, "config.yaml"), "node-label: [role=kafka, both=1]\ncluster-init: true\n")
	write(t, b.path(configDir, "config.yaml.d/10.yaml"), "node-label+: dropped=in\nnode-taint: [once=1:NoSchedule]\n")
	a := b.agent("--token=" + full)
	t.Run("Joined", func(t *testing.T) {
		for path, want := range map[string]string{
			"{.spec.providerID}": "k3s://" + b.name,
			`{.status.addresses[?(@.type=="InternalIP")].address}`:       b.ip,
			`{.metadata.annotations.k3s\.io/internal-ip}`:                b.ip,
			"{.metadata.labels.role}{.metadata.labels.dropped}":          "kafkain",
			`{.spec.taints[?(@.key=="once")].effect}`:                    "NoSchedule",
			`{.metadata.labels.node-role\.kubernetes\.io/control-plane}`: "",
			readyPath: "True",
		} {
			nodeIs(t, b.name, path, want)
		}
		if !strings.Contains(a.log(), "k3s agent is up and running") || !strings.Contains(a.log(), "Unknown flag --cluster-init found in config.yaml, skipping") {
			t.Errorf("log:\n%s", tail(a.log(), 20))
		}
		if out := kubectl(t, "get", "--raw", "/api/v1/nodes/"+b.name+"/proxy/healthz"); out != "ok" {
			t.Errorf("the API server does not reach the kubelet: %s", out)
		}
	})
	t.Run("Files", func(t *testing.T) { agentFiles(t, b) })
	t.Run("Rights", func(t *testing.T) { agentRights(t, b) })
	t.Run("Password", func(t *testing.T) { nodePasswordSecret(t, b.name) })
	t.Run("SameName", func(t *testing.T) { sameName(t, b, full) })
	t.Run("Restart", func(t *testing.T) {
		id := strings.SplitN(full[strings.LastIndex(full, "::")+2:], ".", 2)[0]
		if out, err := exec.Command(k3s, "token", "delete", id).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		a.stop()
		write(t, b.path(configDir, "config.yaml"), "node-label: [both=2]\nnode-taint: [twice=1:NoSchedule]\n")
		if err := os.Remove(b.path(configDir, "config.yaml.d/10.yaml")); err != nil {
			t.Fatal(err)
		}
		a.again()
		b.agentWithout(a).again()
		nodeIs(t, b.name, "{.metadata.labels.role}{.metadata.labels.both}", "kafka2")
		if keys := kubectl(t, "get", "node", b.name, "-o", "jsonpath={.spec.taints[*].key}"); strings.Contains(keys, "twice") {
			t.Errorf("taints %q: node-taint is for the registration only", keys)
		}
	})
	t.Run("Deleted", func(t *testing.T) {
		a.stop()
		kubectl(t, "delete", "node", b.name)
		eventually(t, readyIn, "the end of the password Secret", func() (string, bool) {
			out, err := tryKubectl("-n", "kube-system", "get", "secret", b.name+".node-password.k3s")
			return out, err != nil
		})
		without := b.agentWithout(a)
		without.blocked()
		without.says("Node authorization rejected, retrying without client certificate authentication")
		without.says(notReady)
		if s := without.state(); s != "activating" {
			t.Errorf("state %s: the start must block", s)
		}
		without.stop()
		a.args = append(a.args[:len(a.args)-1:len(a.args)-1], "--token="+newToken(t))
		a.again()
		nodeIs(t, b.name, readyPath, "True")
		nodeIs(t, b.name, `{.spec.taints[?(@.key=="twice")].effect}`, "NoSchedule")
	})
}

// agentWithout is the same agent without its token; the other must not run.
func (b *box) agentWithout(a *service) *service {
	_ = exec.Command("systemctl", "stop", a.unit).Run()
	return &service{t: b.t, unit: a.unit, command: a.command, properties: a.properties, args: a.args[:len(a.args)-1]}
}

// agentFiles: A7, names and modes; no credential of an administrator.
func agentFiles(t *testing.T, b *box) {
	for file, want := range map[string]os.FileMode{
		dataDir + "/agent/client-kubelet.crt":                      0o600,
		dataDir + "/agent/client-kubelet.key":                      0o600,
		dataDir + "/agent/serving-kubelet.key":                     0o600,
		dataDir + "/agent/client-ca.crt":                           0o600,
		dataDir + "/agent/server-ca.crt":                           0o600,
		dataDir + "/agent/kubelet.kubeconfig":                      0o600,
		dataDir + "/agent/kubeproxy.kubeconfig":                    0o600,
		dataDir + "/agent/k3scontroller.kubeconfig":                0o600,
		dataDir + "/agent/etc/kubelet.conf.d/00-k3s-defaults.conf": 0o600,
		dataDir + "/agent/etc/k3s-agent-load-balancer.json":        0o600,
		nodeDir + "/password":                                      0o600,
	} {
		if fi, err := os.Stat(b.path(file)); err != nil {
			t.Error(err)
		} else if fi.Mode().Perm() != want {
			t.Errorf("%s: mode %o, want %o", file, fi.Mode().Perm(), want)
		}
	}
	if text := read(t, b.path(dataDir, "agent/kubelet.kubeconfig")); !strings.Contains(text, "server: https://127.0.0.1:6444") {
		t.Errorf("the kubelet does not go through the load balancer: %s", text)
	}
	for _, file := range []string{dataDir + "/server", configDir + "/k3s.yaml"} {
		if _, err := os.Stat(b.path(file)); err == nil {
			t.Errorf("%s is on an agent", file)
		}
	}
}

// agentRights: C1, the node's own credentials, from the files of the agent.
func agentRights(t *testing.T, b *box) {
	as := func(args ...string) (string, error) {
		dir := b.path(dataDir, "agent")
		return tryKubectl(append([]string{"--kubeconfig=/dev/null", "--server=https://127.0.0.1:6443", "--certificate-authority=" + dir + "/server-ca.crt",
			"--client-certificate=" + dir + "/client-kubelet.crt", "--client-key=" + dir + "/client-kubelet.key"}, args...)...)
	}
	if out, err := as("label", "node", b.name, "bowline.example/x=y"); err != nil {
		t.Errorf("its own label: %s", out)
	}
	for what, args := range map[string][]string{
		"a role":       {"label", "node", b.name, "node-role.kubernetes.io/kafka=true"},
		"another Node": {"label", "node", hostname(t), "x=y"},
		"its deletion": {"delete", "node", b.name},
		"Secrets":      {"get", "secrets", "-A"},
	} {
		if out, err := as(args...); err == nil || !strings.Contains(strings.ToLower(out), "forbidden") {
			t.Errorf("%s with the kubelet's credentials: %v %s", what, err, out)
		}
	}
}

// sameName: A6, a token is bound to no name, the password is what protects a
// name; without its Node the name is free again.
func sameName(t *testing.T, first *box, full string) {
	b := newBox(t, 3)
	thief := b.k3s("agent", "--server=https://"+nodeIP(t)+":6443", "--token="+full)
	thief.args[0] = "--node-name=" + first.name
	thief.blocked()
	thief.says(notReady + dataDir + "/agent/serving-kubelet.crt: " + rejected)
	if s := thief.state(); s != "activating" {
		t.Errorf("state %s: the start must block", s)
	}
	thief.stop()
	other := b.agent("--token=" + full)
	nodeIs(t, b.name, readyPath, "True")
	other.stop()
	kubectl(t, "delete", "node", b.name)
}

// TestAgentWaits: A4, what keeps an agent from joining blocks its start, is
// tried again for ever, and ends by itself once it is mended.
func TestAgentWaits(t *testing.T) {
	server := "--server=https://" + nodeIP(t) + ":6443"
	early := newBox(t, 2)
	file := "/etc/rancher/k3s/token"
	waiting := early.k3s("agent", server, "--token-file="+file)
	waiting.blocked()
	waiting.says("Waiting for " + file + " to be available")
	write(t, early.path(file), "early-secret\n")
	waiting.says("Failed to validate connection to cluster at https://" + nodeIP(t) + ":6443: failed to get CA certs")
	if s := waiting.state(); s != "activating" {
		t.Errorf("state %s: the start must block", s)
	}
	start(t, "--token=early-secret")
	waiting.says("but the token does not include a CA hash")
	nodeIs(t, early.name, readyPath, "True")
	eventually(t, readyIn, "READY=1", func() (string, bool) { s := waiting.state(); return s, s == "active" })

	hash := strings.SplitN(strings.TrimPrefix(read(t, dataDir, "server/token"), "K10"), "::", 2)[0]
	zeros := strings.Repeat("0", 64)
	other := newBox(t, 3)
	for _, c := range []struct{ token, words string }{
		{"K10" + zeros + "::node:early-secret", "token CA hash does not match the Cluster CA certificate hash: " + zeros + " != " + hash},
		{"K10" + hash + "::node:wrong", notReady + "failed to retrieve configuration from server: not authorized"},
		{"K10" + hash + "::abcdef.0123456789abcdef", notReady + "failed to retrieve configuration from server: not authorized"},
	} {
		s := other.k3s("agent", server, "--token="+c.token)
		s.blocked()
		s.says(c.words)
		if s.state() != "activating" {
			t.Errorf("%s: state %s: the start must block", c.words, s.state())
		}
		s.stop()
	}
	if entries, err := os.ReadDir(other.path(nodeDir)); err != nil || len(entries) > 0 {
		t.Errorf("%v %v: a node password before any credential was good", entries, err)
	}
}

// TestAgentRefusals: what can never work ends the start.
func TestAgentRefusals(t *testing.T) {
	for words, args := range map[string][]string{
		"--token is required":           {"--server=https://127.0.0.1:6443"},
		"--server is required":          {"--token=x"},
		"only https:// URLs":            {"--token=x", "--server=http://127.0.0.1:6443"},
		"flag provided but not defined": {"--token=x", "--cluster-init"},
	} {
		t.Cleanup(clean)
		out, err := exec.Command("timeout", append([]string{"20", k3s, "agent"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), words) {
			t.Errorf("%v: %v\n%s", args, err, tail(string(out), 5))
		}
	}
}

// TestBootstrapTokens: A4, the command and the Secrets behind it.
func TestBootstrapTokens(t *testing.T) {
	start(t)
	hash := strings.SplitN(read(t, dataDir, "server/token"), "::", 2)[0]
	full := newToken(t, "--ttl=0", "--description=mine", "abcdef.0123456789abcdef")
	if full != hash+"::abcdef.0123456789abcdef" {
		t.Errorf("created: %s", full)
	}
	short := newToken(t, "--ttl=3s")
	id := short[strings.LastIndex(short, "::")+2:][:6]
	if out := kubectl(t, "-n", "kube-system", "get", "secret", "bootstrap-token-abcdef", "-o", "jsonpath={.type} {.data.auth-extra-groups} {.data.expiration}"); out != "bootstrap.kubernetes.io/token c3lzdGVtOmJvb3RzdHJhcHBlcnM6azNzOmRlZmF1bHQtbm9kZS10b2tlbg==" {
		t.Errorf("Secret: %s", out)
	}
	list := func() string {
		out, err := exec.Command(k3s, "token", "list").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, want := range []string{"TOKEN", "abcdef", "<forever>", "<never>", "authentication,signing", "mine", "system:bootstrappers:k3s:default-node-token", id} {
		if !strings.Contains(list(), want) {
			t.Errorf("no %q in %s", want, list())
		}
	}
	if out, err := exec.Command(k3s, "token", "create", "abcdef.0123456789abcdef").CombinedOutput(); err == nil || !strings.Contains(string(out), "already exists") {
		t.Errorf("%v %s", err, out)
	}
	eventually(t, readyIn, "the end of an expired token", func() (string, bool) { out := list(); return out, !strings.Contains(out, id) })
	if out, err := exec.Command(k3s, "token", "delete", "abcdef").Output(); err != nil || !strings.Contains(string(out), `bootstrap token "abcdef" deleted`) {
		t.Errorf("%v %s", err, out)
	}
	if out, err := exec.Command(k3s, "token", "generate").Output(); err != nil || len(strings.TrimSpace(string(out))) != 23 {
		t.Errorf("%v %s", err, out)
	}
	if strings.Contains(list(), "abcdef") {
		t.Error("the deleted token is still there")
	}
}

// TestOrphans: A6, a Secret whose Node never came is swept. Only the stand-in
// can be told to do so before ten minutes have gone.
func TestOrphans(t *testing.T) {
	if !isStandIn(t) {
		t.Skip("takes ten minutes with K3s itself")
	}
	s := &service{t: t, unit: unit, command: "server", args: []string{"--token=secret"}, properties: []string{"Environment=K3S_STAND_IN_ORPHAN_AGE=4s K3S_STAND_IN_ORPHAN_SWEEP=1s"}}
	t.Cleanup(clean)
	s.again()
	r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:6443/v1-k3s/client-kubelet.crt", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("node", "secret")
	r.Header.Set("k3s-Node-Name", "Ghost")
	r.Header.Set("k3s-Node-Password", "boo")
	c := http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Fatal(answer.Status)
	}
	kubectl(t, "-n", "kube-system", "get", "secret", "ghost.node-password.k3s")
	eventually(t, readyIn, "the end of the orphan", func() (string, bool) {
		out, err := tryKubectl("-n", "kube-system", "get", "secret", "ghost.node-password.k3s")
		return out, err != nil
	})
	s.says("Deleted orphaned node-password secret ghost.node-password.k3s")
	kubectl(t, "-n", "kube-system", "get", "secret", hostname(t)+".node-password.k3s")
}
