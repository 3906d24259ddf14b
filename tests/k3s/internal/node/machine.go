package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"bowline.test/k3s/internal/pki"
)

// defaultRouteIP is the address of the interface with the default route,
// without which K3s does not start.
func defaultRouteIP() (net.IP, error) { return utilnet.ChooseHostInterface() }

// interfaceIP is the first IPv4 address of an interface.
func interfaceIP(name string) (net.IP, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("unable to find interface %s: %w", name, err)
	}
	addrs, err := iface.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.To4(), nil
		}
	}
	return nil, fmt.Errorf("unable to find an IPv4 address on interface %s", name)
}

// nodeID is the machine's random suffix for --with-node-id.
func nodeID() (string, error) { return keep(Dir+"/id", 4, "", 0o644) }

// Password is the machine's password; it survives an uninstallation.
func Password() (string, error) { return keep(Dir+"/password", 16, "\n", 0o600) }

// keep reads a file, or makes it from random bytes in hex.
func keep(file string, bytes int, end string, mode fs.FileMode) (string, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		if text := strings.TrimSpace(string(data)); text != "" {
			return text, os.Chmod(file, mode)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	b := make([]byte, bytes)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	text := hex.EncodeToString(b)
	return text, pki.Write(file, []byte(text+end), mode)
}

// TakeNotify takes systemd's socket out of the environment: the API server
// inside would say READY=1 on it as soon as it listens.
func TakeNotify() string {
	socket := os.Getenv("NOTIFY_SOCKET")
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return socket
}

// Notify tells systemd, when it listens.
func Notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
