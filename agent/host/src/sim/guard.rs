//! The guard in the simulation: the package's unit, which closes ports to pods for as long as it runs.

use super::state::State;
use super::systemd::PACKAGED;
use bowline_ports::{ErrorKind, GUARD_CLOSED, GUARD_ORDER, GUARD_SERVICE, PortError, UNITS};
use std::path::Path;

pub(super) const NO_NFTABLES: &str = "closing ports to pods by nftables: Protocol not supported";

impl State {
    /// The package is installed, and its unit enabled.
    pub(super) fn install_guard(&mut self) {
        let text = b"[Service]\nType=notify\nExecStart=/usr/bin/bowline internal guard\n\
                     [Install]\nWantedBy=multi-user.target\n";
        let path = Path::new(PACKAGED).join(GUARD_SERVICE);
        self.put(&path, text.to_vec(), 0o644);
        let link = Path::new(UNITS).join("multi-user.target.wants").join(GUARD_SERVICE);
        self.put(&link, format!("-> {}", path.display()).into_bytes(), 0o777);
    }

    /// Its condition.
    pub(super) fn has_guard_order(&self) -> bool {
        self.files.contains_key(Path::new(GUARD_ORDER))
    }

    pub(super) fn close_ports(&mut self) -> Result<(), PortError> {
        if !self.nftables {
            return Err(PortError::new(ErrorKind::Other, format!("{GUARD_SERVICE} did not start: {NO_NFTABLES}")));
        }
        let order = self.files.get(Path::new(GUARD_ORDER)).map(|file| file.content.clone());
        self.put(Path::new(GUARD_CLOSED), order.unwrap_or_default(), 0o644);
        Ok(())
    }

    pub(super) fn open_ports(&mut self) {
        self.files.remove(Path::new(GUARD_CLOSED));
    }

    /// K3s is started: with it there are pods.
    pub(super) fn note_open_ports(&mut self) {
        if !self.files.contains_key(Path::new(GUARD_CLOSED)) {
            self.open_starts += 1;
        }
    }
}
