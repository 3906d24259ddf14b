package conformance

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	memberName = `{.metadata.annotations.etcd\.k3s\.cattle\.io/node-name}`
	etcdLabel  = `{.metadata.labels.node-role\.kubernetes\.io/etcd}`
)

// at runs kubectl as administrator against the API server of a box.
func (b *box) at(args ...string) (string, error) {
	return tryKubectl(append([]string{"--kubeconfig=" + configDir + "/k3s.yaml", "--request-timeout=5s", "--server=https://" + b.ip + ":6443"}, args...)...)
}

// until repeats a look at the API server of a box.
func (b *box) until(t *testing.T, what string, ok func(out string, err error) bool, args ...string) {
	t.Helper()
	eventually(t, readyIn, what, func() (string, bool) {
		out, err := b.at(args...)
		return out, ok(out, err)
	})
}

// server is a joining server; its start goes on.
func (b *box) server(args ...string) *service {
	b.t.Helper()
	s := b.k3s("server", append([]string{"--server=https://" + nodeIP(b.t) + ":6443"}, args...)...)
	s.blocked()
	return s
}

// TestServers: three servers with embedded etcd and an agent: joins, the end
// of one server, its removal, its coming back.
func TestServers(t *testing.T) {
	first := start(t, "--cluster-init", "--token=secret", "--secrets-encryption")
	full, me := strings.TrimSpace(read(t, dataDir, "server/token")), hostname(t)
	kubectl(t, "create", "secret", "generic", "shared", "--from-literal=a=b")
	two, three, four := newBox(t, 2), newBox(t, 3), newBox(t, 4)
	t.Run("Refused", func(t *testing.T) { joinsRefused(t, two, full) })
	second := two.server("--token="+full, "--secrets-encryption")
	third := three.server("--token="+full, "--secrets-encryption")
	for _, s := range []*service{second, third} {
		eventually(t, readyIn, "READY=1", func() (string, bool) { return tail(s.log(), 3), s.state() == "active" })
	}
	t.Run("Joined", func(t *testing.T) {
		for _, b := range []*box{two, three} {
			nodeIs(t, b.name, readyPath, "True")
			nodeIs(t, b.name, etcdLabel, "true")
			nodeIs(t, b.name, `{.metadata.annotations.etcd\.k3s\.cattle\.io/node-address}`, b.ip)
			if name := kubectl(t, "get", "node", b.name, "-o", "jsonpath="+memberName); !strings.HasPrefix(name, b.name+"-") || len(name) != len(b.name)+9 {
				t.Errorf("member %q", name)
			}
			if got := read(t, b.path(dataDir, "server/token")); strings.TrimSpace(got) != full {
				t.Error("the token of a joined server is another one")
			}
			if out, err := b.at("get", "secret", "shared", "-o", "jsonpath={.data.a}"); err != nil || out != "Yg==" {
				t.Errorf("the first server's Secret read on %s: %v %s", b.name, err, out)
			}
			for _, file := range []string{"server/tls/server-ca.key", "server/tls/service.key", "server/tls/etcd/peer-ca.key", "server/cred/encryption-config.json", "server/cred/passwd"} {
				if read(t, b.path(dataDir, file)) != read(t, dataDir, file) {
					t.Errorf("%s is not the cluster's", file)
				}
			}
		}
		out := kubectl(t, "get", "node", me, "-o", "jsonpath={.metadata.finalizers}")
		if !strings.Contains(out, "wrangler.cattle.io/managed-etcd-controller") {
			t.Errorf("finalizers %s", out)
		}
	})
	t.Run("Restart", func(t *testing.T) {
		second.stop()
		second.args = []string{second.args[0], "--secrets-encryption"}
		second.again()
		if !strings.Contains(second.log(), "Managed etcd cluster bootstrap already complete and initialized") {
			t.Error("a server that is a member must need neither --server nor token")
		}
	})
	four.agent("--token=" + newToken(t))
	nodeIs(t, four.name, readyPath, "True")
	t.Run("Failover", func(t *testing.T) { failover(t, first, two, four) })
	t.Run("Removed", func(t *testing.T) { removedServer(t, first, two, me, full) })
	t.Run("RemoveAnnotation", func(t *testing.T) {
		name, _ := two.at("get", "node", three.name, "-o", "jsonpath="+memberName)
		if out, err := two.at("annotate", "node", three.name, "etcd.k3s.cattle.io/remove=true"); err != nil {
			t.Fatal(out)
		}
		two.until(t, "the removed member's name", func(out string, err error) bool { return err == nil && out == name },
			"get", "node", three.name, "-o", `jsonpath={.metadata.annotations.etcd\.k3s\.cattle\.io/removed-node-name}`)
		third.says("this node has been removed from the cluster please restart k3s to rejoin the cluster")
	})
}

