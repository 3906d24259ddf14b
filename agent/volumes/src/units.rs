//! The text of the units that Bowline writes, and their names.

use bowline_ports::{Filesystem, MARK};
use bowline_settings::Volume;
use std::path::{Path, PathBuf};

pub(crate) use bowline_ports::UNITS;

/// How the names of gates begin and end, with the volume's between.
pub(crate) const GATES: (&str, &str) = ("50-bowline-volume-", ".conf");

/// How those of units that check do, with the mount unit's between.
pub(crate) const CHECKS: (&str, &str) = ("bowline-check-", ".service");

/// Whether a file's text says that Bowline wrote it.
pub(crate) fn written_by_bowline(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The volume that a mount unit of ours is of.
pub(crate) fn volume_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(MARK)?.strip_prefix(" from [[volume]] name = \"")?;
    rest.split_once('"').map(|(name, _)| name)
}

/// The name that systemd demands of the mount unit of a path: `systemd-escape --path --suffix=mount`.
pub fn mount_unit_name(mount: &Path) -> String {
    unit_name(mount, "mount")
}

/// What [`retire`](crate::Action::Retire) removes: what enables the unit, the one that it requires, and the unit last: as long as that
/// is there, the rest is known to have to go.
pub(crate) fn files_of_mount_unit(unit: &str) -> [PathBuf; 3] {
    let units = Path::new(UNITS);
    [units.join("multi-user.target.wants").join(unit), units.join(check_unit_name(unit)), units.join(unit)]
}

/// The unit that a mount unit requires.
fn check_unit_name(mount_unit: &str) -> String {
    format!("{}{}{}", CHECKS.0, mount_unit.strip_suffix(".mount").unwrap_or(mount_unit), CHECKS.1)
}

/// Where it lies.
pub(crate) fn check_unit_path(mount: &Path) -> PathBuf {
    Path::new(UNITS).join(check_unit_name(&mount_unit_name(mount)))
}

/// The mark that Bowline has looked at the volume's filesystem, and has it mounted now.
pub(crate) fn looked_path(volume: &str) -> PathBuf {
    Path::new("/run/bowline/looked").join(volume)
}

/// What the mark says: when it was made, in seconds since boot, and the disk that is meant.
pub(crate) fn looked_text(uptime: u64, device: &Path) -> String {
    format!("{uptime} {}\n", device.display())
}

/// The unit without which the filesystem with this UUID is not mounted, at a boot above all, when Bowline does not look first.
///
/// A disk and its copy have one UUID, and which of them is mounted by it is chance: with several of them it lets none be mounted.
/// (The disks of one btrfs have a second UUID each, and the paths of a multipath are no disks.) ext4 only notes that it met errors,
/// and goes on with them, where the others refuse by themselves when they are damaged: with that note it is not mounted either.
/// What fails here Bowline looks at itself, and leaves a mark that counts for one mount of that disk within two minutes, whatever
/// the filesystem notes of itself: only a repair takes the note away.
///
/// It needs nothing of Bowline's, which may have been removed since, and nothing but udev's records and the superblock: without
/// them, or without `dumpe2fs`, it lets the mount go on. Ordered like a mount, so early that even what a volume beneath `/var`
/// holds waits for it, and after udev was told of all disks.
pub fn check_unit_text(volume: &Volume, filesystem: Filesystem, uuid: &str) -> String {
    let link = by_uuid(uuid).display().to_string();
    // The paths to one disk, of which multipath makes another device, have what that has.
    let records =
        format!("grep -slx E:ID_FS_UUID={uuid} /run/udev/data/b* | xargs -r grep -Lx E:DM_MULTIPATH_DEVICE_PATH=1");
    let several = match filesystem {
        Filesystem::Ext4 | Filesystem::Xfs => format!("test $$({records} | wc -l) -gt 1"),
        Filesystem::Btrfs => {
            format!("{records} | xargs -r grep -h ^E:ID_FS_UUID_SUB= | sort | uniq -d | grep -q .")
        }
    };
    let has_errors = match filesystem {
        Filesystem::Ext4 => {
            format!("dumpe2fs -h {link} 2>/dev/null | grep -Eq \"^Filesystem state:.*(with errors|not clean)\"")
        }
        Filesystem::Xfs | Filesystem::Btrfs => "false".into(),
    };
    format!(
        "{MARK} from [[volume]] name = \"{name}\"; change the settings, not this file.\n\
         [Unit]\n\
         Description=Whether the filesystem of volume {name} is on one disk, and free of errors\n\
         Documentation=man:bowline(1)\n\
         DefaultDependencies=no\n\
         Requires={device}\n\
         After={device} systemd-udevd.service systemd-udev-trigger.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         TimeoutStartSec=90\n\
         Environment=LC_ALL=C\n\
         ExecStart=/bin/sh -c '\
         read now rest </proc/uptime; read then disk 2>/dev/null <{mark} && rm {mark} && \
         test $$then -gt 0 && test $$(($${{now%%.*}} - then)) -lt 120 && test {link} -ef $$disk && exit; \
         udevadm settle --timeout=30; \
         {several} && {{ echo Several disks have this filesystem: Bowline looks which is meant, and without it all but one of \
         them have to be detached; exit 1; }}; \
         {has_errors} && {{ echo This filesystem has noted errors and is not mounted: Bowline says what to do, and without it \
         e2fsck -f -p {link} repairs it; exit 1; }}; \
         true'\n",
        name = volume.name,
        device = unit_name(&by_uuid(uuid), "device"),
        mark = looked_path(&volume.name).display(),
    )
}

