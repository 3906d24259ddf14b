//! What others say about the same disk or mount point: lines of `/etc/fstab` (Hetzner's `automount` writes one), units of mounts
//! and swap, and cloud-init's document.

use bowline_ports::BlockDevice;
use std::fmt;
use std::path::{Path, PathBuf};

/// The table of filesystems.
pub(crate) const FSTAB: &str = "/etc/fstab";
/// What cloud-init was told, all parts merged; for root alone.
pub(crate) const CLOUD_CONFIG: &str = "/var/lib/cloud/instance/cloud-config.txt";
/// cloud-init's own work on disks.
const DISKS: [&str; 3] = ["mounts", "fs_setup", "disk_setup"];

/// Somebody else's word on what is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `line 7 of /etc/fstab`, or a unit's file.
    pub by: String,
    /// What is mounted, as written (`UUID=…`, `/dev/sdb`).
    pub what: String,
    /// Where.
    pub at: PathBuf,
    /// As what; empty or `auto` for whatever it is.
    pub fstype: String,
}

impl Claim {
    /// Whether it is this disk that it names.
    pub(crate) fn names(&self, device: &BlockDevice) -> bool {
        let what = self.what.trim_matches('"');
        let by = |kind: &str, value: &str| Path::new("/dev/disk").join(kind).join(value.trim_matches('"'));
        let path = match what.split_once('=') {
            Some(("UUID", value)) => by("by-uuid", &value.to_lowercase()),
            Some(("LABEL", value)) => by("by-label", &in_links(value.trim_matches('"'))),
            Some(("PARTUUID", value)) => by("by-partuuid", &value.to_lowercase()),
            Some(("PARTLABEL", value)) => by("by-partlabel", &in_links(value.trim_matches('"'))),
            _ => PathBuf::from(what),
        };
        device.path == path || device.links.contains(&path)
    }

    /// Whether it says of a filesystem and a place what the settings say.
    pub(crate) fn agrees(&self, at: &Path, fstype: &str) -> bool {
        self.at == at && ["", "auto", fstype].contains(&self.fstype.as_str())
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, what, at, fstype } = self;
        match fstype.as_str() {
            "swap" => write!(f, "{by} uses {what} as swap"),
            "" => write!(f, "{by} mounts {what} at {}", at.display()),
            fstype => write!(f, "{by} mounts {what} at {} as {fstype}", at.display()),
        }
    }
}

/// The claims of an fstab. What has no place, such as swap, is one that no volume agrees with.
pub(crate) fn fstab(text: &str) -> Vec<Claim> {
    let claim = |(index, line): (usize, &str)| {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let (what, at, fstype) = (words.next()?, words.next()?, words.next()?);
        let by = format!("line {} of {FSTAB}", index + 1);
        let at = if at.len() > 1 { at.trim_end_matches('/') } else { at };
        let (what, fstype) = (unescaped(what), fstype.to_owned());
        Some(Claim { by, what, at: unescaped(at).into(), fstype })
    };
    text.lines().enumerate().filter_map(claim).collect()
}

/// The claim of a mount unit.
pub(crate) fn unit(path: &Path, text: &str) -> Option<Claim> {
    Some(Claim {
        by: path.display().to_string(),
        what: value(text, "What")?.to_owned(),
        at: value(text, "Where")?.into(),
        fstype: value(text, "Type").unwrap_or_default().to_owned(),
    })
}

/// The claim of a swap unit, which no volume agrees with.
pub(crate) fn swap_unit(path: &Path, text: &str) -> Option<Claim> {
    let what = value(text, "What")?.to_owned();
    Some(Claim { by: path.display().to_string(), what, at: "none".into(), fstype: "swap".into() })
}

/// What a unit says of a key last.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let said = |line: &'a str| line.trim().strip_prefix(key)?.trim_start().strip_prefix('=');
    text.lines().rev().find_map(said).map(str::trim)
}

/// The part of cloud-init's document that is about this disk as well.
pub(crate) fn cloud_init<'a>(document: &'a str, device: &BlockDevice) -> Option<&'a str> {
    let mut part = "";
    for line in document.lines() {
        if !line.starts_with([' ', '\t', '-', '#'])
            && let Some((key, _)) = line.split_once(':')
        {
            part = key.trim();
        }
        let names = |path: &Path| {
            let text = path.to_string_lossy();
            line.match_indices(&*text).any(|(at, _)| {
                let next = line.get(at + text.len()..).and_then(|rest| rest.chars().next());
                next.is_none_or(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
            })
        };
        if DISKS.contains(&part) && (names(&device.path) || device.links.iter().any(|link| names(link))) {
            return Some(part);
        }
    }
    None
}

