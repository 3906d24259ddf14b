package server

import (
	"net/http"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serverBootstrap hands all keys of the cluster to a joining server.
func (v *supervisor) serverBootstrap(w http.ResponseWriter, r *http.Request) {
	if !v.settings.ClusterInit {
		logrus.Warnf("Received HTTP bootstrap request from %s, but embedded etcd is not enabled.", r.RemoteAddr)
		failure(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "etcd disabled")
		return
	}
	plain(w, http.StatusNotImplemented, "not built in this stand-in: "+r.URL.Path)
}
