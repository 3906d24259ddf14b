package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"bowline.test/k3s/internal/version"
)

// extractedEnv marks the copy that runs from below the data folder.
const extractedEnv = "K3S_STAND_IN_EXTRACTED"

// Reexec does K3s's self-extraction: a copy of the binary below
// DATA/data/HASH/bin, the links `current` and `previous`, and exec from there.
// So a data folder on a `noexec` volume fails here as it does with K3s.
func Reexec(dataDir string) error {
	if os.Getenv(extractedEnv) == version.Version {
		return os.Unsetenv(extractedEnv)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fi, err := os.Stat(self)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %s", version.Version, version.Commit, fi.Size(), fi.ModTime().UTC().Format(time.RFC3339Nano)))
	base := filepath.Join(dataDir, "data")
	dir := filepath.Join(base, hex.EncodeToString(sum[:]))
	target := filepath.Join(dir, "bin", "k3s-server")
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		logrus.Infof("Preparing data dir %s", dir)
		if err := extract(self, filepath.Dir(target)); err != nil {
			return fmt.Errorf("extracting data: %w", err)
		}
	}
	current, previous := filepath.Join(base, "current"), filepath.Join(base, "previous")
	if have, err := os.Readlink(current); err == nil && have != dir {
		if err := Link(have, previous); err != nil {
			return err
		}
	}
	if err := Link(dir, current); err != nil {
		return err
	}
	if err := os.Setenv(extractedEnv, version.Version); err != nil {
		return err
	}
	if err := syscall.Exec(target, os.Args, os.Environ()); err != nil {
		return fmt.Errorf("exec %s: %w", target, err)
	}
	return nil
}

// extract copies the binary into a folder, whole or not at all.
func extract(self, bin string) error {
	tmp := filepath.Dir(bin) + "-tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(tmp, "bin"), 0o755); err != nil {
		return err
	}
	in, err := os.Open(self)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(tmp, "bin", "k3s"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.Symlink("k3s", filepath.Join(tmp, "bin", "k3s-server")); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Dir(bin))
}

// Link makes a symbolic link, replacing what is there.
func Link(target, name string) error {
	if have, err := os.Readlink(name); err == nil && have == target {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}
