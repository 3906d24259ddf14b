package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

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

// Describe does what every start of K3s's agent does to this machine's own
// Node, with the kubelet's credentials: annotations with its addresses, and
// labels merged in, never taken away.
func (n *Node) Describe(ctx context.Context, kubelet kubernetes.Interface) {
	n.UntilDone(ctx, "set annotations and labels on", func() error {
		labels := map[string]string{}
		for _, l := range n.Values.Slice("node-label") {
			k, v, _ := strings.Cut(l, "=")
			labels[k] = v
		}
		annotations := map[string]string{cloud.InternalIP: n.IPs[0].String(), cloud.Hostname: n.Name}
		if len(n.ExternalIPs) > 0 {
			annotations[cloud.ExternalIP] = n.ExternalIPs[0].String()
		}
		return Patch(ctx, kubelet, n.Name, labels, annotations)
	})
	if ctx.Err() == nil {
		logrus.Infof("Annotations and labels have been set successfully on node: %s", n.Name)
	}
}

// Network writes the pod network once a range is assigned to the Node.
func (n *Node) Network(ctx context.Context, client kubernetes.Interface) {
	if n.Backend == "none" {
		return
	}
	n.UntilDone(ctx, "write the pod network of", func() error {
		have, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if have.Spec.PodCIDR == "" {
			return fmt.Errorf("node %q pod cidr not assigned", n.Name)
		}
		return pki.Write(n.Agent("etc", "cni", "net.d", "10-flannel.conflist"), fmt.Appendf(nil, conflist, have.Spec.PodCIDR), 0o600)
	})
}

// UntilDone repeats a step until it works, saying why it waits now and then.
func (n *Node) UntilDone(ctx context.Context, what string, step func() error) {
	for tries := 1; ; tries++ {
		err := step()
		if err == nil {
			return
		}
		if tries%100 == 0 {
			logrus.Infof("Failed to %s node %s: %v", what, n.Name, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(poll):
		}
	}
}

// Patch merges labels and annotations into the Node where they differ.
func Patch(ctx context.Context, c kubernetes.Interface, node string, labels, annotations map[string]string) error {
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
