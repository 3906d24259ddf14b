package options

// AgentFlags are the flags of `k3s agent`: those that it shares with the
// server, and its own.
var AgentFlags = append(pick(
	"config", "debug", "v", "vmodule", "log", "alsologtostderr", "token", "token-file", "data-dir", "node-name", "with-node-id",
	"node-label", "node-taint", "image-credential-provider-bin-dir", "image-credential-provider-config", "docker",
	"container-runtime-endpoint", "image-service-endpoint", "default-runtime", "disable-default-registry-endpoint", "nonroot-devices",
	"pause-image", "snapshotter", "private-registry", "node-ip", "bind-address", "node-external-ip", "node-internal-dns",
	"node-external-dns", "resolv-conf", "flannel-iface", "flannel-conf", "flannel-cni-conf", "vpn-auth", "vpn-auth-file",
	"kubelet-arg", "kube-proxy-arg", "protect-kernel-defaults", "enable-pprof", "rootless", "prefer-bundled-bin", "selinux", "lb-server-port", "server",
),
	Flag{Name: "airgap-extra-registry", Kind: Slice, Support: Refused},
	Flag{Name: "disable-apiserver-lb", Kind: Bool, Support: Refused},
	Flag{Name: "cluster-secret", Env: "K3S_CLUSTER_SECRET", Support: Refused},
)

// pick takes flags out of the server's.
func pick(names ...string) []Flag {
	var out []Flag
	for _, name := range names {
		f, ok := lookup(ServerFlags, name)
		if !ok {
			panic("no such flag of the server: " + name)
		}
		out = append(out, f)
	}
	return out
}
