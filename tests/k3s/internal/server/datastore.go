package server

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/server/v3/embed"
)

// datastore is the etcd inside, and how the API server reaches it.
type datastore struct {
	etcd      *embed.Etcd
	endpoint  string
	cert, key string
	ca        string
}

// startDatastore runs etcd in this process. Without --cluster-init it stands
// in for K3s's SQLite: on a unix socket where K3s has Kine's.
func (s *Settings) startDatastore(ctx context.Context) (*datastore, error) {
	c := embed.NewConfig()
	c.Name, c.LogLevel, c.UnsafeNoFsync = s.Name, "dpanic", true
	c.TickMs, c.ElectionMs = 50, 500
	c.AutoCompactionMode, c.AutoCompactionRetention = "periodic", "1h"
	d := &datastore{}
	if s.ClusterInit {
		s.etcdUrls(c, d)
	} else {
		logrus.Info("stand-in: the default datastore here is etcd behind kine.sock, K3s has SQLite in server/db/state.db")
		c.Dir = s.server("db", "stand-in")
		socket := s.server("kine.sock")
		c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
		c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:2379"}}
		c.ListenPeerUrls = []url.URL{{Scheme: "unix", Path: s.server("peer.sock")}}
		c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
		d.endpoint = "unix://" + socket
	}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	d.etcd = e
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

// etcdUrls sets K3s's embedded etcd: TLS on 2379 and 2380.
func (s *Settings) etcdUrls(c *embed.Config, d *datastore) {
	ip := s.IPs[0].String()
	client, peer := url.URL{Scheme: "https", Host: ip + ":2379"}, url.URL{Scheme: "https", Host: ip + ":2380"}
	local := url.URL{Scheme: "https", Host: "127.0.0.1:2379"}
	c.Dir = s.server("db", "etcd")
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{local, client}, []url.URL{client}
	c.ListenPeerUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:2380"}, peer}
	c.AdvertisePeerUrls = []url.URL{peer}
	c.ListenMetricsUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2381"}}
	dir := s.tls("etcd")
	c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = dir+"/server-client.crt", dir+"/server-client.key"
	c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = dir+"/server-ca.crt", true
	c.PeerTLSInfo.CertFile, c.PeerTLSInfo.KeyFile = dir+"/peer-server-client.crt", dir+"/peer-server-client.key"
	c.PeerTLSInfo.TrustedCAFile, c.PeerTLSInfo.ClientCertAuth = dir+"/peer-ca.crt", true
	d.endpoint, d.ca, d.cert, d.key = "https://127.0.0.1:2379", dir+"/server-ca.crt", dir+"/client.crt", dir+"/client.key"
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
