package server

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Orphans are password Secrets without a Node. The environment, which only
// the stand-in knows, makes tests of them quick.
const (
	orphanAgeEnv   = "K3S_STAND_IN_ORPHAN_AGE"
	orphanSweepEnv = "K3S_STAND_IN_ORPHAN_SWEEP"
)

// keeper cares for the password Secrets of all nodes.
type keeper struct {
	client     kubernetes.Interface
	nodes      cache.SharedIndexInformer
	age, sweep time.Duration
}

// keepPasswords makes Nodes the owners of their password Secrets, so that
// these go with them, and deletes Secrets that are left without a Node.
func keepPasswords(ctx context.Context, client kubernetes.Interface, factory informers.SharedInformerFactory) error {
	k := &keeper{client: client, nodes: factory.Core().V1().Nodes().Informer()}
	for name, into := range map[string]*time.Duration{orphanAgeEnv: &k.age, orphanSweepEnv: &k.sweep} {
		*into = map[string]time.Duration{orphanAgeEnv: 10 * time.Minute, orphanSweepEnv: time.Minute}[name]
		if text := os.Getenv(name); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d <= 0 {
				return fmt.Errorf("%s=%q is not a time", name, text)
			}
			*into = d
		}
	}
	own := func(object any) {
		if n, ok := object.(*corev1.Node); ok {
			if err := k.own(ctx, n); err != nil && ctx.Err() == nil {
				logrus.Warnf("Failed to add node OwnerReference to node-password secret of %s: %v", n.Name, err)
			}
		}
	}
	if _, err := k.nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: own, UpdateFunc: func(_, now any) { own(now) }}); err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(k.sweep):
			}
			if err := k.orphans(ctx, time.Now()); err != nil && ctx.Err() == nil {
				logrus.Errorf("Failed to sweep node-password secrets: %v", err)
			}
		}
	}()
	return nil
}

// own adds a Node to the owners of its password Secret.
func (k *keeper) own(ctx context.Context, n *corev1.Node) error {
	secrets := k.client.CoreV1().Secrets("kube-system")
	have, err := secrets.Get(ctx, passwordSecret(n.Name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range have.OwnerReferences {
		if o.UID == n.UID {
			return nil
		}
	}
	logrus.Infof("Adding node OwnerReference to node-password secret %s", have.Name)
	have.OwnerReferences = append(have.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID})
	_, err = secrets.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

// orphans deletes the Secrets that are old and without a Node.
func (k *keeper) orphans(ctx context.Context, now time.Time) error {
	if !k.nodes.HasSynced() {
		return nil
	}
	known := map[string]bool{}
	for _, name := range k.nodes.GetStore().ListKeys() {
		known[passwordSecret(name)] = true
	}
	secrets := k.client.CoreV1().Secrets("kube-system")
	list, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: "type=" + passwordType})
	if err != nil {
		return err
	}
	for _, s := range list.Items {
		if s.Type != passwordType || known[s.Name] || now.Sub(s.CreationTimestamp.Time) < k.age {
			continue
		}
		err := secrets.Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			logrus.Errorf("Failed to delete orphaned node-password secret %s: %v", s.Name, err)
			continue
		}
		logrus.Warnf("Deleted orphaned node-password secret %s created %s", s.Name, s.CreationTimestamp)
	}
	return nil
}
