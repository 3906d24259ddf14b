package pki

import "net"

// Identity is what the names of the API's serving certificate follow from.
type Identity struct {
	NodeName      string
	NodeIPs       []net.IP
	AdvertiseIP   net.IP
	ServiceIP     net.IP
	ClusterDomain string
	// TLSSANs are the values of --tls-san.
	TLSSANs []string
}

// APINames are the names on port 6443: loopback, the node and what it
// advertises, the first address of the services, and --tls-san. An external
// address is there only when it is advertised or given as --tls-san.
func APINames(id Identity) Names {
	n := Names{
		DNS: []string{"localhost", id.NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + id.ClusterDomain},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, id.AdvertiseIP, id.ServiceIP},
	}
	n.IPs = append(n.IPs, id.NodeIPs...)
	for _, s := range id.TLSSANs {
		if ip := net.ParseIP(s); ip != nil {
			n.IPs = append(n.IPs, ip)
		} else {
			n.DNS = append(n.DNS, s)
		}
	}
	return n.normal()
}
