package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bowline.test/k3s/internal/pki"
	"bowline.test/k3s/internal/token"
)

// rotate is PUT /v1-k3s/token: another server token, and with it the agents'
// where they share it. Other servers and agents are told by people.
func (v *supervisor) rotate(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		failure(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "method not allowed")
		return
	}
	var body struct {
		NewToken *string `json:"newToken"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.NewToken == nil {
		failure(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "the body is not {\"newToken\": text}")
		return
	}
	if err := v.setToken(*body.NewToken); err != nil {
		logrus.Errorf("token: %v", err)
		failure(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
	}
}

func (v *supervisor) setToken(password string) error {
	if password == "" {
		password = token.Random()
	}
	if strings.HasPrefix(password, "K10") {
		return errors.New("stand-in: the new token must be of the short form")
	}
	s, old := v.settings, *v.accounts.Load()
	accounts := append([]account(nil), old...)
	for n, a := range old {
		if a.name == "server" || (s.AgentToken == "" && a.name == "node") {
			accounts[n].password = password
		}
	}
	hash, err := token.CAHash(v.ca.server.PEM)
	if err != nil {
		return err
	}
	if err := writePasswd(s.server("cred", "passwd"), accounts); err != nil {
		return err
	}
	if err := pki.Write(s.server("token"), []byte(token.Format(hash, "server", password)+"\n"), 0o600); err != nil {
		return err
	}
	v.accounts.Store(&accounts)
	return nil
}
