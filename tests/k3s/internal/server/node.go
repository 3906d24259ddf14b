package server

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
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
	"bowline.test/k3s/internal/pki"
)

// conflist is the pod network: Debian's bridge where K3s has flannel's vxlan.
const conflist = `{
  "name":"cbr0",
  "cniVersion":"1.0.0",
  "plugins":[
    {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
     "ipam":{"type":"host-local","ranges":[[{"subnet":%q}]],"routes":[{"dst":"0.0.0.0/0"}]}},
    {"type":"portmap","capabilities":{"portMappings":true}}
  ]
}
`

// poll is how often the steps below look again.
const poll = 100 * time.Millisecond

// watchNode does what K3s's agent and server do to this machine's own Node:
// annotations and labels with the kubelet's credentials, the role labels with
// the administrator's, the pod network once a range is assigned.
func (s *Settings) watchNode(ctx context.Context, admin, kubelet kubernetes.Interface) {
	s.untilDone(ctx, "set annotations and labels on", func() error {
		labels := map[string]string{}
		for _, l := range s.values.Slice("node-label") {
			k, v, _ := strings.Cut(l, "=")
			labels[k] = v
		}
		annotations := map[string]string{cloud.InternalIP: s.NodeIPs[0].String(), cloud.Hostname: s.NodeName}
		if len(s.ExternalIPs) > 0 {
			annotations[cloud.ExternalIP] = s.ExternalIPs[0].String()
		}
		return patch(ctx, kubelet, s.NodeName, labels, annotations)
	})
	s.untilDone(ctx, "set the control plane's role labels on", func() error {
		roles := map[string]string{"node-role.kubernetes.io/control-plane": "true", "node-role.kubernetes.io/master": "true"}
		if s.ClusterInit {
			roles["node-role.kubernetes.io/etcd"] = "true"
		}
		return patch(ctx, admin, s.NodeName, roles, nil)
	})
	if s.Backend == "none" {
		return
	}
	s.untilDone(ctx, "write the pod network of", func() error {
		n, err := admin.CoreV1().Nodes().Get(ctx, s.NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if n.Spec.PodCIDR == "" {
			return fmt.Errorf("node %q pod cidr not assigned", s.NodeName)
		}
		return pki.Write(s.agent("etc", "cni", "net.d", "10-flannel.conflist"), fmt.Appendf(nil, conflist, n.Spec.PodCIDR), 0o600)
	})
}

// untilDone repeats a step until it works, saying why it waits now and then.
func (s *Settings) untilDone(ctx context.Context, what string, step func() error) {
	for tries := 1; ; tries++ {
		err := step()
		if err == nil {
			return
		}
		if tries%100 == 0 {
			logrus.Infof("Failed to %s node %s: %v", what, s.NodeName, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(poll):
		}
	}
}

// patch merges labels and annotations into the Node where they differ.
func patch(ctx context.Context, c kubernetes.Interface, node string, labels, annotations map[string]string) error {
	n, err := c.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if within(labels, n.Labels) && within(annotations, n.Annotations) {
		return nil
	}
	metadata := map[string]any{}
	for key, values := range map[string]map[string]string{"labels": labels, "annotations": annotations} {
		if len(values) > 0 { // null would delete all that there are
			metadata[key] = values
		}
	}
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = c.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "k3s"})
	return err
}

func within(want, have map[string]string) bool {
	merged := maps.Clone(have)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, want)
	return maps.Equal(merged, have) || len(want) == 0
}

// runCloud runs the cloud node controller of k8s.io/cloud-provider.
func runCloud(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	c, err := nodecontroller.NewCloudNodeController(factory.Core().V1().Nodes(), client, cloud.Provider{}, time.Minute, 1)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	go c.RunWithContext(ctx, controllers.NewControllerManagerMetrics("cloud-controller-manager"))
	return nil
}

// event records something about this machine's Node.
func (s *Settings) event(ctx context.Context, client kubernetes.Interface, reason, message string) {
	now := metav1.Now()
	_, err := client.CoreV1().Events("default").Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: s.NodeName + ".", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: s.NodeName, UID: types.UID(s.NodeName)},
		Reason:         reason, Message: message, Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: "k3s-supervisor"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		logrus.Warnf("Event %s: %v", reason, err)
	}
}
