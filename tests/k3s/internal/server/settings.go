package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"bowline.test/k3s/internal/options"
)

// Settings are the validated flags of `k3s server` on this machine.
type Settings struct {
	values *options.Values

	DataDir       string
	NodeName      string
	NodeIPs       []net.IP
	ExternalIPs   []net.IP
	AdvertiseIP   net.IP
	ListenPort    int
	ClusterCIDR   *net.IPNet
	ServiceCIDR   *net.IPNet
	ServiceIP     net.IP
	ClusterDNS    net.IP
	ClusterDomain string
	Backend       string
	Token         string
	AgentToken    string
	Kubeconfig    string
	KubeMode      fs.FileMode
	ClusterInit   bool

	datastore    *datastore
	notifySocket string
}

var (
	backends    = []string{"none", "vxlan", "host-gw", "wireguard-native"}
	egressModes = []string{"agent", "cluster", "pod", "disabled"}
)

// NewSettings checks every value; what K3s refuses is an error.
func NewSettings(v *options.Values) (*Settings, error) {
	s := &Settings{
		values: v, DataDir: v.String("data-dir"), ListenPort: v.Int("https-listen-port"),
		Backend: v.String("flannel-backend"), ClusterDomain: v.String("cluster-domain"), ClusterInit: v.Bool("cluster-init"),
		Kubeconfig: "/etc/rancher/k3s/k3s.yaml", KubeMode: 0o600,
	}
	for _, step := range []func() error{s.names, s.addresses, s.ranges, s.modes, s.tokens, s.absent} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// names sets the node's name.
func (s *Settings) names() error {
	s.NodeName = s.values.String("node-name")
	if s.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		s.NodeName, _, _ = strings.Cut(host, ".")
	}
	s.NodeName = strings.ToLower(s.NodeName)
	if s.values.Bool("with-node-id") {
		id, err := nodeID()
		if err != nil {
			return err
		}
		s.NodeName += "-" + id
	}
	if problems := validation.IsDNS1123Subdomain(s.NodeName); len(problems) > 0 {
		return fmt.Errorf("invalid node name %q: %s", s.NodeName, problems[0])
	}
	return nil
}

// addresses sets node, external and advertised addresses.
func (s *Settings) addresses() error {
	defaultIP, err := defaultRouteIP()
	if err != nil {
		return err
	}
	if s.NodeIPs, err = parseIPs("node-ip", s.values.Slice("node-ip")); err != nil {
		return err
	}
	if s.ExternalIPs, err = parseIPs("node-external-ip", s.values.Slice("node-external-ip")); err != nil {
		return err
	}
	if iface := s.values.String("flannel-iface"); iface != "" {
		ip, err := interfaceIP(iface)
		if err != nil {
			return err
		}
		if len(s.NodeIPs) == 0 {
			s.NodeIPs = []net.IP{ip}
		}
	}
	if len(s.NodeIPs) == 0 {
		s.NodeIPs = []net.IP{defaultIP}
	}
	if len(s.NodeIPs) > 1 || len(s.ExternalIPs) > 1 || s.NodeIPs[0].To4() == nil {
		return errors.New("more than one address, or IPv6, is not built in this stand-in")
	}
	s.AdvertiseIP = s.NodeIPs[0]
	if len(s.ExternalIPs) > 0 {
		s.AdvertiseIP = s.ExternalIPs[0]
	}
	if a := s.values.String("advertise-address"); a != "" {
		if s.AdvertiseIP = net.ParseIP(a); s.AdvertiseIP == nil {
			return fmt.Errorf("invalid advertise-address: invalid ip format '%s'", a)
		}
	}
	for _, san := range s.values.Slice("tls-san") {
		if net.ParseIP(san) == nil && len(validation.IsDNS1123Subdomain(san)) > 0 && len(validation.IsWildcardDNS1123Subdomain(san)) > 0 {
			return fmt.Errorf("invalid tls-san %q: neither an address nor a name", san)
		}
	}
	return nil
}

// ranges sets the cluster's networks.
func (s *Settings) ranges() error {
	var err error
	if s.ClusterCIDR, err = oneCIDR("cluster-cidr", s.values.Slice("cluster-cidr")); err != nil {
		return err
	}
	if s.ServiceCIDR, err = oneCIDR("service-cidr", s.values.Slice("service-cidr")); err != nil {
		return err
	}
	if s.ClusterCIDR.Contains(s.ServiceCIDR.IP) || s.ServiceCIDR.Contains(s.ClusterCIDR.IP) {
		return fmt.Errorf("cluster-cidr %s and service-cidr %s overlap (stand-in refuses)", s.ClusterCIDR, s.ServiceCIDR)
	}
	s.ServiceIP, s.ClusterDNS = nth(s.ServiceCIDR, 1), nth(s.ServiceCIDR, 10)
	if dns := s.values.Slice("cluster-dns"); len(dns) > 0 {
		ips, err := parseIPs("cluster-dns", dns)
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
	if m := s.values.String("egress-selector-mode"); !slices.Contains(egressModes, m) {
		return fmt.Errorf("invalid egress-selector-mode %s", m)
	}
	if o := s.values.String("write-kubeconfig"); o != "" {
		s.Kubeconfig = o
	}
	if m := s.values.String("write-kubeconfig-mode"); m != "" {
		mode, err := strconv.ParseUint(m, 8, 32)
		if err != nil || mode > 0o777 {
			return fmt.Errorf("invalid write-kubeconfig-mode %q: not an octal file mode", m)
		}
		s.KubeMode = fs.FileMode(mode)
	}
	if s.values.String("snapshotter") != "overlayfs" {
		return fmt.Errorf("--snapshotter other than overlayfs is not built in this stand-in")
	}
	if !s.values.Bool("tls-san-security") {
		return fmt.Errorf("--tls-san-security=false is not built in this stand-in")
	}
	return nil
}

// tokens reads the token settings; a file is waited for by systemd's restarts.
func (s *Settings) tokens() error {
	var err error
	if s.Token, err = s.secret("token"); err != nil {
		return err
	}
	s.AgentToken, err = s.secret("agent-token")
	return err
}

func (s *Settings) secret(name string) (string, error) {
	file := s.values.String(name + "-file")
	if file == "" {
		return s.values.String(name), nil
	}
	if s.values.String(name) != "" {
		return "", fmt.Errorf("--%s and --%s-file are both set (stand-in refuses)", name, name)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return text, nil
}

// absent is loud about files that K3s would act on and the stand-in can not.
func (s *Settings) absent() error {
	registries := s.values.String("private-registry")
	if _, err := os.Stat(registries); err == nil {
		return fmt.Errorf("%s exists: private registries are not built in this stand-in", registries)
	}
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

func parseIPs(flag string, values []string) ([]net.IP, error) {
	var out []net.IP
	for _, v := range values {
		ip := net.ParseIP(v)
		if ip == nil {
			return nil, fmt.Errorf("invalid %s: invalid ip format '%s'", flag, v)
		}
		out = append(out, ip)
	}
	return out, nil
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
