//! The binary: downloaded, installed, or found to be another one than it should be.

use super::{BINARY_ITEM, ITEM};
use crate::facts::{Facts, Staged};
use crate::release::{Release, pinned, staged};
use crate::{Action, BINARY, Cluster};
use bowline_engine::Plan;
use bowline_ports::Job;
use bowline_settings::Mirror;

pub(super) fn differs_from_pin(spec: &Cluster, facts: &Facts) -> bool {
    pinned(&spec.spec, facts.arch).is_some_and(|pin| facts.installed_sha256.as_ref() != Some(&pin))
}

/// K3s runs, though what lies in its place would not: it was started from what was there before.
pub(super) fn outlived(facts: &Facts) -> bool {
    let down = facts.unit.active.is_down();
    facts.installed.is_none() && !down && facts.unit.sub != "auto-restart"
}

/// The binary. True when the plan goes on.
pub(super) fn binary(spec: &Cluster, facts: &Facts, version: &str, plan: &mut Plan<Action>) -> bool {
    let ours = facts.unit_file.is_some();
    let none = facts.installed.is_none() && facts.broken.is_none();
    let due = |staged: &&Staged| none && staged.version == version && staged.fits;
    for other in facts.staged.iter().filter(|staged| !due(staged)) {
        let path = staged(&other.version);
        plan.step(BINARY_ITEM, Action::Discard { path }, "it is not, or no longer, what the settings ask for");
    }
    if let Some(why) = &facts.broken {
        let arch = facts.arch.name();
        plan.refuse(
            ITEM,
            "run K3s",
            format!("{BINARY} does not run as K3s: {why}"),
            format!("remove it if nobody needs it as it is: Bowline downloads K3s {version} for {arch} again"),
        );
        if outlived(facts) {
            plan.note(
                ITEM,
                "K3s runs on from what was there before; once it is stopped, it does not come up again with that file",
            );
        }
        return false;
    }
    match &facts.installed {
        Some(installed) if installed == version && differs_from_pin(spec, facts) => {
            plan.refuse(
                ITEM,
                "run K3s",
                format!("{BINARY} has another SHA-256 than `sha256` in the settings"),
                format!("if you do not know where it came from, remove {BINARY}: Bowline downloads it again"),
            );
            false
        }
        Some(installed) if installed == version => true,
        Some(installed) if ours && !facts.ran => {
            plan.refuse(
                ITEM,
                "start K3s",
                format!("{BINARY} is K3s {installed}, and the settings say {version}; none has run here yet"),
                format!("remove {BINARY}: Bowline downloads {version}; or set `version = \"{installed}\"`"),
            );
            false
        }
        Some(installed) if ours => {
            plan.note(
                ITEM,
                format!("the settings say {version}, K3s {installed} runs: upgrading comes with a later version of Bowline, nothing is done"),
            );
            true
        }
        Some(installed) => {
            plan.refuse(
                ITEM,
                "install K3s",
                format!("{BINARY} is there already, without a service: {installed}"),
                format!("remove it if nobody needs it, or set `version = \"{installed}\"`"),
            );
            false
        }
        None => {
            if matches!(spec.spec.mirror, Some(Mirror::Http(_))) && pinned(&spec.spec, facts.arch).is_none() {
                plan.refuse(
                    ITEM,
                    "download K3s",
                    format!("the mirror speaks plain http, and `sha256` has no entry for {}", facts.arch.name()),
                    format!("add `sha256 = {{ {} = \"…\" }}`, or use https", facts.arch.name()),
                );
                return false;
            }
            let order = Release::new(&spec.spec, facts.arch).order(&spec.spec, facts.arch);
            match facts.staged.iter().find(due) {
                Some(there) => {
                    if let Some(wrong) = wrong(there) {
                        plan.refuse(
                            ITEM,
                            "install K3s",
                            format!("{} was downloaded and verified, but {wrong}", order.to.display()),
                            format!(
                                "let {} be K3s {version} for {}, then remove {}: Bowline downloads it again",
                                order.url,
                                facts.arch.name(),
                                order.to.display()
                            ),
                        );
                        return false;
                    }
                }
                None => {
                    let why = match &facts.job {
                        Some(Job::Running(_)) => "it is under way".to_string(),
                        _ => format!("K3s {version} is not installed"),
                    };
                    plan.step(BINARY_ITEM, Action::Fetch(order), why);
                }
            }
            let from = staged(version);
            plan.step(BINARY_ITEM, Action::Install { from, version: version.into() }, "it is verified");
            true
        }
    }
}

/// Why a download that has the right sum is not installed.
fn wrong(staged: &Staged) -> Option<String> {
    let (version, says) = (&staged.version, staged.says.as_ref());
    let broken = staged.broken.as_ref().map(|why| format!("does not run as K3s: {why}"));
    let other = || says.filter(|says| *says != version).map(|says| format!("is K3s {says} and not {version}"));
    broken.or_else(other)
}
