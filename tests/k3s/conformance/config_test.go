package conformance

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// refused runs `k3s server` directly and wants it to end by itself with a
// failure, a fatal line and the words.
func refused(t *testing.T, words string, args ...string) string {
	t.Helper()
	t.Cleanup(clean)
	ctx, cancel := context.WithTimeout(context.Background(), readyIn)
	defer cancel()
	out, err := exec.CommandContext(ctx, k3s, append([]string{"server"}, args...)...).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("still running after %s; last lines:\n%s", readyIn, tail(string(out), 20))
	}
	if err == nil {
		t.Fatalf("exit status 0\n%s", tail(string(out), 20))
	}
	if !strings.Contains(string(out), "level=fatal") {
		t.Errorf("no fatal line in\n%s", tail(string(out), 20))
	}
	if !strings.Contains(string(out), words) {
		t.Errorf("no %q in\n%s", words, tail(string(out), 20))
	}
	return string(out)
}

// TestRefusals: a bad value ends the start with a fatal line.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, words string
		args        []string
	}{
		{"UnknownFlag", "flag provided but not defined", []string{"--no-such-flag=1"}},
		{"ClusterCIDR", "cluster-cidr", []string{"--cluster-cidr=10.42.0.0/99"}},
		{"ServiceCIDR", "service-cidr", []string{"--service-cidr=10.43"}},
		{"NodeIP", "10.0.1.300", []string{"--node-ip=10.0.1.300"}},
		{"FlannelBackend", "backend", []string{"--flannel-backend=carrier-pigeon"}},
		{"FlannelInterface", "eth99", []string{"--flannel-iface=eth99"}},
		{"EgressSelectorMode", "egress-selector-mode", []string{"--egress-selector-mode=sideways"}},
		{"FullTokenWithoutCA", "token", []string{"--token=K10" + strings.Repeat("0", 64) + "::server:secret"}},
		{"TokenHashLength", "token", []string{"--token=K10abcd::server:secret"}},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.words, c.args...) })
	}
}

// TestUnparsableYAML: A3.
func TestUnparsableYAML(t *testing.T) {
	write(t, configDir+"/config.yaml", "node-name: [unclosed\n")
	refused(t, "yaml")
}

// TestPortInUse: the public port belongs to somebody else.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", ":6443")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused(t, "address already in use")
}

// TestForbiddenLabel: A7 and C1, the kubelet's own error ends K3s.
func TestForbiddenLabel(t *testing.T) {
	out := refused(t, "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [node-role.kubernetes.io/kafka]",
		"--node-label=node-role.kubernetes.io/kafka=true")
	for line := range strings.Lines(out) {
		if strings.Contains(line, "level=fatal") && !strings.Contains(line, "kubelet exited") {
			t.Errorf("the fatal line does not name the kubelet: %s", line)
		}
	}
}

// TestConfigMerge: A3, config.yaml, then drop-ins in name order; a later key
// replaces, `key+` appends; unknown flags are warned about and skipped; other
// files are not read; the command line wins for scalars.
func TestConfigMerge(t *testing.T) {
	write(t, configDir+"/config.yaml", "node-name: from-config\nnode-label: [base=gone, also=gone]\nwrite-kubeconfig-mode: \"0640\"\nno-such-flag: x\n")
	write(t, configDir+"/config.yaml.d/10-a.yaml", "node-label: [ten=yes]\n")
	write(t, configDir+"/config.yaml.d/20-b.yml", "node-label+: [twenty=yes]\n")
	write(t, configDir+"/config.yaml.d/15-c.yaml", "node-label+:\n- fifteen=yes\n")
	write(t, configDir+"/config.yaml.d/30-d.conf", "node-label: [conf=no]\n")
	s := start(t, "--node-name=From-CLI")
	nodeIs(t, "from-cli", readyPath, "True")
	for label, want := range map[string]string{"base": "", "also": "", "ten": "yes", "fifteen": "yes", "twenty": "yes", "conf": ""} {
		nodeIs(t, "from-cli", "{.metadata.labels."+label+"}", want)
	}
	if fi, err := os.Stat(configDir + "/k3s.yaml"); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("write-kubeconfig-mode: %v %v", fi.Mode(), err)
	}
	if !strings.Contains(s.log(), "no-such-flag") || !strings.Contains(s.log(), "skipping") {
		t.Error("no warning about the unknown flag")
	}
}

