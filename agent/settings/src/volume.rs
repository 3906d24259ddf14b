//! Reads `[[volume]]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::access;
use crate::complaint::{Complaint, quote};
use crate::disk;
use crate::model::{Filesystem, Format, Repair, Volume, VolumeSource, is_normal};
use crate::mounts;
use crate::persistent;
use crate::reader::{Reader, Section};
use crate::source::Spot;
use crate::tree::{Item, Kind};

pub(crate) const KEYS: [&str; 15] = [
    "name",
    "device",
    "serial",
    "match",
    "mount",
    "filesystem",
    "options",
    "format",
    "gate",
    "growth",
    "repair",
    "owner",
    "mode",
    "directories",
    "persistent-volume",
];

/// Reads all volumes.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Vec<Volume> {
    let Some(items) = reader.list(root, "volume", "tables") else {
        return Vec::new();
    };
    let mut seen = Seen::default();
    let mut claims = BTreeMap::new();
    let mut names = BTreeMap::new();
    let node = root.get("node").and_then(|item| item.table()?.get("name")?.text());
    let mut volumes = Vec::new();
    for item in items {
        let Some(table) = item.table() else {
            reader.complain(
                item.at,
                "volume",
                Complaint::new(format!("a [[volume]] is {}, expected a table", item.kind.noun())),
            );
            continue;
        };
        let name = table.get("name").and_then(Item::text);
        let section = Section {
            path: name.map_or("volume".to_owned(), |name| crate::reader::dotted("volume", name)),
            at: item.at,
            table,
        };
        // Without a name files cannot be laid over each other, so this one is
        // missed in every file, not only in the whole.
        if table.get("name").is_none() {
            reader.complain(
                item.at,
                "volume",
                Complaint::new("this [[volume]] has no name").suggest("add name = \"data\""),
            );
        }
        let volume = one(reader, &section);
        seen.check(reader, &section);
        if let Some(claim) = volume.as_ref().and_then(|volume| Some(volume.persistent.as_ref()?.claim.to_string()))
            && let Some(first) = claims.insert(claim.clone(), section.at).filter(|_| reader.whole)
        {
            let complaint = Complaint::new(format!("two volumes are for the claim {}", quote(&claim)));
            reader.contradiction(section.at, first, &section.key("persistent-volume"), complaint);
        }
        let named = volume.as_ref().and_then(|volume| Some((volume.persistent.as_ref()?, &volume.name)));
        // What it is called by default takes the node's name; with none here it is the host's.
        let called = named.and_then(|(told, volume)| match node {
            Some(node) => Some(told.object_name(node, volume)),
            None => told.name.clone(),
        });
        if let Some(called) = called
            && let Some(first) = names.insert(called.clone(), section.at).filter(|_| reader.whole)
        {
            let message = format!("two volumes have a persistent volume with the name {}", quote(&called));
            let complaint = Complaint::new(message).suggest("give each a `name` of its own, or leave it out");
            reader.contradiction(section.at, first, &section.key("persistent-volume.name"), complaint);
        }
        volumes.extend(volume);
    }
    volumes
}

fn one<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Option<Volume> {
    reader.known(section, &KEYS, &[]);
    reader.missing(section, "mount", "mount = \"/mnt/data\"");
    let name = reader.with(section, "name", volume_name);
    let source = source(reader, section);
    let mount = reader.with(section, "mount", mounts::check);
    let kinds = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];
    let filesystem = reader.choice(section, "filesystem", &kinds.map(|kind| (kind.as_str(), kind)), &[]);
    let options = options(reader, section, mount.as_deref());
    // Of one with a slip in its name it is not known what it has.
    if filesystem.is_some() || section.get("filesystem").is_none() {
        known_options(reader, section, filesystem.unwrap_or_default());
    }
    let formats = [("never", Format::Never), ("blank-only", Format::BlankOnly)];
    let format = reader.choice(section, "format", &formats, &[]);
    let gate = reader.boolean(section, "gate");
    let growth = reader.boolean(section, "growth");
    let repairs = [("never", Repair::Never), ("safe", Repair::Safe)];
    let repair = reader.choice(section, "repair", &repairs, &[]);
    let owner = reader.parsed(section, "owner");
    let mode = reader.parsed(section, "mode");
    let directories = access::directories(reader, section);
    let persistent = persistent::read(reader, section, &directories);
    Some(Volume {
        name: name?,
        source: source?,
        mount: mount?,
        filesystem: filesystem.unwrap_or_default(),
        options,
        format: format.unwrap_or_default(),
        gate: gate.unwrap_or(true),
        growth: growth.unwrap_or(true),
        repair: repair.unwrap_or_default(),
        owner,
        mode,
        directories,
        persistent,
    })
}

