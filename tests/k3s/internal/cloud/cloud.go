// Package cloud is an external cloud provider that behaves as K3s's own: it
// initialises Nodes that carry the uninitialized taint, from the annotations
// that their own agents put on them.
package cloud

import (
	"context"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// The annotations that K3s's agents set on their Nodes.
const (
	InternalIP = "k3s.io/internal-ip"
	ExternalIP = "k3s.io/external-ip"
	Hostname   = "k3s.io/hostname"
)

// Provider is the cloud provider `k3s`.
type Provider struct{}

var (
	_ cloudprovider.Interface   = Provider{}
	_ cloudprovider.InstancesV2 = Provider{}
)

// Initialize has nothing to prepare.
func (Provider) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}

// LoadBalancer is absent: K3s's ServiceLB is not built.
func (Provider) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return nil, false }

// Instances is absent: InstancesV2 replaces it.
func (Provider) Instances() (cloudprovider.Instances, bool) { return nil, false }

// InstancesV2 gives the provider itself.
func (p Provider) InstancesV2() (cloudprovider.InstancesV2, bool) { return p, true }

// Zones is absent.
func (Provider) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters is absent.
func (Provider) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes is absent.
func (Provider) Routes() (cloudprovider.Routes, bool) { return nil, false }

// ProviderName is the scheme of the provider ids.
func (Provider) ProviderName() string { return "k3s" }

// HasClusterID is true for the sake of the controllers' checks.
func (Provider) HasClusterID() bool { return true }

// InstanceExists is always true: nobody deletes Nodes but people.
func (Provider) InstanceExists(context.Context, *v1.Node) (bool, error) { return true, nil }

// InstanceShutdown is always false.
func (Provider) InstanceShutdown(context.Context, *v1.Node) (bool, error) { return false, nil }

// InstanceMetadata gives provider id and addresses. Without the annotations
// the Node stays uninitialised and the controller asks again.
func (Provider) InstanceMetadata(_ context.Context, n *v1.Node) (*cloudprovider.InstanceMetadata, error) {
	if n.Annotations[InternalIP] == "" {
		return nil, fmt.Errorf("address annotations not yet set")
	}
	m := &cloudprovider.InstanceMetadata{ProviderID: "k3s://" + n.Name, InstanceType: "k3s"}
	for _, a := range []struct {
		key string
		typ v1.NodeAddressType
	}{{InternalIP, v1.NodeInternalIP}, {ExternalIP, v1.NodeExternalIP}, {Hostname, v1.NodeHostName}} {
		for _, value := range strings.Split(n.Annotations[a.key], ",") {
			if value != "" {
				m.NodeAddresses = append(m.NodeAddresses, v1.NodeAddress{Type: a.typ, Address: value})
			}
		}
	}
	return m, nil
}
