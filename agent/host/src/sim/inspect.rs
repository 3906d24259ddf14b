//! Reading the simulated machine.

use super::SimHost;
use bowline_ports::{
    Address, Arch, BlockDevice, Clock, ErrorKind, File, Filesystem, Fut, Inspect, Job, Listener, Meta, MetadataAnswer,
    MetadataAsk, Mount, NodeObject, PortError, Probe, Space, Unit,
};
use sha2::{Digest, Sha256};
use std::path::Path;

fn now<'a, T: Send + 'a>(value: Result<T, PortError>) -> Fut<'a, T> {
    Box::pin(async move { value })
}

/// In lower-case hex.
pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Inspect for SimHost {
    fn clock(&self) -> Fut<'_, Clock> {
        let state = self.lock();
        now(Ok(Clock { unix: state.unix(), synchronised: state.synchronised, uptime: state.uptime() }))
    }

    fn host_name(&self) -> Fut<'_, String> {
        now(Ok(self.lock().host_name.clone()))
    }

    fn arch(&self) -> Arch {
        Arch::Amd64
    }

    fn read<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<File>> {
        now(Ok(self.lock().files.get(path).cloned()))
    }

    fn meta<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Meta>> {
        now(Ok(self.lock().meta(path)))
    }

    fn list<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Vec<String>>> {
        now(Ok(self.lock().list(path)))
    }

    fn sha256<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<String>> {
        now(Ok(self.lock().files.get(path).map(|f| sha256(&f.content))))
    }

    fn addresses(&self) -> Fut<'_, Vec<Address>> {
        now(Ok(self.lock().addresses.clone()))
    }

    fn default_route(&self) -> Fut<'_, Option<String>> {
        now(Ok(self.lock().default_route.clone()))
    }

    fn listener(&self, port: u16) -> Fut<'_, Option<Listener>> {
        let busy = self.lock().busy_port == Some(port);
        now(Ok(busy.then(|| Listener { port, process: Some("nginx".into()) })))
    }

    fn block_devices(&self) -> Fut<'_, Vec<BlockDevice>> {
        now(Ok(self.lock().disks.iter().map(|d| d.device.clone()).collect()))
    }

    fn probe<'a>(&'a self, device: &'a Path) -> Fut<'a, Probe> {
        let gone = || PortError::new(ErrorKind::NotFound, format!("{} is gone", device.display()));
        now(self.lock().probe(device).ok_or_else(gone))
    }

    fn extent<'a>(&'a self, device: &'a Path, filesystem: Filesystem) -> Fut<'a, Option<u64>> {
        now(Ok(self.lock().extent(device, filesystem)))
    }

    fn mounts(&self) -> Fut<'_, Vec<Mount>> {
        now(Ok(self.lock().mounts.clone()))
    }

    fn space<'a>(&'a self, _: &'a Path) -> Fut<'a, Space> {
        let (size, free) = (20 << 30, 15 << 30);
        now(Ok(Space { size, free, available: free, inodes: 1 << 20, inodes_free: 1 << 19 }))
    }

    fn unit<'a>(&'a self, name: &'a str) -> Fut<'a, Unit> {
        now(Ok(self.lock().unit(name)))
    }

    fn journal_tail<'a>(&'a self, unit: &'a str, _: usize) -> Fut<'a, Vec<String>> {
        now(Ok(self.lock().last_words(unit)))
    }

    fn k3s_version<'a>(&'a self, binary: &'a Path) -> Fut<'a, Option<String>> {
        now(Ok(self.lock().files.get(binary).map(|f| f.text().trim_start_matches("k3s ").to_string())))
    }

    fn node<'a>(&'a self, _: &'a Path, name: &'a str) -> Fut<'a, Option<NodeObject>> {
        now(self.lock().node(name))
    }

    fn object<'a>(&'a self, _: &'a Path, path: &'a str) -> Fut<'a, Option<serde_json::Value>> {
        self.get_object(path)
    }

    fn job<'a>(&'a self, name: &'a str) -> Fut<'a, Option<Job>> {
        now(Ok(self.lock().jobs.get(name).cloned()))
    }

    fn metadata<'a>(&'a self, ask: &'a MetadataAsk) -> Fut<'a, Vec<MetadataAnswer>> {
        Box::pin(self.service(ask))
    }
}
