package access

import (
	"net"
	"reflect"
	"slices"
	"strings"
)

// Critical are the settings that all servers of a cluster must share; the tag
// `cli` names the flag. Fields and their order are K3s's, as in the answer of
// /v1-k3s/config.
type Critical struct {
	ClusterDNSs           []net.IP     `cli:"cluster-dns"`
	ClusterIPRanges       []*net.IPNet `cli:"cluster-cidr"`
	ClusterDNS            net.IP       `cli:"cluster-dns"`
	ClusterDomain         string       `cli:"cluster-domain"`
	ClusterIPRange        *net.IPNet   `cli:"cluster-cidr"`
	DisableCCM            bool         `cli:"disable-cloud-controller"`
	DisableHelmController bool         `cli:"disable-helm-controller"`
	DisableNPC            bool         `cli:"disable-network-policy"`
	DisableServiceLB      bool         `cli:"disable-service-lb"`
	EncryptSecrets        bool         `cli:"secrets-encryption"`
	EncryptProvider       string       `cli:"secrets-encryption-provider"`
	EmbeddedRegistry      bool         `cli:"embedded-registry"`
	FlannelBackend        string       `cli:"flannel-backend"`
	FlannelIPv6Masq       bool         `cli:"flannel-ipv6-masq"`
	FlannelExternalIP     bool         `cli:"flannel-external-ip"`
	EgressSelectorMode    string       `cli:"egress-selector-mode"`
	ServiceIPRange        *net.IPNet   `cli:"service-cidr"`
	ServiceIPRanges       []*net.IPNet `cli:"service-cidr"`
}

// Config is the answer of /v1-k3s/config, with the fields that mean something
// here.
type Config struct {
	Critical
	AdvertiseIP      string
	HTTPSPort        int
	SupervisorPort   int
	Disables         map[string]bool
	DisableKubeProxy bool
	ClusterInit      bool
	ServerNodeName   string
}

// Differences names the flags of the critical settings that differ, in order
// and once each.
func (c Config) Differences(other Config) []string {
	var out []string
	mine, theirs := reflect.ValueOf(c.Critical), reflect.ValueOf(other.Critical)
	for n := range mine.NumField() {
		if text(mine.Field(n)) != text(theirs.Field(n)) {
			if name := mine.Type().Field(n).Tag.Get("cli"); !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// text compares addresses by meaning: four bytes and sixteen are the same.
func text(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case net.IP:
		return x.String()
	case *net.IPNet:
		return x.String()
	case []net.IP:
		var parts []string
		for _, ip := range x {
			parts = append(parts, ip.String())
		}
		return strings.Join(parts, ",")
	case []*net.IPNet:
		var parts []string
		for _, n := range x {
			parts = append(parts, n.String())
		}
		return strings.Join(parts, ",")
	case string:
		return x
	case bool:
		if x {
			return "true"
		}
		return "false"
	}
	panic("a critical setting of an unknown type")
}
