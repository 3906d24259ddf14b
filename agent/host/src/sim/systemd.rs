//! systemd in the simulation: unit files, mounts, gates, and two services: K3s, and the guard.

use super::guard::NO_NFTABLES;
use super::state::{Content, SimUnit, State};
use bowline_ports::{
    ActiveState, ErrorKind, GUARD_SERVICE, GUARD_UNSUPPORTED, Mount, NodeObject, PortError, Ready, Unit,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

const UNITS: &str = "/etc/systemd/system";
/// Where units of packages lie.
pub(super) const PACKAGED: &str = "/usr/lib/systemd/system";
const K3S: &str = "k3s.service";
const K3S_CONFIG: &str = "/etc/rancher/k3s/config.yaml.d/50-bowline.yaml";
/// K3s says READY this long after its start; its Node is registered and Ready a little later.
const UP_AFTER: Duration = Duration::from_secs(3);
const REGISTERED_AFTER: Duration = Duration::from_secs(4);
const READY_AFTER: Duration = Duration::from_secs(6);

impl State {
    /// What happens at boot: unit files are read, what is enabled is started.
    pub(super) fn boot(&mut self) {
        self.booted = Instant::now();
        self.mounts.push(Mount {
            target: "/".into(),
            source: "/dev/sda1".into(),
            number: "8:1".into(),
            fstype: "ext4".into(),
            root: "/".into(),
            read_only: false,
        });
        for (device, at) in self.foreign_mounts.clone() {
            self.mount(&device, &at);
        }
        self.reload();
        let enabled: Vec<String> = self.units.iter().filter(|(_, u)| u.enabled).map(|(name, _)| name.clone()).collect();
        let (mounts, services): (Vec<_>, Vec<_>) = enabled.into_iter().partition(|name| name.ends_with(".mount"));
        for name in mounts.into_iter().chain(services) {
            // A unit that can not start stays down; the boot goes on.
            let _ = self.start(&name);
        }
    }

    pub(super) fn power_off(&mut self) {
        self.mounts.clear();
        self.jobs.clear();
        self.loaded.clear();
        self.came.clear();
        self.files.retain(|path, _| !path.starts_with("/run"));
        self.units.retain(|_, unit| unit.enabled);
        for disk in &mut self.disks {
            disk.device.mounted_at.clear();
        }
        for unit in self.units.values_mut() {
            (unit.active, unit.started, unit.failed, unit.ended) = (false, false, None, None);
        }
        if let Some(node) = &mut self.node {
            node.ready = Ready::Unknown;
        }
    }

    pub(super) fn reload(&mut self) {
        self.loaded = self
            .files
            .iter()
            .filter(|(path, _)| path.starts_with(UNITS) || path.starts_with(PACKAGED))
            .map(|(path, file)| (path.clone(), file.text()))
            .collect();
    }

    /// Where a unit's file lies, or would.
    fn file_of(&self, name: &str) -> PathBuf {
        let (own, packaged) = (Path::new(UNITS).join(name), Path::new(PACKAGED).join(name));
        if self.files.contains_key(&packaged) && !self.files.contains_key(&own) { packaged } else { own }
    }

    pub(super) fn state_of(&mut self, name: &str) -> &mut SimUnit {
        self.units.entry(name.to_string()).or_insert_with(|| SimUnit {
            active: false,
            enabled: false,
            started: false,
            failed: None,
            since: Instant::now(),
            ended: None,
        })
    }

    pub(super) fn enable(&mut self, name: &str) -> Result<(), PortError> {
        if !self.files.contains_key(&self.file_of(name)) {
            return Err(PortError::new(ErrorKind::NotFound, format!("{name} has no unit file")));
        }
        self.state_of(name).enabled = true;
        Ok(())
    }

    pub(super) fn stop(&mut self, name: &str) {
        let unit = self.state_of(name);
        if std::mem::take(&mut unit.active) {
            unit.ended = Some(Instant::now());
        }
        if name == GUARD_SERVICE {
            self.open_ports();
        }
        let text = self.loaded.get(&Path::new(UNITS).join(name)).filter(|_| name.ends_with(".mount"));
        if let Some(at) = text.and_then(|text| setting(text, "Where")).map(PathBuf::from) {
            self.mounts.retain(|m| m.target != at);
            for disk in &mut self.disks {
                disk.device.mounted_at.retain(|there| *there != at);
            }
        }
        if name == K3S
            && let Some(node) = &mut self.node
        {
            node.ready = Ready::Unknown;
        }
    }

    pub(super) fn start(&mut self, name: &str) -> Result<(), PortError> {
        let Some(text) = self.loaded.get(&self.file_of(name)).cloned() else {
            return Err(PortError::new(ErrorKind::NotFound, format!("Unit {name} not found.")));
        };
        if self.state_of(name).active || (name == GUARD_SERVICE && !self.has_guard_order()) {
            return Ok(());
        }
        let result = match name {
            GUARD_SERVICE => self.close_ports(),
            _ if name.ends_with(".mount") => self.start_mount(&text),
            _ => self.start_service(name),
        };
        let unit = self.state_of(name);
        unit.failed = result.as_ref().err().map(|e| e.message.clone());
        if result.is_ok() {
            (unit.active, unit.since) = (true, Instant::now());
        }
        result
    }

    fn start_mount(&mut self, text: &str) -> Result<(), PortError> {
        let what = setting(text, "What").unwrap_or_default();
        let at = PathBuf::from(setting(text, "Where").unwrap_or_default());
        let uuid = what.trim_start_matches("/dev/disk/by-uuid/").to_string();
        let disk = self
            .disks
            .iter()
            .find(|d| matches!(&d.content, Content::Filesystem { uuid: there, .. } if *there == uuid))
            .map(|d| d.device.path.clone());
        match disk {
            Some(device) => {
                if self.files.keys().any(|path| path.starts_with(&at)) {
                    self.violations.push(format!("a mount at {} hides files", at.display()));
                }
                self.mount(&device, &at);
                Ok(())
            }
            None => Err(PortError::new(ErrorKind::Timeout, format!("{what} did not appear"))),
        }
    }

    pub(super) fn mount(&mut self, device: &Path, at: &Path) {
        let Some(disk) = self.disks.iter_mut().find(|d| d.device.path == device) else { return };
        disk.device.mounted_at.push(at.to_path_buf());
        let fstype = match &mut disk.content {
            Content::Filesystem { name, precious, .. } => {
                *precious = true; // from now on somebody may store something
                name.clone()
            }
            _ => "ext4".into(),
        };
        self.mounts.push(Mount {
            target: at.to_path_buf(),
            source: device.display().to_string(),
            number: disk.device.number.clone(),
            fstype,
            root: "/".into(),
            read_only: false,
        });
    }

    /// Mounts a directory of something mounted at another place as well.
    pub(super) fn bind(&mut self, from: &Path, at: &Path) {
        let fits = |m: &&Mount| from.starts_with(&m.target);
        let Some(mount) = self.mounts.iter().filter(fits).max_by_key(|m| m.target.components().count()).cloned() else {
            return;
        };
        if let Some(disk) = self.disks.iter_mut().find(|d| d.device.number == mount.number) {
            disk.device.mounted_at.push(at.to_path_buf());
        }
        let below = from.strip_prefix(&mount.target).unwrap_or(from);
        self.mounts.push(Mount { target: at.to_path_buf(), root: mount.root.join(below), ..mount });
    }

    fn start_service(&mut self, name: &str) -> Result<(), PortError> {
        let folder = Path::new(UNITS).join(format!("{name}.d"));
        let drop_ins: Vec<String> =
            self.loaded.iter().filter(|(path, _)| path.starts_with(&folder)).map(|(_, text)| text.clone()).collect();
        for text in &drop_ins {
            let Some(at) = setting(text, "AssertPathIsMountPoint") else { continue };
            let at = PathBuf::from(at);
            if !self.mounts.iter().any(|m| m.target == at) {
                let unit =
                    at.display().to_string().trim_matches('/').replace('-', "\\x2d").replace('/', "-") + ".mount";
                self.start(&unit).map_err(|_| {
                    PortError::new(ErrorKind::Other, format!("{name}: dependency {} failed", at.display()))
                })?;
            }
        }
        if !self.files.contains_key(Path::new("/usr/local/bin/k3s")) {
            return Err(PortError::new(ErrorKind::NotFound, "k3s: no such file"));
        }
        self.state_of(name).started = true;
        self.k3s_starts += 1;
        self.note_open_ports();
        self.put(Path::new("/etc/rancher/k3s/k3s.yaml"), b"kubeconfig of the simulation".to_vec(), 0o600);
        Ok(())
    }

    /// What a unit wrote to the journal last.
    pub(super) fn last_words(&self, unit: &str) -> Vec<String> {
        match unit {
            GUARD_SERVICE => vec![NO_NFTABLES.into()],
            _ => self.k3s.dies_with.iter().map(|message| format!("level=fatal msg=\"{message}\"")).collect(),
        }
    }

    /// Restarts since the start: a K3s that dies is started again every five seconds.
    fn k3s_restarts(&self, unit: &SimUnit) -> u32 {
        match &self.k3s.dies_with {
            Some(_) if unit.active => u32::try_from(unit.since.elapsed().as_secs() / 5).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    /// Takes a disk out: systemd stops what needs its mounts, then unmounts.
    pub(super) fn detach(&mut self, device: &Path) {
        let Some(index) = self.disks.iter().position(|d| d.device.path == device) else { return };
        let mut disk = self.disks.remove(index);
        for at in std::mem::take(&mut disk.device.mounted_at) {
            let folder = Path::new(UNITS).join(format!("{K3S}.d"));
            let gate = format!("RequiresMountsFor={}", at.display());
            let gates = |(path, text): (&PathBuf, &String)| path.starts_with(&folder) && text.contains(&gate);
            if self.loaded.iter().any(gates) {
                self.stop(K3S);
            }
            let line = format!("Where={}", at.display());
            let unit = self.loaded.iter().find(|(_, text)| text.lines().any(|l| l == line)).map(|(path, _)| path);
            if let Some(name) = unit.and_then(|path| path.file_name()).map(|n| n.to_string_lossy().into_owned()) {
                self.stop(&name);
            }
            self.mounts.retain(|m| m.target != at);
        }
        self.away.push(disk);
    }

    /// Puts a disk back that was taken out, with what it holds.
    pub(super) fn put_back(&mut self, device: &Path) {
        if let Some(index) = self.away.iter().position(|d| d.device.path == device) {
            let disk = self.away.remove(index);
            if let Content::Filesystem { uuid, .. } = &disk.content {
                let unit = format!("dev-disk-by\\x2duuid-{}.device", uuid.replace('-', "\\x2d"));
                self.came.insert(unit, Instant::now());
            }
            self.disks.push(disk);
        }
    }

    /// A time in microseconds since boot, never 0.
    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.booted).as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub(super) fn unit(&self, name: &str) -> Unit {
        let path = self.file_of(name);
        let mut unit = Unit::not_found();
        if let Some(came) = self.came.get(name) {
            unit.began = self.micros(*came);
        }
        let on_disk = self.files.get(&path).map(|f| f.text());
        if let Some(text) = self.loaded.get(&path) {
            unit.load = "loaded".into();
            unit.fragment = Some(path.clone());
            let folder = Path::new(UNITS).join(format!("{name}.d"));
            let changed = |p: &PathBuf, text: &String| self.files.get(p).map(|f| f.text()).as_ref() != Some(text);
            let drop_ins_differ = self.loaded.iter().any(|(p, text)| p.starts_with(&folder) && changed(p, text))
                || self.files.keys().any(|p| p.starts_with(&folder) && !self.loaded.contains_key(p));
            unit.needs_reload = on_disk.as_ref() != Some(text) || drop_ins_differ;
        }
        if on_disk.is_some() {
            unit.file_state = "disabled".into();
        }
        let Some(state) = self.units.get(name) else { return unit };
        if state.enabled && on_disk.is_some() {
            unit.file_state = "enabled".into();
        }
        unit.started = state.started;
        if state.active || state.ended.is_some() {
            unit.began = self.micros(state.since);
        }
        unit.left = state.ended.map_or(0, |at| self.micros(at));
        // A mount is unmounting for a moment.
        unit.ended = unit.left + u64::from(unit.left > 0 && name.ends_with(".mount"));
        (unit.active, unit.sub) = match (state.active, &state.failed) {
            (true, _) if name == K3S => self.k3s_state(state),
            (true, _) => (ActiveState::Active, "mounted".into()),
            (false, Some(_)) if name != K3S => (ActiveState::Failed, "failed".into()),
            (false, _) => (ActiveState::Inactive, "dead".into()),
        };
        if name == GUARD_SERVICE && state.failed.is_some() {
            unit.exit_status = GUARD_UNSUPPORTED.into();
        }
        if name == K3S {
            unit.restarts = self.k3s_restarts(state);
            unit.exit_status = i32::from(unit.restarts > 0);
        }
        unit
    }

    fn k3s_state(&self, state: &SimUnit) -> (ActiveState, String) {
        if self.k3s.dies_with.is_some() {
            (ActiveState::Activating, "auto-restart".into())
        } else if state.since.elapsed() < UP_AFTER {
            (ActiveState::Activating, "start".into())
        } else {
            (ActiveState::Active, "running".into())
        }
    }

    /// The Node as the API server has it now.
    /// For how long the API server has been up.
    pub(super) fn api(&self) -> Result<Duration, PortError> {
        let up = self.units.get(K3S).filter(|u| u.active).map(|u| u.since.elapsed());
        up.filter(|up| *up >= UP_AFTER && self.k3s.dies_with.is_none())
            .ok_or_else(|| PortError::new(ErrorKind::Unreachable, "the API server at 127.0.0.1:6443 does not answer"))
    }

    pub(super) fn node(&mut self, name: &str) -> Result<Option<NodeObject>, PortError> {
        let up = self.api()?;
        if self.node.is_none() && up >= REGISTERED_AFTER {
            self.node = Some(self.registered(name));
        }
        let never = self.k3s.never_ready.clone();
        if let Some(node) = &mut self.node {
            let ready = up >= READY_AFTER && never.is_none();
            node.ready = if ready { Ready::True } else { Ready::False };
            node.ready_message = if ready { String::new() } else { never.unwrap_or_else(|| "starting".into()) };
        }
        Ok(self.node.clone().filter(|node| node.name == name))
    }

    fn registered(&self, name: &str) -> NodeObject {
        let mut node = NodeObject {
            name: name.into(),
            uid: "sim-1".into(),
            labels: BTreeMap::from([("kubernetes.io/hostname".into(), name.into())]),
            managers: BTreeMap::from([("kubernetes.io/hostname".into(), vec!["k3s".into()])]),
            ready: Ready::False,
            ready_message: String::new(),
            internal_ips: Vec::new(),
            taints: self.foreign_taints.iter().cloned().chain(self.told_taints()).collect(),
            own_taints: None,
            kubelet_version: "v1.34.1+k3s1".into(),
        };
        for label in &self.foreign_labels {
            node.labels.insert(label.key.clone(), label.value.clone());
            node.managers.entry(label.key.clone()).or_default().push(label.manager.clone());
        }
        node
    }

    /// Taints of K3s's configuration: given at registration, and never again.
    fn told_taints(&self) -> Vec<String> {
        let text = self.files.get(Path::new(K3S_CONFIG)).map(|file| file.text()).unwrap_or_default();
        let told = text.lines().find_map(|line| line.strip_prefix("\"node-taint+\": "));
        told.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
    }
}

/// The value of a key in a unit file.
fn setting(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim().to_string())
}
