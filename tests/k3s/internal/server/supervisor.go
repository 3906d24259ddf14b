package server

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bowline.test/k3s/internal/pki"
)

// supervisor serves the public port: K3s's own routes first, all else goes to
// the API server's handler once that is there.
type supervisor struct {
	settings *Settings
	ca       *authorities
	accounts atomic.Pointer[[]account]
	api      atomic.Pointer[apiserver]
	// core is there once agents may join.
	core   atomic.Pointer[core]
	flight flight
}

// core is what the routes need of the running cluster.
type core struct{ client kubernetes.Interface }

// listen opens the public port with a certificate of K3s's names.
func (s *Settings) listen(a *authorities) (net.Listener, error) {
	crt, key := s.tls("dynamic-serving.crt"), s.tls("dynamic-serving.key")
	defer func() { _, _ = os.Remove(crt), os.Remove(key) }()
	if err := s.restoreDynamic(crt, key); err != nil {
		return nil, err
	}
	if err := a.server.Serving(crt, key, "k3s", pki.APINames(s.identity()), false); err != nil {
		return nil, err
	}
	if err := s.saveDynamic(crt, key); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return nil, err
	}
	plainListener, err := net.Listen("tcp", fmt.Sprintf(":%d", s.ListenPort))
	if err != nil {
		return nil, err
	}
	return tls.NewListener(plainListener, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"},
	}), nil
}

// dynamic is the form of server/tls/dynamic-cert.json: a Secret.
type dynamic struct {
	v1.TypeMeta   `json:",inline"`
	v1.ObjectMeta `json:"metadata"`
	Data          map[string][]byte `json:"data"`
	Type          string            `json:"type"`
}

func (s *Settings) saveDynamic(crt, key string) error {
	c, err := os.ReadFile(crt)
	if err != nil {
		return err
	}
	k, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	d := dynamic{TypeMeta: v1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: v1.ObjectMeta{Name: "k3s-serving", Namespace: "kube-system"},
		Data: map[string][]byte{"tls.crt": c, "tls.key": k}, Type: "kubernetes.io/tls"}
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return pki.Write(s.tls("dynamic-cert.json"), data, 0o600)
}

func (s *Settings) restoreDynamic(crt, key string) error {
	data, err := os.ReadFile(s.tls("dynamic-cert.json"))
	if err != nil {
		return nil //nolint:nilerr // none yet: a new one is made
	}
	var d dynamic
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("%s: %w", s.tls("dynamic-cert.json"), err)
	}
	if err := pki.Write(crt, d.Data["tls.crt"], 0o644); err != nil {
		return err
	}
	return pki.Write(key, d.Data["tls.key"], 0o600)
}

// serve answers on the listener until the process ends.
func (v *supervisor) serve(l net.Listener) error {
	quiet := log.New(logrus.StandardLogger().WriterLevel(logrus.DebugLevel), "", 0)
	srv := &http.Server{Handler: v, ReadHeaderTimeout: 32 * time.Second, IdleTimeout: 90 * time.Second, ErrorLog: quiet}
	return srv.Serve(l)
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}

// failure answers with a Status, as everything on this port does.
func failure(w http.ResponseWriter, code int, reason v1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v1.Status{TypeMeta: v1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: v1.StatusFailure, Message: message, Reason: reason, Code: int32(code)})
}
