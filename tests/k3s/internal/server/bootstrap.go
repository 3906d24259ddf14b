package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bowline.test/k3s/internal/access"
	"bowline.test/k3s/internal/pki"
)

// bootstrapFiles are what makes a server one of its cluster, by K3s's names:
// all keys of all authorities, the passwords, the key of the Secrets.
func (s *Settings) bootstrapFiles() map[string]string {
	return map[string]string{
		"ServerCA": s.tls("server-ca.crt"), "ServerCAKey": s.tls("server-ca.key"),
		"ClientCA": s.tls("client-ca.crt"), "ClientCAKey": s.tls("client-ca.key"),
		"RequestHeaderCA": s.tls("request-header-ca.crt"), "RequestHeaderCAKey": s.tls("request-header-ca.key"),
		"ETCDServerCA": s.tls("etcd", "server-ca.crt"), "ETCDServerCAKey": s.tls("etcd", "server-ca.key"),
		"ETCDPeerCA": s.tls("etcd", "peer-ca.crt"), "ETCDPeerCAKey": s.tls("etcd", "peer-ca.key"),
		"ServiceKey": s.tls("service.key"), "PasswdFile": s.server("cred", "passwd"), "EncryptionConfig": s.server("cred", "encryption-config.json"),
	}
}

// bootstrapFile is one of them in the answer of /v1-k3s/server-bootstrap.
type bootstrapFile struct {
	Timestamp time.Time
	Content   []byte
}

// serverBootstrap hands all keys of the cluster to a joining server.
func (v *supervisor) serverBootstrap(w http.ResponseWriter, r *http.Request) {
	if !v.settings.Etcd {
		logrus.Warnf("Received HTTP bootstrap request from %s, but embedded etcd is not enabled.", r.RemoteAddr)
		failure(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "etcd disabled")
		return
	}
	files := map[string]bootstrapFile{}
	for name, path := range v.settings.bootstrapFiles() {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && name == "EncryptionConfig" {
			continue
		}
		fi, statErr := os.Stat(path)
		if err = errors.Join(err, statErr); err != nil {
			failure(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
			return
		}
		files[name] = bootstrapFile{fi.ModTime(), data}
	}
	answer(w, files)
}

// fetchCluster makes this machine a server of the cluster at --server, unless
// its etcd belongs to one already: keys and passwords come from there, after
// the token was checked and the settings were compared.
func (s *Settings) fetchCluster(ctx context.Context) (*access.Info, error) {
	switch {
	case !s.Etcd:
		return nil, nil
	case s.initialized():
		logrus.Info("Managed etcd cluster bootstrap already complete and initialized")
		if s.JoinURL == "" || s.Token == "" {
			return nil, nil
		}
		info, err := access.Validate(ctx, s.JoinURL, s.Token, access.WithUser("server"))
		if err != nil {
			logrus.Warnf("Unable to reconcile with remote datastore: %v", err)
			return nil, nil //nolint:nilerr // a server starts without the others
		}
		return info, nil
	case s.JoinURL == "":
		logrus.Info("Managed etcd cluster initializing")
		return nil, nil
	case s.Token == "":
		return nil, errors.New("K3S_TOKEN is required to join a cluster")
	}
	info, err := access.Validate(ctx, s.JoinURL, s.Token, access.WithUser("server"))
	if err != nil {
		return nil, err
	}
	logrus.Info("Managed etcd cluster not yet initialized")
	if err := s.compare(ctx); err != nil {
		return nil, fmt.Errorf("failed to bootstrap cluster data: failed to validate server configuration: %w", err)
	}
	data, err := info.Get(ctx, "/v1-k3s/server-bootstrap")
	if err != nil {
		return nil, fmt.Errorf("failed to bootstrap cluster data: %w", err)
	}
	files := map[string]bootstrapFile{}
	if err := json.Unmarshal(data, &files); err != nil {
		return nil, fmt.Errorf("failed to bootstrap cluster data: %w", err)
	}
	if err := s.reconcile(files); err != nil {
		return nil, err
	}
	return info, nil
}

// systemTimeSkew is by how many seconds a file is newer only for K3s's clocks.
const systemTimeSkew = 3

// reconcile writes the cluster's files, as K3s's ReconcileBootstrapData: over
// those that are there only where none of these is newer. At one that is, K3s
// ends at once; here that is an error, and so the same line with more before it.
func (s *Settings) reconcile(files map[string]bootstrapFile) error {
	whole := s.certDirsExist()
	update, newer := !whole, []string(nil)
	paths := s.bootstrapFiles()
	for name, path := range paths {
		f, there := files[name]
		switch {
		case !there && name == "EncryptionConfig":
			delete(paths, name)
			continue
		case len(f.Content) == 0:
			return fmt.Errorf("failed to bootstrap cluster data: the other server gave no %s", name)
		case !whole:
			continue
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			logrus.Warn(path + " doesn't exist. continuing...")
			update = true
			continue
		}
		fi, statErr := os.Stat(path)
		if err = errors.Join(err, statErr); err != nil {
			return fmt.Errorf("failed to bootstrap cluster data: failed to get update status of %s: %w", name, err)
		}
		if bytes.Equal(data, f.Content) {
			continue
		}
		update = true
		if fi.ModTime().Unix()-f.Timestamp.Unix() >= systemTimeSkew {
			newer = append(newer, path)
		} else {
			logrus.Warn(path + " will be updated from the datastore.")
		}
	}
	if len(newer) > 0 {
		return errors.New(strings.Join(newer, ", ") + " newer than datastore and could cause a cluster outage. Remove the file(s) from disk and restart to be recreated from datastore.")
	}
	if !update {
		return nil
	}
	for name, path := range paths {
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(path, ".crt") {
			mode = 0o644
		}
		if err := pki.Write(path, files[name].Content, mode); err != nil {
			return err
		}
	}
	return nil
}

// certDirsExist says whether there is anything that the cluster's files could
// differ from.
func (s *Settings) certDirsExist() bool {
	for _, dir := range []string{s.server("cred"), s.tls(), s.tls("etcd")} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
			return false
		}
	}
	return true
}

// compare refuses to join with settings that all servers must share.
func (s *Settings) compare(ctx context.Context) error {
	text := s.AgentToken
	if text == "" {
		text = s.Token
	}
	info, err := access.Validate(ctx, s.JoinURL, text, access.WithUser("node"))
	if err != nil {
		return err
	}
	data, err := info.Get(ctx, "/v1-k3s/config")
	if err != nil {
		return err
	}
	var theirs access.Config
	if err := json.Unmarshal(data, &theirs); err != nil {
		return err
	}
	different := s.config().Differences(theirs)
	for _, name := range different {
		logrus.Warnf("critical configuration mismatched: %s", name)
	}
	if len(different) > 0 {
		return errors.New("critical configuration value mismatch between servers")
	}
	return nil
}
