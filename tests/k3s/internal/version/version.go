// Package version holds what this stand-in says about itself.
package version

import (
	"fmt"
	"runtime"
)

// Version and Commit are stamped by build.sh.
var (
	Version = "v0.0.0+k3s0"
	Commit  = "00000000"
)

// StandIn is the sentence that every surface of the binary repeats, so that
// nobody takes it for K3s itself.
const StandIn = "stand-in for tests: this is not K3s but Bowline's test double of it (real Kubernetes and etcd inside, K3s's contract around them)"

// Text is the output of `k3s --version`: K3s's two lines, then the stand-in's.
func Text() string {
	return fmt.Sprintf("k3s version %s (%s)\ngo version %s\n%s\n", Version, Commit, runtime.Version(), StandIn)
}
