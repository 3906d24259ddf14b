//! What a disk is like: `match = { vendor = "HC", min-size = "90GiB" }`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};
use crate::net::number;
use crate::pattern::wild;
use crate::reader::{Reader, Section};

const KEYS: [&str; 6] = ["vendor", "model", "serial", "transport", "min-size", "max-size"];
const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// By what a whole disk is recognised. What is not given does not matter; something is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskMatch {
    /// Its vendor, with `*` for any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Its model, with `*` for any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its serial number, with `*` for any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How it is attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// It is at least so large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
    /// And at most so large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
}

/// How a disk is attached, as the kernel's device tree says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A SCSI host that is none of the others, such as a hypervisor's.
    Scsi,
    /// SATA, or an older ATA.
    Sata,
    /// USB.
    Usb,
    /// NVMe.
    Nvme,
    /// A virtio block device (`/dev/vd…`).
    Virtio,
    /// An SD card or eMMC.
    Mmc,
}

impl Transport {
    /// All of them, by the names that settings have.
    pub const ALL: [(&str, Self); 6] = [
        ("scsi", Self::Scsi),
        ("sata", Self::Sata),
        ("usb", Self::Usb),
        ("nvme", Self::Nvme),
        ("virtio", Self::Virtio),
        ("mmc", Self::Mmc),
    ];

    /// The name that settings have.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find_map(|(name, one)| (*one == self).then_some(*name)).unwrap_or_default()
    }
}

/// A size in bytes, written as a whole number and one of `KB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`,
/// `TiB` (of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// A size in bytes that is known to be one.
    pub(crate) const fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(*unit)?, *bytes)));
        let bytes = unit.and_then(|(count, bytes)| number::<u64>(count.trim_end())?.checked_mul(bytes));
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| {
            Complaint::new(format!("{} is not a size: expected \"90GiB\", \"150GB\" or \"2TB\"", quote(text)))
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().filter(|(_, bytes)| self.0.is_multiple_of(*bytes)).max_by_key(|(_, bytes)| *bytes);
        match whole {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl DiskMatch {
    /// Whether a text of the disk fits; a disk without one fits nothing but `*`.
    pub fn fits(wanted: &str, found: &str) -> bool {
        wild(wanted, found.trim())
    }
}

impl fmt::Display for DiskMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key} \"{value}\""));
        let parts = [
            quoted("vendor", &self.vendor),
            quoted("model", &self.model),
            quoted("serial", &self.serial),
            self.transport.map(|transport| format!("transport {}", transport.as_str())),
            self.min_size.map(|size| format!("at least {size}")),
            self.max_size.map(|size| format!("at most {size}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Reads `match` of a volume. None when it is not there, or says nothing that can be used.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, volume: &Section<'a>) -> Option<DiskMatch> {
    let item = volume.get("match")?;
    let section = reader.section(volume, "match")?;
    reader.known(&section, &KEYS, &[]);
    let wanted = DiskMatch {
        vendor: reader.with(&section, "vendor", text),
        model: reader.with(&section, "model", text),
        serial: reader.with(&section, "serial", text),
        transport: reader.choice(&section, "transport", &Transport::ALL, &[]),
        min_size: reader.parsed(&section, "min-size"),
        max_size: reader.parsed(&section, "max-size"),
    };
    if reader.whole && wanted == DiskMatch::default() && KEYS.iter().all(|key| section.get(key).is_none()) {
        let complaint = Complaint::new("a `match` that says nothing fits every disk");
        reader.complain(item.at, &section.path, complaint.suggest("match = { vendor = \"HC\", min-size = \"90GiB\" }"));
    }
    if let (Some(least), Some(most)) = (wanted.min_size, wanted.max_size)
        && least > most
        && reader.whole
    {
        let complaint = Complaint::new(format!("no disk is at least {least} and at most {most}"));
        reader.complain(item.at, &section.path, complaint.suggest("swap `min-size` and `max-size`, or correct one"));
    }
    Some(wanted)
}

fn text(text: &str) -> Result<String, Complaint> {
    let plain = text.chars().all(|letter| !letter.is_control());
    if text.trim().is_empty() || !plain || text.len() > 128 {
        let message = format!("{} is nothing that a disk says of itself", quote(text));
        return Err(Complaint::new(message).suggest("what `lsblk -o NAME,VENDOR,MODEL,SERIAL,SIZE` shows"));
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("90GiB", 90 << 30), ("150GB", 150_000_000_000), ("2 TB", 2_000_000_000_000)] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }
        assert_eq!("2048MiB".parse::<Size>().unwrap().to_string(), "2GiB");
        for text in ["", "GiB", "90", "90G", "90gib", "1.5TB", "-1GB", "0GB", "99999999999TB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn texts_of_disks() {
        assert!(DiskMatch::fits("HC", "HC      "));
        assert!(DiskMatch::fits("vol*", "vol0a1b") && DiskMatch::fits("*", ""));
        assert!(!DiskMatch::fits("HC", "hc") && !DiskMatch::fits("H", "HC"));
    }
}
