package node

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"

	"bowline.test/k3s/internal/pki"
)

// Kubeconfig writes a kubeconfig whose credentials stand in it (embed) or are
// named as files, as K3s has it for admin and for components.
func Kubeconfig(file, server, ca, crt, key string, embed bool, mode fs.FileMode) error {
	caLine, crtLine, keyLine := "certificate-authority: "+ca, "client-certificate: "+crt, "client-key: "+key
	if embed {
		var lines [3]string
		for i, f := range []string{ca, crt, key} {
			data, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			lines[i] = base64.StdEncoding.EncodeToString(data)
		}
		caLine, crtLine, keyLine = "certificate-authority-data: "+lines[0], "client-certificate-data: "+lines[1], "client-key-data: "+lines[2]
	}
	const form = `apiVersion: v1
clusters:
- cluster:
    %s
    server: %s
  name: %s
contexts:
- context:
    cluster: %s
    user: %s
  name: %s
current-context: %s
kind: Config
preferences: {}
users:
- name: %s
  user:
    %s
    %s
`
	cluster, user, context := "local", "user", "Default"
	if embed {
		cluster, user, context = "default", "default", "default"
	}
	return pki.Write(file, fmt.Appendf(nil, form, caLine, server, cluster, cluster, user, context, context, user, crtLine, keyLine), mode)
}
