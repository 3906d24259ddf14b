// Package server is `k3s server`: real Kubernetes and etcd, and around them
// K3s's contract.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/grpclog"

	"k8s.io/client-go/informers"

	"bowline.test/k3s/internal/logline"
	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/options"
	"bowline.test/k3s/internal/version"
)

// coreDeadline bounds the wait for the API server.
const coreDeadline = 2 * time.Minute

// Run is the whole of `k3s server`; an error is K3s's fatal log line.
func Run(args []string) error {
	logline.Setup(false)
	logrus.Warn(version.StandIn)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
	v, err := options.Parse(options.ServerFlags, args, options.Getenv)
	if err != nil {
		return err
	}
	logline.Setup(v.Bool("debug"))
	for _, w := range v.Warnings {
		logrus.Warn(w)
	}
	if os.Geteuid() != 0 {
		return errors.New("must run as root")
	}
	s, err := NewSettings(v)
	if err != nil {
		return err
	}
	if err := node.Reexec(s.DataDir); err != nil {
		return err
	}
	s.NotifySocket = node.TakeNotify()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	sp := node.NewSpawner()
	err = s.start(ctx, sp)
	if ctx.Err() != nil {
		err = nil
	}
	logrus.Info("Shutting down")
	final, done := context.WithTimeout(context.Background(), 2*time.Second)
	defer done()
	sp.Stop(final)
	if d := s.store.Load(); d != nil {
		d.close()
	}
	return err
}

// start brings everything up in K3s's order and waits for the end.
func (s *Settings) start(ctx context.Context, sp *node.Spawner) error {
	logrus.Infof("Starting k3s %s (%s)", version.Version, version.Commit)
	began := time.Now()
	if err := s.tree(); err != nil {
		return err
	}
	if err := s.noteMemberName(); err != nil {
		return err
	}
	cluster, err := s.fetchCluster(ctx)
	if err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: %w", err)
	}
	cas, err := s.certificates()
	if err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: %w", err)
	}
	v := &supervisor{settings: s, ca: cas, flight: newFlight()}
	accounts, err := s.writeTokens(cas.server.PEM, cas.custom)
	if err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: %w", err)
	}
	v.accounts.Store(&accounts)
	password, err := node.Password()
	if err != nil {
		return err
	}
	if err := s.kubeconfigs(); err != nil {
		return err
	}
	l, err := s.listen(cas)
	if err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: init cluster datastore and https: %w", err)
	}
	serving := make(chan error, 2)
	go func() { serving <- v.serve(l) }()
	if err := s.StartContainerd(sp); err != nil {
		return err
	}
	d, err := s.startDatastore(ctx, cluster)
	if err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: start managed database: %w", err)
	}
	s.store.Store(d)
	logrus.Infof("Datastore is ready after %s", time.Since(began).Round(time.Millisecond))
	api, err := s.newAPIServer(ctx, d)
	if err != nil {
		return fmt.Errorf("starting kubernetes: apiserver: %w", err)
	}
	go func() {
		serving <- fmt.Errorf("apiserver exited: %w", node.OrSuccess(api.run(context.WithoutCancel(ctx))))
	}()
	v.api.Store(api)
	background := make(chan error, 1)
	go func() {
		if err := s.whenServed(ctx, sp, v, password, began); err != nil {
			background <- err
		}
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-serving:
		return err
	case err := <-background:
		return err
	case err := <-sp.Failed:
		return err
	case err := <-d.etcd.Err():
		return s.stopped(ctx, d, err)
	case <-d.etcd.Server.StopNotify():
		return s.stopped(ctx, d, nil)
	}
}

