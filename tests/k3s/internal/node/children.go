package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Child is a process that lives and dies with this one: its parent death
// signal is SIGKILL, and its end is this process's end.
type Child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	last string
	err  error
}

// Spawner starts all children from one locked thread that never ends, since
// the parent death signal follows the thread that forked.
type Spawner struct {
	requests chan func()
	mu       sync.Mutex
	children []*Child
	// Failed gets the first unexpected end of a child.
	Failed chan error
}

func NewSpawner() *Spawner {
	s := &Spawner{requests: make(chan func()), Failed: make(chan error, 16)}
	go func() {
		runtime.LockOSThread()
		for f := range s.requests {
			f()
		}
	}()
	return s
}

// Component runs one of the components of this binary in a process of its own.
func (s *Spawner) Component(name string, args []string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Args = append([]string{name}, args...)
	cmd.Env = append(os.Environ(), ComponentEnv+"="+name)
	return s.Start(name, cmd, os.Stderr)
}

// ComponentEnv tells a copy of this binary which component to be.
const ComponentEnv = "K3S_STAND_IN_COMPONENT"

// Start runs a command, copies its output and remembers its last log entry.
func (s *Spawner) Start(name string, cmd *exec.Cmd, out io.Writer) (*Child, error) {
	c := &Child{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Env = withoutNotify(cmd.Env)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	started := make(chan error)
	s.requests <- func() { started <- cmd.Start() }
	err = <-started
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		lines := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := lines.ReadString('\n')
			if strings.TrimSpace(line) != "" {
				_, _ = io.WriteString(out, line)
				c.mu.Lock()
				if logHeader.MatchString(line) {
					c.last = ""
				}
				c.last += line
				c.mu.Unlock()
			}
			if err != nil {
				return
			}
		}
	}()
	s.mu.Lock()
	s.children = append(s.children, c)
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		select {
		case <-copied:
		case <-time.After(time.Second):
		}
		c.mu.Lock()
		c.err = exitError(name, OrSuccess(err), c.last)
		c.mu.Unlock()
		close(c.done)
		s.Failed <- c.err
	}()
	return c, nil
}

// logHeader begins a klog entry, which may go on over several lines.
var logHeader = regexp.MustCompile(`^[IWEF]\d{4} `)

// exitError is K3s's sentence: the component's own error where it gave one.
func exitError(name string, err error, entry string) error {
	_, text, found := strings.Cut(entry, `"command failed" err=`)
	text = strings.TrimSpace(text)
	if !found || text == "" {
		return fmt.Errorf("%s exited: %w: %s", name, err, strings.TrimSpace(entry))
	}
	if strings.HasPrefix(text, "<") {
		text = strings.Join(strings.Fields(strings.Trim(text, "<>\n")), " ")
	} else if plain, err := strconv.Unquote(text); err == nil {
		text = plain
	}
	return fmt.Errorf("%s exited: %s", name, text)
}

func OrSuccess(err error) error {
	if err == nil {
		return fmt.Errorf("exit status 0")
	}
	return err
}

// withoutNotify keeps children from speaking to systemd in this one's name.
func withoutNotify(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "NOTIFY_SOCKET=") && !strings.HasPrefix(e, "WATCHDOG_") {
			out = append(out, e)
		}
	}
	return out
}

// Stop ends all children, politely first, newest first; containers go on.
func (s *Spawner) Stop(ctx context.Context) {
	s.mu.Lock()
	all := append([]*Child(nil), s.children...)
	s.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		_ = all[i].cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, c := range all {
		select {
		case <-c.done:
		case <-ctx.Done():
			_ = c.cmd.Process.Kill()
		}
	}
}
