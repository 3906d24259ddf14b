//! Programs, places to write, space, processors and memory.

use super::check::{Check, Subject};
use bowline_ports::text::{bytes, shell};
use bowline_ports::{ErrorKind, FileKind, Inspect, Mount, PortError, Space, UNITS};
use bowline_settings::{Filesystem, Format, Settings};
use std::path::{Path, PathBuf};

/// Where programs are looked for.
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Where Bowline writes.
pub(crate) const PLACES: [&str; 4] = [UNITS, "/usr/local/bin", "/etc/rancher", "/var/lib/bowline"];
/// Where K3s and its download need space.
const ROOMS: [&str; 3] = ["/", "/usr/local/bin", "/var/lib"];
const MIB: u64 = 1 << 20;
const LEAST_FREE: u64 = 500 * MIB;
const LEAST_INODES: u64 = 5000;
/// What K3s asks of a server is 2 GiB. Machines sold with that show a little less.
const LEAST_MEMORY: u64 = 1700 * MIB;
const LEAST_PROCESSORS: usize = 2;

/// What was read.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) tools: Vec<Tool>,
    pub(super) places: Vec<Place>,
    pub(super) rooms: Vec<(PathBuf, Result<Space, PortError>)>,
    pub(super) memory: u64,
    pub(super) processors: usize,
    /// K3s is to run here.
    pub(super) server: bool,
}

/// A program that Bowline runs.
pub(super) struct Tool {
    pub(super) program: String,
    pub(super) package: &'static str,
    pub(super) reason: String,
    pub(super) found: bool,
}

/// A directory that Bowline writes to.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) kind: Result<Option<FileKind>, PortError>,
    /// The mount that it is on.
    pub(super) mount: Option<Mount>,
}

pub(super) async fn gather(host: &dyn Inspect, settings: &Settings, memory: u64, processors: usize) -> Facts {
    let mut facts = Facts { memory, processors, server: settings.cluster.is_some(), ..Facts::default() };
    for (program, package, reason) in programs(settings) {
        let mut found = false;
        for folder in PROGRAMS {
            found |= matches!(host.meta(&Path::new(folder).join(&program)).await, Ok(Some(_)));
        }
        facts.tools.push(Tool { program, package, reason, found });
    }
    let mounts = host.mounts().await.unwrap_or_default();
    for path in PLACES.map(PathBuf::from) {
        let kind = host.meta(&path).await.map(|meta| meta.map(|m| m.kind));
        let mount = on(&mounts, &path).cloned();
        facts.places.push(Place { path, kind, mount });
    }
    let mut asked: Vec<Option<&Mount>> = Vec::new();
    for path in ROOMS.map(PathBuf::from) {
        let mount = on(&mounts, &path);
        if mount.is_none() || !asked.contains(&mount) {
            asked.push(mount);
            let space = host.space(&path).await;
            facts.rooms.push((path, space));
        }
    }
    facts
}

/// What the settings need, with the Debian package that brings it.
fn programs(settings: &Settings) -> Vec<(String, &'static str, String)> {
    let own = |text: &str| text.to_string();
    let mut all = vec![(own("journalctl"), "systemd", own("K3s's last words are read with it"))];
    if settings.volumes.is_empty() {
        return all;
    }
    for program in ["blkid", "wipefs"] {
        all.push((own(program), "util-linux", own("nothing is known of a disk without it")));
    }
    for (kind, package) in
        [(Filesystem::Ext4, "e2fsprogs"), (Filesystem::Xfs, "xfsprogs"), (Filesystem::Btrfs, "btrfs-progs")]
    {
        let made = settings.volumes.iter().find(|v| v.filesystem == kind && v.format == Format::BlankOnly);
        if let Some(volume) = made {
            all.push((
                format!("mkfs.{kind}"),
                package,
                format!("volume {} cannot be formatted without it", volume.name),
            ));
        }
    }
    all
}

/// The mount that a path is on.
pub(crate) fn on<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let longest = mounts.iter().filter(|m| path.starts_with(&m.target)).map(|m| m.target.components().count()).max()?;
    // Of several at one place the last one is seen.
    mounts.iter().rfind(|m| path.starts_with(&m.target) && m.target.components().count() == longest)
}