// whenServed starts what needs the API server, and tells systemd when the core
// is ready. The kubelet comes after that, as in K3s.
func (s *Settings) whenServed(ctx context.Context, sp *node.Spawner, v *supervisor, password string, began time.Time) error {
	starting, cancel := context.WithTimeout(ctx, coreDeadline)
	defer cancel()
	admin, adminREST, err := node.Client(s.server("cred", "supervisor.kubeconfig"))
	if err != nil {
		return err
	}
	if err := node.WaitFor(starting, adminREST, s.url()+"/readyz"); err != nil {
		return err
	}
	logrus.Infof("Kube API server is now running (after %s)", time.Since(began).Round(time.Millisecond))
	for name, args := range map[string][]string{"kube-controller-manager": s.controllerArgs(), "kube-scheduler": s.schedulerArgs()} {
		if _, err := sp.Component(name, args); err != nil {
			return err
		}
	}
	if err := s.ensureOwnPassword(ctx, admin, password); err != nil {
		return fmt.Errorf("node password: %w", err)
	}
	if err := ensureRoles(ctx, admin); err != nil {
		return fmt.Errorf("roles: %w", err)
	}
	factory := informers.NewSharedInformerFactory(admin, 0)
	if err := keepPasswords(ctx, admin, factory); err != nil {
		return err
	}
	if s.Etcd {
		d := s.store.Load()
		go d.promote(ctx)
		if err := s.watchMembers(ctx, admin, factory.Core().V1().Nodes().Informer(), d); err != nil {
			return err
		}
	}
	v.core.Store(&core{admin})
	logrus.Info("k3s is up and running")
	if err := node.Notify(s.NotifySocket, "READY=1\n"); err != nil {
		return err
	}
	if s.Values.Bool("disable-cloud-controller") {
		logrus.Info("The cloud controller is disabled: Nodes keep the uninitialized taint until another one comes")
	} else if err := runCloud(ctx, admin, factory); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if err := s.WaitContainerd(starting); err != nil {
		return err
	}
	if _, err := s.StartKubelet(sp); err != nil {
		return err
	}
	kubelet, _, err := node.Client(s.Agent("kubelet.kubeconfig"))
	if err != nil {
		return err
	}
	s.Describe(ctx, kubelet)
	s.roles(ctx, admin)
	s.Network(ctx, admin)
	return nil
}

// Nobody asks the controller manager and the scheduler anything: ports of theirs would only take inotify instances, of
// which a host has few for all its machines.
const noPort = "0"

func (s *Settings) controllerArgs() []string {
	k := s.server("cred", "controller.kubeconfig")
	return node.Arguments(map[string]string{
		"allocate-node-cidrs":       "true",
		"authentication-kubeconfig": k, "authorization-kubeconfig": k, "kubeconfig": k,
		"secure-port":  noPort,
		"cluster-cidr": s.ClusterCIDR.String(),
		"cluster-signing-kube-apiserver-client-cert-file": s.tls("client-ca.crt"),
		"cluster-signing-kube-apiserver-client-key-file":  s.tls("client-ca.key"),
		"cluster-signing-kubelet-client-cert-file":        s.tls("client-ca.crt"),
		"cluster-signing-kubelet-client-key-file":         s.tls("client-ca.key"),
		"cluster-signing-kubelet-serving-cert-file":       s.tls("server-ca.crt"),
		"cluster-signing-kubelet-serving-key-file":        s.tls("server-ca.key"),
		"cluster-signing-legacy-unknown-cert-file":        s.tls("server-ca.crt"),
		"cluster-signing-legacy-unknown-key-file":         s.tls("server-ca.key"),
		"configure-cloud-routes":                          "false",
		"controllers":                                     "*,tokencleaner,-service,-route,-cloud-node-lifecycle",
		"leader-elect":                                    strconv.FormatBool(s.Etcd),
		"profiling":                                       "false",
		"root-ca-file":                                    s.tls("server-ca.crt"),
		"service-account-private-key-file":                s.tls("service.current.key"),
		"service-cluster-ip-range":                        s.ServiceCIDR.String(),
		"use-service-account-credentials":                 "true",
	}, s.Values.Slice("kube-controller-manager-arg"))
}

func (s *Settings) schedulerArgs() []string {
	k := s.server("cred", "scheduler.kubeconfig")
	return node.Arguments(map[string]string{
		"authentication-kubeconfig": k, "authorization-kubeconfig": k, "kubeconfig": k,
		"secure-port": noPort, "leader-elect": strconv.FormatBool(s.Etcd), "profiling": "false",
	}, s.Values.Slice("kube-scheduler-arg"))
}
