// Package token knows the forms of K3s's tokens and the hash of its CA.
package token

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const (
	prefix     = "K10"
	hashLength = 64
)

var bootstrap = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)

// Token is a parsed token: either user and password, or id and secret.
type Token struct {
	// Hash is the CA hash in hex, empty in the short forms.
	Hash string
	// User and Password are set for the password forms.
	User, Password string
	// ID and Secret are set for bootstrap tokens.
	ID, Secret string
}

// Parse reads any of the forms. defaultUser names the user of a bare password.
func Parse(text, defaultUser string) (Token, error) {
	var t Token
	rest := text
	if strings.HasPrefix(text, prefix) {
		hash, tail, found := strings.Cut(text[len(prefix):], "::")
		if !found {
			return t, errors.New("invalid token format: K10 without ::")
		}
		if len(hash) != 0 && len(hash) != hashLength {
			return t, errors.New("invalid token CA hash length")
		}
		if _, err := hex.DecodeString(hash); err != nil {
			return t, fmt.Errorf("invalid token CA hash: %w", err)
		}
		t.Hash, rest = hash, tail
		if m := bootstrap.FindStringSubmatch(rest); m != nil {
			t.ID, t.Secret = m[1], m[2]
			return t, nil
		}
		user, password, found := strings.Cut(rest, ":")
		if !found || password == "" {
			return t, errors.New("invalid token format: no password")
		}
		t.User, t.Password = user, password
		return t, nil
	}
	if m := bootstrap.FindStringSubmatch(rest); m != nil {
		t.ID, t.Secret = m[1], m[2]
		return t, nil
	}
	if rest == "" {
		return t, errors.New("token must not be empty")
	}
	t.User, t.Password = defaultUser, rest
	return t, nil
}

// Format is the full form `K10<hash>::<user>:<password>`.
func Format(hash, user, password string) string {
	return prefix + hash + "::" + user + ":" + password
}

// Random is a password as K3s makes one: 16 random bytes in hex.
func Random() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

// CAHash is the hash of the body of /cacerts: of the raw bytes when it holds
// one certificate, else of the DER of the root that the first one chains to.
func CAHash(body []byte) (string, error) {
	var certs []*x509.Certificate
	for rest := body; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", err
		}
		certs = append(certs, c)
	}
	switch len(certs) {
	case 0:
		return "", errors.New("no certificate in the CA bundle")
	case 1:
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:]), nil
	}
	root := certs[0]
	for range certs {
		if bytes.Equal(root.RawSubject, root.RawIssuer) {
			sum := sha256.Sum256(root.Raw)
			return hex.EncodeToString(sum[:]), nil
		}
		next := root
		for _, c := range certs {
			if bytes.Equal(c.RawSubject, root.RawIssuer) && root.CheckSignatureFrom(c) == nil {
				next = c
				break
			}
		}
		if next == root {
			break
		}
		root = next
	}
	return "", errors.New("the first certificate of the CA bundle chains to no root in it")
}
