package server

import (
	"net"
	"strings"
	"testing"

	"bowline.test/k3s/internal/options"
	"bowline.test/k3s/internal/token"
)

func TestNodePasswordHash(t *testing.T) {
	stored, err := hashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$1:") || !strings.Contains(stored, ":15:8:1:") {
		t.Error(stored)
	}
	if err := checkPassword(stored, "secret"); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]string{{stored, "other"}, {"", "secret"}, {"$1:00:15:8:1", "secret"}, {"$1:00:99:8:1:AAAA", "secret"}, {"$1:zz:15:8:1:AAAA", "secret"}, {"$1:00:15:8:1:", "secret"}} {
		if checkPassword(c[0], c[1]) == nil {
			t.Errorf("%q matched", c[0])
		}
	}
}

func TestPassword(t *testing.T) {
	hash := strings.Repeat("0", 64)
	full := token.Format(hash, "server", "pw")
	for _, c := range []struct {
		name, setting, known string
		custom               bool
		want, words          string
	}{
		{"short", "pw", "", false, "pw", ""},
		{"kept", "", "pw", false, "pw", ""},
		{"the same again", "pw", "pw", false, "pw", ""},
		{"full at a later start", full, "pw", false, "pw", ""},
		{"full with own CA", full, "", true, "pw", ""},
		{"full at the first start", full, "", false, "", "short form"},
		{"wrong hash", token.Format(strings.Repeat("1", 64), "server", "pw"), "", true, "", "does not match"},
		{"changed", "other", "pw", false, "", "different token"},
		{"bootstrap token", "K10" + hash + "::abcdef.0123456789abcdef", "", true, "", "must be in format"},
	} {
		got, err := (&Settings{}).password(c.setting, "server", hash, c.known, c.custom)
		if got != c.want || (err == nil) != (c.words == "") || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
	if got, err := (&Settings{}).password("", "server", hash, "", false); err != nil || len(got) != 32 {
		t.Errorf("%q %v", got, err)
	}
}

func TestNth(t *testing.T) {
	_, n, err := net.ParseCIDR("10.43.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	if nth(n, 1).String() != "10.43.0.1" || nth(n, 10).String() != "10.43.0.10" || n.IP.String() != "10.43.0.0" {
		t.Error(nth(n, 1), nth(n, 10), n)
	}
}

// parsed are the values of `k3s server ARGS` without files.
func parsed(t *testing.T, args ...string) *options.Values {
	t.Helper()
	t.Setenv("K3S_CONFIG_FILE", "")
	v, err := options.Parse(options.ServerFlags, args, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return v
}
