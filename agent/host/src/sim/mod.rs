//! A simulated machine behind the same ports as the real one: disks, systemd, K3s and an API server in memory, with
//! tokio's clock as its time. It is a stand-in: one contract suite keeps it honest against the real host.
//!
//! - `world`: what a scenario describes.
//! - `state`: the machine itself.
//! - `inspect`, `change`: the ports; `ask`: servers of the cluster; `objects`: what its API has; `metadata`: the cloud.
//! - `systemd`: units and gates; `mounts`: mounts, and disks that go and come; `k3s`: K3s's life.
//! - `work`: units that do long work, and go on without the agent; `tend`: what they do at mount points.
//! - `room`: how full filesystems are, what is freed, and what is kept.
//! - `guard`: ports that are closed to pods.
//! - `fault`: failures and crashes at any call.

mod ask;
mod change;
mod fault;
mod guard;
mod inspect;
mod k3s;
mod metadata;
mod mounts;
mod objects;
mod room;
mod state;
mod systemd;
mod tend;
mod work;
mod world;

pub use fault::{Calls, Fault, FaultMode};
pub use state::{Content, Disorder};
pub use world::{World, WorldAnswer, WorldCloud, WorldDisk, WorldK3s, WorldLabel, WorldSpace, WorldTrouble};

use crate::pace::Pace;
use bowline_ports::{Ask, BlockDevice};
use fault::Faults;
use state::State;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The simulated machine. Clones are the same machine.
#[derive(Clone)]
pub struct SimHost {
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
    pace: Arc<Pace>,
}

impl SimHost {
    /// A machine that has just booted in this world.
    pub fn new(world: &World) -> Self {
        let state = Arc::new(Mutex::new(State::new(world)));
        let host = Self { state, faults: Arc::default(), pace: Arc::default() };
        host.lock().boot();
        host
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.go_on();
        state
    }

    /// Arms a fault for one of the next calls.
    pub fn arm(&self, fault: Fault) {
        self.faults.arm(fault);
    }

    /// Ends when a crash was injected; until [`SimHost::reboot`] or [`SimHost::restart_agent`] nothing answers.
    pub async fn crashed(&self) {
        self.faults.crashed().await;
    }

    /// How many changes were made or tried so far.
    pub fn changes(&self) -> usize {
        self.faults.count(Calls::Changes)
    }

    /// How many calls were made or tried so far, looks and changes.
    pub fn calls(&self) -> usize {
        self.faults.count(Calls::All)
    }

