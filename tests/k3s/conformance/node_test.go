package conformance

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// nodeIP is the address of the interface with the default route.
func nodeIP(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "-j", "-4", "route", "show", "default").Output()
	if err != nil {
		t.Fatal(err)
	}
	var routes []struct{ Dev string }
	if err := json.Unmarshal(out, &routes); err != nil || len(routes) == 0 {
		t.Fatalf("no default route: %s", out)
	}
	iface, err := net.InterfaceByName(routes[0].Dev)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := iface.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Fatal("no IPv4 address on " + routes[0].Dev)
	return ""
}

// as runs kubectl with a kubeconfig of the agent.
func as(config string, args ...string) (string, error) {
	return tryKubectl(append([]string{"--kubeconfig=" + filepath.Join(dataDir, "agent", config)}, args...)...)
}

func kubeletRights(t *testing.T, node string) {
	for _, label := range []string{"role=kafka", "bowline.example/x=y", "node.kubernetes.io/foo=bar"} {
		if out, err := as("kubelet.kubeconfig", "label", "node", node, label); err != nil {
			t.Errorf("%s: %s", label, out)
		}
	}
	out, err := as("kubelet.kubeconfig", "label", "node", node, "node-role.kubernetes.io/kafka=true")
	if err == nil || !strings.Contains(out, "is not allowed to modify labels: node-role.kubernetes.io/kafka") {
		t.Errorf("a role label with the kubelet's credentials: %v %s", err, out)
	}
	out, err = as("kubelet.kubeconfig", "taint", "node", node, "a=b:NoSchedule")
	if err == nil || !strings.Contains(out, "is not allowed to modify taints") {
		t.Errorf("a taint with the kubelet's credentials: %v %s", err, out)
	}
	kubectl(t, "label", "node", node, "node-role.kubernetes.io/kafka=true")
}

func controllerRights(t *testing.T) {
	for _, c := range []struct{ verb, what, want string }{
		{"get", "nodes", "yes"}, {"list", "namespaces", "yes"}, {"list", "pods", "yes"}, {"list", "networkpolicies.networking.k8s.io", "yes"},
		{"patch", "nodes", "no"}, {"get", "secrets", "no"},
	} {
		out, _ := as("k3scontroller.kubeconfig", "auth", "can-i", c.verb, c.what, "-A")
		if last := tail(out, 1); last != c.want {
			t.Errorf("k3s-controller may %s %s: %s, want %s", c.verb, c.what, last, c.want)
		}
	}
}

