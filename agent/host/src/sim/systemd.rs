//! systemd in the simulation: unit files, what is enabled, gates, services.

use super::guard::NO_NFTABLES;
use super::k3s::is_k3s;
use super::mounts::{place_of, unit_of};
use super::state::{SimUnit, State};
use bowline_ports::{ActiveState, ErrorKind, GUARD_SERVICE, GUARD_UNSUPPORTED, Mount, PortError, UNITS, Unit};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Where units of packages lie.
pub(super) const PACKAGED: &str = "/usr/lib/systemd/system";

impl State {
    /// What happens at boot: unit files are read, what is enabled is started.
    pub(super) fn boot(&mut self) {
        self.booted = Instant::now();
        self.boots += 1;
        self.mounts.push(Mount {
            target: "/".into(),
            source: "/dev/sda1".into(),
            number: "8:1".into(),
            fstype: "ext4".into(),
            root: "/".into(),
            read_only: false,
            errors: 0,
            by_user: false,
        });
        for (device, at) in self.foreign_mounts.clone() {
            self.mount(&device, &at);
        }
        self.reload();
        let (mounts, services): (Vec<_>, Vec<_>) =
            self.enabled().into_iter().partition(|name| name.ends_with(".mount"));
        for name in mounts.into_iter().chain(services) {
            // A unit that cannot start stays down; the boot goes on.
            let _ = self.start(&name);
        }
    }

    pub(super) fn power_off(&mut self) {
        self.mounts.clear();
        self.held.clear();
        self.jobs.clear();
        self.work.clear();
        self.seen_at_work.clear();
        self.loaded.clear();
        self.came.clear();
        self.files.retain(|path, _| !path.starts_with("/run"));
        self.units.clear();
        for disk in &mut self.disks {
            disk.device.mounted_at.clear();
        }
        self.k3s_went();
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
            started: false,
            failed: None,
            since: Instant::now(),
            ended: None,
            in_steps: false,
            held_out: false,
        })
    }

    /// Makes the links by which it is wanted.
    pub(super) fn enable(&mut self, name: &str) -> Result<(), PortError> {
        let path = self.file_of(name);
        let Some(text) = self.files.get(&path).map(|file| file.text()) else {
            return Err(PortError::new(ErrorKind::NotFound, format!("{name} has no unit file")));
        };
        let Some(by) = setting(&text, "WantedBy") else {
            let text = format!("enabling {name}: its unit file has no [Install] section");
            return Err(PortError::new(ErrorKind::Invalid, text));
        };
        for target in by.split_whitespace() {
            let link = Path::new(UNITS).join(format!("{target}.wants")).join(name);
            self.put(&link, format!("-> {}", path.display()).into_bytes(), 0o777);
        }
        Ok(())
    }

    /// What a boot starts, by its links.
    fn enabled(&self) -> Vec<String> {
        let links = self.files.keys().filter(|path| wants(path));
        let names = links.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        names.filter(|name| self.files.contains_key(&self.file_of(name))).collect()
    }

    pub(super) fn stop(&mut self, name: &str) {
        if let Some(at) = place_of(name) {
            for one in self.beneath(&at).rev().chain([at]).collect::<Vec<_>>() {
                self.unmounted(&one, true);
            }
            return;
        }
        let unit = self.state_of(name);
        if std::mem::take(&mut unit.active) {
            (unit.ended, unit.in_steps) = (Some(Instant::now()), false);
        }
        if name == GUARD_SERVICE {
            self.open_ports();
        }
        if is_k3s(name) {
            self.k3s_went();
        }
    }

    pub(super) fn start(&mut self, name: &str) -> Result<(), PortError> {
        let Some(text) = self.loaded.get(&self.file_of(name)).cloned() else {
            return Err(PortError::new(ErrorKind::NotFound, format!("Unit {name} not found.")));
        };
        if self.state_of(name).active || (name == GUARD_SERVICE && !self.has_guard_order()) {
            return Ok(());
        }
        self.start_mounts_of(name)?;
        self.checked(name, &text)?;
        let held_out = self.is_held_out(&text);
        self.state_of(name).held_out = held_out;
        if held_out {
            return Ok(());
        }
        let result = match name {
            GUARD_SERVICE => self.close_ports(),
            _ if name.ends_with(".mount") => self.start_mount(name, &text),
            _ if is_k3s(name) => self.start_k3s(name),
            _ => Ok(()),
        };
        let unit = self.state_of(name);
        unit.failed = result.as_ref().err().map(|e| e.message.clone());
        if result.is_ok() {
            (unit.active, unit.started, unit.since) = (true, true, Instant::now());
        }
        result
    }

    /// The gates of a service. One that does not open leaves it as it was: down, and never started.
    fn start_mounts_of(&mut self, name: &str) -> Result<(), PortError> {
        let folder = Path::new(UNITS).join(format!("{name}.d"));
        let drop_ins = self.loaded.iter().filter(|(path, _)| path.starts_with(&folder));
        let gates: Vec<_> = drop_ins.filter_map(|(_, text)| setting(text, "AssertPathIsMountPoint")).collect();
        for at in gates.iter().map(PathBuf::from) {
            if !self.mounts.iter().any(|m| m.target == at) {
                self.start(&unit_of(&at)).map_err(|_| {
                    PortError::new(ErrorKind::Other, format!("{name}: dependency {} failed", at.display()))
                })?;
            }
        }
        Ok(())
    }

    /// What a unit wrote to the journal last.
    pub(super) fn last_words(&self, unit: &str) -> Vec<String> {
        match unit {
            GUARD_SERVICE => vec![NO_NFTABLES.into()],
            _ => self.k3s.dies_with.iter().map(|message| format!("level=fatal msg=\"{message}\"")).collect(),
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
        // What systemd has read stays so until it reads all anew; the links are asked where that says "disabled".
        let was_enabled = || self.loaded.keys().any(|link| wants(link) && link.ends_with(name));
        if self.enabled().iter().any(|one| one == name) || (unit.load == "loaded" && was_enabled()) {
            unit.file_state = "enabled".into();
        }
        let Some(state) = self.units.get(name) else { return unit };
        if state.active && unit.load == "not-found" {
            unit.load = "loaded".into(); // from the kernel's table of mounts
        }
        unit.started = state.started;
        if state.held_out {
            unit.result = "exec-condition".into();
        }
        if state.active || state.ended.is_some() {
            unit.began = self.micros(state.since);
        }
        unit.left = state.ended.map_or(0, |at| self.micros(at));
        unit.ended = unit.left + u64::from(state.in_steps);
        (unit.active, unit.sub) = match (state.active, &state.failed) {
            (true, _) if is_k3s(name) => self.k3s_state(state),
            (true, _) if name.ends_with(".mount") => (ActiveState::Active, "mounted".into()),
            (true, _) => (ActiveState::Active, "running".into()),
            (false, Some(_)) if !is_k3s(name) => (ActiveState::Failed, "failed".into()),
            (false, _) => (ActiveState::Inactive, "dead".into()),
        };
        if name == GUARD_SERVICE && state.failed.is_some() {
            unit.exit_status = GUARD_UNSUPPORTED.into();
        }
        if is_k3s(name) {
            unit.restarts = self.k3s_restarts(state);
            unit.exit_status = i32::from(unit.restarts > 0);
        }
        unit
    }
}

/// Whether a path is a link by which a target wants a unit.
fn wants(path: &Path) -> bool {
    path.parent()
        .is_some_and(|folder| folder.starts_with(UNITS) && folder.extension().is_some_and(|end| end == "wants"))
}

/// The value of a key in a unit file.
pub(super) fn setting(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim().to_string())
}
