package bootstrap

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSecret(t *testing.T) {
	text, err := parse("abcdef.0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	at := metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
	want := Token{Token: text, Description: "d", Expires: &at, Usages: []string{"authentication", "signing"}, Groups: []string{Group}}
	s := want.secret()
	if s.Name != "bootstrap-token-abcdef" || s.Namespace != "kube-system" || s.Type != "bootstrap.kubernetes.io/token" || string(s.Data["auth-extra-groups"]) != Group {
		t.Errorf("%+v", s)
	}
	got, err := fromSecret(s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Token != want.Token || !got.Expires.Equal(want.Expires) || strings.Join(got.Usages, ",") != "authentication,signing" || got.Groups[0] != Group {
		t.Errorf("%+v", got)
	}
	data, err := json.Marshal(got)
	if err != nil || strings.Contains(string(data), "0123456789abcdef") {
		t.Errorf("%s %v: K3s's list does not show secrets", data, err)
	}
	forever := Token{Token: text}
	if s := forever.secret(); s.Data["expiration"] != nil {
		t.Error("a token for ever has an end")
	}
	for change, apply := range map[string]func(){
		"another name": func() { s.Name = "x" },
		"no secret":    func() { delete(s.Data, "token-secret") },
		"bad end":      func() { s.Data["expiration"] = []byte("soon") },
		"no id":        func() { delete(s.Data, "token-id") },
	} {
		s = want.secret()
		apply()
		if got, err := fromSecret(s); err == nil {
			t.Errorf("%s: %+v", change, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		args  []string
		words string
	}{
		{[]string{"make"}, "No help topic"},
		{[]string{"create", "--kubeconfig=/nonexistent", "abc"}, "was not of the form"},
		{[]string{"create", "--kubeconfig=/nonexistent", "--groups=admins"}, "bootstrap group"},
		{[]string{"create", "--kubeconfig=/nonexistent", "--usages=all"}, "invalid"},
		{[]string{"create", "--kubeconfig=/nonexistent", "--ttl=-1h"}, "in the past"},
		{[]string{"create", "abcdef.0123456789abcdef", "--ttl=1h"}, "takes flags only before"},
		{[]string{"create", "--kubeconfig=/nonexistent"}, "/nonexistent"},
		{[]string{"delete"}, "missing argument"},
		{[]string{"list", "--output=xml", "--kubeconfig=/nonexistent"}, "/nonexistent"},
	} {
		if err := Run(c.args); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v: %v, want %q", c.args, err, c.words)
		}
	}
	if err := Run([]string{"generate"}); err != nil {
		t.Error(err)
	}
}
