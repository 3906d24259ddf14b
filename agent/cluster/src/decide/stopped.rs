//! Why K3s is down, where no person stopped it.

use crate::Cluster;
use crate::facts::Facts;
use bowline_engine::Conditions;
use bowline_ports::condition;

/// The volume that took K3s down: systemd stops K3s and then unmounts when the disk went away.
pub(super) fn went_with<'a>(spec: &'a Cluster, facts: &Facts, now: &Conditions) -> Option<&'a str> {
    spec.volumes.iter().map(String::as_str).find(|volume| {
        let text = now.get(&condition::absence(volume)).unwrap_or_default();
        let times: Vec<u64> = text.split('-').filter_map(|time| time.parse().ok()).collect();
        matches!(times[..], [left, back, came] if facts.unit.went_with(left, came) && left <= back)
    })
}

/// Bowline stopped it, and nobody started it since.
pub(super) fn stopped_for_release(facts: &Facts, now: &Conditions) -> bool {
    let at = now.get(condition::STOPPED_FOR_RELEASE).and_then(|seconds| seconds.parse::<u64>().ok());
    // One that was down before was stopped by somebody else.
    at.is_some_and(|at| (facts.unit.began / 1_000_000..=facts.unit.ended / 1_000_000).contains(&at))
}
