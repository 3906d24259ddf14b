// Package node is the part of K3s that runs on every machine, server or not:
// its name and addresses, containerd and the kubelet, its Node.
package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/util/validation"

	"bowline.test/k3s/internal/options"
)

// Node is this machine in the cluster.
type Node struct {
	Values *options.Values

	DataDir     string
	Name        string
	IPs         []net.IP
	ExternalIPs []net.IP
	// What follows comes from the server's settings.
	ClusterDNS    net.IP
	ClusterDomain string
	Backend       string
	// NotifySocket is systemd's, once it was taken out of the environment.
	NotifySocket string
}

// Dir is this machine's folder for node name, id and password.
const Dir = "/etc/rancher/node"

// New reads the settings that server and agent have in common.
func New(v *options.Values) (*Node, error) {
	n := &Node{Values: v, DataDir: v.String("data-dir")}
	for _, step := range []func() error{n.names, n.addresses, n.absent} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Agent is a path below the data folder's `agent`.
func (n *Node) Agent(parts ...string) string {
	return filepath.Join(append([]string{n.DataDir, "agent"}, parts...)...)
}

// names sets the node's name.
func (n *Node) names() error {
	n.Name = n.Values.String("node-name")
	if n.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		n.Name, _, _ = strings.Cut(host, ".")
	}
	n.Name = strings.ToLower(n.Name)
	if n.Values.Bool("with-node-id") {
		id, err := nodeID()
		if err != nil {
			return err
		}
		n.Name += "-" + id
	}
	if problems := validation.IsDNS1123Subdomain(n.Name); len(problems) > 0 {
		return fmt.Errorf("invalid node name %q: %s", n.Name, problems[0])
	}
	return nil
}

// addresses sets the node's own and external addresses.
func (n *Node) addresses() error {
	defaultIP, err := defaultRouteIP()
	if err != nil {
		return err
	}
	if n.IPs, err = ParseIPs("node-ip", n.Values.Slice("node-ip")); err != nil {
		return err
	}
	if n.ExternalIPs, err = ParseIPs("node-external-ip", n.Values.Slice("node-external-ip")); err != nil {
		return err
	}
	if iface := n.Values.String("flannel-iface"); iface != "" {
		ip, err := interfaceIP(iface)
		if err != nil {
			return err
		}
		if len(n.IPs) == 0 {
			n.IPs = []net.IP{ip}
		}
	}
	if len(n.IPs) == 0 {
		n.IPs = []net.IP{defaultIP}
	}
	if len(n.IPs) > 1 || len(n.ExternalIPs) > 1 || n.IPs[0].To4() == nil {
		return errors.New("more than one address, or IPv6, is not built in this stand-in")
	}
	if n.Values.String("snapshotter") != "overlayfs" {
		return errors.New("--snapshotter other than overlayfs is not built in this stand-in")
	}
	return nil
}

// absent is loud about a file that K3s would act on and the stand-in cannot.
func (n *Node) absent() error {
	registries := n.Values.String("private-registry")
	if _, err := os.Stat(registries); err == nil {
		return fmt.Errorf("%s exists: private registries are not built in this stand-in", registries)
	}
	return nil
}

// A file with a token is waited for: K3s's newer code gives up after minutes.
const (
	fileRetry    = 2 * time.Second
	filePatience = 4 * time.Minute
)

// Secret is the setting --NAME or the content of --NAME-file, which is waited
// for when it is not there yet.
func Secret(v *options.Values, name string) (string, error) {
	file := v.String(name + "-file")
	if file == "" {
		return v.String(name), nil
	}
	if v.String(name) != "" {
		return "", fmt.Errorf("--%s and --%s-file are both set (stand-in refuses)", name, name)
	}
	for end := time.Now().Add(filePatience); time.Now().Before(end); time.Sleep(fileRetry) {
		data, err := os.ReadFile(file)
		if err == nil {
			return strings.TrimSpace(string(data)), nil
		}
		if !os.IsNotExist(err) {
			return "", err
		}
		logrus.Infof("Waiting for %s to be available\n", file)
	}
	return "", errors.New("Timeout while trying to read the file")
}

// ParseIPs reads the values of a flag that takes addresses.
func ParseIPs(flag string, values []string) ([]net.IP, error) {
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
