//! The families that a report yields: the whole, capabilities, the node, volumes.

use crate::exposition::{Exposition, Kind, Value, labels};
use crate::{Role, Sample};
use bowline_engine::{CapabilityReport, CapabilityState, Overall, Report};
use bowline_ports::condition;
use std::collections::BTreeSet;

pub(crate) fn overall(out: &mut Exposition, sample: &Sample<'_>) {
    let report = sample.report;
    let now = match report.overall {
        Overall::Ready => "ready",
        Overall::Converging => "converging",
        Overall::Degraded => "degraded",
    };
    out.family("state", Kind::Gauge, "The whole node: 1 for the state that it is in.").one_of(
        &[],
        "state",
        &["ready", "converging", "degraded"],
        now,
    );
    out.gauge("settings_valid", "1 when the newest settings are in force.", report.settings.errors.is_empty());
    out.gauge("settings_absent", "1 while there are no settings yet.", report.settings.absent);
    out.gauge("last_look_timestamp_seconds", "When the node was last looked at, in seconds since 1970.", report.at);
    out.family("looks_total", Kind::Counter, "Looks at the node since the start.").series("", report.looks);
}

pub(crate) fn capabilities(out: &mut Exposition, sample: &Sample<'_>) {
    let all = &sample.report.capabilities;
    let states = CapabilityState::ALL.map(CapabilityState::name);
    let mut family = out.family(
        "capability_state",
        Kind::Gauge,
        "Each capability: 1 for the state that it is in, 0 for the others.",
    );
    for c in all {
        family.one_of(&[("capability", &c.name)], "state", &states, c.state.name());
    }
    each(out, all, "steps_pending", "Steps that are to be done or under way.", |c| c.steps.len());
    each(out, all, "steps_failing", "Steps that failed and are tried again.", |c| {
        c.steps.iter().filter(|s| s.failing.is_some()).count()
    });
    each(out, all, "waits", "Things that are waited for.", |c| c.waits.len());
    each(out, all, "waits_overdue", "Things that are waited for beyond their deadline.", |c| {
        c.waits.iter().filter(|w| w.overdue.is_some()).count()
    });
    each(out, all, "wait_age_seconds", "Age of the oldest wait; 0 without one.", |c| {
        c.waits.iter().map(|w| (sample.now - w.since).max(0)).max().unwrap_or(0)
    });
    each(out, all, "refusals", "Things that Bowline will not do as the node is.", |c| c.refusals.len());
}

fn each<V: Value>(
    out: &mut Exposition,
    all: &[CapabilityReport],
    name: &'static str,
    help: &str,
    value: impl Fn(&CapabilityReport) -> V,
) {
    let mut family = out.family(name, Kind::Gauge, help);
    for c in all {
        family.series(&labels(&[("capability", &c.name)]), value(c));
    }
}

pub(crate) fn node(out: &mut Exposition, sample: &Sample<'_>) {
    let conditions = &sample.report.conditions;
    let is = |key: &str, values: &[&str]| conditions.get(key).is_some_and(|v| values.contains(&v.as_str()));
    out.gauge("node_address_known", "1 when the node's address is known.", conditions.contains_key(condition::ADDRESS));
    out.gauge("node_clock_synchronised", "1 when the clock is synchronised.", sample.clock_synchronised);
    if let Some(offset) = sample.clock_offset {
        let help = "Clock offset in seconds, as chrony or systemd-timesyncd reports it; positive: the clock is behind.";
        out.gauge("clock_offset_seconds", help, offset);
    }
    out.gauge("node_default_route", "1 when there is a default route.", is(condition::DEFAULT_ROUTE, &["ok"]));
    out.gauge("k3s_installed", "1 when K3s is installed.", is(condition::K3S, &["installed", "active"]));
    out.gauge("k3s_active", "1 when K3s runs.", is(condition::K3S, &["active"]));
    let mut family =
        out.family("node_role", Kind::Gauge, "1 for the role that the node has in its cluster by the settings.");
    let role = sample.role.map(Role::name).unwrap_or_default();
    family.one_of(&[], "role", &Role::ALL.map(Role::name), role);
    out.gauge(
        "node_registered",
        "1 when the cluster has a Node of this name.",
        is(condition::NODE, &["registered", "ready"]),
    );
    out.gauge("node_ready", "1 when the Node is Ready.", is(condition::NODE, &["ready"]));
    out.gauge("node_labels_applied", "1 when the Node has its labels and roles.", is(condition::LABELS, &["applied"]));
}

