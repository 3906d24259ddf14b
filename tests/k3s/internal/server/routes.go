package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"bowline.test/k3s/internal/access"
)

// ServeHTTP sends a request to the supervisor's routes or to the API server.
func (v *supervisor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	route, own := strings.CutPrefix(p, "/v1-k3s/")
	switch {
	case p == "/ping":
		plain(w, http.StatusOK, "pong")
	case p == "/cacerts":
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(v.ca.server.PEM)
	case p == "/db/info":
		v.serverRoute(w, r, "db/info")
	case own && v.agentHandlers()[route] != nil:
		v.agentRoute(w, r, v.agentHandlers()[route])
	case own && route == "connect":
		if v.role(w, r, nodeRole) != nil {
			plain(w, http.StatusNotImplemented, "not built in this stand-in: the tunnel of "+p)
		}
	case own && (slices.Contains([]string{"server-bootstrap", "token", "cert/cacerts"}, route) || strings.HasPrefix(route, "encrypt/")):
		v.serverRoute(w, r, route)
	case own:
		failure(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	default:
		api := v.api.Load()
		if api == nil {
			failure(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "apiserver not ready")
			return
		}
		api.handler.ServeHTTP(w, r)
	}
}

type agentHandler func(w http.ResponseWriter, r *http.Request, who user.Info)

// agentHandlers are the routes of the role agent.
func (v *supervisor) agentHandlers() map[string]agentHandler {
	return map[string]agentHandler{
		"readyz":     v.readyz,
		"config":     v.config,
		"apiservers": v.apiservers,
		"client-ca.crt": func(w http.ResponseWriter, _ *http.Request, _ user.Info) {
			plain(w, http.StatusOK, string(v.ca.client.PEM))
		},
		"server-ca.crt": func(w http.ResponseWriter, _ *http.Request, _ user.Info) {
			plain(w, http.StatusOK, string(v.ca.server.PEM))
		},
		"serving-kubelet.crt":       v.servingKubelet,
		"client-kubelet.crt":        v.clientKubelet,
		"client-kube-proxy.crt":     v.sharedClient("client-kube-proxy", "system:kube-proxy"),
		"client-k3s-controller.crt": v.sharedClient("client-k3s-controller", "system:k3s-controller"),
	}
}

func (v *supervisor) agentRoute(w http.ResponseWriter, r *http.Request, handler agentHandler) {
	who := v.role(w, r, agentRole)
	if who == nil {
		return
	}
	leave, ok := v.flight.enter(r.Method)
	if !ok {
		w.Header().Set("Retry-After", "1")
		failure(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests, please try again later")
		return
	}
	defer leave()
	handler(w, r, who)
}

// readyz is 503 until the core is ready.
func (v *supervisor) readyz(w http.ResponseWriter, _ *http.Request, _ user.Info) {
	if v.core.Load() == nil {
		v.notReady(w)
		return
	}
	plain(w, http.StatusOK, "ok")
}

func (v *supervisor) notReady(w http.ResponseWriter) {
	failure(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "runtime core not ready")
}

func (v *supervisor) config(w http.ResponseWriter, _ *http.Request, _ user.Info) {
	answer(w, v.settings.config())
}

// apiservers are the addresses that the API servers advertise.
func (v *supervisor) apiservers(w http.ResponseWriter, r *http.Request, _ user.Info) {
	list := []string{}
	core := v.core.Load()
	if core != nil {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		slicesOf, err := core.client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
		if err != nil {
			logrus.Debugf("Failed to get apiserver addresses from kubernetes: %v", err)
		} else {
			for _, s := range slicesOf.Items {
				for _, e := range s.Endpoints {
					for _, a := range e.Addresses {
						list = append(list, fmt.Sprintf("%s:%d", a, *s.Ports[0].Port))
					}
				}
			}
		}
	}
	answer(w, list)
}

// serverRoute are the routes of the role server.
func (v *supervisor) serverRoute(w http.ResponseWriter, r *http.Request, route string) {
	if v.role(w, r, serverRole) == nil {
		return
	}
	switch route {
	case "server-bootstrap":
		v.serverBootstrap(w, r)
	case "token":
		v.rotate(w, r)
	case "db/info":
		v.info(w, r)
	default:
		plain(w, http.StatusNotImplemented, "not built in this stand-in: "+r.URL.Path)
	}
}

// config is what agents and joining servers get to know.
func (s *Settings) config() access.Config {
	disables := map[string]bool{}
	for _, d := range s.Values.Slice("disable") {
		disables[d] = true
	}
	return access.Config{
		Critical: access.Critical{
			ClusterDNSs: s.clusterDNSs(), ClusterDNS: s.ClusterDNS, ClusterDomain: s.ClusterDomain,
			ClusterIPRanges: one(s.ClusterCIDR), ClusterIPRange: s.ClusterCIDR,
			ServiceIPRanges: one(s.ServiceCIDR), ServiceIPRange: s.ServiceCIDR,
			DisableCCM: s.Values.Bool("disable-cloud-controller"), DisableHelmController: s.Values.Bool("disable-helm-controller"),
			DisableNPC: s.Values.Bool("disable-network-policy"), DisableServiceLB: disables["servicelb"],
			EncryptSecrets: s.Values.Bool("secrets-encryption"), EncryptProvider: s.Values.String("secrets-encryption-provider"), FlannelBackend: s.Backend,
			EgressSelectorMode: s.Values.String("egress-selector-mode"),
		},
		AdvertiseIP: s.AdvertiseIP.String(), HTTPSPort: s.ListenPort, SupervisorPort: s.ListenPort,
		Disables: disables, DisableKubeProxy: s.Values.Bool("disable-kube-proxy"), ClusterInit: s.ClusterInit, ServerNodeName: s.Name,
	}
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what)
}
