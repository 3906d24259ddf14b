//! The script of the unit that a mount unit requires, run by the shell, with folders of the test's own in the place of the machine's.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use bowline_ports::Filesystem;
use bowline_settings::{SourceFile, load};
use bowline_volumes::check_unit_text;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const UUID: &str = "22222222-2222-3333-4444-555555555555";

/// A disk with the filesystem, at the end of its link.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for folder in ["looked", "data", "by-uuid", "bin"] {
            fs::create_dir(place.path().join(folder)).unwrap();
        }
        for tool in ["udevadm", "dumpe2fs"] {
            symlink("/bin/true", place.path().join("bin").join(tool)).unwrap();
        }
        fs::write(place.path().join("disk"), "").unwrap();
        symlink(place.path().join("disk"), place.path().join("by-uuid").join(UUID)).unwrap();
        let machine = Self(place);
        machine.record("b8:16", "");
        machine
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// udev's record of a disk with the filesystem.
    fn record(&self, number: &str, more: &str) {
        let text = format!("S:disk/by-uuid/{UUID}\nE:ID_FS_UUID={UUID}\n{more}");
        fs::write(self.0.path().join("data").join(number), text).unwrap();
    }

    fn mark(&self, text: &str) {
        fs::write(self.path("looked/data"), text).unwrap();
    }

    /// Whether it lets the mount go on.
    fn lets(&self, filesystem: Filesystem) -> bool {
        let settings = "[[volume]]\nname = \"data\"\ndevice = \"/dev/sdb\"\nmount = \"/mnt/data\"\n";
        let file = SourceFile { path: "50-node.toml".into(), text: settings.into(), mode: 0o600, uid: 0 };
        let unit = check_unit_text(&load(&[file]).unwrap().settings.volumes[0], filesystem, UUID);
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/bin/sh -c '")).unwrap();
        // As systemd reads it.
        let script = line.strip_suffix('\'').unwrap().replace("%%", "%").replace("$$", "$");
        let here = |script: String, of: &str, name: &str| script.replace(of, &self.path(name));
        let script = here(
            here(here(script, "/run/bowline/looked", "looked"), "/run/udev/data", "data"),
            "/dev/disk/by-uuid",
            "by-uuid",
        );
        let path = format!("{}:/usr/bin:/bin", self.path("bin"));
        let output = Command::new("/bin/sh").args(["-c", &script]).env("PATH", path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // Whoever has nothing but the journal, when Bowline is gone, reads there why, and what helps.
        assert_eq!(output.status.success(), !said.contains("and without it "), "{output:?}");
        output.status.success()
    }
}

fn uptime() -> u64 {
    fs::read_to_string("/proc/uptime").unwrap().split('.').next().unwrap().parse().unwrap()
}

#[test]
fn one_disk_is_mounted_and_one_beside_its_copy_is_not() {
    let machine = Machine::new();
    assert!(machine.lets(Filesystem::Ext4) && machine.lets(Filesystem::Xfs));
    machine.record("b8:32", "");
    assert!(!machine.lets(Filesystem::Ext4) && !machine.lets(Filesystem::Xfs));
    fs::remove_dir_all(machine.path("data")).unwrap();
    assert!(machine.lets(Filesystem::Ext4), "without udev's records it goes on");
}

#[test]
fn the_paths_to_one_disk_are_no_copies() {
    let machine = Machine::new();
    machine.record("b252:0", "E:ID_FS_UUID_SUB=one\n");
    let path = "E:DM_MULTIPATH_DEVICE_PATH=1\nE:ID_FS_UUID_SUB=one\n";
    for number in ["b8:16", "b8:32"] {
        machine.record(number, path);
    }
    let all = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];
    assert!(all.into_iter().all(|filesystem| machine.lets(filesystem)));
    machine.record("b252:1", "E:DM_MULTIPATH_DEVICE_PATH=0\nE:ID_FS_UUID_SUB=one\n");
    assert!(all.into_iter().all(|filesystem| !machine.lets(filesystem)), "another multipath");
}

#[test]
fn an_ext4_that_noted_errors_is_not_mounted() {
    let machine = Machine::new();
    for (state, lets) in [("clean", true), ("clean with errors", false), ("not clean", false)] {
        let tool = machine.path("bin/dumpe2fs");
        fs::remove_file(&tool).unwrap();
        fs::write(&tool, format!("#!/bin/sh\necho Filesystem state:         {state}\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(machine.lets(Filesystem::Ext4), lets, "{state}");
        assert!(machine.lets(Filesystem::Xfs), "it is asked of ext4 only");
    }
}

#[test]
fn the_disks_of_one_btrfs_are_no_copies() {
    let machine = Machine::new();
    machine.record("b8:16", "E:ID_FS_UUID_SUB=one\n");
    machine.record("b8:32", "E:ID_FS_UUID_SUB=two\n");
    assert!(machine.lets(Filesystem::Btrfs));
    machine.record("b8:48", "E:ID_FS_UUID_SUB=one\n");
    assert!(!machine.lets(Filesystem::Btrfs));
}

#[test]
fn the_mark_of_a_look_counts_once_for_its_disk_and_for_two_minutes() {
    let machine = Machine::new();
    machine.record("b8:32", "");
    let (now, disk) = (uptime(), machine.path("disk"));
    machine.mark(&format!("{now} {disk}\n"));
    assert!(machine.lets(Filesystem::Ext4));
    assert!(!Path::new(&machine.path("looked/data")).exists() && !machine.lets(Filesystem::Ext4), "once");
    for other in [format!("{now} /dev/null\n"), format!("{now}\n"), "\n".into(), String::new()] {
        machine.mark(&other);
        assert!(!machine.lets(Filesystem::Ext4), "{other:?}");
    }
    if let Some(old) = now.checked_sub(120).filter(|old| *old > 0) {
        machine.mark(&format!("{old} {disk}\n"));
        assert!(!machine.lets(Filesystem::Ext4), "it is too old");
    }
    machine.mark(&format!("soon {disk}\n"));
    assert!(!machine.lets(Filesystem::Ext4), "it is none");
}
