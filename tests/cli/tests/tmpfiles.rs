//! The folders that are made before the daemon's sandbox, at every start and every upgrade.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// As whoever delivers settings, or hides K3s's, has made them.
#[test]
fn folders_that_are_there_keep_their_modes() {
    let root = tempfile::tempdir().unwrap();
    let mode = |folder: &str| fs::metadata(root.path().join(folder)).unwrap().permissions().mode() & 0o7777;
    for (folder, mode) in [("etc/bowline/config.d", 0o2775), ("etc/rancher", 0o700)] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
        fs::set_permissions(root.path().join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    let rules = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../systemd/tmpfiles.d/bowline.conf");
    let mut makes = Command::new("systemd-tmpfiles");
    makes.arg(format!("--root={}", root.path().display())).arg("--create").arg(rules);
    let made = makes.output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    assert_eq!((mode("etc/bowline/config.d"), mode("etc/rancher")), (0o2775, 0o700));
    assert_eq!(mode("etc/systemd/system"), 0o755, "what is missing is made");
}
