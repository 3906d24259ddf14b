//! systemd units.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The first line of a unit file or configuration that Bowline wrote begins like this: one without it is somebody else's.
pub const MARK: &str = "# Written by Bowline";

/// `ActiveState` of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActiveState {
    /// Up.
    Active,
    /// Reloading, still up.
    Reloading,
    /// Down.
    Inactive,
    /// Down because it failed.
    Failed,
    /// On its way up.
    Activating,
    /// On its way down.
    Deactivating,
}

impl ActiveState {
    /// Up, or on its way there.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Active | Self::Activating | Self::Reloading)
    }

    /// Down, whether it failed or not.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Inactive | Self::Failed)
    }
}

/// What stands for [`Unit::result`] where systemd wanted to start a service again, and what it depends on could not be started: it
/// does not try again.
pub const DEPENDENCY: &str = "dependency";

/// A unit as systemd knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `LoadState`: `loaded`, `not-found`, `masked`, `error`, `bad-setting`.
    pub load: String,
    /// `ActiveState`.
    pub active: ActiveState,
    /// `SubState` (`running`, `auto-restart`, `mounted`).
    pub sub: String,
    /// `Result` of the last run (`success`, `exit-code`); `assert` where an assertion prevented a start, and [`DEPENDENCY`].
    pub result: String,
    /// `UnitFileState` (`enabled`, `disabled`, `static`); empty where there is no file.
    pub file_state: String,
    /// Where the unit's file lies.
    pub fragment: Option<PathBuf>,
    /// Drop-ins in force.
    pub drop_ins: Vec<PathBuf>,
    /// Restarts by systemd since the unit was started by somebody.
    pub restarts: u32,
    /// A main process was started since boot: a unit that is down with this set was stopped, one without it was
    /// never let up.
    pub started: bool,
    /// When it last began to come up, in microseconds since boot; 0 for never.
    pub began: u64,
    /// When it last ceased to be up, in microseconds since boot; 0 for never.
    pub left: u64,
    /// When it was last down for good, in microseconds since boot; 0 for never after it was up.
    pub ended: u64,
    /// Exit status of the main process's last end.
    pub exit_status: i32,
    /// systemd has not read the unit's changed files yet.
    pub needs_reload: bool,
}

/// How long systemd takes at most from the end of a service to the unmounting of what it requires, both in one go because
/// a disk went away, in microseconds. It is microseconds on an idle machine; 0.35 s were seen on a busy one, and who stands still
/// for longer is to have its Kubernetes back all the same. The device's own unit would have the moment, but systemd forgets it
/// with the device.
const IN_ONE_GO_MICROSECONDS: u64 = 5_000_000;

impl Unit {
    /// Whether this service went down together with a mount that `left` then, because its disk went, which `came` anew, both in
    /// microseconds since boot. Whoever stops the service and takes the disk away later leaves a longer gap between the two. The
    /// disk may be back before the service has ended.
    pub fn went_with(&self, left: u64, came: u64) -> bool {
        // One that never came to be up has not left that, or in an earlier life.
        self.left.max(self.began) < came
            && (self.ended..=self.ended.saturating_add(IN_ONE_GO_MICROSECONDS)).contains(&left)
    }

    /// A unit that systemd knows nothing of.
    pub fn not_found() -> Self {
        Self {
            load: "not-found".into(),
            active: ActiveState::Inactive,
            sub: "dead".into(),
            result: "success".into(),
            file_state: String::new(),
            fragment: None,
            drop_ins: Vec::new(),
            restarts: 0,
            started: false,
            began: 0,
            left: 0,
            ended: 0,
            exit_status: 0,
            needs_reload: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_goes_with_what_is_unmounted_right_after_it() {
        let unit = Unit { left: 2_000_000, ended: 5_000_000, ..Unit::not_found() };
        let (before, meanwhile, after) = (1_000_000, 3_000_000, 20_000_000);
        assert!(unit.went_with(5_000_000, after) && unit.went_with(9_900_000, after));
        assert!(unit.went_with(5_000_000, meanwhile), "the disk was back before the service had ended");
        assert!(!unit.went_with(5_000_000, before), "its disk never went: somebody stopped both");
        let never_up = Unit { left: 0, began: 4_000_000, ..unit.clone() };
        assert!(never_up.went_with(5_000_000, after) && !never_up.went_with(5_000_000, meanwhile));
        assert!(!unit.went_with(4_999_999, after), "the mount left before");
        assert!(!unit.went_with(10_100_000, after), "somebody stopped it five seconds before");
    }
}
