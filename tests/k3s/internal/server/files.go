package server

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/pki"
	"bowline.test/k3s/internal/token"
)

// tree makes the folders with K3s's modes.
func (s *Settings) tree() error {
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{s.DataDir, 0o755}, {s.server(), 0o700}, {s.server("tls", "etcd"), 0o755}, {s.server("tls", "temporary-certs"), 0o755},
		{s.server("cred"), 0o700}, {s.server("db"), 0o700}, {s.server("manifests"), 0o700}, {s.server("etc"), 0o700},
		{s.Agent(), 0o755}, {s.Agent("etc", "containerd"), 0o755}, {s.Agent("etc", "cni", "net.d"), 0o755}, {s.Agent("etc", "kubelet.conf.d"), 0o700},
		{s.Agent("containerd"), 0o755}, {s.Agent("images"), 0o755}, {filepath.Dir(s.Kubeconfig), 0o755}, {node.Dir, 0o755},
	} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return err
		}
	}
	return os.Chmod(s.server(), 0o700)
}

func (s *Settings) server(parts ...string) string {
	return filepath.Join(append([]string{s.DataDir, "server"}, parts...)...)
}

func (s *Settings) tls(parts ...string) string {
	return s.server(append([]string{"tls"}, parts...)...)
}

// account is one line of server/cred/passwd.
type account struct{ name, password, group string }

// tokens settles the passwords and writes the token files. body is the CA file.
func (s *Settings) writeTokens(body []byte, customCA bool) ([]account, error) {
	hash, err := token.CAHash(body)
	if err != nil {
		return nil, err
	}
	known, err := readPasswd(s.server("cred", "passwd"))
	if err != nil {
		return nil, err
	}
	server, err := s.password(s.Token, "server", hash, known["server"], customCA)
	if err != nil {
		return nil, err
	}
	agent := server
	if s.AgentToken != "" {
		if agent, err = s.password(s.AgentToken, "node", hash, "", customCA); err != nil {
			return nil, err
		}
	}
	accounts := []account{{"node", agent, "k3s:agent"}, {"server", server, "k3s:server"}}
	if err := writePasswd(s.server("cred", "passwd"), accounts); err != nil {
		return nil, err
	}
	if err := pki.Write(s.server("token"), []byte(token.Format(hash, "server", server)+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := node.Link(s.server("token"), s.server("node-token")); err != nil {
		return nil, err
	}
	if s.AgentToken == "" {
		return accounts, node.Link(s.server("token"), s.server("agent-token"))
	}
	if fi, err := os.Lstat(s.server("agent-token")); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(s.server("agent-token")); err != nil {
			return nil, err
		}
	}
	return accounts, pki.Write(s.server("agent-token"), []byte(token.Format(hash, "node", agent)+"\n"), 0o600)
}

// password gives the password that a setting means. A first server takes the
// full form only with an authority that was there before it.
func (s *Settings) password(setting, user, hash, known string, customCA bool) (string, error) {
	if setting == "" {
		if known != "" {
			return known, nil
		}
		return token.Random(), nil
	}
	password := setting
	if strings.HasPrefix(setting, "K10") {
		t, err := token.Parse(setting, user)
		switch {
		case err != nil:
			return "", fmt.Errorf("failed to normalize %s token: %w", user, err)
		case t.Password == "":
			return "", fmt.Errorf("failed to normalize %s token: must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>", user)
		case !customCA && known == "":
			return "", fmt.Errorf("failed to normalize %s token: the first server takes only the short form, there is no CA yet that the hash could mean", user)
		case t.Hash != "" && t.Hash != hash:
			return "", fmt.Errorf("failed to normalize %s token: token CA hash does not match the Cluster CA certificate hash: %s != %s", user, t.Hash, hash)
		}
		password = t.Password
	}
	if known != "" && known != password {
		return "", errors.New("bootstrap data already found and encrypted with different token (stand-in: the datastore was made with another token)")
	}
	return password, nil
}

func readPasswd(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, r := range rows {
		if len(r) < 2 {
			return nil, fmt.Errorf("%s: a line has fewer than two fields", file)
		}
		out[r[1]] = r[0]
	}
	return out, nil
}

func writePasswd(file string, accounts []account) error {
	var b strings.Builder
	w := csv.NewWriter(&b)
	for _, a := range accounts {
		if err := w.Write([]string{a.password, a.name, a.name, a.group}); err != nil {
			return err
		}
	}
	w.Flush()
	return pki.Write(file, []byte(b.String()), 0o600)
}
