//! `five_machines_ready` and `recreated_agent_overhead`: the cluster of the demo, measured.

use crate::figure::{Figure, rounded};
use crate::tell;
use anyhow::{Context, Result};
use bowline_booted::hetzner::{self, AGENTS, Agent, in_place};
use bowline_booted::kube::node;
use bowline_booted::{NODE, VOLUME, deb, document, releases};
use bowline_testbed::{Bed, Machine};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// One more agent, for a first join into a cluster that is at rest.
const LATE: (&str, &str, Option<&str>) = ("k3s-trading-dev-kafka-3", "10.0.1.23", Some("23000000"));

/// Both figures, from one cluster.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-cluster")?;
    measure(&bed).inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let releases = releases(bed)?;
    let repository = bed.apt_repository(&[&deb()?])?;
    let filled = document::fill_in(&repository, &releases);
    let disk = bed.disk(VOLUME, "20G")?;
    let begun = Instant::now();
    let control = hetzner::control(bed, &filled, &disk)?;
    let boot = |agent| hetzner::agent(bed, &releases, &filled, agent);
    let agents = AGENTS.into_iter().map(boot).collect::<Result<Vec<Agent>>>()?;
    control.wait_for("the control node", std::time::Duration::from_secs(300), || {
        Ok(control.run("bowline status")?.success())
    })?;
    let control_ready = begun.elapsed().as_secs_f64();
    for agent in &agents {
        in_place(&control, agent, None)?;
    }
    let five = begun.elapsed().as_secs_f64();
    tell(&format!("    {NODE} ready after {control_ready:.1} s, all five in place after {five:.1} s"));

    let mut machines = Map::from_iter([(NODE.to_string(), phases(&control)?)]);
    for agent in &agents {
        machines.insert(agent.name.into(), phases(&agent.machine)?);
    }

    let begun = Instant::now();
    let late = boot(LATE)?;
    in_place(&control, &late, None)?;
    let first = begun.elapsed().as_secs_f64();
    let old = node(&control, late.name)?.context("the late agent's Node")?["metadata"]["uid"].clone();
    let begun = Instant::now();
    late.machine.recreate()?;
    in_place(&control, &late, Some(&old))?;
    let again = begun.elapsed().as_secs_f64();
    tell(&format!("    an agent joined in {first:.1} s, and recreated in {again:.1} s"));
    Ok(vec![
        Figure::new("five_machines_ready", five, "s")
            .runs(1)
            .measured(json!({ "control_ready": rounded(control_ready), "phases": machines })),
        Figure::new("recreated_agent_overhead", again - first, "s")
            .runs(1)
            .measured(json!({ "first_join": rounded(first), "recreated": rounded(again) })),
    ])
}

/// When Bowline was first started, as seconds since 1970, and how long each phase took from then: which machine the
/// others waited for, and in what.
fn phases(machine: &Machine) -> Result<Value> {
    Ok(serde_json::from_str(&machine.read("/var/lib/bowline/first-boot.json")?)?)
}
