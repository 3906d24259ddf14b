package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/pki"
)

// authorities are the CAs under server/tls.
type authorities struct {
	server, client, requestHeader *pki.Authority
	// custom: the CA files were there before the first start.
	custom bool
}

// certificates makes or keeps everything under server/tls and the agent's own
// certificates, and writes the kubeconfigs that use them.
func (s *Settings) certificates() (*authorities, error) {
	_, passwdErr := os.Stat(s.server("cred", "passwd"))
	_, caErr := os.Stat(s.tls("server-ca.crt"))
	a := &authorities{custom: caErr == nil && passwdErr != nil}
	var err error
	for _, ca := range []struct {
		into **pki.Authority
		dir  string
		name string
		cn   string
	}{
		{&a.server, s.tls(), "server-ca", "k3s-server-ca"},
		{&a.client, s.tls(), "client-ca", "k3s-client-ca"},
		{&a.requestHeader, s.tls(), "request-header-ca", "k3s-request-header-ca"},
	} {
		if *ca.into, err = pki.LoadCA(ca.dir, ca.name, ca.cn); err != nil {
			return nil, err
		}
	}
	for _, c := range []struct {
		name, cn string
		orgs     []string
	}{
		{"client-admin", "system:admin", []string{"system:masters"}},
		{"client-supervisor", "system:k3s-supervisor", []string{"system:masters"}},
		{"client-controller", "system:kube-controller-manager", nil},
		{"client-scheduler", "system:kube-scheduler", nil},
		{"client-kube-apiserver", "system:apiserver", []string{"system:masters"}},
		{"client-kube-proxy", "system:kube-proxy", nil},
		{"client-k3s-controller", "system:k3s-controller", nil},
		{"client-k3s-cloud-controller", "k3s-cloud-controller-manager", nil},
	} {
		if err := a.client.Client(s.tls(c.name+".crt"), s.tls(c.name+".key"), c.cn, c.orgs...); err != nil {
			return nil, err
		}
	}
	if err := a.requestHeader.Client(s.tls("client-auth-proxy.crt"), s.tls("client-auth-proxy.key"), "system:auth-proxy"); err != nil {
		return nil, err
	}
	names := pki.APINames(s.identity())
	if err := a.server.Serving(s.tls("serving-kube-apiserver.crt"), s.tls("serving-kube-apiserver.key"), "kube-apiserver", names, false); err != nil {
		return nil, err
	}
	if err := pki.ServiceKey(s.tls("service.key"), s.tls("service.current.key")); err != nil {
		return nil, err
	}
	if s.Etcd {
		if err := s.etcdCertificates(); err != nil {
			return nil, err
		}
	}
	return a, s.agentCertificates(a)
}

// etcdCertificates are those under server/tls/etcd.
func (s *Settings) etcdCertificates() error {
	dir := s.tls("etcd")
	server, err := pki.LoadCA(dir, "server-ca", "etcd-server-ca")
	if err != nil {
		return err
	}
	peer, err := pki.LoadCA(dir, "peer-ca", "etcd-peer-ca")
	if err != nil {
		return err
	}
	names := pki.Names{DNS: []string{"localhost", s.Name}, IPs: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, s.IPs...)}
	if err := server.Serving(filepath.Join(dir, "server-client.crt"), filepath.Join(dir, "server-client.key"), "etcd-server", names, true); err != nil {
		return err
	}
	if err := peer.Serving(filepath.Join(dir, "peer-server-client.crt"), filepath.Join(dir, "peer-server-client.key"), "etcd-peer", names, true); err != nil {
		return err
	}
	return server.Client(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"), "etcd-client")
}

// agentCertificates are those of this machine's own agent.
func (s *Settings) agentCertificates(a *authorities) error {
	for name, ca := range map[string]*pki.Authority{"server-ca.crt": a.server, "client-ca.crt": a.client} {
		if err := pki.Write(s.Agent(name), ca.PEM, 0o644); err != nil {
			return err
		}
	}
	if err := a.client.Client(s.Agent("client-kubelet.crt"), s.Agent("client-kubelet.key"), "system:node:"+s.Name, "system:nodes"); err != nil {
		return err
	}
	names := pki.Names{DNS: []string{s.Name, "localhost"}, IPs: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, s.IPs...)}
	if err := a.server.Serving(s.Agent("serving-kubelet.crt"), s.Agent("serving-kubelet.key"), s.Name, names, false); err != nil {
		return err
	}
	for _, name := range []string{"client-kube-proxy", "client-k3s-controller"} {
		for _, ext := range []string{".crt", ".key"} {
			data, err := os.ReadFile(s.tls(name + ext))
			if err != nil {
				return err
			}
			mode := os.FileMode(0o644)
			if ext == ".key" {
				mode = 0o600
			}
			if err := pki.Write(s.Agent(name+ext), data, mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// kubeconfigs writes the admin's, the components' and the agent's kubeconfigs.
func (s *Settings) kubeconfigs() error {
	for name, crt := range map[string]string{"controller": "client-controller", "scheduler": "client-scheduler", "supervisor": "client-supervisor", "cloud-controller": "client-k3s-cloud-controller"} {
		if err := node.Kubeconfig(s.server("cred", name+".kubeconfig"), s.url(), s.tls("server-ca.crt"), s.tls(crt+".crt"), s.tls(crt+".key"), false, 0o600); err != nil {
			return err
		}
	}
	for name, crt := range map[string]string{"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller"} {
		if err := node.Kubeconfig(s.Agent(name+".kubeconfig"), s.url(), s.Agent("server-ca.crt"), s.Agent(crt+".crt"), s.Agent(crt+".key"), false, 0o600); err != nil {
			return err
		}
	}
	if err := node.Kubeconfig(s.server("cred", "admin.kubeconfig"), s.url(), s.tls("server-ca.crt"), s.tls("client-admin.crt"), s.tls("client-admin.key"), false, 0o600); err != nil {
		return err
	}
	return node.Kubeconfig(s.Kubeconfig, s.url(), s.tls("server-ca.crt"), s.tls("client-admin.crt"), s.tls("client-admin.key"), true, s.KubeMode)
}

func (s *Settings) url() string { return fmt.Sprintf("https://127.0.0.1:%d", s.ListenPort) }

func (s *Settings) identity() pki.Identity {
	return pki.Identity{NodeName: s.Name, NodeIPs: s.IPs, AdvertiseIP: s.AdvertiseIP, ServiceIP: s.ServiceIP, ClusterDomain: s.ClusterDomain, TLSSANs: s.Values.Slice("tls-san")}
}
