package server

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"bowline.test/k3s/internal/node"
)

func TestSyncMember(t *testing.T) {
	server := map[string]string{etcdRole: "true"}
	member := map[string]string{memberName: "n-12345678", memberAddress: "10.0.1.10"}
	with := func(more ...string) map[string]string {
		out := map[string]string{memberName: "n-12345678", memberAddress: "10.0.1.10"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	now := metav1.Now()
	ours := []string{"other", memberFinalizer}
	for _, c := range []struct {
		name                string
		labels, annotations map[string]string
		finalizers          []string
		deleted             bool
		fails               error
		// wantRemoved: a member was taken out; wantFinalizer: ours is there.
		wantRemoved, wantFinalizer bool
		wantErr                    string
	}{
		{name: "a new Node gets the finalizer", finalizers: []string{"other"}, wantFinalizer: true},
		{name: "an agent goes without ado", finalizers: ours, deleted: true},
		{name: "a server's member goes first", labels: server, annotations: member, finalizers: ours, deleted: true, wantRemoved: true},
		{name: "and the Node stays as long as that fails", labels: server, annotations: member, finalizers: ours, deleted: true, fails: errors.New("no quorum"), wantRemoved: true, wantFinalizer: true, wantErr: "no quorum"},
		{name: "a server without annotations stays", labels: server, finalizers: ours, deleted: true, wantFinalizer: true, wantErr: "node name annotation for node n not found"},
		{name: "removal without deletion", labels: server, annotations: with(removeAnnotation, "true"), finalizers: ours, wantRemoved: true, wantFinalizer: true},
		{name: "only once", labels: server, annotations: map[string]string{removeAnnotation: "true", removedAnnotation: "n-12345678"}, finalizers: ours, wantFinalizer: true},
		{name: "removed before, then deleted", labels: server, annotations: map[string]string{removeAnnotation: "true", removedAnnotation: "n-12345678"}, finalizers: ours, deleted: true},
		{name: "joined again", labels: server, annotations: with(removeAnnotation, "true", removedAnnotation, "n-00000000"), finalizers: ours, wantFinalizer: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: c.labels, Annotations: c.annotations, Finalizers: c.finalizers}}
			if c.deleted {
				n.DeletionTimestamp = &now
			}
			client, removed := fake.NewClientset(n.DeepCopy()), false
			err := syncMember(context.Background(), client, n, func(_ context.Context, name, address string) error {
				removed = name == "n-12345678" && address == "10.0.1.10"
				return c.fails
			})
			if (err == nil) != (c.wantErr == "") || (err != nil && !strings.Contains(err.Error(), c.wantErr)) || removed != c.wantRemoved {
				t.Errorf("removed %v, %v", removed, err)
			}
			have, err := client.CoreV1().Nodes().Get(context.Background(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(have.Finalizers, memberFinalizer) != c.wantFinalizer || !slices.Contains(have.Finalizers, "other") {
				t.Errorf("finalizers %v", have.Finalizers)
			}
			switch {
			case strings.HasPrefix(c.name, "removal"):
				if have.Annotations[removedAnnotation] != "n-12345678" || have.Annotations[memberName] != "" {
					t.Errorf("annotations %v", have.Annotations)
				}
			case c.name == "joined again":
				if _, there := have.Annotations[removedAnnotation]; there || have.Annotations[removeAnnotation] != "false" {
					t.Errorf("annotations %v", have.Annotations)
				}
			}
		})
	}
}

func TestPlace(t *testing.T) {
	s := &Settings{Node: &node.Node{Name: "n2", IPs: []net.IP{net.IPv4(10, 0, 1, 11)}}}
	d := &datastore{name: "n2-12345678"}
	first := &etcdserverpb.Member{Name: "n1-aaaaaaaa", PeerURLs: []string{"https://10.0.1.10:2380"}, ClientURLs: []string{"https://10.0.1.10:2379"}}
	for _, c := range []struct {
		name  string
		other *etcdserverpb.Member
		add   bool
		words string
	}{
		{"new", nil, true, ""},
		{"added before, not started", &etcdserverpb.Member{PeerURLs: []string{s.peerURL()}}, false, ""},
		{"a member of old", &etcdserverpb.Member{Name: "n2-00000000", PeerURLs: []string{s.peerURL()}}, false, "duplicate node name found"},
		{"the name elsewhere", &etcdserverpb.Member{Name: "n2-00000000", PeerURLs: []string{"https://10.0.1.12:2380"}}, false, "duplicate node name found"},
	} {
		list := []*etcdserverpb.Member{first}
		if c.other != nil {
			list = append(list, c.other)
		}
		initial, add, err := s.place(d, list)
		if (err == nil) != (c.words == "") || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s: %v", c.name, err)
		} else if err == nil && (add != c.add || initial[0] != "n1-aaaaaaaa=https://10.0.1.10:2380" || (!add && initial[1] != "n2-12345678="+s.peerURL())) {
			t.Errorf("%s: %v %v", c.name, initial, add)
		}
	}
	learner := &etcdserverpb.Member{IsLearner: true, ClientURLs: []string{"https://10.0.1.12:2379"}}
	if got := (members{[]*etcdserverpb.Member{first, learner}}).others("10.0.1.11"); !slices.Equal(got, first.ClientURLs) {
		t.Errorf("%v", got)
	}
}

// TestDatastoreChoice: etcd once it is there, and no silent change to it.
func TestDatastoreChoice(t *testing.T) {
	s := &Settings{Node: &node.Node{DataDir: t.TempDir()}}
	if err := s.datastore(); err != nil || s.Etcd {
		t.Errorf("%v %v", s.Etcd, err)
	}
	if err := os.MkdirAll(s.server("db", standInStore), 0o700); err != nil {
		t.Fatal(err)
	}
	s.ClusterInit = true
	if err := s.datastore(); err == nil || !strings.Contains(err.Error(), "not built in this stand-in") {
		t.Errorf("%v", err)
	}
	s.ClusterInit = false
	if err := os.MkdirAll(filepath.Join(s.etcdDir(), "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.datastore(); err != nil || !s.Etcd {
		t.Errorf("%v %v", s.Etcd, err)
	}
}
