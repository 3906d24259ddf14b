package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	basecompatibility "k8s.io/component-base/compatibility"

	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/pki"
)

// apiserver is the real kube-apiserver inside this process. Its handler is
// mounted behind the supervisor's routes on the public port, as K3s does it;
// its own listener is on loopback.
type apiserver struct {
	handler http.Handler
	auth    authenticator.Request
	run     func(context.Context) error
}

// privatePort is the API server's own listener on loopback, K3s's number.
const privatePort = "6444"

// listener lets the API server listen on the private port and yet publish the
// public one in the endpoints of the service `kubernetes`, which it takes from
// its listener's address.
type listener struct {
	net.Listener
	port   int
	public atomic.Bool
}

// Addr is the private address until the loopback client has been made.
func (l *listener) Addr() net.Addr {
	if l.public.Load() {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port}
	}
	return l.Listener.Addr()
}

// newAPIServer builds the API server from K3s's flags and --kube-apiserver-arg.
func (s *Settings) newAPIServer(ctx context.Context, d *datastore) (*apiserver, error) {
	o := options.NewServerRunOptions()
	sets := o.Flags()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, f := range sets.FlagSets {
		flags.AddFlagSet(f)
	}
	args, err := s.apiserverArgs(d)
	if err != nil {
		return nil, err
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gates := o.GenericServerRunOptions.ComponentGlobalsRegistry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(o.Logs, gates); err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:"+privatePort)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, port: s.ListenPort}
	o.SecureServing.Listener = l
	completed, err := o.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, utilerrors.NewAggregate(errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, err
	}
	l.public.Store(true)
	full, err := config.Complete()
	if err != nil {
		return nil, err
	}
	chain, err := app.CreateServerChain(full)
	if err != nil {
		return nil, err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, err
	}
	return &apiserver{
		handler: chain.GenericAPIServer.Handler,
		auth:    config.KubeAPIs.ControlPlane.Generic.Authentication.Authenticator,
		run:     prepared.Run,
	}, nil
}

func (s *Settings) apiserverArgs(d *datastore) ([]string, error) {
	issuer := "https://kubernetes.default.svc." + s.ClusterDomain
	a := map[string]string{
		"advertise-address":                  s.AdvertiseIP.String(),
		"allow-privileged":                   "true",
		"anonymous-auth":                     "false",
		"api-audiences":                      issuer + ",k3s",
		"authorization-mode":                 "Node,RBAC",
		"bind-address":                       "127.0.0.1",
		"cert-dir":                           s.tls("temporary-certs"),
		"client-ca-file":                     s.tls("client-ca.crt"),
		"enable-admission-plugins":           "NodeRestriction",
		"enable-aggregator-routing":          "true",
		"enable-bootstrap-token-auth":        "true",
		"etcd-servers":                       d.endpoint,
		"kubelet-certificate-authority":      s.tls("server-ca.crt"),
		"kubelet-client-certificate":         s.tls("client-kube-apiserver.crt"),
		"kubelet-client-key":                 s.tls("client-kube-apiserver.key"),
		"kubelet-preferred-address-types":    "InternalIP,ExternalIP,Hostname",
		"profiling":                          "false",
		"proxy-client-cert-file":             s.tls("client-auth-proxy.crt"),
		"proxy-client-key-file":              s.tls("client-auth-proxy.key"),
		"requestheader-allowed-names":        "system:auth-proxy",
		"requestheader-client-ca-file":       s.tls("request-header-ca.crt"),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"secure-port":                        privatePort,
		"service-account-issuer":             issuer,
		"service-account-key-file":           s.tls("service.key"),
		"service-account-signing-key-file":   s.tls("service.current.key"),
		"service-cluster-ip-range":           s.ServiceCIDR.String(),
		"service-node-port-range":            s.Values.String("service-node-port-range"),
		"shutdown-delay-duration":            "0s",
		"storage-backend":                    "etcd3",
		"tls-cert-file":                      s.tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":               s.tls("serving-kube-apiserver.key"),
	}
	if d.ca != "" {
		a["etcd-cafile"], a["etcd-certfile"], a["etcd-keyfile"] = d.ca, d.cert, d.key
	}
	if s.Values.Bool("secrets-encryption") {
		file := s.server("cred", "encryption-config.json")
		if err := encryptionConfig(file, s.Values.String("secrets-encryption-provider")); err != nil {
			return nil, err
		}
		a["encryption-provider-config"] = file
	}
	return node.Arguments(a, s.Values.Slice("kube-apiserver-arg")), nil
}

// encryptionConfig makes the key for --secrets-encryption once.
func encryptionConfig(file, provider string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	const form = `{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[{"%[1]s":{"keys":[{"name":"%[1]skey","secret":"%[2]s"}]}},{"identity":{}}]}]}`
	return pki.Write(file, fmt.Appendf(nil, form, provider, base64.StdEncoding.EncodeToString(key)), 0o600)
}
