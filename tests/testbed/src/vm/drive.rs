//! A disk as a virtual machine gets it: on a SCSI bus, with what it says of itself and what is wrong with it.

use serde_json::{Value, json};

use crate::disk::Disk;

/// Linux counts in these, whatever the disk does.
const SECTOR: u64 = 512;

/// A disk to be plugged in: a Hetzner volume, unless it is to call itself something else.
#[derive(Clone)]
pub struct Drive {
    pub(crate) disk: Disk,
    vendor: String,
    product: String,
    serial: String,
    unreadable: Vec<u64>,
    writes: u64,
}

impl Drive {
    /// A disk without faults, as Hetzner's volumes are.
    pub fn new(disk: &Disk) -> Drive {
        let (vendor, product, serial) = ("HC".to_owned(), "Volume".to_owned(), disk.serial().to_owned());
        Drive { disk: disk.clone(), vendor, product, serial, unreadable: Vec::new(), writes: 0 }
    }

    /// What it says of itself instead.
    pub fn called(mut self, vendor: &str, product: &str, serial: &str) -> Self {
        (self.vendor, self.product, self.serial) = (vendor.to_owned(), product.to_owned(), serial.to_owned());
        self
    }

    /// The sector at this byte cannot be read.
    pub fn unreadable_at(mut self, byte: u64) -> Self {
        self.unreadable.push(byte / SECTOR);
        self
    }

    /// Writes so many bytes a second at most.
    pub fn writing(mut self, bytes: u64) -> Self {
        self.writes = bytes;
        self
    }

    /// What all its parts are called by.
    fn part(&self, kind: &str) -> String {
        format!("{kind}-{}", self.disk.serial())
    }

    /// The device that the machine sees.
    pub(crate) fn device(&self) -> String {
        self.part("disk")
    }

    /// The node that the device is on.
    pub(crate) fn node(&self) -> String {
        self.part("slow")
    }

    /// The group that throttles it.
    pub(crate) fn group(&self) -> String {
        self.part("group")
    }

    /// The nodes below the device, from the top.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let kinds: &[&str] = if self.unreadable.is_empty() { &["slow", "file"] } else { &["slow", "faulty", "file"] };
        kinds.iter().map(|kind| self.part(kind)).collect()
    }

    /// All its parts in the order in which they are made.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let [slow, faulty, file] = ["slow", "faulty", "file"].map(|kind| self.part(kind));
        let mut parts = vec![
            Part::Object(json!({
                "qom-type": "throttle-group", "id": self.group(), "limits": { "bps-write": self.writes },
            })),
            Part::Node(json!({ "driver": "file", "node-name": file, "filename": self.disk.image() })),
        ];
        let mut below = &file;
        if !self.unreadable.is_empty() {
            // "none" comes about when the node is made, and so from the start on.
            let error = |sector: &u64| json!({ "event": "none", "iotype": "read", "errno": 5, "sector": sector });
            let errors: Vec<_> = self.unreadable.iter().map(error).collect();
            parts.push(Part::Node(json!({
                "driver": "blkdebug", "node-name": faulty, "image": file, "inject-error": errors,
            })));
            below = &faulty;
        }
        parts.push(Part::Node(json!({
            "driver": "throttle", "node-name": slow, "throttle-group": self.group(), "file": below,
        })));
        parts.push(Part::Device(json!({
            "driver": "scsi-hd", "id": self.device(), "bus": "scsi.0", "drive": slow,
            "vendor": self.vendor, "product": self.product, "serial": self.serial,
            "rerror": "report", "werror": "report",
        })));
        parts
    }
}

impl From<&Disk> for Drive {
    fn from(disk: &Disk) -> Drive {
        Drive::new(disk)
    }
}

/// Something that QEMU makes, at its start or later.
pub(crate) enum Part {
    Object(Value),
    Node(Value),
    Device(Value),
}

impl Part {
    /// As two words of QEMU's command line.
    pub(crate) fn option(&self) -> [String; 2] {
        let (option, arguments) = match self {
            Part::Object(arguments) => ("-object", arguments),
            Part::Node(arguments) => ("-blockdev", arguments),
            Part::Device(arguments) => ("-device", arguments),
        };
        [option.to_owned(), arguments.to_string()]
    }

    /// As a command to a QEMU that runs.
    pub(crate) fn command(self) -> (&'static str, Value) {
        match self {
            Part::Object(arguments) => ("object-add", arguments),
            Part::Node(arguments) => ("blockdev-add", arguments),
            Part::Device(arguments) => ("device_add", arguments),
        }
    }
}
