//! The real machine.
//!
//! The daemon runs as root without `CAP_SYS_ADMIN` in a sandbox: it reads, writes a few files, and asks systemd
//! for the rest. Everything long or privileged is a transient unit of PID 1.

mod addresses;
mod block;
mod blocking;
mod bus;
mod change;
mod clock;
pub mod control;
pub mod counted;
pub mod door;
pub mod events;
mod ext4;
mod extent;
mod files;
pub mod filesystems;
pub mod firewall;
#[cfg(test)]
mod given_back;
pub mod guard;
pub mod http;
pub mod job;
mod kubernetes;
mod memory;
mod metadata;
mod mounts;
mod net;
pub mod notify_socket;
mod pods;
mod probe;
mod processes;
pub mod reach;
pub mod resolve;
pub mod samples;
mod seats;
mod space;
mod tool;
mod units;

pub use blocking::{elsewhere, event_loop, no_thread};
pub use clock::{since_boot, unix_now};
pub use files::{SettingsFile, read_settings_dir, read_settings_file};
pub use kubernetes::ObjectApi;
pub use mounts::Table as MountTable;
pub use space::read_only_here;

use blocking::{QUICK, Silent, blocking};
use bowline_ports::{
    Address, Arch, BlockDevice, Clock, ErrorKind, File, Filesystem, Fut, GoneDisk, Inspect, Job, Listener, Meta,
    MetadataAnswer, MetadataAsk, Mount, NodeObject, Objects, PortError, Probe, Progress, Space, Survey, SurveyOrder,
    Unit,
};
use bus::Bus;
use events::{Event, Sources};
use job::{Jobs, Launch};
use memory::Memory;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tool::{Tool, parse};

const VERSION: Duration = Duration::from_secs(20);
const HASH: Duration = Duration::from_secs(120);
const DEVICES: Duration = Duration::from_secs(10);

/// The machine that this program runs on.
#[derive(Debug)]
pub struct RealHost {
    bus: Arc<Bus>,
    jobs: Jobs,
    clock: clock::SyncCache,
    versions: Memory<String>,
    hashes: Memory<String>,
    mounts: mounts::Kept,
    clusters: Arc<kubernetes::Clients>,
    metadata: metadata::Service,
    silent: Silent,
}

impl RealHost {
    /// The machine, with long work in units of PID 1 that run this very program.
    pub fn new() -> Result<Self, PortError> {
        let program = std::fs::read_link("/proc/self/exe").map_err(|e| PortError::io("finding this program", &e))?;
        // After an upgrade the kernel marks the old file; the new one has its name.
        let text = program.to_string_lossy();
        let program = text.strip_suffix(" (deleted)").map_or_else(|| program.clone(), PathBuf::from);
        Ok(Self::with(Path::new("/run/bowline"), Launch::Units(program)))
    }

    /// The machine, with the files of long work below another directory, and another way to carry it out.
    pub fn with(run: &Path, launch: Launch) -> Self {
        Self {
            bus: Arc::default(),
            jobs: Jobs::new(run, launch),
            clock: clock::SyncCache::default(),
            versions: Memory::default(),
            hashes: Memory::default(),
            mounts: mounts::Kept::default(),
            clusters: Arc::default(),
            metadata: metadata::Service::default(),
            silent: Silent::default(),
        }
    }

    /// The same machine with a metadata service at another address: tests cannot have the clouds' own.
    #[must_use]
    pub fn with_metadata_at(self, address: SocketAddr) -> Self {
        Self { metadata: metadata::Service::at(address), ..self }
    }

    /// The API of the cluster that a kubeconfig file leads to.
    pub fn objects(&self, kubeconfig: PathBuf) -> ObjectApi {
        ObjectApi::new(Arc::clone(&self.clusters), kubeconfig)
    }