pub(crate) fn volumes(out: &mut Exposition, sample: &Sample<'_>) {
    let report = sample.report;
    let names = volume_names(sample);
    let states = CapabilityState::ALL.map(CapabilityState::name);
    let mut family =
        out.family("volume_state", Kind::Gauge, "Each volume: 1 for the state that it is in, 0 for the others.");
    for name in &names {
        family.one_of(&[("volume", name)], "state", &states, volume_state(report, name).name());
    }
    let holds = |key: String, value: &str| report.conditions.get(&key).is_some_and(|v| v == value);
    let mut family = out.family("volume_ready", Kind::Gauge, "1 when the volume is mounted as the settings say.");
    for name in &names {
        family.series(&labels(&[("volume", name)]), holds(condition::volume(name), "ready"));
    }
    let help = "1 when somebody has released the volume, and it is unmounted: its disk can be detached.";
    let mut family = out.family("volume_released", Kind::Gauge, help);
    for name in &names {
        family.series(&labels(&[("volume", name)]), holds(condition::released(name), "yes"));
    }
    let help = "1 when Kubernetes cannot start without the volume.";
    let mut family = out.family("volume_gated", Kind::Gauge, help);
    for name in &names {
        family.series(&labels(&[("volume", name)]), holds(condition::gate(name), "set"));
    }
}

/// Room that was freed, and room that is kept.
pub(crate) fn room(out: &mut Exposition, sample: &Sample<'_>) {
    let conditions = &sample.report.conditions;
    let number = |text: &String| text.parse::<u64>().unwrap_or(0);
    let help = "Bytes that are kept for when the disk of the system is about to be full; 0 without a reserve.";
    out.gauge("reserve_bytes", help, conditions.get(condition::RESERVE).map_or(0, number));
    let help = "1 while there should be a reserve and is none: it was given up, or there is no room for it.";
    out.gauge("reserve_missing", help, conditions.get(condition::RESERVE).is_some_and(|held| held == "missing"));
    let help = "Bytes that were freed, by what they were.";
    let mut family = out.family("reclaimed_bytes_total", Kind::Counter, help);
    for (key, bytes) in conditions {
        if let Some(what) = key.strip_prefix(condition::ROOM) {
            family.series(&labels(&[("what", what)]), number(bytes));
        }
    }
}

/// The volumes of the settings, and those that a report speaks of (in a command, which has only that).
fn volume_names<'a>(sample: &Sample<'a>) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = sample.volumes.iter().map(String::as_str).collect();
    let stated = sample.report.conditions.keys().map(String::as_str);
    let items = sample.report.capabilities.iter().flat_map(|c| {
        let steps = c.steps.iter().map(|s| s.item.as_str());
        let waits = c.waits.iter().map(|w| w.item.as_str());
        steps.chain(waits).chain(c.refusals.iter().map(|r| r.item.as_str()))
    });
    names.extend(stated.chain(items).filter_map(|key| key.strip_prefix(condition::VOLUMES)));
    names
}

/// The state of one volume, by the same order of precedence as that of a capability.
fn volume_state(report: &Report, name: &str) -> CapabilityState {
    let item = format!("volume/{name}");
    let all = || report.capabilities.iter();
    let mut steps = all().flat_map(|c| &c.steps).filter(|s| s.item == item).peekable();
    let mut waits = all().flat_map(|c| &c.waits).filter(|w| w.item == item).peekable();
    let (working, waiting) = (steps.peek().is_some(), waits.peek().is_some());
    if all().any(|c| c.name == "volumes" && c.error.is_some()) {
        CapabilityState::Unknown
    } else if all().flat_map(|c| &c.refusals).any(|r| r.item == item) {
        CapabilityState::Refused
    } else if steps.any(|s| s.failing.is_some()) {
        CapabilityState::Failing
    } else if waits.any(|w| w.overdue.is_some()) {
        CapabilityState::Overdue
    } else if working {
        CapabilityState::Working
    } else if waiting {
        CapabilityState::Waiting
    } else if report.conditions.get(&item).is_some_and(|v| v == "ready") {
        CapabilityState::Done
    } else {
        CapabilityState::Unknown
    }
}