    /// The call at which a fault happened last, by its name.
    pub fn fault_hit(&self) -> Option<&'static str> {
        self.faults.hit()
    }

    /// The machine loses power and boots again; disks and files stay.
    pub fn reboot(&self) {
        self.faults.clear();
        self.pace.forget();
        let mut state = self.lock();
        state.power_off();
        state.boot();
    }

    /// Only the agent was killed: units of PID 1 go on.
    pub fn restart_agent(&self) {
        self.faults.clear();
        self.pace.forget();
        self.lock().seen_at_work.clear();
    }

    /// All units that are at work for the agent are killed, as a machine without memory does.
    pub fn kill_work(&self) {
        self.lock().kill_work();
    }

    /// How often work of this name was begun since the boot.
    pub fn times_begun(&self, job: &str) -> u32 {
        self.lock().times_begun(job)
    }

    /// The disks on which a filesystem is being made or repaired, by the names that they had first.
    pub fn being_written(&self) -> Vec<PathBuf> {
        self.lock().being_written()
    }

    /// Plugs a disk in.
    pub fn attach(&self, disk: &WorldDisk) {
        self.lock().attach(disk);
    }

    /// Takes a disk out while the machine runs.
    pub fn detach(&self, device: impl AsRef<Path>) {
        self.lock().detach(device.as_ref());
    }

    /// Puts a disk back that was taken out.
    pub fn put_back(&self, device: impl AsRef<Path>) {
        self.put_back_as(&device, &device);
    }

    /// Puts a disk back, by the name that it had first, and the kernel gives it this one, or the next that is free.
    pub fn put_back_as(&self, home: impl AsRef<Path>, name: impl AsRef<Path>) {
        self.lock().put_back(home.as_ref(), name.as_ref());
    }

    /// Mounts a disk as a person would.
    pub fn mount(&self, device: impl AsRef<Path>, at: impl AsRef<Path>) {
        self.lock().mount(device.as_ref(), at.as_ref());
    }

    /// Mounts a directory of something mounted at another place as well, as the kubelet does.
    pub fn bind(&self, from: impl AsRef<Path>, at: impl AsRef<Path>) {
        self.lock().bind(from.as_ref(), at.as_ref());
    }

    /// Somebody uses what is mounted there, or nobody any more.
    pub fn use_mount(&self, at: Option<&Path>) {
        self.lock().in_use = at.map(Path::to_path_buf);
    }

    /// A pod (`NAMESPACE/NAME`) mounts for itself what is mounted there.
    pub fn hold(&self, pod: &str, at: impl AsRef<Path>) {
        self.lock().hold(pod, at.as_ref());
    }

    /// The pod ends.
    pub fn end_pod(&self, pod: &str) {
        self.lock().held.retain(|held| held.pod != pod);
    }

    /// Where something is mounted.
    pub fn mounted(&self) -> Vec<PathBuf> {
        self.lock().mounts.iter().map(|mount| mount.target.clone()).collect()
    }

    /// Writes a file as a person would.
    pub fn put(&self, path: impl AsRef<Path>, text: &str) {
        self.lock().put(path.as_ref(), text.as_bytes().to_vec(), 0o644);
    }

    /// The same, for root alone to read.
    pub fn put_secret(&self, path: impl AsRef<Path>, text: &str) {
        self.lock().put(path.as_ref(), text.as_bytes().to_vec(), 0o600);
    }

    /// A disk gets another size while the machine runs.
    pub fn resize(&self, device: impl AsRef<Path>, size: u64) {
        let mut state = self.lock();
        if let Some(disk) = state.disks.iter_mut().find(|disk| disk.device.path == device.as_ref()) {
            disk.device.id.size = size;
        }
    }

    /// Somebody writes so much, or removes it, on all filesystems.
    pub fn fill(&self, bytes: i64) {
        let mut state = self.lock();
        state.space.free = state.space.free.saturating_add_signed(-bytes);
    }

    /// A file's text.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        self.lock().files.get(path.as_ref()).map(|f| f.text())
    }

    /// Removes a file as a person would.
    pub fn delete(&self, path: impl AsRef<Path>) {
        self.lock().files.remove(path.as_ref());
    }

    /// Has systemd read its unit files, as a person would.
    pub fn daemon_reload(&self) {
        self.lock().reload();
    }

    /// Stops a unit as a person would.
    pub fn stop(&self, unit: &str) {
        self.lock().stop(unit);
    }

    /// What a disk holds.
    pub fn content(&self, device: impl AsRef<Path>) -> Option<Content> {
        self.lock().disks.iter().find(|d| d.device.path == device.as_ref()).map(|d| d.content.clone())
    }

    /// What a server answers from now on.
    pub fn answers(&self, server: &str, answers: Vec<WorldAnswer>) {
        self.lock().answers.insert(server.to_owned(), answers);
    }

    /// Whether the API answers with something else where a list of objects is asked for.
    pub fn lists_nothing(&self, so: bool) {
        self.lock().no_lists = so;
    }

    /// What was asked so far, of whomever it reached, oldest first.
    pub fn asked(&self) -> Vec<Ask> {
        self.lock().asked.clone()
    }

    /// Changes the cloud: what its metadata service says, and whether it answers. The firmware says what it said.
    pub fn change_cloud(&self, change: impl FnOnce(&mut Option<WorldCloud>)) {
        change(&mut self.lock().cloud);
    }

    /// How often the metadata service was asked, or tried.
    pub fn metadata_asks(&self) -> usize {
        self.lock().metadata_asks
    }

    /// An interface gets an address (`eth1 10.0.1.10`).
    pub fn give_address(&self, text: &str) {
        self.lock().addresses.extend(state::address(text));
    }

    /// Somebody gives the host another name.
    pub fn rename(&self, name: &str) {
        self.lock().host_name = name.into();
    }

    /// What every disk holds, attached or not, by the name that it had first; and what is in disorder on it.
    pub fn contents(&self) -> Vec<(PathBuf, Content, Option<Disorder>)> {
        let state = self.lock();
        let all = state.disks.iter().chain(&state.away);
        all.map(|disk| (disk.home.clone(), disk.content.clone(), disk.disorder)).collect()
    }

    /// The node that a disk has now, by the name that it had first; `None` while it is taken out.
    pub fn device(&self, home: impl AsRef<Path>) -> Option<BlockDevice> {
        self.lock().disks.iter().find(|disk| disk.home == home.as_ref()).map(state::Disk::noted)
    }

    /// Another machine has written to a disk that is taken out: it holds this from now on.
    pub fn overwrite(&self, home: impl AsRef<Path>, like: &WorldDisk) {
        let mut state = self.lock();
        if let Some(disk) = state.away.iter_mut().find(|disk| disk.home == home.as_ref()) {
            (disk.content, disk.disorder) = (state::content_of(like), like.disorder());
        }
    }

    /// Somebody erases a disk.
    pub fn wipe(&self, device: impl AsRef<Path>) {
        for disk in self.lock().disks.iter_mut().filter(|disk| disk.device.path == device.as_ref()) {
            (disk.content, disk.disorder) = (Content::Blank, None);
        }
    }

    /// Whether udev has come to a disk, and has its record.
    pub fn announce(&self, device: impl AsRef<Path>, so: bool) {
        for disk in self.lock().disks.iter_mut().filter(|disk| disk.device.path == device.as_ref()) {
            disk.device.announced = so;
        }
    }

    /// What a disk holds gets into disorder, as its filesystem notes down (`light`, `deep`).
    pub fn damage(&self, device: impl AsRef<Path>, disorder: &str) {
        let like = WorldDisk { disorder: disorder.into(), ..WorldDisk::root() };
        for disk in self.lock().disks.iter_mut().filter(|disk| disk.device.path == device.as_ref()) {
            disk.disorder = like.disorder();
        }
    }

    /// The disk of the system is full, or has room again. What is renamed or removed needs none.
    pub fn refuse_writes(&self, so: bool) {
        self.lock().full = so;
    }

    /// Everything that must never happen and did: data written over, K3s on a bare directory.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// All files, with their content, for tests that look for secrets or compare two ends.
    pub fn files(&self) -> Vec<(PathBuf, String)> {
        self.lock().files.iter().map(|(path, file)| (path.clone(), file.text())).collect()
    }

    /// All files with their text and mode.
    pub fn files_with_modes(&self) -> Vec<(PathBuf, String, u32)> {
        self.lock().files.iter().map(|(path, file)| (path.clone(), file.text(), file.mode)).collect()
    }

    /// Somebody writes an object of the API.
    pub fn put_object(&self, path: &str, object: serde_json::Value) {
        self.lock().objects.insert(path.to_owned(), object);
    }

    /// An object of the API.
    pub fn api_object(&self, path: &str) -> Option<serde_json::Value> {
        self.lock().objects.get(path).cloned()
    }

    /// The Node's labels and taints, as far as there is a Node.
    pub fn marks(&self) -> Vec<String> {
        let state = self.lock();
        let labels = state.node.iter().flat_map(|node| node.labels.iter().map(|(key, value)| format!("{key}={value}")));
        labels.chain(state.node.iter().flat_map(|node| node.taints.clone())).collect()
    }

    /// How many times K3s's main process was started since the world began.
    pub fn k3s_starts(&self) -> u32 {
        self.lock().k3s_starts
    }

    /// How many of these starts found ports open to pods.
    pub fn open_starts(&self) -> u32 {
        self.lock().open_starts
    }
}
