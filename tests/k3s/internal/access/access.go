// Package access is the client side of K3s's supervisor: how a token is
// checked against a server before its credentials are sent there, and the
// requests that agents and joining servers make.
package access

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bowline.test/k3s/internal/token"
)

// timeout bounds every single request.
const timeout = 10 * time.Second

// Info is a server whose certificate was checked, and who asks it.
type Info struct {
	BaseURL string
	// CACerts is the server's bundle; empty when the machine's own trust store
	// knew the certificate.
	CACerts []byte
	Token   token.Token
	// CertFile and KeyFile are offered as a client certificate where they load.
	CertFile, KeyFile string
}

// Option changes an Info before its server is asked.
type Option func(*Info)

// WithUser replaces the token's user.
func WithUser(name string) Option { return func(i *Info) { i.Token.User = name } }

// WithClientCertificate offers a certificate as well.
func WithClientCertificate(crt, key string) Option {
	return func(i *Info) { i.CertFile, i.KeyFile = crt, key }
}

// Validate reads a token and checks the server against it by K3s's algorithm.
// Without a token the client certificate has to do, and nothing pins the CA.
func Validate(ctx context.Context, server, text string, options ...Option) (*Info, error) {
	i := &Info{}
	for _, o := range options {
		o(i)
	}
	user := i.Token.User
	if _, err := i.certificate(); text != "" || err != nil {
		if i.Token, err = token.Parse(text, user); err != nil {
			return nil, err
		}
		if i.Token.ID == "" && user != "" {
			i.Token.User = user
		}
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("Invalid server url, failed to parse: %s: %w", server, err)
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("only https:// URLs are supported, invalid scheme: %s", server)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	i.BaseURL = u.String()
	if err := i.fetchCA(ctx, *u); err != nil {
		return nil, err
	}
	return i, i.checkHash()
}

// fetchCA gets the bundle: with the machine's trust, then with none, then with
// that bundle alone.
func (i *Info) fetchCA(ctx context.Context, u url.URL) error {
	u.Path = "/cacerts"
	if _, err := get(ctx, client(nil), u.String()); err == nil {
		return nil
	}
	bundle, err := get(ctx, client(&tls.Config{InsecureSkipVerify: true}), u.String()) //nolint:gosec // K3s's step; nothing is sent
	if err != nil {
		return fmt.Errorf("failed to get CA certs: %w", err)
	}
	if _, err := get(ctx, client(trust(bundle)), u.String()); err != nil {
		return fmt.Errorf("CA cert validation failed: %w", err)
	}
	i.CACerts = bundle
	return nil
}

// Trusted is a server whose bundle is in a file already.
func Trusted(server, bundle string, options ...Option) (*Info, error) {
	i := &Info{BaseURL: server}
	for _, o := range options {
		o(i)
	}
	var err error
	i.CACerts, err = os.ReadFile(bundle)
	return i, err
}

// checkHash compares the token's hash; a missing one is only warned about.
func (i *Info) checkHash() error {
	switch {
	case len(i.CACerts) == 0 && i.Token.Hash != "":
		logrus.Warn("Cluster CA certificate is trusted by the host CA bundle. Token CA hash will not be validated.")
	case len(i.CACerts) == 0:
	case i.Token.Hash == "":
		logrus.Warn("Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. Use the full token from the server's node-token file to enable Cluster CA validation.")
	default:
		hash, err := token.CAHash(i.CACerts)
		if err != nil {
			return err
		}
		if hash != i.Token.Hash {
			return fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", i.Token.Hash, hash)
		}
	}
	return nil
}

// StatusError is an answer other than 2xx.
type StatusError struct {
	URL, Status string
	Code        int
	// Message is what a Status in the answer says.
	Message string
}

// Error is the server's own message where there is one, and nothing else, as
// K3s has had it since 1.32.
func (e *StatusError) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return e.URL + ": " + e.Status
}

// Get asks for a path of the server with all credentials.
func (i *Info) Get(ctx context.Context, path string) ([]byte, error) {
	return i.Request(ctx, http.MethodGet, path, nil, nil)
}

// Request is one request with all credentials. Refused with 401, it is made
// again without the client certificate: the token may do where the Node of the
// certificate is gone. With a header it is for this node's own certificate, for
// which K3s reads no message.
func (i *Info) Request(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, error) {
	var config *tls.Config
	if len(i.CACerts) > 0 {
		config = trust(i.CACerts)
		if pair, err := i.certificate(); err == nil {
			config.Certificates = []tls.Certificate{pair}
		}
	}
	answer, err := i.send(ctx, client(config), method, path, body, header)
	var status *StatusError
	if errors.As(err, &status) && status.Code == http.StatusUnauthorized && header != nil && config != nil && len(config.Certificates) > 0 {
		logrus.Info("Node authorization rejected, retrying without client certificate authentication")
		answer, err = i.send(ctx, client(trust(i.CACerts)), method, path, body, header)
	}
	if header != nil && errors.As(err, &status) {
		status.Message = ""
	}
	return answer, err
}

func (i *Info) send(ctx context.Context, c *http.Client, method, path string, body []byte, header http.Header) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, i.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if i.Token.ID != "" {
		r.Header.Set("Authorization", "Bearer "+i.Token.ID+"."+i.Token.Secret)
	} else if i.Token.Password != "" {
		r.SetBasicAuth(i.Token.User, i.Token.Password)
	}
	return do(c, r)
}

func (i *Info) certificate() (tls.Certificate, error) {
	return tls.LoadX509KeyPair(i.CertFile, i.KeyFile)
}

func trust(bundle []byte) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

func client(config *tls.Config) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

func get(ctx context.Context, c *http.Client, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return do(c, r)
}

func do(c *http.Client, r *http.Request) ([]byte, error) {
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		var said metav1.Status
		if json.Unmarshal(body, &said) != nil || said.Kind != "Status" {
			said.Message = ""
		}
		return nil, &StatusError{URL: r.URL.String(), Status: answer.Status, Code: answer.StatusCode, Message: said.Message}
	}
	return body, err
}
