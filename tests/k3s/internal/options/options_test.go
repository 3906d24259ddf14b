package options

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range contents {
		f := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.yaml")
}

func none(string) string { return "" }

func TestMergeRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		args  []string
		want  []string
	}{
		{"replaced", map[string]string{"config.yaml": "node-label: [a=1, b=1]", "config.yaml.d/1.yaml": "node-label: c=1"}, nil, []string{"c=1"}},
		{"appended", map[string]string{"config.yaml": "node-label: [a=1]", "config.yaml.d/1.yaml": "node-label+: b=1", "config.yaml.d/2.yml": "node-label+: [c=1]"}, nil, []string{"a=1", "b=1", "c=1"}},
		{"replaced after appended", map[string]string{"config.yaml.d/1.yaml": "node-label+: b=1", "config.yaml.d/2.yaml": "node-label: z=1"}, nil, []string{"z=1"}},
		{"other endings unread", map[string]string{"config.yaml": "node-label: a=1", "config.yaml.d/1.conf": "node-label: b=1"}, nil, []string{"a=1"}},
		{"command line alone", map[string]string{"config.yaml": ""}, []string{"--node-label", "a=1", "-node-label=b=2"}, []string{"a=1", "b=2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := Parse(ServerFlags, append([]string{"--config=" + files(t, c.files)}, c.args...), none)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Slice("node-label"); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	f := files(t, map[string]string{"config.yaml": "node-name: file\nnode-external-ip: 1.2.3.4,5.6.7.8\ncluster-init: true\nwrite-kubeconfig-mode: \"0644\""})
	env := func(name string) string {
		return map[string]string{"K3S_NODE_NAME": "env", "K3S_TOKEN": "env", "K3S_CONFIG_FILE": f}[name]
	}
	v, err := Parse(ServerFlags, nil, env)
	if err != nil {
		t.Fatal(err)
	}
	if v.String("node-name") != "file" || v.String("token") != "env" || !v.Bool("cluster-init") || v.String("write-kubeconfig-mode") != "0644" {
		t.Errorf("%v", v.set)
	}
	if got := v.Slice("node-external-ip"); !slices.Equal(got, []string{"1.2.3.4", "5.6.7.8"}) {
		t.Errorf("%v", got)
	}
	if v, err = Parse(ServerFlags, []string{"--node-name=cli"}, env); err != nil || v.String("node-name") != "cli" {
		t.Errorf("%v %v", v, err)
	}
	if v.String("flannel-backend") != "vxlan" || v.Int("https-listen-port") != 6443 || !v.Bool("tls-san-security") {
		t.Error("defaults")
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, yaml, words string
		args              []string
	}{
		{"unknown on the command line", "", "flag provided but not defined: -nope", []string{"--nope"}},
		{"bad yaml", "a: [", "yaml", nil},
		{"a list as document", "- a", "not a mapping", nil},
		{"twice the same key", "token: a\ntoken: b", "already set", nil},
		{"nested", "kubelet-arg: {a: b}", "nested", nil},
		{"bad bool", "cluster-init: maybe", "cluster-init", nil},
		{"list in both places", "tls-san: a", "--tls-san", []string{"--tls-san=b"}},
		{"not built", "datastore-endpoint: x", "not built in this stand-in", nil},
		{"stray argument", "", "unexpected argument", []string{"server"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(ServerFlags, append([]string{"--config=" + files(t, map[string]string{"config.yaml": c.yaml})}, c.args...), none)
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %q", err, c.words)
			}
		})
	}
	if _, err := Parse(ServerFlags, []string{"--config=" + t.TempDir() + "/missing.yaml"}, none); err == nil {
		t.Error("a missing file that was asked for by name")
	}
}

func TestUnknownInFile(t *testing.T) {
	v, err := Parse(ServerFlags, []string{"--config=" + files(t, map[string]string{"config.yaml": "flux: 1\nnode-name: n"})}, none)
	if err != nil {
		t.Fatal(err)
	}
	if v.String("node-name") != "n" || len(v.Warnings) != 1 || v.Warnings[0] != "Unknown flag --flux found in config.yaml, skipping" {
		t.Errorf("%q", v.Warnings)
	}
}

// TestAgentFlags: one file may serve server and agent; the agent skips what is
// the server's.
func TestAgentFlags(t *testing.T) {
	f := files(t, map[string]string{"config.yaml": "cluster-init: true\nserver: https://10.0.1.10:6443\ntoken-file: /t\nnode-label: [a=1]", "config.yaml.d/1.yaml": "node-label+: b=1"})
	v, err := Parse(AgentFlags, []string{"--config=" + f, "-t", "x"}, none)
	if err != nil {
		t.Fatal(err)
	}
	if v.String("server") != "https://10.0.1.10:6443" || v.String("token-file") != "/t" || v.String("token") != "x" || !slices.Equal(v.Slice("node-label"), []string{"a=1", "b=1"}) {
		t.Errorf("%v", v.set)
	}
	if len(v.Warnings) != 1 || v.Warnings[0] != "Unknown flag --cluster-init found in config.yaml, skipping" {
		t.Errorf("%q", v.Warnings)
	}
	if _, err := Parse(AgentFlags, []string{"--cluster-init"}, none); err == nil {
		t.Error("a flag of the server on the agent's command line")
	}
}
