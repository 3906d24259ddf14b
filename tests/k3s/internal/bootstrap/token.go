// Package bootstrap is `k3s token`: the bootstrap tokens by which agents join.
// They are bound to no name: whoever holds one may ask for the certificate of
// any node whose password nobody has set yet.
package bootstrap

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/util"
)

// Group is K3s's default for tokens of agents.
const Group = "system:bootstrappers:k3s:default-node-token"

// Token is one bootstrap token. Its text is not part of K3s's JSON.
type Token struct {
	Token       Text         `json:"token"`
	Description string       `json:"description,omitempty"`
	Expires     *metav1.Time `json:"expires,omitempty"`
	Usages      []string     `json:"usages,omitempty"`
	Groups      []string     `json:"groups,omitempty"`
}

// Text is `id.secret`.
type Text struct {
	ID     string `json:"-"`
	Secret string `json:"-"`
}

func (t Text) String() string { return util.TokenFromIDAndSecret(t.ID, t.Secret) }

// parse reads `id.secret`.
func parse(text string) (Text, error) {
	m := util.BootstrapTokenRegexp.FindStringSubmatch(text)
	if len(m) != 3 {
		return Text{}, fmt.Errorf("the bootstrap token %q was not of the form %q", text, api.BootstrapTokenPattern)
	}
	return Text{m[1], m[2]}, nil
}

// check refuses what the API server's authenticator would not take.
func (t Token) check() error {
	for _, g := range t.Groups {
		if err := util.ValidateBootstrapGroupName(g); err != nil {
			return err
		}
	}
	return util.ValidateUsages(t.Usages)
}

// secret is how the token is stored.
func (t Token) secret() *corev1.Secret {
	data := map[string][]byte{api.BootstrapTokenIDKey: []byte(t.Token.ID), api.BootstrapTokenSecretKey: []byte(t.Token.Secret)}
	if t.Description != "" {
		data[api.BootstrapTokenDescriptionKey] = []byte(t.Description)
	}
	if t.Expires != nil {
		data[api.BootstrapTokenExpirationKey] = []byte(t.Expires.UTC().Format(time.RFC3339))
	}
	for _, u := range t.Usages {
		data[api.BootstrapTokenUsagePrefix+u] = []byte("true")
	}
	if len(t.Groups) > 0 {
		data[api.BootstrapTokenExtraGroupsKey] = []byte(strings.Join(t.Groups, ","))
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: util.BootstrapTokenSecretName(t.Token.ID), Namespace: metav1.NamespaceSystem},
		Type: api.SecretTypeBootstrapToken, Data: data}
}

// fromSecret reads a stored token.
func fromSecret(s *corev1.Secret) (Token, error) {
	id := string(s.Data[api.BootstrapTokenIDKey])
	if id == "" {
		return Token{}, fmt.Errorf("bootstrap Token Secret has no token-id data: %s", s.Name)
	}
	if s.Name != util.BootstrapTokenSecretName(id) {
		return Token{}, fmt.Errorf("bootstrap token name is not of the form '%s(token-id)'. Actual: %q", api.BootstrapTokenSecretPrefix, s.Name)
	}
	text, err := parse(id + "." + string(s.Data[api.BootstrapTokenSecretKey]))
	if err != nil {
		return Token{}, errors.New("bootstrap Token Secret is invalid and couldn't be parsed: " + s.Name)
	}
	t := Token{Token: text, Description: string(s.Data[api.BootstrapTokenDescriptionKey])}
	if e := string(s.Data[api.BootstrapTokenExpirationKey]); e != "" {
		at, err := time.Parse(time.RFC3339, e)
		if err != nil {
			return Token{}, fmt.Errorf("can't parse expiration time of bootstrap token %q: %w", s.Name, err)
		}
		t.Expires = &metav1.Time{Time: at}
	}
	for k, v := range s.Data {
		if u, ok := strings.CutPrefix(k, api.BootstrapTokenUsagePrefix); ok && string(v) == "true" {
			t.Usages = append(t.Usages, u)
		}
	}
	sort.Strings(t.Usages)
	if g := string(s.Data[api.BootstrapTokenExtraGroupsKey]); g != "" {
		t.Groups = strings.Split(g, ",")
	}
	return t, nil
}
