package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for text, want := range map[string]Token{
		"secret":                     {User: "node", Password: "secret"},
		"a:b":                        {User: "node", Password: "a:b"},
		"abcdef.0123456789abcdef":    {ID: "abcdef", Secret: "0123456789abcdef"},
		"K10" + hash + "::server:pw": {Hash: hash, User: "server", Password: "pw"},
		"K10::server:pw":             {User: "server", Password: "pw"},
		"K10" + hash + "::abcdef.0123456789abcdef": {Hash: hash, ID: "abcdef", Secret: "0123456789abcdef"},
	} {
		got, err := Parse(text, "node")
		if err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "K10" + hash, "K10abc::server:pw", "K10" + strings.Repeat("z", 64) + "::server:pw", "K10" + hash + "::server:", "K10" + hash + "::server"} {
		if got, err := Parse(text, "node"); err == nil {
			t.Errorf("%q was taken: %+v", text, got)
		}
	}
	if got := Format(hash, "server", "pw"); got != "K10"+hash+"::server:pw" {
		t.Error(got)
	}
	if a, b := Random(), Random(); a == b || len(a) != 32 {
		t.Errorf("%s %s", a, b)
	}
}

func TestCAHash(t *testing.T) {
	rootKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	middle := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "middle"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	middleDER, err := x509.CreateCertificate(rand.Reader, middle, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	two := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: middleDER}), one...)
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	for name, c := range map[string]struct {
		body []byte
		want string
	}{"one: the file": {one, sum(one)}, "one with a blank line": {append(one, '\n'), sum(append(one, '\n'))}, "two: the root's DER": {two, sum(rootDER)}} {
		if got, err := CAHash(c.body); err != nil || got != c.want {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
	lonely := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: middleDER})
	for _, body := range [][]byte{nil, []byte("x"), append(lonely, lonely...)} {
		if got, err := CAHash(body); err == nil {
			t.Errorf("%q: %s", body, got)
		}
	}
}