/// The link to the filesystem with this UUID, by which it is mounted.
pub(crate) fn by_uuid(uuid: &str) -> PathBuf {
    Path::new("/dev/disk/by-uuid").join(uuid)
}

/// The UUID that a mount unit of ours mounts by.
pub(crate) fn uuid_of(mount_unit: &str) -> Option<&str> {
    mount_unit.lines().find_map(|line| line.strip_prefix("What=/dev/disk/by-uuid/"))
}

/// The same of a volume's own mount unit; the one at its place may be another volume's.
pub(crate) fn used<'a>(volume: &Volume, mount_unit: &'a str) -> Option<&'a str> {
    uuid_of(mount_unit).filter(|_| volume_of(mount_unit) == Some(volume.name.as_str()))
}

/// The unit that a file of ours is, or is a drop-in of.
pub(crate) fn unit_of(path: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().map(name).unwrap_or_default();
    folder.strip_suffix(".d").map_or_else(|| name(path), str::to_owned)
}

/// The device unit that a mount unit of ours waits for.
pub(crate) fn disk_unit_name(mount_unit: &str) -> Option<String> {
    let what = mount_unit.lines().find_map(|l| l.strip_prefix("What="))?;
    Some(unit_name(Path::new(what), "device"))
}

fn unit_name(path: &Path, suffix: &str) -> String {
    let text = path.to_string_lossy();
    let inner = text.trim_matches('/');
    let mut name = String::with_capacity(inner.len() + 6);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(byte)),
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    format!("{name}.{suffix}")
}

/// Where the mount unit of a volume lies.
pub fn mount_unit_path(mount: &Path) -> PathBuf {
    Path::new(UNITS).join(mount_unit_name(mount))
}

/// The mount unit of a volume on the filesystem with this UUID.
///
/// `nofail` in a unit's options means what it does in fstab: wanted, not required, and not ordered before
/// local-fs.target: a missing disk stops no boot (systemd.mount(5)). What comes after multi-user.target waits for it as long
/// as systemd does for any device (`DefaultTimeoutStartSec=`, 90 s).
///
/// `network`: its disk is reached through the network. With `_netdev` systemd mounts it after the network and unmounts it before that
/// is taken down, which fails where a pod still uses it: pods outlive K3s at a shutdown, unless the kubelet is told to end them
/// (`shutdownGracePeriod`).
pub fn mount_unit_text(volume: &Volume, filesystem: Filesystem, uuid: &str, network: bool) -> String {
    let own = if network { ["nofail", "_netdev"].as_slice() } else { &["nofail"] };
    let others = volume.options.iter().map(String::as_str).filter(|option| !own.contains(option));
    let options: Vec<&str> = own.iter().copied().chain(others).collect();
    format!(
        "{MARK} from [[volume]] name = \"{name}\"; change the settings, not this file.\n\
         [Unit]\n\
         Description=Volume {name}\n\
         Documentation=man:bowline(1)\n\
         Requires={check}\n\
         After={check}\n\
         \n\
         [Mount]\n\
         What=/dev/disk/by-uuid/{uuid}\n\
         Where={mount}\n\
         Type={filesystem}\n\
         Options={options}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        name = volume.name,
        mount = volume.mount.display(),
        options = options.join(","),
        check = check_unit_name(&mount_unit_name(&volume.mount)),
    )
}

/// Whether a mount unit says that its disk is reached through the network.
pub(crate) fn is_networked(unit: &str) -> bool {
    let options = unit.lines().find_map(|line| line.strip_prefix("Options=nofail,")).unwrap_or_default();
    options.split(',').next() == Some("_netdev")
}

/// Where the gate of a volume on a service lies.
pub fn gate_path(service: &str, volume: &str) -> PathBuf {
    Path::new(UNITS).join(format!("{service}.d")).join(format!("{}{volume}{}", GATES.0, GATES.1))
}

