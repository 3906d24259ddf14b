package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/validation"

	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/options"
)

// Settings are the validated flags of `k3s server` on this machine.
type Settings struct {
	*node.Node

	AdvertiseIP net.IP
	ListenPort  int
	ClusterCIDR *net.IPNet
	ServiceCIDR *net.IPNet
	ServiceIP   net.IP
	Token       string
	AgentToken  string
	Kubeconfig  string
	KubeMode    fs.FileMode
	ClusterInit bool
	// JoinURL is --server: the cluster of this server.
	JoinURL string
	// Etcd: the datastore is K3s's embedded etcd.
	Etcd bool

	store atomic.Pointer[datastore]
}

var (
	backends    = []string{"none", "vxlan", "host-gw", "wireguard-native"}
	egressModes = []string{"agent", "cluster", "pod", "disabled"}
	encryptions = []string{"aescbc", "secretbox"}
)

// NewSettings checks every value; what K3s refuses is an error.
func NewSettings(v *options.Values) (*Settings, error) {
	n, err := node.New(v)
	if err != nil {
		return nil, err
	}
	n.Backend, n.ClusterDomain = v.String("flannel-backend"), v.String("cluster-domain")
	s := &Settings{
		Node: n, ListenPort: v.Int("https-listen-port"), ClusterInit: v.Bool("cluster-init"), JoinURL: v.String("server"),
		Kubeconfig: "/etc/rancher/k3s/k3s.yaml", KubeMode: 0o600,
	}
	for _, step := range []func() error{s.advertised, s.ranges, s.modes, s.tokens, s.datastore, s.absent} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// advertised sets what the API server calls itself.
func (s *Settings) advertised() error {
	s.AdvertiseIP = s.IPs[0]
	if len(s.ExternalIPs) > 0 {
		s.AdvertiseIP = s.ExternalIPs[0]
	}
	if a := s.Values.String("advertise-address"); a != "" {
		if s.AdvertiseIP = net.ParseIP(a); s.AdvertiseIP == nil {
			return fmt.Errorf("invalid advertise-address: invalid ip format '%s'", a)
		}
	}
	for _, san := range s.Values.Slice("tls-san") {
		if net.ParseIP(san) == nil && len(validation.IsDNS1123Subdomain(san)) > 0 && len(validation.IsWildcardDNS1123Subdomain(san)) > 0 {
			return fmt.Errorf("invalid tls-san %q: neither an address nor a name", san)
		}
	}
	return nil
}

// ranges sets the cluster's networks.
func (s *Settings) ranges() error {
	var err error
	if s.ClusterCIDR, err = oneCIDR("cluster-cidr", s.Values.Slice("cluster-cidr")); err != nil {
		return err
	}
	if s.ServiceCIDR, err = oneCIDR("service-cidr", s.Values.Slice("service-cidr")); err != nil {
		return err
	}
	if s.ClusterCIDR.Contains(s.ServiceCIDR.IP) || s.ServiceCIDR.Contains(s.ClusterCIDR.IP) {
		return fmt.Errorf("cluster-cidr %s and service-cidr %s overlap (stand-in refuses)", s.ClusterCIDR, s.ServiceCIDR)
	}
	s.ServiceIP, s.ClusterDNS = nth(s.ServiceCIDR, 1), nth(s.ServiceCIDR, 10)
	if dns := s.Values.Slice("cluster-dns"); len(dns) > 0 {
		ips, err := node.ParseIPs("cluster-dns", dns)
		if err != nil {
			return err
		}
		s.ClusterDNS = ips[0]
	}
	if problems := validation.IsDNS1123Subdomain(s.ClusterDomain); len(problems) > 0 {
		return fmt.Errorf("invalid cluster-domain %q: %s", s.ClusterDomain, problems[0])
	}
	return nil
}

// modes checks the flags that take one word of a list.
func (s *Settings) modes() error {
	if !slices.Contains(backends, s.Backend) {
		return fmt.Errorf("unknown flannel backend '%s'", s.Backend)
	}
	if m := s.Values.String("egress-selector-mode"); !slices.Contains(egressModes, m) {
		return fmt.Errorf("invalid egress-selector-mode %s", m)
	}
	if p := s.Values.String("secrets-encryption-provider"); !slices.Contains(encryptions, p) {
		return fmt.Errorf("unsupported secrets-encryption-provider %s", p)
	}
	if o := s.Values.String("write-kubeconfig"); o != "" {
		s.Kubeconfig = o
	}
	if m := s.Values.String("write-kubeconfig-mode"); m != "" {
		mode, err := strconv.ParseUint(m, 8, 32)
		if err != nil || mode > 0o777 {
			return fmt.Errorf("invalid write-kubeconfig-mode %q: not an octal file mode", m)
		}
		s.KubeMode = fs.FileMode(mode)
	}
	if !s.Values.Bool("tls-san-security") {
		return fmt.Errorf("--tls-san-security=false is not built in this stand-in")
	}
	return nil
}

// tokens reads the token settings; a file is waited for.
func (s *Settings) tokens() error {
	var err error
	if s.Token, err = node.Secret(s.Values, "token"); err != nil {
		return err
	}
	s.AgentToken, err = node.Secret(s.Values, "agent-token")
	return err
}

// datastore says which one it is: etcd by --cluster-init or --server, or since
// it was there before.
func (s *Settings) datastore() error {
	s.Etcd = s.ClusterInit || s.JoinURL != "" || s.initialized()
	return s.noOldStore()
}

// absent is loud about files that K3s would act on and the stand-in cannot.
func (s *Settings) absent() error {
	manifests := filepath.Join(s.DataDir, "server", "manifests")
	return filepath.WalkDir(manifests, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
			return fmt.Errorf("%s exists: manifests are not deployed by this stand-in", path)
		}
		return nil
	})
}

func oneCIDR(flag string, values []string) (*net.IPNet, error) {
	if len(values) != 1 {
		return nil, fmt.Errorf("%s: more than one range is not built in this stand-in", flag)
	}
	_, n, err := net.ParseCIDR(values[0])
	if err != nil {
		return nil, fmt.Errorf("invalid %s %s: %w", flag, values[0], err)
	}
	if n.IP.To4() == nil {
		return nil, fmt.Errorf("%s: IPv6 is not built in this stand-in", flag)
	}
	return n, nil
}

// nth is the network's address with that number.
func nth(n *net.IPNet, number byte) net.IP {
	ip := slices.Clone(n.IP.To4())
	ip[3] += number
	return ip
}

func one(n *net.IPNet) []*net.IPNet { return []*net.IPNet{n} }

// clusterDNSs are all of --cluster-dns, or the derived one.
func (s *Settings) clusterDNSs() []net.IP {
	if ips, err := node.ParseIPs("cluster-dns", s.Values.Slice("cluster-dns")); err == nil && len(ips) > 0 {
		return ips
	}
	return []net.IP{s.ClusterDNS}
}