/// A disk would be formatted first, and never mounted then.
fn known_options<'a>(reader: &mut Reader<'a>, section: &Section<'a>, filesystem: Filesystem) {
    // Another file may say which filesystem it is.
    let Some(item) = section.get("options").filter(|_| reader.whole) else { return };
    let Kind::List(items) = &item.kind else { return };
    for (option, at) in items.iter().filter_map(|item| Some((item.text()?, item.at))) {
        if let Some(others) = mounts::of_others(option, filesystem) {
            let name = option.split('=').next().unwrap_or_default();
            let message = format!("{filesystem} has no mount option {}: {others} has it", quote(name));
            let complaint = Complaint::new(message).suggest("remove it, or set `filesystem`");
            reader.complain(at, &section.key("options"), complaint);
        }
    }
}

fn volume_name(text: &str) -> Result<String, Complaint> {
    let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if text.is_empty() || !plain || !ends {
        return Err(Complaint::new(format!(
            "{} is not a name for a volume: lower-case letters, digits, and `-` between them",
            quote(text)
        )));
    }
    if text.len() > 12 {
        return Err(Complaint::new(format!(
            "a volume's name has at most 12 characters, as an XFS label has; {} has {}",
            quote(text),
            text.len()
        ))
        .suggest("choose a shorter one, such as \"data\""));
    }
    Ok(text.to_owned())
}

fn source<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Option<VolumeSource> {
    let device = reader.with(section, "device", device_path);
    let serial = reader.with(section, "serial", serial_number);
    let fits = disk::read(reader, section);
    if let (Some(by_serial), Some(by_match)) = (section.get("serial"), section.get("match")) {
        let complaint = Complaint::new("a serial says which disk it is: `match` beside it has nothing to add")
            .suggest("remove one of them; `match` may have a `serial` with `*` in it");
        let (at, other) = later_first(by_serial.key, by_match.key);
        reader.contradiction(at, other, &section.path, complaint);
        return None;
    }
    match (section.get("device"), section.get("serial")) {
        (Some(by_path), Some(by_serial)) => {
            let complaint = Complaint::new("a volume is found by `device` or by `serial`, and this one has both")
                .suggest("remove one of them");
            let (at, other) = later_first(by_path.key, by_serial.key);
            reader.contradiction(at, other, &section.path, complaint);
            None
        }
        (Some(item), None) => {
            let path = device?;
            if reader.whole && is_unstable(&path) {
                let message =
                    format!("{} can be another disk after a reboot; names in /dev/disk/by-id stay", path.display());
                reader.warn(item.at, &section.key("device"), Complaint::new(message));
            }
            match section.get("match") {
                Some(_) => Some(VolumeSource::DeviceOrMatch { device: path, fits: fits? }),
                None => Some(VolumeSource::Device(path)),
            }
        }
        (None, Some(_)) => serial.map(VolumeSource::Serial),
        (None, None) if section.get("match").is_some() => fits.map(VolumeSource::Match),
        (None, None) => {
            if reader.whole {
                let complaint = Complaint::new(format!("`{}` does not say which disk it is", section.path))
                    .suggest("add device = \"/dev/disk/by-id/…\", serial = \"…\" or match = { min-size = \"90GiB\" }");
                reader.complain(section.at, &section.path, complaint);
            }
            None
        }
    }
}

