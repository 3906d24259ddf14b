//! The settings: as the daemon finds them at its start, and as they change.

use super::surfaces::Surfaces;
use super::{Daemon, watched};
use crate::cli::load::{self, Trouble};
use crate::cli::{BAD_SETTINGS, settings_report};
use crate::{key, wiring};
use bowline_engine::{SettingsReport, Wake};
use bowline_host::real::events::is_linked;
use bowline_host::real::notify_socket::Notice;
use bowline_settings::{Loaded, SourceFile};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// When what could not be read is read again: it may be there a moment later, without any change in the folder.
const AGAIN: Duration = Duration::from_secs(10);

/// The settings and their files, or how the daemon ends without.
pub(super) fn settings(folder: &Path, surfaces: &Surfaces) -> Result<(Loaded, Vec<SourceFile>), ExitCode> {
    load::sources(folder).and_then(|files| Ok((load::validated(&files)?, files))).map_err(|trouble| {
        for line in trouble.to_string().lines() {
            tracing::error!("{line}");
        }
        let first = trouble.lines().into_iter().next().unwrap_or_default();
        let (what, code) = match trouble.lasts() {
            // Nobody tells of what is mended elsewhere: systemd tries again by itself.
            true if is_linked(folder) => ("invalid", ExitCode::FAILURE),
            true => ("invalid", ExitCode::from(BAD_SETTINGS)),
            false => ("not readable", ExitCode::FAILURE),
        };
        surfaces.tell(Notice::Status(&format!("settings {what}: {first}")));
        code
    })
}

impl Daemon {
    /// Takes changed settings into force, or keeps the earlier ones and says so everywhere.
    pub(super) fn reload(&mut self, asked: bool, units: &watch::Sender<Vec<String>>) {
        // Read once: what is compared is what is taken into force.
        let sources = load::sources(&self.folder);
        let files = sources.as_ref().map(Clone::clone).map_err(Trouble::lines);
        let passes = sources.as_ref().is_err_and(|trouble| !trouble.lasts());
        self.reads_again = passes.then(|| Instant::now() + AGAIN);
        if files == self.files && !asked {
            return;
        }
        self.files = files;
        match sources.and_then(|files| load::validated(&files)) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                self.counters.reloaded(true);
                self.engine.settings(settings_report(&loaded));
                self.level.set(loaded.settings.log.level);
                for file in key::credentials(&loaded.settings).into_iter().filter(|_| asked) {
                    let file = file.display();
                    tracing::info!(
                        "{file} is as systemd brought it when Bowline started: `systemctl restart bowline` brings it anew"
                    );
                }
                if loaded.settings == self.settings {
                    tracing::info!("settings read again: nothing changed");
                } else {
                    tracing::info!("settings changed");
                    self.engine.replace(wiring::capabilities(&loaded.settings, wiring::built()));
                    self.settings = loaded.settings;
                    self.watching.rules(&self.settings.pressure);
                    self.measure();
                    let wanted = watched(&self.settings);
                    units.send_if_modified(|units| std::mem::replace(units, wanted.clone()) != wanted);
                }
                self.engine.wake(Wake::All);
            }
            Err(trouble) => {
                self.counters.reloaded(false);
                tracing::error!("the changed settings are not used, the earlier ones stay in force:");
                for line in trouble.to_string().lines() {
                    tracing::error!("{line}");
                }
                let files = self.files.iter().flatten().map(|file| file.path.display().to_string()).collect();
                self.engine.settings(SettingsReport { files, errors: trouble.lines(), absent: false });
            }
        }
    }
}
