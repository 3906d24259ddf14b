package server

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/server/v3/embed"

	"bowline.test/k3s/internal/access"
)

// datastore is the etcd inside, and how the API server reaches it.
type datastore struct {
	etcd      *embed.Etcd
	endpoint  string
	cert, key string
	ca        string
	// name is this member's, when etcd is K3s's embedded one.
	name string
}

// startDatastore runs etcd in this process: K3s's embedded one, or what stands
// in for K3s's SQLite, on a unix socket where K3s has Kine's.
func (s *Settings) startDatastore(ctx context.Context, cluster *access.Info) (*datastore, error) {
	if s.Etcd {
		return s.startMember(ctx, cluster)
	}
	logrus.Info("stand-in: the default datastore here is etcd behind kine.sock, K3s has SQLite in server/db/state.db")
	c, socket := etcdConfig(s.Name), s.server("kine.sock")
	c.TickMs, c.ElectionMs = 50, 500
	c.Dir = s.server("db", standInStore)
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:2379"}}
	c.ListenPeerUrls = []url.URL{{Scheme: "unix", Path: s.server("peer.sock")}}
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	d := &datastore{etcd: e, endpoint: "unix://" + socket}
	select {
	case <-e.Server.ReadyNotify():
		return d, nil
	case err := <-e.Err():
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Minute):
		return nil, errors.New("etcd is not ready after a minute")
	}
}

// standInStore is the folder below server/db of what K3s has in state.db.
const standInStore = "stand-in"

// etcdConfig is what both have in common.
func etcdConfig(name string) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.LogLevel, c.UnsafeNoFsync = name, "dpanic", true
	c.AutoCompactionMode, c.AutoCompactionRetention = "periodic", "1h"
	return c
}

// close ends etcd, but does not wait long: it runs without fsync anyway.
func (d *datastore) close() {
	done := make(chan struct{})
	go func() { d.etcd.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}
