package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// scrypt's parameters in K3s: N = 2^15, r = 8, p = 1, 64 bytes.
const (
	hashLogN, hashR, hashP, hashBytes = 15, 8, 1, 64
	saltBytes                         = 8
)

// hashPassword gives K3s's text: `$1:salt:15:8:1:base64`.
func hashPassword(password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	sum, err := scrypt.Key([]byte(password), salt, 1<<hashLogN, hashR, hashP, hashBytes)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("$1:%s:%d:%d:%d:%s", hex.EncodeToString(salt), hashLogN, hashR, hashP, base64.RawStdEncoding.EncodeToString(sum)), nil
}

// checkPassword compares a password with a stored text, whose parameters are
// bounded before they cost anything.
func checkPassword(stored, password string) error {
	f := strings.Split(stored, ":")
	if len(f) != 6 || f[0] != "$1" {
		return fmt.Errorf("hash is not in the form $1:salt:N:r:p:sum")
	}
	salt, err := hex.DecodeString(f[1])
	if err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	var numbers [3]int
	for i, limit := range []int{20, 32, 16} {
		if numbers[i], err = strconv.Atoi(f[2+i]); err != nil || numbers[i] < 1 || numbers[i] > limit {
			return fmt.Errorf("parameter %q is out of bounds", f[2+i])
		}
	}
	want, err := base64.RawStdEncoding.DecodeString(f[5])
	if err != nil || len(want) == 0 || len(want) > 256 {
		return fmt.Errorf("sum is not base64 of at most 256 bytes")
	}
	sum, err := scrypt.Key([]byte(password), salt, 1<<numbers[0], numbers[1], numbers[2], len(want))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(sum, want) != 1 {
		return fmt.Errorf("password does not match")
	}
	return nil
}

// errVerify says that a password is not the one that was there first.
var errVerify = errors.New("unable to verify hash")

// passwordSecret is the name of a node's Secret.
func passwordSecret(node string) string { return strings.ToLower(node) + ".node-password.k3s" }

// ensurePassword makes the Secret of a node's password, or checks the password
// against the one that is there, which is never replaced.
func ensurePassword(ctx context.Context, client kubernetes.Interface, node, password string) error {
	secrets := client.CoreV1().Secrets("kube-system")
	have, err := secrets.Get(ctx, passwordSecret(node), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		hash, err := hashPassword(password)
		if err != nil {
			return err
		}
		immutable := true
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: passwordSecret(node), Namespace: "kube-system"}, Immutable: &immutable,
			Type: passwordType, Data: map[string][]byte{"hash": []byte(hash)},
		}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		have, err = secrets.Get(ctx, passwordSecret(node), metav1.GetOptions{})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := checkPassword(string(have.Data["hash"]), password); err != nil {
		return fmt.Errorf("%w for node '%s': %w", errVerify, node, err)
	}
	return nil
}

// passwordType is the type of these Secrets.
const passwordType = "k3s.cattle.io/node-password"

// ensureOwnPassword does that for this machine. A server goes on when its
// password does not match, and says so by an Event.
func (s *Settings) ensureOwnPassword(ctx context.Context, client kubernetes.Interface, password string) error {
	err := ensurePassword(ctx, client, s.Name, password)
	if errors.Is(err, errVerify) {
		s.event(ctx, client, "NodePasswordValidationFailed", "Deferred node password secret validation failed: "+err.Error())
		return nil
	}
	return err
}