fn later_first(one: Spot, other: Spot) -> (Spot, Spot) {
    if (one.file, one.start) > (other.file, other.start) { (one, other) } else { (other, one) }
}

fn device_path(text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'`$*?[]{}<>|;&%".contains(&byte));
    if text.contains(['*', '?']) && text.starts_with("/dev/") {
        return Err(Complaint::new(format!("{} is not a device: `*` and `?` stand for themselves here", quote(text)))
            .suggest("one of `ls -l /dev/disk/by-id`, or the disk's `serial`"));
    }
    if !plain || !is_normal(&path) || !text.starts_with("/dev/") {
        return Err(Complaint::new(format!("{} is not a device: expected a path below /dev", quote(text)))
            .suggest("one of `ls -l /dev/disk/by-id`"));
    }
    Ok(path)
}

/// Whether the kernel gives such names in the order in which disks turn up.
fn is_unstable(path: &Path) -> bool {
    let name = path.strip_prefix("/dev").ok().and_then(Path::to_str);
    name.is_some_and(|name| {
        ["sd", "vd", "xvd", "hd", "nvme"].iter().any(|prefix| name.starts_with(prefix) && !name.contains('/'))
    })
}

fn serial_number(text: &str) -> Result<String, Complaint> {
    let plain = text.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ');
    if text.is_empty() || text.len() > 128 || !plain || text.trim() != text {
        return Err(Complaint::new(format!("{} is not a disk's serial number", quote(text)))
            .suggest("one of `lsblk -dno NAME,SERIAL`"));
    }
    Ok(text.to_owned())
}

fn options<'a>(reader: &mut Reader<'a>, section: &Section<'a>, mount: Option<&Path>) -> Vec<String> {
    let Some(list) = reader.texts(section, "options", mounts::check_option) else {
        return Vec::new();
    };
    let path = section.key("options");
    for (index, (option, at)) in list.iter().enumerate() {
        let earlier = list.get(..index).unwrap_or_default();
        let complaint = if earlier.iter().any(|(other, _)| other == option) {
            Complaint::new(format!("the option {} is there twice", quote(option)))
        } else if let Some((other, _)) = earlier.iter().find(|(other, _)| mounts::are_opposites(option, other)) {
            Complaint::new(format!("{} contradicts {}", quote(option), quote(other)))
        } else if option == "noexec" && mount.is_some_and(mounts::holds_programs) {
            Complaint::new("K3s runs its programs from this volume, which \"noexec\" would forbid").suggest("remove it")
        } else {
            continue;
        };
        reader.complain(*at, &path, complaint);
    }
    list.into_iter().map(|(option, _)| option).collect()
}

/// What may be there only once among all volumes.
#[derive(Default)]
struct Seen<'a> {
    first: BTreeMap<(&'static str, &'a str), Spot>,
}

impl<'a> Seen<'a> {
    fn check(&mut self, reader: &mut Reader<'a>, section: &Section<'a>) {
        for key in ["name", "device", "serial", "mount"] {
            let Some(item) = section.get(key) else {
                continue;
            };
            let Some(text) = item.text() else {
                continue;
            };
            let Some(first) = self.first.get(&(key, text)).copied() else {
                self.first.insert((key, text), item.at);
                continue;
            };
            // Other files may still change a device, but not make one name two.
            if key != "name" && !reader.whole {
                continue;
            }
            let message = match key {
                "name" => format!("two volumes of one file have the name {}", quote(text)),
                "mount" => format!("two volumes are mounted at {}", quote(text)),
                _ => format!("two volumes are on the disk with `{key}` {}", quote(text)),
            };
            reader.contradiction(item.at, first, &section.key(key), Complaint::new(message));
        }
    }
}