    /// The mounts as the table has them: what errors have made of filesystems it does not always say.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn mount_table(&self) -> Result<Vec<Mount>, PortError> {
        self.mounts.table()
    }

    /// Measures directories and looks where the sandbox cannot, as a unit of PID 1; or follows the one that runs already.
    pub async fn survey(&self, order: &SurveyOrder) -> Result<Survey, PortError> {
        self.jobs.run(&self.bus, order, &Progress::default()).await?;
        let none = || PortError::new(ErrorKind::Other, "the survey ended well and left nothing");
        self.jobs.found::<SurveyOrder>(SurveyOrder::JOB)?.ok_or_else(none)
    }

    /// The survey that was asked for last, and what it found; `None`: it has found nothing yet since this machine booted.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn surveyed(&self) -> Result<Option<(SurveyOrder, Survey)>, PortError> {
        self.jobs.found_last::<SurveyOrder>(SurveyOrder::JOB)
    }

    /// How far the clock is off, in seconds; positive: it is behind. `None` where nobody who keeps it says so.
    pub async fn clock_offset(&self) -> Option<f64> {
        clock::offset(&self.bus).await
    }

    /// Forgets how the last unmounting of a volume ended, for one that begins anew.
    ///
    /// # Errors
    /// The record of it cannot be removed.
    pub fn forget_unmounting(&self, volume: &str) -> Result<(), PortError> {
        self.jobs.forget(&format!("unmount-{volume}"))
    }

    /// A look at a path on another thread: the filesystem there may not answer. One that the kernel keeps in memory does.
    fn look<'a, T: Send + 'static>(&'a self, path: &'a Path, work: fn(&Path) -> Result<T, PortError>) -> Fut<'a, T> {
        if IN_MEMORY.iter().any(|place| path.starts_with(place)) {
            return Box::pin(async move { work(path) });
        }
        Box::pin(self.silent.look(path, work))
    }

    /// Starts watching for what should wake the daemon; within an event loop.
    pub fn events(&self, sources: Sources) -> mpsc::Receiver<Event> {
        events::watch(Arc::clone(&self.bus), Arc::clone(&self.clusters), sources)
    }
}

/// Unguessable bytes.
fn fill_random(into: &mut [u8]) -> Result<(), PortError> {
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(into).map_err(|_| PortError::new(ErrorKind::Other, "the kernel gives no random bytes"))
}

/// Files of this boot, and what the kernel tells of filesystems and of the machine. Not all of cloud-init's: one is a link to the
/// system's disk.
const IN_MEMORY: [&str; 5] =
    ["/run/bowline", "/run/bowline-guard", "/run/cloud-init/instance-data.json", "/sys/fs", "/sys/class/dmi"];