/// The gate: systemd starts the service only with the volume mounted, also when Bowline does not run.
///
/// `RequiresMountsFor=` alone is silent when there is no mount unit; the assertion is not. Nor does that hold when systemd starts a
/// service again that ended by itself: from 254 on it looks at conditions and assertions no more then, but at the command.
pub fn gate_text(volume: &Volume) -> String {
    format!(
        "{MARK} from [[volume]] name = \"{}\": no start without this volume.\n\
         [Unit]\n\
         RequiresMountsFor={mount}\n\
         AssertPathIsMountPoint={mount}\n\
         [Service]\n\
         ExecCondition=mountpoint -q {mount}\n",
        volume.name,
        mount = volume.mount.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shield::Shielded;
    use bowline_settings::SourceFile;

    /// Whatever it is cut off after, the next look finds the unit and removes the rest.
    #[test]
    fn the_mount_unit_goes_last() {
        let files = files_of_mount_unit("mnt-data.mount");
        assert_eq!(files.last(), Some(&mount_unit_path(Path::new("/mnt/data"))));
        assert!(files.contains(&check_unit_path(Path::new("/mnt/data"))));
    }

    /// A file's name has 255 bytes, and that of one that is being written begins and ends with 13 more.
    #[test]
    fn the_files_of_the_longest_mount_point_have_names_that_fit() {
        let at = |more: usize| format!("/{}{}", "-".repeat(40), "a".repeat(60 + more));
        let load = |mount: &str| {
            let text = format!("[[volume]]\nname = \"data\"\nmount = \"{mount}\"\ndevice = \"/dev/sdb\"\n");
            bowline_settings::load(&[SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 }])
        };
        assert!(load(&at(1)).is_err());
        let volume = load(&at(0)).unwrap().settings.volumes.remove(0);
        let mut files = files_of_mount_unit(&mount_unit_name(&volume.mount)).to_vec();
        files.extend([gate_path("k3s-agent.service", &volume.name), Shielded::path_of(&volume.mount)]);
        let longest = files.iter().map(|file| file.file_name().unwrap().len()).max();
        assert_eq!(longest, Some(255 - 13));
    }

    #[test]
    fn a_disk_behind_the_network_is_mounted_after_that() {
        let text = "[[volume]]\nname = \"data\"\nmount = \"/mnt/data\"\ndevice = \"/dev/sdb\"\n\
                    options = [\"noatime\", \"_netdev\"]\n";
        let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        let mut volume = bowline_settings::load(&[file]).unwrap().settings.volumes.remove(0);
        let unit = |volume: &Volume, network| mount_unit_text(volume, Filesystem::Ext4, "b0-17", network);
        assert!(unit(&volume, false).contains("\nOptions=nofail,noatime,_netdev\n"), "as the settings say");
        volume.options.truncate(1);
        assert_eq!(
            unit(&volume, true),
            "# Written by Bowline from [[volume]] name = \"data\"; change the settings, not this file.\n\
             [Unit]\n\
             Description=Volume data\n\
             Documentation=man:bowline(1)\n\
             Requires=bowline-check-mnt-data.service\n\
             After=bowline-check-mnt-data.service\n\
             \n\
             [Mount]\n\
             What=/dev/disk/by-uuid/b0-17\n\
             Where=/mnt/data\n\
             Type=ext4\n\
             Options=nofail,_netdev,noatime\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        );
        assert!(is_networked(&unit(&volume, true)) && !is_networked(&unit(&volume, false)));
        assert!(unit(&volume, false).contains("\nOptions=nofail,noatime\n"));
    }

    #[test]
    fn unit_names_are_what_systemd_escape_prints() {
        // systemd-escape --path --suffix=mount, systemd 252.
        for (path, unit) in [
            ("/var/lib/kafka", "var-lib-kafka.mount"),
            ("/mnt/data-1", "mnt-data\\x2d1.mount"),
            ("/mnt/a_b.c", "mnt-a_b.c.mount"),
            ("/.hidden", "\\x2ehidden.mount"),
            ("/srv/a:b", "srv-a:b.mount"),
        ] {
            assert_eq!(mount_unit_name(Path::new(path)), unit, "{path}");
        }
        assert_eq!(unit_of(&mount_unit_path(Path::new("/var/lib/kafka"))), "var-lib-kafka.mount");
        assert_eq!(unit_of(&gate_path("k3s.service", "data")), "k3s.service");
        let disk = "dev-disk-by\\x2duuid-b0\\x2d17.device";
        assert_eq!(disk_unit_name("[Mount]\nWhat=/dev/disk/by-uuid/b0-17\n").as_deref(), Some(disk));
    }
}
