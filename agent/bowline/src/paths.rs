//! Where Bowline's own files are.

/// The settings: drop-ins in name order.
pub(crate) const SETTINGS: &str = "/etc/bowline/config.d";
/// The last report, readable by all.
pub(crate) const STATUS: &str = "/run/bowline/status.json";
/// Where commands that change something ask the daemon.
pub(crate) const CONTROL: &str = "/run/bowline/control.sock";
/// Held by the one process that may change the machine.
pub(crate) const LOCK: &str = "/run/bowline/lock";
/// Held (flock) by the command that moves pods off this machine.
pub(crate) const DRAIN: &str = "/run/bowline/drain";
/// When each phase of the first boot was reached.
pub(crate) const PHASES: &str = "/var/lib/bowline/first-boot.json";
/// How filesystems filled: of one length always.
pub(crate) const SAMPLES: &str = "/var/lib/bowline/samples";
