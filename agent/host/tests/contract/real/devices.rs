//! Disks and mounts that end with the test, also when it panics.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Disks that the machine has for these cases, where loop devices cannot be made: `BOWLINE_CONTRACT_DISKS` names their nodes,
/// with spaces between. What is on them goes.
static GIVEN: LazyLock<Option<Mutex<Vec<PathBuf>>>> = LazyLock::new(|| {
    let nodes = std::env::var("BOWLINE_CONTRACT_DISKS").ok()?;
    Some(Mutex::new(nodes.split_whitespace().map(PathBuf::from).collect()))
});

/// Runs a program that has to succeed; what it printed.
pub(crate) fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|e| panic!("{words:?}: {e}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// udev has seen what is on the disks by now, where there is one.
pub(crate) fn settled() {
    if Path::new("/run/udev/control").exists() {
        run(&["udevadm", "settle", "--timeout=10"]);
    }
}

/// A blank disk: a loop device over a sparse file, or one of those that were given.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    given: bool,
}

impl Disk {
    pub(crate) fn new(file: PathBuf, size: u64) -> Self {
        let Some(given) = &*GIVEN else {
            std::fs::File::create(&file).unwrap().set_len(size).unwrap();
            let path = run(&["losetup", "--find", "--show", file.to_str().unwrap()]);
            return Self { path: path.into(), given: false };
        };
        let mut free = given.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |node: &PathBuf| sysfs(node, "size").parse::<u64>().unwrap() * 512 == size;
        let at = free.iter().position(fits).unwrap_or_else(|| panic!("no disk of {size} bytes is left: {free:?}"));
        let path = free.remove(at);
        run(&["blkdiscard", "--zeroout", path.to_str().unwrap()]);
        // As for one that was just attached, for which there is nothing to be known yet.
        run(&["udevadm", "trigger", "--action=change", &format!("--name-match={}", path.display())]);
        settled();
        Self { path, given: true }
    }

    /// The file that is behind it.
    pub(crate) fn file(&self) -> String {
        sysfs(&self.path, "loop/backing_file")
    }
}

fn sysfs(node: &Path, file: &str) -> String {
    let path = Path::new("/sys/class/block").join(node.file_name().unwrap()).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

impl Drop for Disk {
    fn drop(&mut self) {
        match &*GIVEN {
            Some(given) if self.given => given.lock().unwrap_or_else(PoisonError::into_inner).push(self.path.clone()),
            // A test that fails already should not fail differently.
            _ => drop(Command::new("losetup").arg("--detach").arg(&self.path).status()),
        }
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

    pub(crate) fn bound(from: &Path, target: &Path) -> Self {
        std::fs::create_dir_all(target).unwrap();
        run(&["mount", "--bind", from.to_str().unwrap(), target.to_str().unwrap()]);
        Self(target.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-q").arg(&self.0).status();
    }
}