pub(super) fn diagnose(facts: &Facts) -> Vec<Check> {
    let mut checks: Vec<Check> = facts.tools.iter().map(tool).collect();
    let mut read_only: Vec<&Path> = Vec::new();
    for one in &facts.places {
        // Several on one filesystem are one fault.
        match one.mount.as_ref().filter(|mount| mount.read_only) {
            Some(mount) if read_only.contains(&mount.target.as_path()) => {
                let text = format!("on the same read-only filesystem ({}), see above", mount.target.display());
                checks.push(Check::skipped(one.path.display().to_string(), text));
                continue;
            }
            Some(mount) => read_only.push(&mount.target),
            None => {}
        }
        checks.push(place(one));
    }
    checks.extend(facts.rooms.iter().map(|(path, space)| room(path, space)));
    if facts.server {
        checks.push(size(facts.memory, facts.processors));
    }
    checks
}

fn tool(tool: &Tool) -> Check {
    if tool.found {
        return Check::ok(tool.program.as_str(), "installed");
    }
    let found = format!("it is not installed: {}", tool.reason);
    Check::finding(tool.program.as_str(), found, format!("install the package {}", tool.package))
        .command(format!("apt-get install --yes {}", tool.package))
        .explains(Subject::Failure(ErrorKind::NotFound))
}

fn place(place: &Place) -> Check {
    let name = place.path.display().to_string();
    match (&place.kind, &place.mount) {
        (Err(error), _) => Check::blind(name, error),
        (_, Some(mount)) if mount.read_only => {
            let target = mount.target.display();
            let found = format!("it cannot be written: {} at {target} is mounted read-only", mount.shown_source());
            // No command to paste: who remounts a damaged filesystem writes on with what is damaged.
            let remedy = format!(
                "look at `dmesg`: the kernel makes a filesystem read-only when it or its disk is damaged; then it is checked \
                 first, the root's by a reboot with `fsck.mode=force`. Only one that was mounted so on purpose: \
                 `mount -o remount,rw {}`",
                shell(&mount.target)
            );
            Check::finding(name, found, remedy).explains(Subject::Failure(ErrorKind::Denied))
        }
        (Ok(Some(FileKind::Directory)), _) => Check::ok(name, "writable"),
        (Ok(None), _) => {
            let remedy = "make it, and start Bowline again, whose sandbox is made of what exists";
            let command = format!("mkdir --parents {} && systemctl restart bowline.service", shell(&place.path));
            Check::finding(name, "it does not exist", remedy).command(command)
        }
        (Ok(Some(_)), _) => {
            Check::finding(name, "it is not a directory", "move it away; Bowline needs a directory here")
        }
    }
}

fn room(path: &Path, space: &Result<Space, PortError>) -> Check {
    let (name, shown) = (format!("space on {}", path.display()), shell(path));
    let space = match space {
        Ok(space) => space,
        Err(error) => return Check::blind(name, error),
    };
    if space.available < LEAST_FREE {
        let missing = bytes((LEAST_FREE - space.available).next_multiple_of(MIB));
        let remedy = format!(
            "free {missing} or more: `apt-get clean`, `journalctl --vacuum-size=100M`; \
             `du -xh --max-depth=3 {shown} | sort -h` shows what fills it"
        );
        let found =
            format!("{} are free, and K3s with its download needs {}", bytes(space.available), bytes(LEAST_FREE));
        return Check::finding(name, found, remedy).explains(Subject::Failure(ErrorKind::NoSpace));
    }
    if space.inodes > 0 && space.inodes_free < LEAST_INODES {
        let remedy = format!("remove many small files: `du --inodes -x --max-depth=3 {shown} | sort -n` shows where");
        let found = format!("{} of {} inodes are free", space.inodes_free, space.inodes);
        return Check::finding(name, found, remedy).explains(Subject::Failure(ErrorKind::NoSpace));
    }
    Check::ok(name, format!("{} are free", bytes(space.available)))
}

