package node

import (
	"fmt"
	"os"
	"strings"

	"bowline.test/k3s/internal/pki"
)

// kubeletDefaults is agent/etc/kubelet.conf.d/00-k3s-defaults.conf, with K3s's
// eviction thresholds. KubeletInUserNamespace and failCgroupV1 are the
// stand-in's: they let the kubelet run in a container with the host's sysctls.
const kubeletDefaults = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true, cacheTTL: 2m0s}, x509: {clientCAFile: %q}}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 5m0s, cacheUnauthorizedTTL: 30s}}
cgroupDriver: %s
cgroupRoot: /
clusterDNS: [%q]
clusterDomain: %q
containerRuntimeEndpoint: unix://%s
evictionHard: {imagefs.available: "5%%", nodefs.available: "5%%"}
evictionMinimumReclaim: {imagefs.available: "10%%", nodefs.available: "10%%"}
failCgroupV1: false
failSwapOn: false
featureGates: {KubeletInUserNamespace: %t}
healthzBindAddress: 127.0.0.1
protectKernelDefaults: %t
resolvConf: %q
serializeImagePulls: false
staticPodPath: %q
tlsCertFile: %q
tlsPrivateKeyFile: %q
`

// StartKubelet writes the kubelet's files and runs it.
func (n *Node) StartKubelet(sp *Spawner) (*Child, error) {
	driver := "cgroupfs"
	if systemdCgroups() {
		driver = "systemd"
	}
	resolv, err := n.resolvConf()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.Agent("pod-manifests"), 0o700); err != nil {
		return nil, err
	}
	protect := n.Values.Bool("protect-kernel-defaults")
	text := fmt.Appendf(nil, kubeletDefaults, n.Agent("client-ca.crt"), driver, n.ClusterDNS.String(), n.ClusterDomain, containerdSocket,
		!protect, protect, resolv, n.Agent("pod-manifests"), n.Agent("serving-kubelet.crt"), n.Agent("serving-kubelet.key"))
	if err := pki.Write(n.Agent("etc", "kubelet.conf.d", "00-k3s-defaults.conf"), text, 0o600); err != nil {
		return nil, err
	}
	flags := map[string]string{
		"cloud-provider":    "external",
		"config-dir":        n.Agent("etc", "kubelet.conf.d"),
		"hostname-override": n.Name,
		"kubeconfig":        n.Agent("kubelet.kubeconfig"),
		"node-ip":           n.IPs[0].String(),
		"read-only-port":    "0",
	}
	if labels := n.Values.Slice("node-label"); len(labels) > 0 {
		flags["node-labels"] = strings.Join(labels, ",")
	}
	if taints := n.Values.Slice("node-taint"); len(taints) > 0 {
		flags["register-with-taints"] = strings.Join(taints, ",")
	}
	return sp.Component("kubelet", Arguments(flags, n.Values.Slice("kubelet-arg")))
}

// resolvConf is the file for pods: the setting, the machine's own, or one that
// names none when the machine's only names loopback (K3s: a public resolver).
func (n *Node) resolvConf() (string, error) {
	if f := n.Values.String("resolv-conf"); f != "" {
		if _, err := os.Stat(f); err != nil {
			return "", err
		}
		return f, nil
	}
	for _, f := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) > 1 && fields[0] == "nameserver" && !strings.HasPrefix(fields[1], "127.") && fields[1] != "::1" {
				return f, nil
			}
		}
	}
	f := n.Agent("etc", "resolv.conf")
	return f, pki.Write(f, []byte("# stand-in: this machine's only resolver is on loopback\n"), 0o644)
}
