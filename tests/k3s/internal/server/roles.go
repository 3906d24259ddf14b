package server

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// The groups that the supervisor's routes ask for.
var (
	agentRole  = []string{"k3s:agent", user.NodesGroup, "system:bootstrappers"}
	nodeRole   = []string{user.NodesGroup}
	serverRole = []string{"k3s:server"}
)

// Agents' requests in flight, K3s's limits: more are answered with 429.
const maxReads, maxWrites = 20, 10

// caller is who asks: by password, else by what the API server's own
// authenticators say (client certificates, bootstrap tokens). A wrong password
// does not spoil a good certificate. An error means bad credentials, nil none.
func (v *supervisor) caller(r *http.Request) (user.Info, error) {
	var bad error
	if name, password, ok := r.BasicAuth(); ok {
		for _, a := range *v.accounts.Load() {
			if a.name == name && subtle.ConstantTimeCompare([]byte(a.password), []byte(password)) == 1 {
				return &user.DefaultInfo{Name: a.name, Groups: []string{a.group, user.AllAuthenticated}}, nil
			}
		}
		bad = errors.New("invalid username/password combination")
	}
	api := v.api.Load()
	if api == nil {
		if bad == nil {
			bad = errors.New("authenticator not initialized")
		}
		return nil, bad
	}
	answer, ok, err := api.auth.AuthenticateRequest(r)
	if ok {
		return answer.User, nil
	}
	return nil, errors.Join(bad, err)
}

// role lets only callers of one of the groups through: 401 for bad
// credentials, 403 for none and for those of another role.
func (v *supervisor) role(w http.ResponseWriter, r *http.Request, groups []string) user.Info {
	who, err := v.caller(r)
	if err != nil {
		logrus.Errorf("Failed to authenticate request from %s: %v", r.RemoteAddr, err)
		failure(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "not authorized")
		return nil
	}
	if who == nil || !slices.ContainsFunc(who.GetGroups(), func(g string) bool { return slices.Contains(groups, g) }) {
		failure(w, http.StatusForbidden, metav1.StatusReasonForbidden, "forbidden")
		return nil
	}
	return who
}

// flight counts requests that are being answered.
type flight struct{ reads, writes chan struct{} }

func newFlight() flight {
	return flight{reads: make(chan struct{}, maxReads), writes: make(chan struct{}, maxWrites)}
}

// enter takes a place, or says that there is none.
func (f flight) enter(method string) (leave func(), ok bool) {
	places := f.writes
	if method == http.MethodGet || method == http.MethodHead {
		places = f.reads
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	default:
		return nil, false
	}
}
