//! What tests of the engine share.

use bowline_ports::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// The time of day, for a test that is alone in its file to set.
pub(crate) static UNIX: AtomicI64 = AtomicI64::new(1_000);

/// A host that has nothing but a clock.
pub(crate) struct ClockOnly;
fn none<'a, T: Send + 'a>() -> Fut<'a, T> {
    Box::pin(async { Err(PortError::new(ErrorKind::Other, "only a clock here")) })
}
impl Inspect for ClockOnly {
    fn clock(&self) -> Fut<'_, Clock> {
        Box::pin(async { Ok(Clock { unix: UNIX.load(SeqCst), synchronised: true, uptime: 1, awake: 1 }) })
    }
    fn host_name(&self) -> Fut<'_, String> {
        none()
    }
    fn arch(&self) -> Arch {
        Arch::Amd64
    }
    fn read<'a>(&'a self, _: &'a Path) -> Fut<'a, Option<File>> {
        none()
    }
    fn meta<'a>(&'a self, _: &'a Path) -> Fut<'a, Option<Meta>> {
        none()
    }
    fn real_path<'a>(&'a self, _: &'a Path) -> Fut<'a, Option<PathBuf>> {
        none()
    }
    fn list<'a>(&'a self, _: &'a Path) -> Fut<'a, Option<Vec<String>>> {
        none()
    }
    fn sha256<'a>(&'a self, _: &'a Path) -> Fut<'a, Option<String>> {
        none()
    }
    fn addresses(&self) -> Fut<'_, Vec<Address>> {
        none()
    }
    fn default_route(&self) -> Fut<'_, Option<String>> {
        none()
    }
    fn listener(&self, _: u16) -> Fut<'_, Option<Listener>> {
        none()
    }
    fn block_devices(&self) -> Fut<'_, Vec<BlockDevice>> {
        none()
    }
    fn probe<'a>(&'a self, _: &'a Path) -> Fut<'a, Probe> {
        none()
    }
    fn extent<'a>(&'a self, _: &'a Path, _: Filesystem) -> Fut<'a, Option<u64>> {
        none()
    }
    fn mounts(&self) -> Fut<'_, Vec<Mount>> {
        none()
    }
    fn space<'a>(&'a self, _: &'a Path) -> Fut<'a, Space> {
        none()
    }
    fn unit<'a>(&'a self, _: &'a str) -> Fut<'a, Unit> {
        none()
    }
    fn journal_tail<'a>(&'a self, _: &'a str, _: usize) -> Fut<'a, Vec<String>> {
        none()
    }
    fn k3s_version<'a>(&'a self, _: &'a Path) -> Fut<'a, Option<String>> {
        none()
    }
    fn metadata<'a>(&'a self, _: &'a MetadataAsk) -> Fut<'a, Vec<MetadataAnswer>> {
        none()
    }
    fn node<'a>(&'a self, _: &'a Path, _: &'a str) -> Fut<'a, Option<NodeObject>> {
        none()
    }
    fn job<'a>(&'a self, _: &'a str) -> Fut<'a, Option<Job>> {
        none()
    }
}
impl Change for ClockOnly {
    fn random<'a>(&'a self, _: &'a mut [u8]) -> Fut<'a, ()> {
        unreachable!()
    }
    fn write<'a>(&'a self, _: &'a Path, _: &'a [u8], _: u32) -> Fut<'a, ()> {
        none()
    }
    fn remove<'a>(&'a self, _: &'a Path) -> Fut<'a, ()> {
        none()
    }
    fn rename<'a>(&'a self, _: &'a Path, _: &'a Path, _: u32) -> Fut<'a, ()> {
        none()
    }
    fn link<'a>(&'a self, _: &'a Path, _: &'a Path) -> Fut<'a, ()> {
        none()
    }
    fn reload_units(&self) -> Fut<'_, ()> {
        none()
    }
    fn write_unit<'a>(&'a self, _: &'a str, _: &'a Path, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn start<'a>(&'a self, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn start_no_block<'a>(&'a self, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn restart<'a>(&'a self, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn restart_no_block<'a>(&'a self, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn stop_no_block<'a>(&'a self, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn enable<'a>(&'a self, _: &'a str) -> Fut<'a, ()> {
        none()
    }
    fn format<'a>(&'a self, _: &'a FormatOrder, _: &'a Progress) -> Fut<'a, ()> {
        none()
    }
    fn grow<'a>(&'a self, _: &'a GrowOrder, _: &'a Progress) -> Fut<'a, ()> {
        none()
    }
    fn tend<'a>(&'a self, _: &'a bowline_ports::TendOrder, _: &'a Progress) -> Fut<'a, ()> {
        none()
    }
    fn reclaim<'a>(&'a self, _: &'a ReclaimOrder, _: &'a Progress) -> Fut<'a, ()> {
        none()
    }
    fn reserve<'a>(&'a self, _: &'a Path, _: u64) -> Fut<'a, ()> {
        none()
    }
    fn fetch<'a>(&'a self, _: &'a FetchOrder, _: &'a Progress) -> Fut<'a, ()> {
        none()
    }
    fn apply_labels<'a>(&'a self, _: &'a Path, _: &'a str, _: &'a BTreeMap<String, String>) -> Fut<'a, ()> {
        none()
    }
    fn set_taints<'a>(&'a self, _: &'a Path, _: &'a str, _: &'a TaintChange) -> Fut<'a, ()> {
        none()
    }
}
