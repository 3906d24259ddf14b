//! Reading the simulated machine.

use super::SimHost;
use super::state::{Disk, State};
use bowline_ports::{
    Address, Arch, BlockDevice, Clock, ErrorKind, File, FileKind, Filesystem, Fut, GoneDisk, Inspect, Job, Listener,
    Meta, MetadataAnswer, MetadataAsk, Mount, NodeObject, PortError, Probe, Space, Unit,
};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

impl SimHost {
    /// One look, with all faults.
    pub(super) fn look<'a, T: Send + 'a>(
        &'a self,
        call: &'static str,
        look: impl FnOnce(&mut State) -> Result<T, PortError> + Send + 'a,
    ) -> Fut<'a, T> {
        Box::pin(async move {
            self.faults.look(call).await?;
            look(&mut self.lock())
        })
    }
}

/// In lower-case hex.
pub(super) fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

impl Inspect for SimHost {
    fn clock(&self) -> Fut<'_, Clock> {
        let clock = |state: &State| Clock {
            unix: state.unix(),
            synchronised: state.synchronised,
            uptime: state.uptime(),
            awake: state.uptime(),
        };
        self.look("clock", move |state| Ok(clock(state)))
    }

    fn host_name(&self) -> Fut<'_, String> {
        self.look("host_name", |state| Ok(state.host_name.clone()))
    }

    fn arch(&self) -> Arch {
        Arch::Amd64
    }

    fn read<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<File>> {
        self.look("read", |state| match state.meta(path).map(|meta| meta.kind) {
            Some(FileKind::Directory) => {
                Err(PortError::new(ErrorKind::Invalid, format!("{}: not a regular file", path.display())))
            }
            _ => Ok(state.read(path)),
        })
    }

    fn meta<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Meta>> {
        self.look("meta", |state| state.answers(path).map(|()| state.meta(path)))
    }

    fn real_path<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<PathBuf>> {
        self.look("real_path", |state| Ok(state.real_path(path)))
    }

    fn list<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Vec<String>>> {
        self.look("list", |state| Ok(state.list(path)))
    }

    fn sha256<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<String>> {
        self.look("sha256", |state| Ok(state.files.get(path).map(|f| sha256(&f.content))))
    }

    fn addresses(&self) -> Fut<'_, Vec<Address>> {
        self.look("addresses", |state| {
            let mut sorted = state.addresses.clone();
            sorted.sort_by(|a, b| (&a.interface, a.address).cmp(&(&b.interface, b.address)));
            Ok(sorted)
        })
    }

    fn default_route(&self) -> Fut<'_, Option<String>> {
        self.look("default_route", |state| Ok(state.default_route.clone()))
    }

    fn default_source(&self) -> Fut<'_, Option<Ipv4Addr>> {
        self.look("default_source", |state| {
            let route = state.default_route.as_deref();
            // As the kernel does: the one that came first.
            Ok(state.addresses.iter().find_map(|one| match one.address {
                IpAddr::V4(address) if Some(one.interface.as_str()) == route => Some(address),
                _ => None,
            }))
        })
    }

    fn listener(&self, port: u16) -> Fut<'_, Option<Listener>> {
        self.look("listener", move |state| {
            let busy = state.busy_port == Some(port);
            Ok(busy.then(|| Listener { port, process: Some("nginx".into()) }))
        })
    }

    fn block_devices(&self) -> Fut<'_, Vec<BlockDevice>> {
        self.look("block_devices", |state| Ok(state.disks.iter().map(Disk::noted).collect()))
    }

    fn probe<'a>(&'a self, device: &'a Path) -> Fut<'a, Probe> {
        let gone = || PortError::new(ErrorKind::NotFound, format!("{} is gone", device.display()));
        self.look("probe", move |state| state.probe(device).ok_or_else(gone))
    }

    fn extent<'a>(&'a self, device: &'a Path, filesystem: Filesystem) -> Fut<'a, Option<u64>> {
        self.look("extent", move |state| Ok(state.extent(device, filesystem)))
    }

    fn mounts(&self) -> Fut<'_, Vec<Mount>> {
        self.look("mounts", |state| Ok(state.mounts.clone()))
    }

    fn gone_disks(&self) -> Fut<'_, Vec<GoneDisk>> {
        self.look("gone_disks", |state| Ok(state.gone_disks()))
    }

    fn space<'a>(&'a self, path: &'a Path) -> Fut<'a, Space> {
        self.look("space", move |state| {
            state.answers(path)?;
            let (size, free) = (state.space.size, state.space.free);
            Ok(Space { size, free, available: free, inodes: 1 << 20, inodes_free: 1 << 19 })
        })
    }

    fn unit<'a>(&'a self, name: &'a str) -> Fut<'a, Unit> {
        self.look("unit", |state| Ok(state.unit(name)))
    }

    fn journal_tail<'a>(&'a self, unit: &'a str, _: usize) -> Fut<'a, Vec<String>> {
        self.look("journal_tail", |state| Ok(state.last_words(unit)))
    }

    fn k3s_version<'a>(&'a self, binary: &'a Path) -> Fut<'a, Option<String>> {
        let version = |text: String| match text.strip_prefix("k3s ") {
            Some(version) => Ok(version.to_owned()),
            // What a file that is no program for this machine is answered with.
            None => {
                let cause = std::io::Error::from_raw_os_error(8);
                Err(PortError::io(format_args!("starting {}", binary.display()), &cause))
            }
        };
        self.look("k3s_version", move |state| state.files.get(binary).map(|f| version(f.text())).transpose())
    }

    fn node<'a>(&'a self, _: &'a Path, name: &'a str) -> Fut<'a, Option<NodeObject>> {
        self.look("node", |state| state.node(name))
    }

    fn object<'a>(&'a self, _: &'a Path, path: &'a str) -> Fut<'a, Option<serde_json::Value>> {
        self.get_object(path)
    }

    fn job<'a>(&'a self, name: &'a str) -> Fut<'a, Option<Job>> {
        self.look("job", |state| Ok(state.job(name)))
    }

    fn metadata<'a>(&'a self, ask: &'a MetadataAsk) -> Fut<'a, Vec<MetadataAnswer>> {
        Box::pin(async move {
            self.faults.look("metadata").await?;
            self.service(ask).await
        })
    }
}
