//! Loop devices and mounts that end with the test, also when it panics.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program that has to succeed; what it printed.
pub(crate) fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|e| panic!("{words:?}: {e}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A loop device over a sparse file.
pub(crate) struct Loop {
    pub(crate) path: PathBuf,
    pub(crate) file: PathBuf,
}

impl Loop {
    pub(crate) fn new(file: PathBuf, size: u64) -> Self {
        std::fs::File::create(&file).unwrap().set_len(size).unwrap();
        let path = run(&["losetup", "--find", "--show", file.to_str().unwrap()]);
        Self { path: path.into(), file }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A test that fails already should not fail differently.
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// A mount.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    pub(crate) fn new(device: &Path, target: &Path) -> Self {
        std::fs::create_dir_all(target).unwrap();
        run(&["mount", device.to_str().unwrap(), target.to_str().unwrap()]);
        Self(target.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-q").arg(&self.0).status();
    }
}
