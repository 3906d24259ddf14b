//! What somebody hears who is not root: of settings that only root may read, and of directories.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{program, settings};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

const NOBODY: u32 = 65534;

/// Runs a copy of the program in this folder, as nobody where this is root: nobody may not reach the checkout.
fn as_nobody(folder: &Path, arguments: &[&str]) -> Output {
    let copy = folder.join("bowline");
    if !copy.exists() {
        // By a program of its own: what this one has open to write, a child of another test may hold, and nobody could run it.
        assert!(Command::new("cp").arg(program()).arg(&copy).status().unwrap().success());
    }
    let mut command = Command::new(&copy);
    command.args(arguments).current_dir(folder).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

/// Nobody but root may read it.
fn close(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
}

fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn whoever_may_not_read_the_settings_is_told_to_be_root() {
    let folder = settings(&[("10-node.toml", "[log]\nlevel = \"info\"\n", 0o600)]);
    open(folder.path());
    close(&folder.path().join("config.d/10-node.toml"));
    for command in
        [&["check"][..], &["config"], &["plan"], &["usage"], &["metrics"], &["check", "config.d/10-node.toml"]]
    {
        let said = as_nobody(folder.path(), &[command, &["--settings", "config.d"]].concat());
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(2), "{command:?} {text}");
        assert!(text.contains("10-node.toml: Permission denied"), "{command:?} {text}");
        assert!(text.ends_with("\n  help: run it as root\n"), "{command:?} {text}");
    }
}

/// As `du` does: what is shown is less than there is.
#[test]
fn a_directory_of_which_a_part_can_not_be_read_is_not_measured_in_full() {
    let folder = settings(&[]);
    open(folder.path());
    fs::create_dir_all(folder.path().join("tree/closed")).unwrap();
    let usage = || as_nobody(folder.path(), &["usage", "tree", "--settings", "config.d"]);
    assert_eq!(usage().status.code(), Some(0));
    close(&folder.path().join("tree/closed"));
    let said = usage();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("1 file or directory could not be read"), "{text}");
    assert_eq!(said.status.code(), Some(1), "{text}");
}