// joinsRefused: A4 and A8, wrong tokens and settings that servers must share.
func joinsRefused(t *testing.T, b *box, full string) {
	zeros := strings.Repeat("0", 64)
	for _, c := range []struct {
		words string
		args  []string
	}{
		{": not authorized", []string{"--token=wrong"}},
		{": forbidden", []string{"--secrets-encryption", "--token=" + newToken(t)}},
		{"token CA hash does not match the Cluster CA certificate hash: " + zeros, []string{"--token=K10" + zeros + "::server:secret"}},
		{"K3S_TOKEN is required to join a cluster", nil},
		{"critical configuration value mismatch", []string{"--token=" + full}},
	} {
		s := b.k3s("server", append([]string{"--server=https://" + nodeIP(t) + ":6443"}, c.args...)...)
		if out, err := s.run(); err == nil {
			t.Errorf("%v joined: %s", c.args, out)
		}
		if log := s.log(); !strings.Contains(log, "level=fatal") || !strings.Contains(log, c.words) {
			t.Errorf("%v: no %q in\n%s", c.args, c.words, tail(log, 5))
		} else if c.words == "critical configuration value mismatch" && !strings.Contains(log, "critical configuration mismatched: secrets-encryption") {
			t.Errorf("the setting is not named:\n%s", tail(log, 5))
		}
		if _, err := os.Stat(b.path(dataDir, "server/tls/server-ca.key")); err == nil {
			t.Errorf("%v: keys were handed out", c.args)
		}
	}
}

// failover: A7, the agent's way to the API when its server is gone.
func failover(t *testing.T, first *service, two, agent *box) {
	file := agent.path(dataDir, "agent/etc/k3s-agent-load-balancer.json")
	eventually(t, readyIn, "three servers known to the agent", func() (string, bool) {
		text := read(t, file)
		return text, strings.Count(text, ":6443") == 4
	})
	if out, err := exec.Command("systemctl", "kill", "-s", "KILL", "--kill-who=main", first.unit).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	two.until(t, "the API on another server", func(_ string, err error) bool { return err == nil }, "get", "nodes")
	dir := agent.path(dataDir, "agent")
	eventually(t, 120*time.Second, "the agent's own way to the API", func() (string, bool) {
		out, err := exec.Command("nsenter", "--net=/run/netns/"+agent.name, k3s, "kubectl", "--kubeconfig=/dev/null", "--server=https://127.0.0.1:6444", "--request-timeout=5s",
			"--certificate-authority="+dir+"/server-ca.crt", "--client-certificate="+dir+"/client-kubelet.crt", "--client-key="+dir+"/client-kubelet.key", "get", "node", agent.name).CombinedOutput()
		return string(out), err == nil
	})
}

// removedServer: A7b, deleting a server's Node takes its member out; the server
// that comes back is not ready, and may join again.
func removedServer(t *testing.T, first *service, two *box, me, full string) {
	if out, err := two.at("delete", "node", me, "--wait=false"); err != nil {
		t.Fatal(out)
	}
	two.until(t, "the end of the Node", func(out string, err error) bool { return err != nil && strings.Contains(out, "NotFound") }, "get", "node", me)
	first.blocked()
	first.says("this node has been removed from the cluster please restart k3s to rejoin the cluster")
	if s := first.state(); s != "activating" {
		t.Errorf("state %s: a removed server must not be ready", s)
	}
	first.stop()
	again := &service{t: t, unit: first.unit, command: "server", args: []string{"--server=https://" + two.ip + ":6443", "--token=" + full, "--secrets-encryption"}}
	again.again()
	two.until(t, "the server that came back", func(out string, err error) bool { return err == nil && out == "True" }, "get", "node", me, "-o", "jsonpath="+readyPath)
}
