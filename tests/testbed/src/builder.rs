//! What a machine is made of, chosen before it is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};

use crate::bed::Inner as Bed;
use crate::boot::check_name;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::root::Root;
use crate::{Os, base};

/// What a machine is made of.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    /// Unique on the host, and short enough for the name of an interface.
    pub(crate) id: String,
    pub(crate) os: Os,
    pub(crate) address: Option<String>,
    pub(crate) further_addresses: Vec<String>,
    pub(crate) cloud_init: Option<String>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) files: Vec<SeedFile>,
    pub(crate) binds: Vec<(PathBuf, String)>,
    /// Files of the host that are in its root from the start, and where.
    pub(crate) layer: Vec<(PathBuf, String)>,
}

/// A file that is there at the first boot.
#[derive(Clone)]
pub(crate) struct SeedFile {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

/// A machine that is not there yet: choose what it has, then [`MachineBuilder::start`] it.
pub struct MachineBuilder {
    bed: Arc<Bed>,
    spec: Spec,
}

impl MachineBuilder {
    pub(crate) fn new(bed: &Arc<Bed>, name: &str) -> Self {
        let spec = Spec {
            name: name.to_owned(),
            id: String::new(),
            os: Os::Bookworm,
            address: None,
            further_addresses: Vec::new(),
            cloud_init: None,
            disks: Vec::new(),
            files: Vec::new(),
            binds: Vec::new(),
            layer: Vec::new(),
        };
        MachineBuilder { bed: Arc::clone(bed), spec }
    }

    /// Its address in 10.0.1.0/24; without one it has no address and no default route.
    pub fn address(mut self, address: &str) -> Self {
        self.spec.address = Some(address.to_owned());
        self
    }

    /// One more address with its prefix length, such as `203.0.113.10/32`.
    pub fn further_address(mut self, address: &str) -> Self {
        self.spec.further_addresses.push(address.to_owned());
        self
    }

    /// Its operating system, Debian 12 unless said.
    pub fn os(mut self, os: Os) -> Self {
        self.spec.os = os;
        self
    }

    /// A disk that is attached from the start.
    pub fn disk(mut self, disk: &Disk) -> Self {
        self.spec.disks.push(disk.clone());
        self
    }

    /// Hands the machine this user data at its first boot; without it cloud-init is switched off.
    pub fn cloud_init(mut self, user_data: &str) -> Self {
        self.spec.cloud_init = Some(user_data.to_owned());
        self
    }

    /// A file that is there at the first boot.
    pub fn file(mut self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Self {
        self.spec.files.push(SeedFile { path: path.to_owned(), bytes: bytes.as_ref().to_vec(), mode });
        self
    }

    /// Shows a file or folder of the host, read-only.
    pub fn show(mut self, host: &Path, inside: &str) -> Self {
        self.spec.binds.push((host.to_owned(), inside.to_owned()));
        self
    }

    /// A file of the host that is there as if it came with the image: not copied, and the machine may replace it. The host's
    /// stays as it is.
    pub fn shipped(mut self, host: &Path, inside: &str) -> Self {
        self.spec.layer.push((host.to_owned(), inside.to_owned()));
        self
    }

    /// Makes the machine and boots it; see [`Machine::start`].
    pub fn start(mut self) -> Result<Machine> {
        check_name(&self.spec.name)?;
        let dir = self.bed.dir.join("machines").join(&self.spec.name);
        fs::create_dir(&dir).map_err(|error| anyhow!("the machine {} is there already: {error}", self.spec.name))?;
        self.spec.id = self.bed.next_id();
        self.bed.record("names", &self.spec.id)?;
        let root = Root { dir };
        root.create(&base::root(&*self.bed.base(self.spec.os)?), &self.spec)?;
        let machine = Machine::made(self.bed, root, self.spec);
        machine.start()?;
        Ok(machine)
    }
}
