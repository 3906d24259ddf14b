package server

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

// startKubelet writes the kubelet's files and runs it.
func (s *Settings) startKubelet(sp *spawner) (*child, error) {
	driver := "cgroupfs"
	if systemdCgroups() {
		driver = "systemd"
	}
	resolv, err := s.resolvConf()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.agent("pod-manifests"), 0o700); err != nil {
		return nil, err
	}
	protect := s.values.Bool("protect-kernel-defaults")
	text := fmt.Appendf(nil, kubeletDefaults, s.agent("client-ca.crt"), driver, s.ClusterDNS.String(), s.ClusterDomain, containerdSocket,
		!protect, protect, resolv, s.agent("pod-manifests"), s.agent("serving-kubelet.crt"), s.agent("serving-kubelet.key"))
	if err := pki.Write(s.agent("etc", "kubelet.conf.d", "00-k3s-defaults.conf"), text, 0o600); err != nil {
		return nil, err
	}
	flags := map[string]string{
		"cloud-provider":    "external",
		"config-dir":        s.agent("etc", "kubelet.conf.d"),
		"hostname-override": s.NodeName,
		"kubeconfig":        s.agent("kubelet.kubeconfig"),
		"node-ip":           s.NodeIPs[0].String(),
		"read-only-port":    "0",
	}
	if labels := s.values.Slice("node-label"); len(labels) > 0 {
		flags["node-labels"] = strings.Join(labels, ",")
	}
	if taints := s.values.Slice("node-taint"); len(taints) > 0 {
		flags["register-with-taints"] = strings.Join(taints, ",")
	}
	return sp.component("kubelet", arguments(flags, s.values.Slice("kubelet-arg")))
}

// resolvConf is the file for pods: the setting, the machine's own, or one that
// names none when the machine's only names loopback (K3s: a public resolver).
func (s *Settings) resolvConf() (string, error) {
	if f := s.values.String("resolv-conf"); f != "" {
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
	f := s.agent("etc", "resolv.conf")
	return f, pki.Write(f, []byte("# stand-in: this machine's only resolver is on loopback\n"), 0o644)
}
