// Package pki makes and keeps the authorities, certificates and keys that K3s
// keeps under server/tls and agent, with K3s's names and subjects.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// renewBefore: a start within this time of the end makes a new certificate.
	renewBefore = 120 * 24 * time.Hour
)

// Authority is a CA certificate with its key.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	// PEM is the certificate file's content, byte for byte.
	PEM []byte
}

// Names are the subject alternative names of a serving certificate.
type Names struct {
	DNS []string
	IPs []net.IP
}

// LoadCA reads DIR/NAME.{crt,key}, or makes them with CN `k3s-NAME@seconds`.
func LoadCA(dir, name, commonName string) (*Authority, error) {
	crtFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	crt, err := os.ReadFile(crtFile)
	if errors.Is(err, fs.ErrNotExist) {
		if crt, err = makeCA(crtFile, keyFile, commonName); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	cert, err := firstCert(crt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", crtFile, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return &Authority{Cert: cert, Key: key, PEM: crt}, nil
}

func makeCA(crtFile, keyFile, commonName string) ([]byte, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(0),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("%s@%d", commonName, now.Unix())},
		NotBefore:    now, NotAfter: now.Add(caLife),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	crt := certPEM(der)
	if err := Write(keyFile, keyPEM, 0o600); err != nil {
		return nil, err
	}
	return crt, Write(crtFile, crt, 0o644)
}

// Client makes sure that CRT and KEY hold a client certificate of the CA.
func (a *Authority) Client(crt, key, commonName string, organizations ...string) error {
	return a.leaf(crt, key, commonName, organizations, Names{}, x509.ExtKeyUsageClientAuth)
}

// Serving makes sure that CRT and KEY hold a certificate for the names. With
// both set it is good for clients as well (etcd's peers need that).
func (a *Authority) Serving(crt, key, commonName string, names Names, both bool) error {
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if both {
		usages = append(usages, x509.ExtKeyUsageClientAuth)
	}
	return a.leaf(crt, key, commonName, nil, names, usages...)
}

func (a *Authority) leaf(crtFile, keyFile, commonName string, organizations []string, names Names, usages ...x509.ExtKeyUsage) error {
	names = names.normal()
	if a.keeps(crtFile, keyFile, commonName, organizations, names) {
		return nil
	}
	key, _, err := EnsureKey(keyFile)
	if err != nil {
		return err
	}
	crt, err := a.Sign(key.Public(), commonName, organizations, names, usages...)
	if err != nil {
		return err
	}
	return Write(crtFile, crt, 0o644)
}

// EnsureKey reads the private key in a file, or makes it.
func EnsureKey(file string) (crypto.Signer, []byte, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, data, err := newKey()
		if err != nil {
			return nil, nil, err
		}
		return key, data, Write(file, data, 0o600)
	}
	if err != nil {
		return nil, nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, data, nil
}

// Sign gives the PEM of a new leaf followed by the CA's certificates.
func (a *Authority) Sign(public crypto.PublicKey, commonName string, organizations []string, names Names, usages ...x509.ExtKeyUsage) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName, Organization: organizations},
		DNSNames:     names.DNS, IPAddresses: names.IPs,
		NotBefore: a.Cert.NotBefore, NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature, ExtKeyUsage: usages,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.Cert, public, a.Key)
	if err != nil {
		return nil, err
	}
	return append(certPEM(der), a.PEM...), nil
}

// keeps says whether the files already hold what is wanted for long enough.
func (a *Authority) keeps(crtFile, keyFile, commonName string, organizations []string, names Names) bool {
	crt, err := os.ReadFile(crtFile)
	if err != nil {
		return false
	}
	if _, err := os.Stat(keyFile); err != nil {
		return false
	}
	c, err := firstCert(crt)
	if err != nil || c.CheckSignatureFrom(a.Cert) != nil || time.Until(c.NotAfter) < renewBefore {
		return false
	}
	have := Names{DNS: c.DNSNames, IPs: c.IPAddresses}.normal()
	return c.Subject.CommonName == commonName && slices.Equal(c.Subject.Organization, organizations) &&
		slices.Equal(have.DNS, names.DNS) && slices.EqualFunc(have.IPs, names.IPs, net.IP.Equal)
}

// normal sorts the names and drops repetitions.
func (n Names) normal() Names {
	dns := slices.Clone(n.DNS)
	sort.Strings(dns)
	ips := slices.Clone(n.IPs)
	slices.SortFunc(ips, func(a, b net.IP) int { return bytes.Compare(a.To16(), b.To16()) })
	return Names{DNS: slices.Compact(dns), IPs: slices.CompactFunc(ips, net.IP.Equal)}
}

// ServiceKey makes sure that the key of the service accounts exists.
func ServiceKey(file, current string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		data = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		if err := Write(file, data, 0o600); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return Write(current, data, 0o600)
}

// Write replaces a file as a whole, with exactly that mode.
func Write(file string, data []byte, mode fs.FileMode) error {
	if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, data) {
		return os.Chmod(file, mode)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	if err := os.Chmod(tmp, mode); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, errors.New("no private key in the file")
}

func firstCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no certificate in the file")
	}
	return x509.ParseCertificate(block.Bytes)
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
