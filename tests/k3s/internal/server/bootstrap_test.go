package server

import (
	"os"
	"strings"
	"testing"
	"time"

	"bowline.test/k3s/internal/node"
	"bowline.test/k3s/internal/pki"
)

// TestReconcile: what is on disk gives way to the cluster's only where it is
// not newer, or where one of the folders is missing or empty.
func TestReconcile(t *testing.T) {
	theirs := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name string
		// age is how much older than the cluster's the file on disk is.
		age          time.Duration
		same, absent bool
		words        string
	}{
		{name: "the same", same: true},
		{name: "older", age: time.Minute},
		{name: "newer by what clocks may differ", age: -2 * time.Second},
		{name: "newer", age: -3 * time.Second, words: "server-ca.key newer than datastore and could cause a cluster outage. Remove the file(s) from disk and restart to be recreated from datastore."},
		{name: "newer, and the passwords moved away", age: -time.Minute, absent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Settings{Node: &node.Node{DataDir: t.TempDir()}}
			files := map[string]bootstrapFile{}
			for name, path := range s.bootstrapFiles() {
				if name != "EncryptionConfig" {
					files[name] = bootstrapFile{theirs, []byte("of the cluster")}
				}
				if c.absent && name == "PasswdFile" {
					continue
				}
				if err := pki.Write(path, []byte("of the cluster"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.absent {
				for _, name := range []string{"passwd", "encryption-config.json"} {
					_ = os.Remove(s.server("cred", name))
				}
			}
			own := s.tls("server-ca.key")
			if !c.same {
				if err := os.WriteFile(own, []byte("of its own"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chtimes(own, theirs.Add(-c.age), theirs.Add(-c.age)); err != nil {
				t.Fatal(err)
			}
			err := s.reconcile(files)
			if (err == nil) != (c.words == "") || (err != nil && !strings.Contains(err.Error(), c.words)) {
				t.Fatalf("%v", err)
			}
			have, readErr := os.ReadFile(own)
			if readErr != nil || (string(have) == "of its own") != (err != nil) {
				t.Errorf("%s %v", have, readErr)
			}
		})
	}
}
