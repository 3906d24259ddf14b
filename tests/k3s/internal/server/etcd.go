package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"bowline.test/k3s/internal/access"
	"bowline.test/k3s/internal/pki"
	"bowline.test/k3s/internal/token"
)

const (
	localEtcd = "https://127.0.0.1:2379"
	// joinWithin bounds one try to become a member, K3s's time.
	joinWithin = 20 * time.Second
	tombstone  = "tombstone"
)

func (s *Settings) etcdDir(parts ...string) string {
	return s.server(append([]string{"db", "etcd"}, parts...)...)
}

// initialized says whether this machine's etcd was up before.
func (s *Settings) initialized() bool {
	fi, err := os.Stat(s.etcdDir("member", "wal"))
	return err == nil && fi.IsDir()
}

func (s *Settings) peerURL() string { return "https://" + s.IPs[0].String() + ":2380" }

// memberName is this member's for ever: the node's name and eight random digits.
func (s *Settings) memberName() (string, error) {
	data, err := os.ReadFile(s.etcdDir("name"))
	if err == nil {
		return string(data), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := s.Name + "-" + token.Random()[:8]
	return name, pki.Write(s.etcdDir("name"), []byte(name), 0o600)
}

// noteMemberName makes etcd's folder with a name in it, as K3s does at each
// start, before it knows whether it will be a member, and with SQLite too
// (k3s-io/k3s#13728).
func (s *Settings) noteMemberName() error {
	if err := os.MkdirAll(s.etcdDir(), 0o700); err != nil {
		return err
	}
	_, err := s.memberName()
	return err
}

// startMember runs the embedded etcd: as it was before, as the first member of
// a cluster, or as a new one of the cluster that is told.
func (s *Settings) startMember(ctx context.Context, cluster *access.Info) (*datastore, error) {
	if _, err := os.Stat(s.etcdDir(tombstone)); err == nil {
		logrus.Info("tombstone file has been detected, removing data dir to rejoin the cluster")
		if err := os.Rename(s.etcdDir(), fmt.Sprintf("%s-old-%d", s.etcdDir(), time.Now().Unix())); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(s.etcdDir(), 0o700); err != nil {
			return nil, err
		}
	}
	d := &datastore{endpoint: localEtcd, ca: s.tls("etcd", "server-ca.crt"), cert: s.tls("etcd", "client.crt"), key: s.tls("etcd", "client.key")}
	var err error
	if d.name, err = s.memberName(); err != nil {
		return nil, err
	}
	initial, state := d.name+"="+s.peerURL(), embed.ClusterStateFlagNew
	if !s.initialized() && cluster != nil {
		if initial, err = s.join(ctx, d, cluster); err != nil {
			return nil, fmt.Errorf("ETCD join failed: %w", err)
		}
		state = embed.ClusterStateFlagExisting
	}
	c := s.memberConfig(d)
	c.InitialCluster, c.ClusterState = initial, state
	if d.etcd, err = embed.StartEtcd(c); err != nil {
		return nil, err
	}
	return d, s.waitMember(ctx, d)
}

// memberConfig is K3s's: TLS on 2379 and 2380.
func (s *Settings) memberConfig(d *datastore) *embed.Config {
	ip, dir := s.IPs[0].String(), s.tls("etcd")
	client, peer := url.URL{Scheme: "https", Host: ip + ":2379"}, url.URL{Scheme: "https", Host: ip + ":2380"}
	c := etcdConfig(d.name)
	c.Dir = s.etcdDir()
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:2379"}, client}, []url.URL{client}
	c.ListenPeerUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:2380"}, peer}
	c.AdvertisePeerUrls = []url.URL{peer}
	c.ListenMetricsUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2381"}}
	c.ClientTLSInfo = transport.TLSInfo{CertFile: dir + "/server-client.crt", KeyFile: dir + "/server-client.key", TrustedCAFile: d.ca, ClientCertAuth: true}
	c.PeerTLSInfo = transport.TLSInfo{CertFile: dir + "/peer-server-client.crt", KeyFile: dir + "/peer-server-client.key", TrustedCAFile: dir + "/peer-ca.crt", ClientCertAuth: true}
	return c
}

// client connects to members of the cluster.
func (d *datastore) client(endpoints ...string) (*clientv3.Client, error) {
	config, err := transport.TLSInfo{CertFile: d.cert, KeyFile: d.key, TrustedCAFile: d.ca}.ClientConfig()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{Endpoints: endpoints, TLS: config, DialTimeout: 2 * time.Second, LogConfig: quietZap()})
}

