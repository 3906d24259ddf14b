// Package conformance holds the tests behind CONFORMANCE.md. They run as root
// inside a booted machine of their own, against K3S=/path/to/k3s: the stand-in
// or the real one. They start servers as transient units, and take away again
// all that these leave behind; a machine with a K3s on it is refused.
package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	dataDir    = "/var/lib/rancher/k3s"
	configDir  = "/etc/rancher/k3s"
	nodeDir    = "/etc/rancher/node"
	unit       = "k3s-conformance.service"
	readyIn    = 300 * time.Second
	selfImage  = "docker.io/conformance/self:1"
	pauseImage = "docker.io/conformance/pause:1"
)

var k3s = "/usr/local/bin/k3s"

// TestMain is also the program inside the test's pods.
func TestMain(m *testing.M) {
	switch os.Getenv("CONFORMANCE_ROLE") {
	case "sleep":
		if len(os.Args) > 1 && os.Args[1] == "echo" {
			fmt.Println("echo from the pod")
			return
		}
		fmt.Println("hello from the pod")
		time.Sleep(time.Hour)
		return
	}
	if p := os.Getenv("K3S"); p != "" {
		k3s = p
	}
	if err := fit(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	out, err := exec.Command(k3s, "--version").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance: k3s --version:", err)
		os.Exit(2)
	}
	fmt.Printf("conformance: %s: %s\n", k3s, strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; "))
	code := m.Run()
	clean()
	os.Exit(code)
}

// fit says what keeps the tests from running on this machine.
func fit() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("run as root inside a machine of the testbed")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return fmt.Errorf("systemd is not PID 1 here")
	}
	for _, d := range []string{filepath.Join(dataDir, "server"), configDir} {
		if _, err := os.Stat(d); err == nil {
			return fmt.Errorf("%s exists: this machine has a K3s, and the tests would delete it", d)
		}
	}
	return nil
}

// service is one `k3s server` or `k3s agent` in a transient unit like K3s's own.
type service struct {
	t       *testing.T
	unit    string
	command string
	// properties are further ones of the unit.
	properties []string
	args       []string
	since      time.Time
}

// start runs `k3s server ARGS` and returns when systemd has READY=1.
func start(t *testing.T, args ...string) *service {
	t.Helper()
	s := &service{t: t, unit: unit, command: "server", args: args}
	t.Cleanup(clean)
	s.again()
	return s
}

// again starts the same command once more, on what is there.
func (s *service) again() {
	s.t.Helper()
	if out, err := s.run(); err != nil {
		s.t.Fatalf("k3s %s %v did not become ready: %v\n%s\n%s", s.command, s.args, err, out, tail(s.log(), 30))
	}
}

// blocked starts it and does not wait: its start is not going to end.
func (s *service) blocked() {
	s.t.Helper()
	if out, err := s.run("--no-block"); err != nil {
		s.t.Fatalf("%v %s", err, out)
	}
}

func (s *service) run(options ...string) ([]byte, error) {
	s.t.Helper()
	s.since = time.Now()
	eventually(s.t, 120*time.Second, "the end of the unit before", func() (string, bool) {
		_ = exec.Command("systemctl", "reset-failed", s.unit).Run()
		out, _ := exec.Command("systemctl", "show", "-P", "LoadState", s.unit).Output()
		state := strings.TrimSpace(string(out))
		return state, state == "not-found"
	})
	args := append([]string{"--quiet", "--unit=" + s.unit, "--service-type=notify", "-pKillMode=process", "-pDelegate=yes", "-pLimitNOFILE=1048576",
		"-pTasksMax=infinity", "-pTimeoutStartSec=90", "-pStandardError=journal"}, options...)
	for _, p := range s.properties {
		args = append(args, "-p"+p)
	}
	return exec.Command("systemd-run", append(append(args, "--", k3s, s.command), s.args...)...).CombinedOutput()
}

// state is systemd's word for it.
func (s *service) state() string {
	out, _ := exec.Command("systemctl", "show", "-P", "ActiveState", s.unit).Output()
	return strings.TrimSpace(string(out))
}

// stop ends it with SIGTERM and says how long that took.
func (s *service) stop() time.Duration {
	s.t.Helper()
	began := time.Now()
	if out, err := exec.Command("systemctl", "stop", s.unit).CombinedOutput(); err != nil {
		s.t.Fatalf("stop: %v %s", err, out)
	}
	return time.Since(began)
}

// log is what it wrote since its last start.
func (s *service) log() string {
	out, _ := exec.Command("journalctl", "-u", s.unit, "-o", "cat", "--no-pager", fmt.Sprintf("--since=@%d", s.since.Unix())).CombinedOutput()
	return string(out)
}

// says waits for words in its log.
func (s *service) says(words string) {
	s.t.Helper()
	eventually(s.t, readyIn, fmt.Sprintf("%q in the log of %s", words, s.unit), func() (string, bool) {
		log := s.log()
		return tail(log, 5), strings.Contains(log, words)
	})
}

// kubectl runs `k3s kubectl` and wants it to succeed.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryKubectl(args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryKubectl(args ...string) (string, error) {
	out, err := exec.Command(k3s, append([]string{"kubectl"}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// eventually repeats a look until it is satisfied.
func eventually(t *testing.T, within time.Duration, what string, look func() (string, bool)) {
	t.Helper()
	last := ""
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var ok bool
		if last, ok = look(); ok {
			return
		}
	}
	t.Fatalf("%s: not within %s; last: %s", what, within, last)
}

// nodeIs waits until a jsonpath of the node gives a text.
func nodeIs(t *testing.T, node, path, want string) {
	t.Helper()
	eventually(t, readyIn, node+" "+path+" = "+want, func() (string, bool) {
		got, err := tryKubectl("get", "node", node, "-o", "jsonpath="+path)
		return got, err == nil && got == want
	})
}

const readyPath = `{.status.conditions[?(@.type=="Ready")].status}`

// write puts a file, with its folders.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func hostname(t *testing.T) string {
	t.Helper()
	h, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(h)
}

func tail(text string, lines int) string {
	l := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(l[max(0, len(l)-lines):], "\n")
}

func isStandIn(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command(k3s, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), "stand-in")
}
