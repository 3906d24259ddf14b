package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clean stops the unit and takes away what K3s leaves behind: shims by their
// pids, mounts, interfaces, files. Volumes' mount points stay.
func clean() {
	_ = exec.Command("systemctl", "stop", unit).Run()
	_ = exec.Command("systemctl", "reset-failed", unit).Run()
	for _, pid := range shims() {
		kids, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for _, k := range strings.Fields(string(kids)) {
			if n, err := strconv.Atoi(k); err == nil {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	}
	time.Sleep(100 * time.Millisecond)
	for _, m := range mounts("/run/k3s/", "/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/", "/run/netns/cni-") {
		_ = syscall.Unmount(m, syscall.MNT_DETACH)
		if strings.HasPrefix(m, "/run/netns/cni-") {
			_ = os.Remove(m)
		}
	}
	_ = exec.Command("ip", "link", "delete", "cni0").Run()
	_ = exec.Command("ip", "link", "delete", boxBridge).Run()
	for _, d := range []string{dataDir, "/var/lib/kubelet", "/run/k3s", "/var/lib/cni", configDir, nodeDir} {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			_ = os.RemoveAll(filepath.Join(d, e.Name()))
		}
		_ = os.Remove(d)
	}
}

// shims are the processes of containerd-shim that belong to K3s's containerd.
func shims() []int {
	var out []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(string(args), "containerd-shim") && strings.Contains(string(args), "/run/k3s/containerd") {
			out = append(out, pid)
		}
	}
	return out
}

// mounts lists mount points below the prefixes, deepest first.
func mounts(prefixes ...string) []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var out []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 4 && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(f[4], p) }) {
			out = append(out, f[4])
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// processes lists pids whose executable's name or command line has the text.
func processes(text string) []int {
	var out []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(strings.ReplaceAll(string(args), "\x00", " "), text) {
			out = append(out, pid)
		}
	}
	return out
}