// join makes this machine a learner of the cluster and gives the members. It
// waits as long as others are joining.
func (s *Settings) join(ctx context.Context, d *datastore, cluster *access.Info) (string, error) {
	for {
		initial, err := s.tryJoin(ctx, d, cluster)
		if !errors.Is(err, rpctypes.ErrTooManyLearners) && !errors.Is(err, rpctypes.ErrUnhealthy) {
			return initial, err
		}
		logrus.Infof("Waiting for other members to finish joining etcd cluster: %v", err)
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (s *Settings) tryJoin(ctx context.Context, d *datastore, cluster *access.Info) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	data, err := cluster.Get(ctx, "/db/info")
	if err != nil {
		return "", err
	}
	var known members
	if err := json.Unmarshal(data, &known); err != nil {
		return "", err
	}
	c, err := d.client(known.others(s.IPs[0].String())...)
	if err != nil {
		return "", err
	}
	defer c.Close()
	list, err := c.MemberList(ctx)
	if err != nil {
		return "", fmt.Errorf("failed to get member list from etcd cluster: %w", err)
	}
	initial, add, err := s.place(d, list.Members)
	if err != nil {
		_ = os.Remove(s.etcdDir("name"))
		return "", err
	}
	if add {
		logrus.Infof("Adding member %s=%s to etcd cluster %v", d.name, s.peerURL(), initial)
		if _, err := c.MemberAddAsLearner(ctx, []string{s.peerURL()}); err != nil {
			return "", err
		}
		initial = append(initial, d.name+"="+s.peerURL())
	}
	logrus.Infof("Starting etcd for cluster %v", initial)
	return strings.Join(initial, ","), nil
}

// place finds this machine among the members: whether it must be added, and
// the members as etcd wants to be told. A name may be there only once.
func (s *Settings) place(d *datastore, list []*etcdserverpb.Member) (initial []string, add bool, err error) {
	add = true
	for _, m := range list {
		name := m.Name
		for _, p := range m.PeerURLs {
			if p == s.peerURL() && (name == "" || name == d.name) {
				name, add = d.name, false
			}
		}
		if len(m.PeerURLs) > 0 {
			initial = append(initial, name+"="+m.PeerURLs[0])
		}
		node := name
		if n := strings.LastIndex(name, "-"); n > 1 {
			node = name[:n]
		}
		if name != d.name && node == s.Name {
			return nil, false, errors.New("duplicate node name found, please use a unique name for this node")
		}
	}
	return initial, add, nil
}

// waitMember waits until this member is up and may vote, for ever as K3s does.
func (s *Settings) waitMember(ctx context.Context, d *datastore) error {
	for n := 1; ; n++ {
		err := d.test(ctx, s.peerURL())
		if err == nil {
			logrus.Info("etcd data store connection OK")
			return nil
		}
		if n%25 == 0 {
			logrus.Infof("Failed to test data store connection: %v", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.etcd.Err():
			return s.stopped(ctx, d, err)
		case <-d.etcd.Server.StopNotify():
			return s.stopped(ctx, d, nil)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// test fails as long as this server is not a voting member that answers.
func (d *datastore) test(ctx context.Context, peer string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	select {
	case <-d.etcd.Server.ReadyNotify():
	default:
		return errors.New("etcd is not ready")
	}
	if d.etcd.Server.IsLearner() {
		return errors.New("this server has not yet been promoted from learner to voting member")
	}
	c, err := d.client(localEtcd)
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.MemberList(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range list.Members {
		for _, p := range m.PeerURLs {
			if p == peer && m.Name == d.name {
				return nil
			}
			names = append(names, m.Name+"="+p)
		}
	}
	return fmt.Errorf("this server is a not a member of the etcd cluster. Found %v, expect: %s=%s", names, d.name, peer)
}

// members is the answer of /db/info.
type members struct {
	Members []*etcdserverpb.Member `json:"members"`
}

// others are the addresses for clients of all members but learners and this one.
func (m members) others(self string) []string {
	var out []string
	for _, member := range m.Members {
		for _, c := range member.ClientURLs {
			if u, err := url.Parse(c); err == nil && !member.IsLearner && u.Hostname() != self {
				out = append(out, c)
			}
		}
	}
	return out
}

// info tells joining servers the members.
func (v *supervisor) info(w http.ResponseWriter, r *http.Request) {
	d := v.settings.store.Load()
	if d == nil {
		v.notReady(w)
		return
	}
	c, err := d.client(localEtcd)
	if err == nil {
		defer c.Close()
		var list *clientv3.MemberListResponse
		if list, err = c.MemberList(r.Context()); err == nil {
			answer(w, members{list.Members})
			return
		}
	}
	failure(w, http.StatusInternalServerError, "InternalError", err.Error())
}
