//! `bowline doctor`: the machine, network, disks, tools and cluster, checked from here; every finding with its
//! remedy. Holds no `Change`.
//!
//! A group of checks is a file: what is read for it, and the pure `diagnose` that makes checks of it.
//!
//! - `check`: what a check is.
//! - `settings`, `daemon`, `machine`, `network`, `servers`, `volumes`, `guard`, `firewall`, `nodes`, `cluster`: the groups, in
//!   the order in which one needs another.
//! - `report`: what Bowline itself complains of and no check explained better.

mod check;
mod cluster;
mod daemon;
mod firewall;
mod guard;
pub(crate) mod machine;
mod network;
mod nodes;
mod report;
mod servers;
mod settings;
#[cfg(test)]
mod tests;
mod volumes;

use super::load::{self, Trouble};
use super::{output, plan};
use crate::{paths, show, wiring};
use bowline_engine::Engine;
use bowline_host::real::control::Lock;
use bowline_host::real::firewall::{Listing, rules};
use bowline_host::real::reach::{Reach, reach};
use bowline_host::real::resolve::resolves;
use bowline_ports::{Inspect, PortError};
use bowline_settings::Loaded;
use check::{Check, Verdict};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(folder: &Path, json: bool) -> ExitCode {
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let mut shown = |check: &Check| {
        if !json {
            output::print(&text(check, output::colour()));
        }
    };
    let checks = if output::is_root() {
        let outside = Outside {
            settings: load::folder(folder),
            folder,
            daemon: Lock::is_held(Path::new(paths::LOCK)),
            memory: memory(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
        };
        let ask = Ask {
            resolve: async |name: &str| resolves(name).await,
            reach: async |host: &str, port: u16, deadline: Duration| reach(host, port, deadline).await,
            firewall: async |ipv6: bool| rules(ipv6).await,
        };
        examine(&host, outside, ask, &mut shown).await
    } else {
        let check =
            Check::finding("rights", "this is not root, and most of the machine is out of sight", "run it as root")
                .command("sudo bowline doctor");
        shown(&check);
        vec![check]
    };
    if json {
        output::print_json(&checks);
    } else {
        output::print(&summary(&checks));
    }
    if checks.iter().any(Check::is_finding) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is known without asking the machine through its port.
struct Outside<'a> {
    settings: Result<Loaded, Trouble>,
    folder: &'a Path,
    /// A process holds the lock of the one writer.
    daemon: bool,
    /// Bytes.
    memory: u64,
    processors: usize,
}

/// How the network is asked, and the tools of this machine.
struct Ask<Resolve, Reached, Ruled> {
    /// Whether a name has an address.
    resolve: Resolve,
    /// Whether a port of a host can be reached.
    reach: Reached,
    /// The rules of the firewall, of IPv6 or of IPv4.
    firewall: Ruled,
}

/// Makes all checks, one group after the other.
async fn examine(
    host: &dyn Inspect,
    outside: Outside<'_>,
    ask: Ask<
        impl AsyncFn(&str) -> Result<(), PortError>,
        impl AsyncFn(&str, u16, Duration) -> Reach,
        impl AsyncFn(bool) -> Result<Vec<Listing>, PortError>,
    >,
    shown: &mut impl FnMut(&Check),
) -> Vec<Check> {
    let mut all = Vec::new();
    let mut add = |all: &mut Vec<Check>, group: Vec<Check>| {
        group.iter().for_each(&mut *shown);
        all.extend(group);
    };
    add(&mut all, settings::diagnose(&outside.settings, outside.folder));
    // Without settings that can be used, the machine itself is still worth a look.
    let loaded = outside.settings.unwrap_or_default();
    let wanted = &loaded.settings;

    let group = daemon::diagnose(&daemon::gather(host, outside.daemon).await, &all);
    add(&mut all, group);
    let machine = machine::gather(host, wanted, outside.memory, outside.processors).await;
    add(&mut all, machine::diagnose(&machine));
    let network = network::gather(host, wanted, &ask.resolve).await;
    add(&mut all, network::diagnose(&network, wanted, outside.daemon));
    if let Some(servers) = servers::gather(host, wanted, &ask.reach).await {
        add(&mut all, servers::diagnose(&servers));
    }

    let services = crate::wiring::services(wanted);
    let volumes = bowline_volumes::Volumes { volumes: wanted.volumes.clone(), services, starts: false };
    let group = volumes::diagnose(&volumes, &volumes::gather(host, &volumes).await, &all);
    add(&mut all, group);

    // The daemon knows what failed and since when; a look of one's own is newer.
    let mut engine = Engine::new(wiring::capabilities(wanted, wiring::built()), wiring::VERSION);
    let earlier = plan::last_report(host).await.filter(|_| outside.daemon);
    if let (Some(earlier), Ok(clock)) = (&earlier, host.clock().await) {
        engine.resume(earlier, &clock);
    }
    let now = engine.look(host).await.clone();
    if wiring::guarded(wanted) {
        add(&mut all, vec![guard::diagnose(&now)]);
    }
    // A node that nobody joins needs nothing of others.
    if let Some(spec) = wanted.cluster.as_ref().filter(|_| wiring::guarded(wanted)) {
        let facts = firewall::gather(host, wanted, spec, &now, &ask.firewall).await;
        add(&mut all, facts.iter().map(firewall::diagnose).collect());
        let facts = nodes::gather(host, spec, &now, &ask.reach).await;
        add(&mut all, facts.iter().flat_map(nodes::diagnose).collect());
    }
    if let Some(spec) = &wanted.cluster {
        let facts = cluster::gather(host, wanted, spec).await;
        let group = cluster::diagnose(&facts, spec, &now, &all);
        add(&mut all, group);
    }
    // That of a daemon before the one that runs tells of what may be mended.
    let group = report::diagnose(&now, earlier.as_ref().filter(|earlier| earlier.looks > 0), &all);
    add(&mut all, group);
    all
}

fn memory() -> u64 {
    let wanted = sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    sysinfo::System::new_with_specifics(wanted).map_or(0, |system| system.total_memory())
}

fn text(check: &Check, colour: bool) -> String {
    let name = &check.name;
    match &check.verdict {
        Verdict::Ok { text } => show::check(show::Mark::Ok, name, text, &[], colour),
        Verdict::Note { text } => show::check(show::Mark::Note, name, text, &[], colour),
        Verdict::Skipped { text } => show::check(show::Mark::Skipped, name, text, &[], colour),
        Verdict::Finding { found, remedy, command, .. } => {
            let mut details = vec![("remedy:", remedy.as_str())];
            details.extend(command.iter().map(|command| ("run:", command.as_str())));
            show::check(show::Mark::Finding, name, found, &details, colour)
        }
    }
}

fn summary(checks: &[Check]) -> String {
    let findings = checks.iter().filter(|check| check.is_finding()).count();
    let made = match checks.len() {
        1 => "1 check".to_string(),
        n => format!("{n} checks"),
    };
    match findings {
        0 => format!("\n{made}, nothing found"),
        1 => format!("\n{made}, 1 finding"),
        n => format!("\n{made}, {n} findings"),
    }
}