impl Inspect for RealHost {
    fn clock(&self) -> Fut<'_, Clock> {
        Box::pin(clock::read(&self.bus, &self.clock))
    }

    fn host_name(&self) -> Fut<'_, String> {
        Box::pin(async {
            let name = nix::unistd::gethostname()
                .map_err(|e| PortError::io("asking for the host name", &std::io::Error::from(e)))?;
            name.into_string().map_err(|_| PortError::new(ErrorKind::Invalid, "the host name is not UTF-8"))
        })
    }

    fn arch(&self) -> Arch {
        if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 }
    }

    fn read<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<File>> {
        self.look(path, files::read)
    }

    fn meta<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Meta>> {
        // Device nodes and their links are in memory, and are not opened.
        if path.starts_with("/dev") {
            return Box::pin(async move { files::meta(path) });
        }
        self.look(path, files::meta)
    }

    fn real_path<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<PathBuf>> {
        self.look(path, files::real_path)
    }

    fn list<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<Vec<String>>> {
        self.look(path, files::list)
    }

    fn texts<'a>(&'a self, path: &'a Path, named: (&'a str, &'a str)) -> Fut<'a, Vec<(String, String)>> {
        let (prefix, suffix) = (named.0.to_owned(), named.1.to_owned());
        Box::pin(self.silent.look(path, move |path| files::texts(path, (&prefix, &suffix))))
    }

    fn sha256<'a>(&'a self, path: &'a Path) -> Fut<'a, Option<String>> {
        Box::pin(async move {
            let work = || self.silent.within(HASH, "reading", path, job::fetch::sha256);
            self.hashes.of(&self.silent, path, work).await
        })
    }

    fn addresses(&self) -> Fut<'_, Vec<Address>> {
        Box::pin(async { net::lasting() })
    }

    fn default_route(&self) -> Fut<'_, Option<String>> {
        Box::pin(async { net::default_route() })
    }

    fn default_source(&self) -> Fut<'_, Option<Ipv4Addr>> {
        Box::pin(async { net::default_source() })
    }

    fn listener(&self, port: u16) -> Fut<'_, Option<Listener>> {
        Box::pin(blocking(format!("looking who listens on port {port}"), QUICK, move || net::listener(port)))
    }

    fn block_devices(&self) -> Fut<'_, Vec<BlockDevice>> {
        Box::pin(async {
            let swaps = match block::proc_swaps() {
                Ok(swaps) => swaps,
                // Out of sight in the sandbox. Without systemd's answer either, a swap signature still keeps a
                // device from being formatted, and the unit that formats reads the table itself.
                Err(_) => units::swaps(&self.bus).await.unwrap_or_default(),
            };
            blocking("looking at block devices".to_owned(), DEVICES, move || block::read(&swaps)).await
        })
    }

    fn probe<'a>(&'a self, device: &'a Path) -> Fut<'a, Probe> {
        Box::pin(probe::at(device, &self.silent))
    }

    fn extent<'a>(&'a self, device: &'a Path, filesystem: Filesystem) -> Fut<'a, Option<u64>> {
        Box::pin(self.silent.look(device, move |device| extent::read(device, filesystem)))
    }

    fn mounts(&self) -> Fut<'_, Vec<Mount>> {
        Box::pin(self.mounts.read(&self.silent))
    }

    fn pods_at<'a>(&'a self, directory: &'a Path) -> Fut<'a, Vec<String>> {
        self.look(directory, pods::at)
    }

    fn gone_disks(&self) -> Fut<'_, Vec<GoneDisk>> {
        Box::pin(blocking("looking what pods have mounted".to_owned(), QUICK, pods::on_gone_disks))
    }

    fn space<'a>(&'a self, path: &'a Path) -> Fut<'a, Space> {
        Box::pin(space::space_at(&self.silent, path))
    }

    fn unit<'a>(&'a self, name: &'a str) -> Fut<'a, Unit> {
        Box::pin(units::unit(&self.bus, name))
    }

    fn journal_tail<'a>(&'a self, unit: &'a str, lines: usize) -> Fut<'a, Vec<String>> {
        Box::pin(units::journal_tail(unit, lines))
    }

    fn k3s_version<'a>(&'a self, binary: &'a Path) -> Fut<'a, Option<String>> {
        Box::pin(self.versions.of(&self.silent, binary, || k3s_version(binary)))
    }

    fn node<'a>(&'a self, kubeconfig: &'a Path, name: &'a str) -> Fut<'a, Option<NodeObject>> {
        Box::pin(self.clusters.node(kubeconfig, name))
    }

    fn object<'a>(&'a self, kubeconfig: &'a Path, path: &'a str) -> Fut<'a, Option<serde_json::Value>> {
        Box::pin(async move { self.objects(kubeconfig.to_path_buf()).get(path).await })
    }

    fn job<'a>(&'a self, name: &'a str) -> Fut<'a, Option<Job>> {
        Box::pin(self.jobs.look(&self.bus, name))
    }

    fn metadata<'a>(&'a self, ask: &'a MetadataAsk) -> Fut<'a, Vec<MetadataAnswer>> {
        Box::pin(self.metadata.ask(ask))
    }
}

async fn k3s_version(binary: &Path) -> Result<Option<String>, PortError> {
    let tool = Tool::K3sVersion(binary);
    let output = tool.run(None, VERSION).await?;
    if !output.status.success() {
        return Err(tool.failed(&output));
    }
    match parse::k3s_version(&String::from_utf8_lossy(&output.stdout)) {
        Some(version) => Ok(Some(version)),
        None => Err(PortError::new(
            ErrorKind::Invalid,
            format!("{} --version does not answer as K3s does: {}", binary.display(), tool::last_words(&output)),
        )),
    }
}
