package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"bowline.test/k3s/internal/pki"
)

const (
	balancerName = "k3s-agent-load-balancer"
	dialTimeout  = 2 * time.Second
	// A server whose port did not answer that often has failed.
	probeEvery, probeFailures = time.Second, 2
)

// balancer is the agent's way to the servers: a listener on loopback that
// passes connections on to one server that answers, and closes them when that
// one stops answering. K3s probes readyz, this one only the port.
type balancer struct {
	listener net.Listener
	file     string
	fallback string

	mu      sync.Mutex
	url     string
	servers []string
	failed  map[string]int
	// current is the server of the last connection, tried first.
	current string
	open    map[net.Conn]string
}

// state is the file agent/etc/k3s-agent-load-balancer.json.
type state struct {
	ServerURL       string
	ServerAddresses []string
}

// newBalancer listens on loopback. Servers that an earlier start learned are
// known again, as long as --server is the same.
func newBalancer(file, server string, port int) (*balancer, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" {
		return nil, errors.New("only https:// URLs are supported, invalid scheme: " + server)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "443")
	}
	b := &balancer{file: file, fallback: host, url: server, servers: []string{host}, failed: map[string]int{}, open: map[net.Conn]string{}}
	var have state
	if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &have) == nil && have.ServerURL == server && len(have.ServerAddresses) > 0 {
		b.servers = have.ServerAddresses
	}
	if b.listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return nil, err
	}
	logrus.Infof("Running load balancer %s %s -> %v [default: %s]", balancerName, b.listener.Addr(), b.servers, b.fallback)
	return b, b.save()
}

// address is the URL on loopback.
func (b *balancer) address() string { return "https://" + b.listener.Addr().String() }

func (b *balancer) save() error {
	data, err := json.Marshal(state{b.url, b.servers})
	if err != nil {
		return err
	}
	return pki.Write(b.file, data, 0o600)
}

// run passes connections on until the process ends.
func (b *balancer) run(ctx context.Context) {
	go b.probe(ctx)
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		go b.pass(c)
	}
}

// update sets the servers that the cluster has.
func (b *balancer) update(servers []string) {
	slices.Sort(servers)
	servers = slices.Compact(servers)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(servers) == 0 || slices.Equal(servers, b.servers) {
		return
	}
	for _, s := range servers {
		if !slices.Contains(b.servers, s) {
			logrus.Infof("Adding server to load balancer %s: %s", balancerName, s)
		}
	}
	for _, s := range b.servers {
		if !slices.Contains(servers, s) {
			logrus.Infof("Removing server from load balancer %s: %s", balancerName, s)
		}
	}
	b.servers = servers
	logrus.Infof("Updated load balancer %s server addresses -> %v [default: %s]", balancerName, b.servers, b.fallback)
	if err := b.save(); err != nil {
		logrus.Warnf("Load balancer %s: %v", balancerName, err)
	}
}

// order lists the servers in the order of trying: the one in use, those that
// answer, --server itself, those that have failed.
func (b *balancer) order() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := append(slices.Clone(b.servers), b.fallback)
	if slices.Contains(all, b.current) {
		all = append([]string{b.current}, all...)
	}
	var good, bad []string
	for _, s := range all {
		switch {
		case slices.Contains(good, s) || slices.Contains(bad, s):
		case b.failed[s] >= probeFailures:
			bad = append(bad, s)
		default:
			good = append(good, s)
		}
	}
	return append(good, bad...)
}

// pass connects one client with the first server that takes it.
func (b *balancer) pass(c net.Conn) {
	defer c.Close()
	for _, s := range b.order() {
		to, err := net.DialTimeout("tcp", s, dialTimeout)
		if err != nil {
			logrus.Debugf("Load balancer %s: dial %s: %v", balancerName, s, err)
			continue
		}
		b.mu.Lock()
		b.current, b.open[to] = s, s
		b.mu.Unlock()
		done := make(chan struct{}, 2)
		go func() { _, _ = io.Copy(to, c); done <- struct{}{} }()
		go func() { _, _ = io.Copy(c, to); done <- struct{}{} }()
		<-done
		_ = to.Close()
		b.mu.Lock()
		delete(b.open, to)
		b.mu.Unlock()
		return
	}
	logrus.Debugf("Load balancer %s: all servers failed", balancerName)
}

// probe looks after the servers in use: connections to one that has failed are
// closed, so that their owners come back and get another.
func (b *balancer) probe(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			_ = b.listener.Close()
			return
		case <-time.After(probeEvery):
		}
		for _, s := range b.order() {
			c, err := net.DialTimeout("tcp", s, dialTimeout)
			if err == nil {
				_ = c.Close()
			}
			b.noted(s, err)
		}
	}
}

func (b *balancer) noted(server string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		if b.failed[server] >= probeFailures {
			logrus.Infof("Server %s@FAILED->RECOVERING from successful health check", server)
		}
		delete(b.failed, server)
		return
	}
	if b.failed[server]++; b.failed[server] != probeFailures {
		return
	}
	logrus.Infof("Server %s@HEALTHY->FAILED from failed health check", server)
	for c, s := range b.open {
		if s == server {
			_ = c.Close()
		}
	}
}