// TestDropInAlone: A3, a missing config.yaml is fine when a drop-in exists.
func TestDropInAlone(t *testing.T) {
	write(t, configDir+"/config.yaml.d/50-bowline.yaml", "node-name: dropped\ncluster-cidr: 10.52.0.0/16\nservice-cidr: 10.53.0.0/16\n")
	start(t)
	nodeIs(t, "dropped", "{.spec.podCIDR}", "10.52.0.0/24")
	if ip := kubectl(t, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"); ip != "10.53.0.1" {
		t.Errorf("service kubernetes: %s", ip)
	}
}

// TestConfigPath: A3, --config with its own drop-in folder.
func TestConfigPath(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/other.yaml", "node-name: first\n")
	write(t, dir+"/other.yaml.d/x.yaml", "node-name: second\n")
	start(t, "--config="+dir+"/other.yaml")
	nodeIs(t, "second", "{.metadata.name}", "second")
}

// TestRestart: data survive; node-label values are merged again at each start
// and never taken away (A7); token and password stay; kill -9 ends it whole.
func TestRestart(t *testing.T) {
	node := hostname(t)
	write(t, configDir+"/config.yaml", "node-label: [first=1, both=1]\nnode-taint: [\"once=1:NoSchedule\"]\n")
	s := start(t)
	nodeIs(t, node, readyPath, "True")
	nodeIs(t, node, "{.metadata.labels.first}", "1")
	kubectl(t, "create", "configmap", "kept", "--from-literal=a=b")
	uid := kubectl(t, "get", "node", node, "-o", "jsonpath={.metadata.uid}")
	before := read(t, dataDir, "server/token") + read(t, nodeDir, "password") + read(t, dataDir, "server/tls/server-ca.crt") + read(t, dataDir, "agent/client-kubelet.crt")
	s.stop()
	write(t, configDir+"/config.yaml", "node-label: [second=2, both=2]\nnode-taint: [\"twice=1:NoSchedule\"]\n")
	s.again()
	for label, want := range map[string]string{"first": "1", "second": "2", "both": "2"} {
		nodeIs(t, node, "{.metadata.labels."+label+"}", want)
	}
	if keys := kubectl(t, "get", "node", node, "-o", "jsonpath={.spec.taints[*].key}"); !strings.Contains(keys, "once") || strings.Contains(keys, "twice") {
		t.Errorf("taints %q: node-taint is for the registration only", keys)
	}
	kubectl(t, "get", "configmap", "kept")
	if uid != kubectl(t, "get", "node", node, "-o", "jsonpath={.metadata.uid}") {
		t.Error("the Node is another one")
	}
	if before != read(t, dataDir, "server/token")+read(t, nodeDir, "password")+read(t, dataDir, "server/tls/server-ca.crt")+read(t, dataDir, "agent/client-kubelet.crt") {
		t.Error("token, password or certificates changed by a restart")
	}
	if out, err := exec.Command("systemctl", "kill", "-s", "KILL", "--kill-who=main", unit).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	eventually(t, 60*time.Second, "the end of all its processes", func() (string, bool) {
		left := len(processes("/run/k3s/containerd/containerd.sock --state")) + len(processes("kubelet --cloud-provider"))
		return "some are left", left == 0
	})
	s.again()
	kubectl(t, "get", "configmap", "kept")
}

// TestComponentArgs: `…-arg` settings reach the components, and one that a
// component does not know ends K3s.
func TestComponentArgs(t *testing.T) {
	node := hostname(t)
	write(t, configDir+"/config.yaml", "kubelet-arg: [max-pods=50]\nkube-apiserver-arg: [event-ttl=30m]\nkube-controller-manager-arg: [node-monitor-period=2s]\n")
	start(t)
	nodeIs(t, node, "{.status.capacity.pods}", "50")
	clean()
	refused(t, "no-such-arg", "--kubelet-arg=no-such-arg=1")
	clean()
	refused(t, "no-such-arg", "--kube-apiserver-arg=no-such-arg=1")
}

// TestNoexec: A2, K3s runs from below its data folder, so `noexec` there is
// the end.
func TestNoexec(t *testing.T) {
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", dataDir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dataDir).Run() })
	refused(t, "permission denied", "--node-name=never")
}
