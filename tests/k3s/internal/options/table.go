package options

// Kind says how a flag's values are read.
type Kind int

// The kinds of K3s's flags.
const (
	String Kind = iota
	Bool
	Int
	Slice
)

// Support says what this stand-in does with a flag that K3s knows.
type Support int

const (
	// Built: has the effect that K3s gives it.
	Built Support = iota
	// Idle: accepted with a warning; the part that it tunes does not exist here.
	Idle
	// Refused: K3s would act on it, the stand-in cannot; setting it is fatal.
	Refused
)

// Flag describes one of K3s's server flags.
type Flag struct {
	Name    string
	Short   string
	Env     string
	Kind    Kind
	Default string
	Support Support
	// Commas: elements of the slice may themselves be comma separated lists.
	Commas bool
}

// ServerFlags are the flags of `k3s server`. Names, environment variables and
// defaults are K3s's; Support is the stand-in's.
var ServerFlags = []Flag{
	{Name: "config", Short: "c", Env: "K3S_CONFIG_FILE", Default: "/etc/rancher/k3s/config.yaml"},
	{Name: "debug", Env: "K3S_DEBUG", Kind: Bool},
	{Name: "v", Kind: Int, Default: "0", Support: Idle},
	{Name: "vmodule", Support: Idle},
	{Name: "log", Short: "l", Support: Refused},
	{Name: "alsologtostderr", Kind: Bool, Support: Idle},
	{Name: "bind-address", Support: Refused},
	{Name: "https-listen-port", Kind: Int, Default: "6443"},
	{Name: "supervisor-port", Kind: Int, Support: Refused},
	{Name: "supervisor-metrics", Kind: Bool, Support: Refused},
	{Name: "advertise-address"},
	{Name: "advertise-port", Kind: Int, Support: Refused},
	{Name: "tls-san", Kind: Slice, Commas: true},
	{Name: "tls-san-security", Kind: Bool, Default: "true"},
	{Name: "data-dir", Short: "d", Env: "K3S_DATA_DIR", Default: "/var/lib/rancher/k3s"},
	{Name: "cluster-cidr", Kind: Slice, Default: "10.42.0.0/16", Commas: true},
	{Name: "service-cidr", Kind: Slice, Default: "10.43.0.0/16", Commas: true},
	{Name: "service-node-port-range", Default: "30000-32767"},
	{Name: "cluster-dns", Kind: Slice, Commas: true},
	{Name: "cluster-domain", Default: "cluster.local"},
	{Name: "flannel-backend", Default: "vxlan"},
	{Name: "flannel-ipv6-masq", Kind: Bool, Support: Refused},
	{Name: "flannel-external-ip", Kind: Bool, Support: Refused},
	{Name: "egress-selector-mode", Default: "agent"},
	{Name: "servicelb-namespace", Default: "kube-system", Support: Idle},
	{Name: "write-kubeconfig", Short: "o", Env: "K3S_KUBECONFIG_OUTPUT"},
	{Name: "write-kubeconfig-mode", Env: "K3S_KUBECONFIG_MODE"},
	{Name: "write-kubeconfig-group", Env: "K3S_KUBECONFIG_GROUP", Support: Refused},
	{Name: "helm-job-image", Support: Idle},
	{Name: "token", Short: "t", Env: "K3S_TOKEN"},
	{Name: "token-file", Env: "K3S_TOKEN_FILE"},
	{Name: "agent-token", Env: "K3S_AGENT_TOKEN"},
	{Name: "agent-token-file", Env: "K3S_AGENT_TOKEN_FILE"},
	{Name: "server", Short: "s", Env: "K3S_URL"},
	{Name: "cluster-init", Env: "K3S_CLUSTER_INIT", Kind: Bool},
	{Name: "cluster-reset", Env: "K3S_CLUSTER_RESET", Kind: Bool, Support: Refused},
	{Name: "cluster-reset-restore-path", Support: Refused},
	{Name: "kube-apiserver-arg", Kind: Slice},
	{Name: "etcd-arg", Kind: Slice, Support: Refused},
	{Name: "kube-controller-manager-arg", Kind: Slice},
	{Name: "kube-scheduler-arg", Kind: Slice},
	{Name: "kube-cloud-controller-manager-arg", Kind: Slice, Support: Refused},
	{Name: "kine-tls", Kind: Bool, Support: Refused},
	{Name: "datastore-endpoint", Env: "K3S_DATASTORE_ENDPOINT", Support: Refused},
	{Name: "datastore-cafile", Env: "K3S_DATASTORE_CAFILE", Support: Refused},
	{Name: "datastore-certfile", Env: "K3S_DATASTORE_CERTFILE", Support: Refused},
	{Name: "datastore-keyfile", Env: "K3S_DATASTORE_KEYFILE", Support: Refused},
	{Name: "etcd-expose-metrics", Kind: Bool, Support: Refused},
	{Name: "etcd-disable-snapshots", Kind: Bool, Support: Idle},
	{Name: "etcd-snapshot-name", Support: Idle},
	{Name: "etcd-snapshot-schedule-cron", Support: Idle},
	{Name: "etcd-snapshot-retention", Kind: Int, Support: Idle},
	{Name: "etcd-snapshot-dir", Support: Idle},
	{Name: "etcd-snapshot-compress", Kind: Bool, Support: Idle},
	{Name: "etcd-s3", Kind: Bool, Support: Refused},
	{Name: "default-local-storage-path", Support: Idle},
	{Name: "disable", Kind: Slice, Commas: true},
	{Name: "disable-scheduler", Kind: Bool, Support: Refused},
	{Name: "disable-cloud-controller", Kind: Bool},
	{Name: "disable-kube-proxy", Kind: Bool},
	{Name: "disable-network-policy", Kind: Bool},
	{Name: "disable-helm-controller", Kind: Bool},
	{Name: "disable-apiserver", Kind: Bool, Support: Refused},
	{Name: "disable-controller-manager", Kind: Bool, Support: Refused},
	{Name: "disable-etcd", Kind: Bool, Support: Refused},
	{Name: "disable-agent", Kind: Bool, Support: Refused},
	{Name: "embedded-registry", Kind: Bool, Support: Refused},
	{Name: "node-name", Env: "K3S_NODE_NAME"},
	{Name: "with-node-id", Kind: Bool},
	{Name: "node-label", Kind: Slice},
	{Name: "node-taint", Kind: Slice},
	{Name: "image-credential-provider-bin-dir", Support: Idle},
	{Name: "image-credential-provider-config", Support: Idle},
	{Name: "docker", Kind: Bool, Support: Refused},
	{Name: "container-runtime-endpoint", Support: Refused},
	{Name: "image-service-endpoint", Support: Refused},
	{Name: "default-runtime", Support: Refused},
	{Name: "disable-default-registry-endpoint", Kind: Bool, Support: Refused},
	{Name: "nonroot-devices", Kind: Bool, Support: Refused},
	{Name: "pause-image", Default: "rancher/mirrored-pause:3.6"},
	{Name: "snapshotter", Default: "overlayfs"},
	{Name: "private-registry", Default: "/etc/rancher/k3s/registries.yaml"},
	{Name: "system-default-registry", Support: Refused},
	{Name: "node-ip", Short: "i", Kind: Slice, Commas: true},
	{Name: "node-external-ip", Kind: Slice, Commas: true},
	{Name: "node-internal-dns", Kind: Slice, Support: Refused},
	{Name: "node-external-dns", Kind: Slice, Support: Refused},
	{Name: "resolv-conf", Env: "K3S_RESOLV_CONF"},
	{Name: "flannel-iface"},
	{Name: "flannel-conf", Support: Refused},
	{Name: "flannel-cni-conf", Support: Refused},
	{Name: "vpn-auth", Env: "K3S_VPN_AUTH", Support: Refused},
	{Name: "vpn-auth-file", Env: "K3S_VPN_AUTH_FILE", Support: Refused},
	{Name: "kubelet-arg", Kind: Slice},
	{Name: "kube-proxy-arg", Kind: Slice, Support: Idle},
	{Name: "protect-kernel-defaults", Kind: Bool},
	{Name: "secrets-encryption", Kind: Bool},
	{Name: "secrets-encryption-provider", Default: "aescbc"},
	{Name: "enable-pprof", Kind: Bool, Support: Refused},
	{Name: "rootless", Kind: Bool, Support: Refused},
	{Name: "prefer-bundled-bin", Kind: Bool, Support: Idle},
	{Name: "selinux", Env: "K3S_SELINUX", Kind: Bool, Support: Refused},
	{Name: "lb-server-port", Env: "K3S_LB_SERVER_PORT", Kind: Int, Default: "6444"},
}

// lookup finds a flag by its long or short name.
func lookup(table []Flag, name string) (Flag, bool) {
	for _, f := range table {
		if f.Name == name || (f.Short != "" && f.Short == name) {
			return f, true
		}
	}
	return Flag{}, false
}
