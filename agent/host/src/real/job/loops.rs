//! Loop devices and mounts for unit tests, where a machine gives them to whoever tests. They end with the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program; what it printed, or nothing if it failed.
pub(in crate::real) fn ran(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A blank disk.
pub(in crate::real) struct Loop(pub(in crate::real) PathBuf);

impl Loop {
    /// Over a new file of this size; `None` without loop devices.
    pub(in crate::real) fn over(file: &Path, size: u64) -> Option<Self> {
        File::create(file).unwrap().set_len(size).unwrap();
        let path = ran("losetup", &["--find", "--show", "--partscan", file.to_str()?])?;
        Some(Self(path.into()))
    }

    pub(in crate::real) fn shown(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // The next one to get its name is not to find it read-only.
        let _ = ran("blockdev", &["--setrw", self.shown()]);
        let _ = ran("losetup", &["--detach", self.shown()]);
    }
}

/// A mount.
pub(in crate::real) struct Place(PathBuf);

impl Place {
    /// At a new directory; `None` for who may mount nothing.
    pub(in crate::real) fn new(words: &[&str], at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        ran("mount", &[words, &[at.to_str()?]].concat())?;
        Some(Self(at.to_owned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let at = self.0.to_str().unwrap_or_default();
        // udev may still look at a loop device whose file is on it.
        if ran("umount", &["-q", at]).is_none() {
            let _ = ran("umount", &["-q", "-l", at]);
        }
    }
}
