package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// box is a second machine inside this one, as far as K3s can tell: its own
// network, data folder, kubelet's folder, configuration and node password.
type box struct {
	t    *testing.T
	name string
	ip   string
	// dir holds what stands in the box below the usual paths.
	dir string
}

const (
	boxBridge = "confboxes"
	boxNet    = "198.51.100."
)

// inBox are the paths that a box has for itself.
var inBox = map[string]string{"k3s": dataDir, "kubelet": "/var/lib/kubelet", "cni": "/var/lib/cni", "run": "/run/k3s", "node": nodeDir, "config": configDir}

// newBox makes the box number n, which starts at 2.
func newBox(t *testing.T, n int) *box {
	t.Helper()
	b := &box{t: t, name: fmt.Sprintf("confbox%d", n), ip: fmt.Sprintf("%s%d", boxNet, n)}
	b.dir = filepath.Join(filepath.Dir(dataDir), b.name)
	t.Cleanup(b.remove)
	if _, err := os.Stat("/sys/class/net/" + boxBridge); err != nil {
		ip(t, "link", "add", boxBridge, "type", "bridge")
		ip(t, "addr", "add", boxNet+"1/24", "dev", boxBridge)
		ip(t, "link", "set", boxBridge, "up")
	}
	// etcd compares the addresses of its peers with their certificates.
	ip(t, "route", "replace", boxNet+"0/24", "dev", boxBridge, "src", nodeIP(t))
	ip(t, "netns", "add", b.name)
	ip(t, "link", "add", b.name, "type", "veth", "peer", "name", "eth0", "netns", b.name)
	ip(t, "link", "set", b.name, "master", boxBridge, "up")
	for _, args := range []string{"addr add " + b.ip + "/24 dev eth0", "link set eth0 up", "link set lo up", "route add default via " + boxNet + "1"} {
		ip(t, append([]string{"-n", b.name}, strings.Fields(args)...)...)
	}
	for name, path := range inBox {
		for _, d := range []string{filepath.Join(b.dir, name), path} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// k3s is `k3s COMMAND` in the box, under the box's own node name.
func (b *box) k3s(command string, args ...string) *service {
	s := &service{t: b.t, unit: "k3s-" + b.name + ".service", command: command, args: append([]string{"--node-name=" + b.name}, args...)}
	s.properties = append(s.properties, "NetworkNamespacePath=/run/netns/"+b.name)
	for name, path := range inBox {
		s.properties = append(s.properties, "BindPaths="+filepath.Join(b.dir, name)+":"+path)
	}
	return s
}

// agent joins this machine's server and returns when systemd has READY=1.
func (b *box) agent(args ...string) *service {
	b.t.Helper()
	s := b.k3s("agent", append([]string{"--server=https://" + nodeIP(b.t) + ":6443"}, args...)...)
	s.again()
	return s
}

// path is where a path of the box is seen from outside.
func (b *box) path(inside ...string) string {
	b.t.Helper()
	full := filepath.Join(inside...)
	for name, path := range inBox {
		if rest, ok := strings.CutPrefix(full, path); ok {
			return filepath.Join(b.dir, name, rest)
		}
	}
	b.t.Fatalf("%s is not the box's own", full)
	return ""
}

// cut pulls the box's network cable.
func (b *box) cut() { ip(b.t, "link", "set", b.name, "down") }

// remove ends the box and all that is in it.
func (b *box) remove() {
	unit := "k3s-" + b.name + ".service"
	_ = exec.Command("systemctl", "kill", "-s", "KILL", unit).Run()
	_ = exec.Command("systemctl", "stop", unit).Run()
	_ = exec.Command("systemctl", "reset-failed", unit).Run()
	_ = exec.Command("ip", "netns", "delete", b.name).Run()
	_ = exec.Command("ip", "link", "delete", b.name).Run()
	_ = os.RemoveAll(b.dir)
}

// ip runs the program ip.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
	}
}
