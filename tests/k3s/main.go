// Command k3s is a stand-in for K3s in Bowline's tests: real Kubernetes and
// etcd, and around them the part of K3s's contract that CONFORMANCE.md lists.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/sirupsen/logrus"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"bowline.test/k3s/internal/agent"
	"bowline.test/k3s/internal/bootstrap"
	"bowline.test/k3s/internal/logline"
	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/options"
	"bowline.test/k3s/internal/server"
	"bowline.test/k3s/internal/version"
)

// notBuilt are K3s's commands that the stand-in has not.
var notBuilt = []string{"ctr", "etcd-snapshot", "secrets-encrypt", "certificate", "check-config", "completion"}

func main() {
	// A test machine is short of processor time and not of memory.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if name := os.Getenv(node.ComponentEnv); name != "" {
		_ = os.Unsetenv(node.ComponentEnv)
		os.Exit(component(name))
	}
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if name == "kubectl" {
		os.Exit(kubectl(args))
	}
	for _, n := range notBuilt {
		if name == n {
			os.Exit(missing(n))
		}
	}
	os.Exit(dispatch(args))
}

// component is this binary as one of the Kubernetes programs that it holds.
func component(name string) int {
	switch name {
	case "kube-controller-manager":
		return cli.Run(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		return cli.Run(scheduler.NewSchedulerCommand())
	case "kubelet":
		return cli.Run(kubelet.NewKubeletCommand(context.Background()))
	}
	fmt.Fprintf(os.Stderr, "no such component: %s\n", name)
	return 1
}

// dispatch runs one of K3s's commands.
func dispatch(args []string) int {
	if len(args) == 0 {
		usage()
		return 0
	}
	switch args[0] {
	case "-h", "--help", "help":
		usage()
		return 0
	case "-v", "--version":
		fmt.Print(version.Text())
		return 0
	case "kubectl":
		os.Args = args
		return kubectl(args[1:])
	case "server":
		return run("server", "Run management server", options.ServerFlags, server.Run, args[1:])
	case "agent":
		return run("agent", "Run node agent", options.AgentFlags, agent.Run, args[1:])
	case "crictl":
		return end(node.Crictl(args[1:]))
	case "token":
		return end(bootstrap.Run(args[1:]))
	}
	for _, n := range notBuilt {
		if args[0] == n {
			return missing(n)
		}
	}
	fmt.Fprintf(os.Stderr, "No help topic for '%s' (%s)\n", args[0], version.StandIn)
	return 3
}

// run is `k3s server` or `k3s agent`.
func run(name, what string, flags []options.Flag, body func([]string) error, args []string) int {
	err := body(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf("NAME:\n   k3s %s - %s\n   %s\n\n", name, what, version.StandIn)
		options.Usage(os.Stdout, flags)
		return 0
	}
	return end(err)
}

// end says why a command failed, in K3s's fatal line.
func end(err error) int {
	if err == nil {
		return 0
	}
	logline.Setup(false)
	text := err.Error()
	if strings.HasPrefix(text, "flag provided but not defined") {
		fmt.Fprintf(os.Stderr, "Incorrect Usage: %s\n\n", text)
	}
	logrus.StandardLogger().ExitFunc = func(int) {}
	logrus.Fatal(text)
	return 1
}

// kubectl is the real one; without KUBECONFIG it takes K3s's admin file.
func kubectl(args []string) int {
	if os.Getenv("KUBECONFIG") == "" {
		if f, err := os.Open("/etc/rancher/k3s/k3s.yaml"); err == nil {
			_ = f.Close()
			_ = os.Setenv("KUBECONFIG", f.Name())
		} else if errors.Is(err, os.ErrPermission) {
			fmt.Fprintf(os.Stderr, "WARN: Unable to read %s, please start server with --write-kubeconfig-mode or --write-kubeconfig-group to modify kube config permissions\n", "/etc/rancher/k3s/k3s.yaml")
		}
	}
	os.Args = append([]string{"kubectl"}, args...)
	return cli.Run(cmd.NewDefaultKubectlCommand())
}

func missing(name string) int {
	logline.Setup(false)
	logrus.Errorf("k3s %s: not built in this stand-in (%s)", name, version.StandIn)
	return 1
}

func usage() {
	fmt.Printf(`NAME:
   k3s - Kubernetes, but small and simple
   %s

USAGE:
   k3s [global options] command [command options]

VERSION:
   %s (%s)

COMMANDS:
   server   Run management server
   agent    Run node agent
   token    Manage tokens
   kubectl  Run kubectl
   crictl   Run crictl (images, ps, rmi)
   (not built in this stand-in: %s)

GLOBAL OPTIONS:
   --help, -h     show help
   --version, -v  print the version
`, version.StandIn, version.Version, version.Commit, strings.Join(notBuilt, ", "))
}
