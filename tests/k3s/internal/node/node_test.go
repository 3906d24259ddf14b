package node

import (
	"errors"
	"slices"
	"testing"
)

func TestArguments(t *testing.T) {
	got := Arguments(map[string]string{"b": "1", "a": "1"}, []string{"b=2", "c", "--d=x=y", "e=1", "e=2"})
	if want := []string{"--a=1", "--b=2", "--c=true", "--d=x=y", "--e=1", "--e=2"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestExitError(t *testing.T) {
	failed := errors.New("exit status 1")
	for entry, want := range map[string]string{
		"E1121 08:10:12.5  1 run.go:72] \"command failed\" err=\"failed to \\\"x\\\"\"\n":    `kubelet exited: failed to "x"`,
		"E1121 08:10:12.5  1 run.go:72] \"command failed\" err=<\n\tone: [a]\n\t--two\n >\n": "kubelet exited: one: [a] --two",
		"Killed\n": "kubelet exited: exit status 1: Killed",
		"":         "kubelet exited: exit status 1: ",
	} {
		if got := exitError("kubelet", failed, entry).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