func eviction(t *testing.T, node string) {
	var z struct {
		Kubeletconfig struct {
			EvictionHard, EvictionMinimumReclaim map[string]string
			ReadOnlyPort                         int
		}
	}
	if err := json.Unmarshal([]byte(kubectl(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/configz")), &z); err != nil {
		t.Fatal(err)
	}
	k := z.Kubeletconfig
	if len(k.EvictionHard) != 2 || k.EvictionHard["imagefs.available"] != "5%" || k.EvictionHard["nodefs.available"] != "5%" {
		t.Errorf("evictionHard %v", k.EvictionHard)
	}
	if len(k.EvictionMinimumReclaim) != 2 || k.EvictionMinimumReclaim["imagefs.available"] != "10%" || k.EvictionMinimumReclaim["nodefs.available"] != "10%" {
		t.Errorf("evictionMinimumReclaim %v", k.EvictionMinimumReclaim)
	}
	if k.ReadOnlyPort != 0 {
		t.Errorf("readOnlyPort %d", k.ReadOnlyPort)
	}
}

func networks(t *testing.T) {
	if ip := kubectl(t, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"); ip != "10.43.0.1" {
		t.Errorf("service kubernetes: %s", ip)
	}
	if e := endpoint(t); e != nodeIP(t)+":6443" {
		t.Errorf("endpoint of the service kubernetes: %s", e)
	}
}

// endpoint is the address that the API server advertises.
func endpoint(t *testing.T) string {
	t.Helper()
	return kubectl(t, "get", "endpointslice", "kubernetes", "-o", "jsonpath={.endpoints[0].addresses[0]}:{.ports[0].port}")
}

func kubeconfigs(t *testing.T) {
	for _, file := range []string{configDir + "/k3s.yaml", dataDir + "/server/cred/admin.kubeconfig"} {
		if s := kubectl(t, "--kubeconfig="+file, "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"); s != "https://127.0.0.1:6443" {
			t.Errorf("%s: server %s", file, s)
		}
		kubectl(t, "--kubeconfig="+file, "get", "nodes")
	}
	link := filepath.Join(t.TempDir(), "kubectl")
	if err := os.Symlink(k3s, link); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(link, "get", "nodes", "-o", "name").CombinedOutput(); err != nil || !strings.Contains(string(out), "node/") {
		t.Errorf("as kubectl by name: %v %s", err, out)
	}
}

func extraction(t *testing.T) {
	to, err := os.Readlink(dataDir + "/data/current")
	if err != nil || !strings.HasPrefix(to, dataDir+"/data/") {
		t.Errorf("data/current: %q %v", to, err)
	}
	if fi, err := os.Stat(dataDir + "/data/current/bin/k3s"); err != nil || fi.Mode()&0o111 == 0 {
		t.Errorf("data/current/bin/k3s: %v", err)
	}
}

// premadeNode: A7b, a Node that its kubelet did not create has not the
// uninitialized taint and so never gets a providerID.
func premadeNode(t *testing.T) {
	cmd := exec.Command(k3s, "kubectl", "create", "-f", "-")
	cmd.Stdin = strings.NewReader(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"premade","annotations":{"k3s.io/internal-ip":"10.0.1.99"}}}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	time.Sleep(3 * time.Second)
	if out := kubectl(t, "get", "node", "premade", "-o", "jsonpath={.spec.providerID}"); out != "" {
		t.Errorf("a premade Node was initialised: %s", out)
	}
	kubectl(t, "delete", "node", "premade")
}

// A pod that also a node short of disk space takes: how full the disk is on
// which these tests run is not what they are about.
const podYAML = `
apiVersion: v1
kind: Pod
metadata: {name: self}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  priorityClassName: system-node-critical
  tolerations: [{operator: Exists}]
  containers:
  - name: self
    image: ` + selfImage + `
    imagePullPolicy: Never
    env: [{name: CONFORMANCE_ROLE, value: sleep}]
`

// podExecAndWatch: the public port carries watches and upgraded connections.
func podExecAndWatch(t *testing.T) {
	eventually(t, readyIn, "the default service account", func() (string, bool) {
		out, err := tryKubectl("get", "serviceaccount", "default")
		return out, err == nil
	})
	cmd := exec.Command(k3s, "kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(podYAML)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := tryKubectl("wait", "--for=condition=Ready", "pod/self", "--timeout=300s"); err != nil {
		t.Fatalf("%s\n%s", out, kubectl(t, "describe", "pod", "self"))
	}
	if out := kubectl(t, "logs", "self"); out != "hello from the pod" {
		t.Errorf("logs: %q", out)
	}
	if out := kubectl(t, "exec", "self", "--", "/self", "echo"); out != "echo from the pod" {
		t.Errorf("exec: %q", out)
	}
}

// stage puts two images, made of this test's own static binary, where K3s
// imports images from.
func stage(t *testing.T) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(dataDir, "agent", "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]string{selfImage: "CONFORMANCE=1", pauseImage: "CONFORMANCE_ROLE=sleep"} {
		base := strings.ReplaceAll(filepath.Base(name), ":", "-")
		if err := os.WriteFile(filepath.Join(dir, base+".tar"), image(t, name, env, self), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// image is a docker-archive with one file.
func image(t *testing.T, name, env string, program []byte) []byte {
	t.Helper()
	layer := pack(t, "self", program)
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/self"}, "Env": []string{env}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": sum(config) + ".json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, sum(config)+".json", config, "layer.tar", layer, "manifest.json", manifest)
}

// pack makes a tar of names and contents.
func pack(t *testing.T, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i+1 < len(parts); i += 2 {
		data := parts[i+1].([]byte)
		if err := w.WriteHeader(&tar.Header{Name: parts[i].(string), Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
