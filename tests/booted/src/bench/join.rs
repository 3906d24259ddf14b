//! `agent_join_overhead`: an agent that asks to be let in, beside one that a good script starts with a token it was given.
//!
//! One server serves all pairs. Every side of a pair has a new machine under a name of its own; the server sees the end of
//! both by the same loop. All machines have the host's clock since boot, so that times of two of them can be compared.

use crate::figure::{Figure, median, rounded};
use crate::install::{Times, between, times};
use crate::tell;
use anyhow::{Result, ensure};
use bowline_booted::hetzner::{self, CONTROL};
use bowline_booted::{ADDRESS, KEY, bare, bare_as, configure, deb, install_and_wait, releases, settings};
use bowline_testbed::{Bed, K3S_VERSION, Machine, Releases};
use serde_json::{Value, json};
use std::time::Duration;

const PAIRS: usize = 5;
/// For one side of one pair.
const LIMIT: Duration = Duration::from_secs(300);
const READY: &str = include_str!("ready.sh");
const OURS: &str = include_str!("agent.sh");
const PEER: &str = include_str!("join.sh");

/// What all runs share.
struct Site<'a> {
    bed: &'a Bed,
    releases: &'a Releases,
    server: &'a Machine,
}

struct Run {
    seconds: f64,
    phases: Value,
}

/// Five pairs, whose first side alternates.
pub(crate) fn figure() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-join")?;
    Ok(vec![measure(&bed).inspect_err(|error| bed.save_evidence(&format!("{error:#}")))?])
}

fn measure(bed: &Bed) -> Result<Figure> {
    let releases = releases(bed)?;
    let server = bare(bed, &releases, None)?;
    server.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
    server.put("/etc/bowline/config.d/20-cluster.toml", CONTROL, 0o600)?;
    install_and_wait(&server, &settings::server(&releases))?;
    server.put("/run/bench/ready.sh", READY, 0o644)?;
    // K3s goes on starting its controllers for a while after it is Ready.
    std::thread::sleep(Duration::from_secs(10));

    let site = Site { bed, releases: &releases, server: &server };
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let (ours, peer);
        if pair % 2 == 0 {
            ours = site.ours(pair)?;
            peer = site.peer(pair)?;
        } else {
            peer = site.peer(pair)?;
            ours = site.ours(pair)?;
        }
        tell(&format!("    pair {}: Bowline {:.2} s, the script {:.2} s", pair + 1, ours.seconds, peer.seconds));
        pairs.push((ours, peer));
    }
    let of = |pick: fn(&(Run, Run)) -> f64| pairs.iter().map(pick).collect::<Vec<_>>();
    let overhead = median(&of(|(ours, peer)| ours.seconds - peer.seconds));
    let measured = json!({
        "ours_whole": rounded(median(&of(|(ours, _)| ours.seconds))),
        "pairs": pairs.iter().map(|(ours, peer)| json!({
            "difference": rounded(ours.seconds - peer.seconds),
            "ours": rounded(ours.seconds),
            "peer": rounded(peer.seconds),
            "ours_phases": ours.phases,
            "peer_phases": peer.phases,
        })).collect::<Vec<_>>(),
    });
    Ok(Figure::new("agent_join_overhead", overhead, "s")
        .beside(median(&of(|(_, peer)| peer.seconds)), "a shell script with a token, all of its time")
        .runs(PAIRS)
        .measured(measured))
}

impl Site<'_> {
    fn ours(&self, pair: usize) -> Result<Run> {
        let name = format!("k3s-trading-dev-worker-{pair}");
        let machine = self.machine(&name, &format!("10.0.1.{}", 50 + pair))?;
        configure(&machine, &hetzner::agent_settings(self.releases, &name, None))?;
        machine.put("/run/bench/bowline.deb", std::fs::read(deb()?)?, 0o644)?;
        machine.put("/run/bench/agent.sh", OURS, 0o755)?;
        let times = timed(&machine, "PACKAGE=/run/bench/bowline.deb /run/bench/agent.sh")?;
        let ready = self.ready(&name)?;
        let phases: Value = serde_json::from_str(&machine.read("/var/lib/bowline/first-boot.json")?)?;
        let mut phases = phases["reached"].clone();
        phases["package_installed"] = json!(between(&times, "began", "installed")?);
        self.over(&machine, &name, times, &ready, phases)
    }

    fn peer(&self, pair: usize) -> Result<Run> {
        let (name, address) = (format!("by-hand-{pair}"), format!("10.0.1.{}", 70 + pair));
        let machine = self.machine(&name, &address)?;
        machine.put("/run/bench/join.sh", PEER, 0o755)?;
        let token = self.server.ok("k3s token create --ttl 10m")?;
        let times = timed(
            &machine,
            &format!(
                "NODE={name} ADDRESS={address} SERVER=https://{ADDRESS}:6443 TOKEN={} LABEL=role=worker \
                 VERSION={K3S_VERSION} MIRROR={} CA=/etc/bowline/mirror-ca.pem /run/bench/join.sh",
                token.trim(),
                self.releases.url()
            ),
        )?;
        let ready = self.ready(&name)?;
        let phases =
            ["download", "start"].map(|phase| Ok((phase.to_string(), json!(between(&times, "began", phase)?))));
        let phases = Value::Object(phases.into_iter().collect::<Result<_>>()?);
        self.over(&machine, &name, times, &ready, phases)
    }

    fn machine(&self, name: &str, address: &str) -> Result<Machine> {
        let machine = bare_as(self.bed, self.releases, name, address, None)?;
        machine.wait_booted()?;
        Ok(machine)
    }

    /// When the API said that the Node is Ready.
    fn ready(&self, name: &str) -> Result<Times> {
        timed(self.server, &format!("NODE={name} sh -euc '. /run/bench/ready.sh; wait_ready; echo \"ready $(now)\"'"))
    }

    /// The run's result; its machine goes, so that the next one finds the host as this one did.
    fn over(&self, machine: &Machine, name: &str, mut times: Times, ready: &Times, phases: Value) -> Result<Run> {
        machine.power_off()?;
        self.server.ok(&format!("k3s kubectl delete node {name}"))?;
        times.extend(ready.clone());
        Ok(Run { seconds: between(&times, "began", "ready")?, phases })
    }
}

fn timed(machine: &Machine, command: &str) -> Result<Times> {
    let output = machine.run_with(command, &[], LIMIT)?;
    ensure!(output.success(), "{}: {output}", machine.name());
    Ok(times(&output.stdout))
}