/// A label as udev writes it into links (`udev_util_encode_string`).
fn in_links(label: &str) -> String {
    let letter = |letter: char| match letter {
        _ if letter.is_alphanumeric() || !letter.is_ascii() || "#+-.:=@_".contains(letter) => letter.to_string(),
        other => format!("\\x{:02x}", u32::from(other)),
    };
    label.chars().map(letter).collect()
}

/// fstab writes space, tab and backslash as three octal digits.
fn unescaped(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::DeviceId;

    fn device() -> BlockDevice {
        BlockDevice {
            path: "/dev/sdb".into(),
            number: "8:16".into(),
            id: DeviceId { serial: Some("123".into()), size: 1 << 30 },
            vendor: "HC".into(),
            model: "Volume".into(),
            transport: "scsi".into(),
            links: vec!["/dev/disk/by-id/scsi-0HC_Volume_123".into(), "/dev/disk/by-uuid/ab-1".into()],
            announced: true,
            ..BlockDevice::default()
        }
    }

    #[test]
    fn lines_of_fstab() {
        let text = "# comment\nUUID=AB-1 /mnt/my\\040data ext4 defaults 0 2\n\n\
             /dev/disk/by-id/scsi-0HC_Volume_123 /mnt/HC_Volume_123/ ext4 discard,nofail,defaults 0 0 # Hetzner\n\
             /dev/sdb none swap sw 0 0\ngarbage\n";
        let claims = fstab(text);
        let said: Vec<_> = claims.iter().map(|c| (c.by.as_str(), c.at.to_str().unwrap(), c.names(&device()))).collect();
        let wanted = [
            ("line 2 of /etc/fstab", "/mnt/my data", true),
            ("line 4 of /etc/fstab", "/mnt/HC_Volume_123", true),
            ("line 5 of /etc/fstab", "none", true),
        ];
        assert_eq!(said, wanted);
        assert!(claims[1].agrees(Path::new("/mnt/HC_Volume_123"), "ext4"));
        assert!(!claims[1].agrees(Path::new("/mnt/HC_Volume_123"), "xfs"));
        assert!(!claims[1].agrees(Path::new("/mnt/data"), "ext4"));
        assert!(!claims[2].agrees(Path::new("/mnt/data"), "ext4"), "swap contradicts every volume");
        let names = |what: &str| Claim { what: what.into(), ..claims[0].clone() }.names(&device());
        assert!(names("/dev/sdb") && !names("/dev/sdb1") && !names("LABEL=x"));
        let links = vec!["/dev/disk/by-label/my\\x20data".into(), "/dev/disk/by-partlabel/Größe_1".into()];
        let labelled = BlockDevice { links, ..device() };
        for (what, named) in [("LABEL=my data", true), ("PARTLABEL=\"Größe_1\"", true), ("PARTLABEL=x", false)] {
            assert_eq!(Claim { what: what.into(), ..claims[0].clone() }.names(&labelled), named, "{what}");
        }
    }

    #[test]
    fn a_mount_unit() {
        let text = "[Mount]\nWhat=/dev/sdc\nWhat = /dev/sdb\nWhere=/mnt/data\nType=xfs\n";
        let claim = unit(Path::new("/etc/systemd/system/mnt-data.mount"), text).unwrap();
        assert!(claim.names(&device()) && claim.agrees(Path::new("/mnt/data"), "xfs"), "the last one counts");
        assert_eq!(unit(Path::new("/x"), "[Unit]\n"), None);
        let swap = swap_unit(Path::new("/etc/systemd/system/dev-sdb.swap"), "[Swap]\nWhat=/dev/sdb\n").unwrap();
        assert!(swap.names(&device()) && !swap.agrees(Path::new("/mnt/data"), ""));
    }

    #[test]
    fn what_cloud_init_was_told_of_the_disk() {
        let about = |text: &str| cloud_init(text, &device()).map(str::to_owned);
        assert_eq!(about("#cloud-config\nmounts:\n- [ /dev/sdb, /mnt ]\n").as_deref(), Some("mounts"));
        assert_eq!(about("fs_setup:\n  - device: /dev/disk/by-id/scsi-0HC_Volume_123\n").as_deref(), Some("fs_setup"));
        assert_eq!(about("mounts:\n- [ /dev/sdb1, /mnt ]\nruncmd:\n- [ mkfs, /dev/sdb ]\n"), None);
    }
}
