// Package agent is `k3s agent`: it joins a server by a token and runs the
// kubelet.
package agent

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"bowline.test/k3s/internal/logline"
	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/options"
	"bowline.test/k3s/internal/version"
)

// Run is the whole of `k3s agent`; an error is K3s's fatal log line.
func Run(args []string) error {
	logline.Setup(false)
	logrus.Warn(version.StandIn)
	v, err := options.Parse(options.AgentFlags, args, options.Getenv)
	if err != nil {
		return err
	}
	logline.Setup(v.Bool("debug"))
	for _, w := range v.Warnings {
		logrus.Warn(w)
	}
	if os.Geteuid() != 0 {
		return errors.New("agent must run as root")
	}
	if err := node.Reexec(v.String("data-dir")); err != nil {
		return err
	}
	n, err := node.New(v)
	if err != nil {
		return err
	}
	n.NotifySocket = node.TakeNotify()
	a := &agent{Node: n, server: v.String("server")}
	if a.token, err = node.Secret(v, "token"); err != nil {
		return err
	}
	if a.token == "" && !a.joined() {
		return errors.New("--token is required")
	}
	if a.server == "" {
		return errors.New("--server is required")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	sp := node.NewSpawner()
	err = a.start(ctx, sp)
	if ctx.Err() != nil {
		err = nil
	}
	logrus.Info("Shutting down")
	final, done := context.WithTimeout(context.Background(), 2*time.Second)
	defer done()
	sp.Stop(final)
	return err
}

// start joins, brings everything up and waits for the end.
func (a *agent) start(ctx context.Context, sp *node.Spawner) error {
	logrus.Infof("Starting k3s agent %s (%s)", version.Version, version.Commit)
	began := time.Now()
	for _, d := range []string{a.Agent(), a.Agent("etc", "containerd"), a.Agent("etc", "cni", "net.d"), a.Agent("containerd"), a.Agent("images"), node.Dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(a.Agent("etc", "kubelet.conf.d"), 0o700); err != nil {
		return err
	}
	var err error
	if a.balancer, err = newBalancer(filepath.Join(a.Agent("etc"), balancerName+".json"), a.server, a.Values.Int("lb-server-port")); err != nil {
		return err
	}
	go a.balancer.run(ctx)
	if err := a.connect(ctx); err != nil {
		return err
	}
	if err := a.join(ctx); err != nil {
		return err
	}
	logrus.Infof("Joined the cluster at %s after %s", a.server, time.Since(began).Round(time.Millisecond))
	if err := a.StartContainerd(sp); err != nil {
		return err
	}
	background := make(chan error, 1)
	go func() {
		if err := a.up(ctx, sp); err != nil {
			background <- err
		}
	}()
	go a.learn(ctx)
	select {
	case <-ctx.Done():
		return nil
	case err := <-background:
		return err
	case err := <-sp.Failed:
		return err
	}
}

// up starts the kubelet, waits for its Node, and tells systemd.
func (a *agent) up(ctx context.Context, sp *node.Spawner) error {
	if err := a.WaitContainerd(ctx); err != nil {
		return err
	}
	if _, err := a.StartKubelet(sp); err != nil {
		return err
	}
	kubelet, _, err := node.Client(a.Agent("kubelet.kubeconfig"))
	if err != nil {
		return err
	}
	if err := a.servers(ctx); err != nil {
		logrus.Infof("Failed to retrieve list of apiservers from server: %v", err)
	}
	a.Describe(ctx, kubelet)
	a.Network(ctx, kubelet)
	if ctx.Err() != nil {
		return nil
	}
	logrus.Info("k3s agent is up and running")
	return node.Notify(a.NotifySocket, "READY=1\n")
}
