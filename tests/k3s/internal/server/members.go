package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"bowline.test/k3s/internal/pki"
)

// What K3s's controllers of etcd's members leave on Nodes.
const (
	memberFinalizer   = "wrangler.cattle.io/managed-etcd-controller"
	etcdRole          = "node-role.kubernetes.io/etcd"
	memberName        = "etcd.k3s.cattle.io/node-name"
	memberAddress     = "etcd.k3s.cattle.io/node-address"
	removeAnnotation  = "etcd.k3s.cattle.io/remove"
	removedAnnotation = "etcd.k3s.cattle.io/removed-node-name"
)

// promoteEvery is how often the leader looks for learners; K3s: 15 seconds.
const promoteEvery = time.Second

func quietZap() *zap.Config {
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(zap.DPanicLevel)
	return &c
}

// promote makes learners voting members, when this member is the leader.
func (d *datastore) promote(ctx context.Context) {
	c, err := d.client(localEtcd)
	if err != nil {
		logrus.Errorf("Learner management: %v", err)
		return
	}
	defer c.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(promoteEvery):
		}
		if d.etcd.Server.Leader() != d.etcd.Server.MemberID() {
			continue
		}
		for _, m := range d.etcd.Server.Cluster().Members() {
			if !m.IsLearner {
				continue
			}
			if _, err := c.MemberPromote(ctx, uint64(m.ID)); err == nil {
				logrus.Infof("Promoted learner %s", m.Name)
			}
		}
	}
}

// stopped says why etcd ended: this server was removed from the cluster (a
// tombstone is left, and nothing more happens until K3s is started again), or
// something else.
func (s *Settings) stopped(ctx context.Context, d *datastore, err error) error {
	if !s.Etcd || !s.removed(ctx, d) {
		return errors.Join(errors.New("etcd stopped"), err)
	}
	if err := pki.Write(s.etcdDir(tombstone), nil, 0o600); err != nil {
		return fmt.Errorf("failed to write tombstone file to %s: %w", s.etcdDir(tombstone), err)
	}
	logrus.Info("this node has been removed from the cluster please restart k3s to rejoin the cluster")
	<-ctx.Done()
	return ctx.Err()
}

// removed asks the other members whether this one is still one.
func (s *Settings) removed(ctx context.Context, d *datastore) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, m := range d.etcd.Server.Cluster().Members() {
		if m.ID == d.etcd.Server.MemberID() || len(m.ClientURLs) == 0 {
			continue
		}
		c, err := d.client(m.ClientURLs...)
		if err != nil {
			continue
		}
		list, err := c.MemberList(ctx)
		_ = c.Close()
		if err == nil {
			id := uint64(d.etcd.Server.MemberID())
			for _, other := range list.Members {
				if other.ID == id {
					return false
				}
			}
			return true
		}
	}
	return false
}

// watchMembers keeps etcd's members and the Nodes together: a finalizer on
// every Node, so that a member goes before the Node of its server does.
func (s *Settings) watchMembers(ctx context.Context, admin kubernetes.Interface, nodes cache.SharedIndexInformer, d *datastore) error {
	wake := make(chan struct{}, 1)
	poke := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	if _, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { poke() }, UpdateFunc: func(any, any) { poke() }}); err != nil {
		return err
	}
	c, err := d.client(localEtcd)
	if err != nil {
		return err
	}
	remove := func(ctx context.Context, name, address string) error { return removePeer(ctx, c, name, address) }
	go func() {
		defer c.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wake:
			case <-time.After(5 * time.Second):
			}
			for _, object := range nodes.GetStore().List() {
				n, ok := object.(*corev1.Node)
				if !ok {
					continue
				}
				if err := syncMember(ctx, admin, n.DeepCopy(), remove); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
					logrus.Errorf("error syncing '%s': handler managed-etcd-controller: %v, requeuing", n.Name, err)
				}
			}
		}
	}()
	return nil
}

// syncMember is one look at a Node.
func syncMember(ctx context.Context, admin kubernetes.Interface, n *corev1.Node, remove func(ctx context.Context, name, address string) error) error {
	_, etcd := n.Labels[etcdRole]
	asked := strings.EqualFold(n.Annotations[removeAnnotation], "true")
	gone, wasRemoved := n.Annotations[removedAnnotation]
	name, address := n.Annotations[memberName], n.Annotations[memberAddress]
	has := slices.Contains(n.Finalizers, memberFinalizer)
	member := func() error {
		if name == "" {
			return fmt.Errorf("node name annotation for node %s not found", n.Name)
		}
		if address == "" {
			return fmt.Errorf("node address annotation for node %s not found", n.Name)
		}
		return remove(ctx, name, address)
	}
	switch {
	case n.DeletionTimestamp != nil && !has:
		return nil
	case n.DeletionTimestamp != nil:
		if etcd && !(asked && gone != "") {
			logrus.Infof("Removing etcd member %s from cluster", n.Name)
			if err := member(); err != nil {
				return err
			}
		}
		return finalizers(ctx, admin, n, slices.DeleteFunc(slices.Clone(n.Finalizers), func(f string) bool { return f == memberFinalizer }))
	case !has:
		return finalizers(ctx, admin, n, append(slices.Clone(n.Finalizers), memberFinalizer))
	case etcd && wasRemoved && name != "" && name != gone:
		logrus.Info("Resetting removed node flag as removed node name did not match current node name")
		return annotate(ctx, admin, n, map[string]any{removedAnnotation: nil, removeAnnotation: "false"})
	case etcd && asked && !wasRemoved:
		if err := member(); err != nil {
			return err
		}
		return annotate(ctx, admin, n, map[string]any{removedAnnotation: name, memberName: nil, memberAddress: nil})
	}
	return nil
}

// removePeer takes a member out whose name and address both match.
func removePeer(ctx context.Context, c *clientv3.Client, name, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	list, err := c.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		for _, p := range m.PeerURLs {
			u, err := url.Parse(p)
			if err != nil || m.Name != name || u.Hostname() != address {
				continue
			}
			logrus.Infof("Removing name=%s id=%d address=%s from etcd", m.Name, m.ID, address)
			if _, err := c.MemberRemove(ctx, m.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
				return err
			}
		}
	}
	return nil
}

// finalizers replaces a Node's finalizers, if nobody changed it meanwhile.
func finalizers(ctx context.Context, admin kubernetes.Interface, n *corev1.Node, list []string) error {
	return change(ctx, admin, n, map[string]any{"finalizers": list})
}

func annotate(ctx context.Context, admin kubernetes.Interface, n *corev1.Node, values map[string]any) error {
	return change(ctx, admin, n, map[string]any{"annotations": values})
}

func change(ctx context.Context, admin kubernetes.Interface, n *corev1.Node, metadata map[string]any) error {
	metadata["resourceVersion"] = n.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = admin.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "k3s"})
	return err
}

// noOldStore refuses to leave the default datastore's content behind.
func (s *Settings) noOldStore() error {
	if _, err := os.Stat(s.server("db", standInStore)); s.Etcd && !s.initialized() && err == nil {
		return fmt.Errorf("%s exists: moving it to embedded etcd is not built in this stand-in", s.server("db", standInStore))
	}
	return nil
}
