package server

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	nodecontroller "k8s.io/cloud-provider/controllers/node"
	"k8s.io/component-base/metrics/prometheus/controllers"

	"bowline.test/k3s/internal/cloud"
	"bowline.test/k3s/internal/node"
)

// roles sets the control plane's labels, which only an administrator may.
func (s *Settings) roles(ctx context.Context, admin kubernetes.Interface) {
	s.UntilDone(ctx, "set the control plane's role labels on", func() error {
		labels := map[string]string{"node-role.kubernetes.io/control-plane": "true", "node-role.kubernetes.io/master": "true"}
		var annotations map[string]string
		if s.Etcd {
			labels[etcdRole] = "true"
			annotations = map[string]string{memberName: s.store.Load().name, memberAddress: s.IPs[0].String()}
		}
		return node.Patch(ctx, admin, s.Name, labels, annotations)
	})
}

// runCloud runs the cloud node controller of k8s.io/cloud-provider.
func runCloud(ctx context.Context, client kubernetes.Interface, factory informers.SharedInformerFactory) error {
	c, err := nodecontroller.NewCloudNodeController(factory.Core().V1().Nodes(), client, cloud.Provider{}, time.Minute, 1)
	if err != nil {
		return err
	}
	go c.RunWithContext(ctx, controllers.NewControllerManagerMetrics("cloud-controller-manager"))
	return nil
}

// event records something about this machine's Node.
func (s *Settings) event(ctx context.Context, client kubernetes.Interface, reason, message string) {
	now := metav1.Now()
	_, err := client.CoreV1().Events("default").Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: s.Name + ".", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: s.Name, UID: types.UID(s.Name)},
		Reason:         reason, Message: message, Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: "k3s-supervisor"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		logrus.Warnf("Event %s: %v", reason, err)
	}
}
