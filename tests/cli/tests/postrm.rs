//! What the package does when it is removed from a system in a folder (`dpkg --root`, as images are built): nothing outside of that.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// In the place of the programs that change something: each notes what it is told, and does it beneath the folder only.
const GUARDED: &str = "#!/bin/sh
echo \"${0##*/} $*\" >> LOG
for word; do
    case $word in -* | ROOT/*) ;; *) exit 1 ;; esac
done
PATH=/usr/sbin:/usr/bin:/sbin:/bin exec \"${0##*/}\" \"$@\"
";

/// Runs the script as dpkg does; what was changed, a line for each call, and what it said of faults.
fn postrm(folder: &Path, root: &Path, argument: &str) -> (String, String) {
    let (programs, log) = (folder.join("programs"), folder.join("log"));
    fs::create_dir_all(&programs).unwrap();
    fs::write(&log, "").unwrap();
    let guarded = GUARDED.replace("LOG", log.to_str().unwrap()).replace("ROOT", root.to_str().unwrap());
    for name in ["rm", "chattr", "mountpoint"] {
        fs::write(programs.join(name), &guarded).unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../debian/bowline.postrm");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let run = Command::new("/bin/sh").arg(script).arg(argument).env("PATH", path).env("DPKG_ROOT", root).output();
    let run = run.unwrap();
    assert!(run.status.success(), "{run:?}");
    (fs::read_to_string(log).unwrap(), String::from_utf8(run.stderr).unwrap())
}

#[test]
fn a_package_of_another_system_touches_nothing_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("image");
    let state = root.join("var/lib/bowline");
    fs::create_dir_all(state.join("shielded")).unwrap();
    for file in ["reserve", "machine.key"] {
        fs::write(state.join(file), "").unwrap();
    }
    fs::write(state.join("shielded/srv-data.mount"), "data /srv/data\n").unwrap();

    let shown = state.display();
    let removes = format!("rm -f {shown}/reserve {shown}/.reserve.bowline-tmp\n");
    assert_eq!(postrm(folder.path(), &root, "remove"), (removes, String::new()));
    assert!(!state.join("reserve").exists() && state.join("machine.key").exists());
    assert_eq!(postrm(folder.path(), &root, "purge"), (format!("rm -rf {shown}\n"), String::new()));
    assert!(!state.exists() && root.join("var/lib").exists());
}

/// As on a disk that became read-only: dpkg is not left with a package that is half removed.
#[test]
fn what_can_not_be_removed_is_told_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("image");
    let reserve = root.join("var/lib/bowline/reserve");
    fs::create_dir_all(&reserve).unwrap();
    let (_, said) = postrm(folder.path(), &root, "remove");
    assert!(said.contains("cannot remove") && reserve.exists(), "{said}");
}