fn size(memory: u64, processors: usize) -> Check {
    let has = format!("{processors} processors, {} of memory", bytes(memory)).replace("1 processors", "1 processor");
    if memory < LEAST_MEMORY || processors < LEAST_PROCESSORS {
        return Check::note("size", format!("{has}: K3s recommends 2 processors and 2 GiB for a server"));
    }
    Check::ok("size", has)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::check::Verdict;
    use super::*;

    pub(crate) fn mount(target: &str, read_only: bool) -> Mount {
        Mount {
            target: target.into(),
            source: "/dev/sda1".into(),
            number: "8:1".into(),
            fstype: "ext4".into(),
            root: "/".into(),
            read_only,
            errors: 0,
            by_user: false,
        }
    }

    fn command(check: &Check) -> Option<&str> {
        match &check.verdict {
            Verdict::Finding { command, .. } => command.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let one = Tool { program: "mkfs.xfs".into(), package: "xfsprogs", reason: "volume a".into(), found: false };
        assert_eq!(command(&tool(&one)), Some("apt-get install --yes xfsprogs"));
        assert!(!tool(&Tool { found: true, ..one }).is_finding());
    }

    #[test]
    fn places() {
        let etc = || PathBuf::from("/etc/rancher");
        let directory = || Ok(Some(FileKind::Directory));
        for (kind, mount, wanted) in [
            (directory(), None, None),
            (directory(), Some(mount("/", false)), None),
            (directory(), Some(mount("/etc", true)), None),
            (Ok(None), None, Some("mkdir --parents /etc/rancher && systemctl restart bowline.service")),
        ] {
            assert_eq!(command(&place(&Place { path: etc(), kind, mount })), wanted);
        }
        assert!(place(&Place { path: etc(), kind: Ok(Some(FileKind::File)), mount: None }).is_finding());
    }

    /// As the page of the alert BowlineFilesystemReadOnly says.
    #[test]
    fn a_read_only_filesystem_is_checked_before_it_is_written() {
        let kind = Ok(Some(FileKind::Directory));
        let check = place(&Place { path: "/etc/rancher".into(), kind, mount: Some(mount("/", true)) });
        let Verdict::Finding { remedy, command: None, .. } = check.verdict else { panic!("{check:?}") };
        let (first, then) = remedy.split_once("`fsck.mode=force`").unwrap();
        assert!(first.contains("`dmesg`") && !first.contains("remount"), "{first}");
        assert!(then.contains("on purpose: `mount -o remount,rw /`"), "{then}");
    }

    #[test]
    fn what_is_read_only_is_found_once() {
        let on = |path: &str, target: &str| Place {
            path: path.into(),
            kind: Ok(Some(FileKind::Directory)),
            mount: Some(mount(target, true)),
        };
        let places =
            vec![on("/etc/systemd/system", "/etc"), on("/etc/rancher", "/etc"), on("/var/lib/bowline", "/var")];
        let found = diagnose(&Facts { places, ..Facts::default() });
        let names: Vec<_> = found.iter().filter(|check| check.is_finding()).map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["/etc/systemd/system", "/var/lib/bowline"]);
    }

    #[test]
    fn the_mount_of_a_path_is_the_deepest_and_last() {
        let mounts = [mount("/", false), mount("/etc", false), mount("/etc", true), mount("/et", true)];
        assert_eq!(on(&mounts, Path::new("/etc/rancher")), Some(&mounts[2]));
        assert_eq!(on(&mounts, Path::new("/usr/local/bin")), Some(&mounts[0]));
    }

    #[test]
    fn space_and_inodes() {
        let space = |available, inodes, inodes_free| {
            room(Path::new("/"), &Ok(Space { size: 1 << 34, free: available, available, inodes, inodes_free }))
        };
        assert!(!space(LEAST_FREE, 1 << 20, 1 << 19).is_finding());
        assert!(space(LEAST_FREE - 1, 1 << 20, 1 << 19).is_finding());
        assert!(space(1 << 33, 1 << 20, 12).is_finding());
        assert!(!space(1 << 33, 0, 0).is_finding(), "btrfs has no fixed number");
    }

    #[test]
    fn a_small_machine_is_a_note() {
        assert!(matches!(size(1_000_000_000, 1).verdict, Verdict::Note { .. }));
        let Verdict::Ok { text } = size(2_010_000_000, 2).verdict else { panic!("large enough") };
        assert_eq!(text, "2 processors, 1.9 GiB of memory");
    }
}
