package node

import (
	"slices"
	"strings"
)

// Arguments merges `name=value` extras over defaults and gives sorted flags.
// A name without a value means true, as in K3s.
func Arguments(defaults map[string]string, extra []string) []string {
	merged := map[string][]string{}
	for k, v := range defaults {
		merged[k] = []string{v}
	}
	given := map[string]bool{}
	for _, e := range extra {
		name, value, found := strings.Cut(strings.TrimLeft(e, "-"), "=")
		if !found {
			value = "true"
		}
		if !given[name] {
			merged[name] = nil
		}
		given[name] = true
		merged[name] = append(merged[name], value)
	}
	var out []string
	for name, values := range merged {
		for _, v := range values {
			out = append(out, "--"+name+"="+v)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int {
		x, _, _ := strings.Cut(a, "=")
		y, _, _ := strings.Cut(b, "=")
		return strings.Compare(x, y)
	})
	return out
}
