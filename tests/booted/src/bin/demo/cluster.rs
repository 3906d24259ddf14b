//! The agents: tied, destroyed, recreated under their names.

use crate::checks::{Demo, indent, tell, title};
use anyhow::{Result, bail};
use bowline_booted::FIRST_BOOT;
use bowline_booted::hetzner::{Agent, in_place};
use bowline_booted::kube::node;
use bowline_testbed::Machine;
use std::time::Instant;

/// Waits until all agents are nodes of the cluster as they should be.
pub(crate) fn tied(control: &Machine, agents: &[Agent], begun: Instant, demo: &mut Demo) {
    title("The agents come in");
    demo.check("all five nodes are Ready, with roles and labels", || {
        for agent in agents {
            in_place(control, agent, None)?;
        }
        Ok(format!("{:.1} s after the machines began to boot", begun.elapsed().as_secs_f64()))
    });
    demo.check("no token is left that somebody could use", || {
        control.wait_for("the tokens to be gone", FIRST_BOOT, || {
            let list = control.ok("k3s kubectl -n kube-system get secrets -l bowline/node -o name")?;
            Ok(list.trim().is_empty())
        })?;
        Ok("no Secret with a bootstrap token of Bowline's".into())
    });
    table(control);
}

/// In the morning: machines with the same names and addresses, and nothing else of the old ones but the disks.
pub(crate) fn recreated(control: &Machine, agents: &[Agent], demo: &mut Demo) -> Result<()> {
    let chosen: Vec<&Agent> = agents.iter().filter(|agent| !agent.name.ends_with("kafka-1")).collect();
    let names: Vec<&str> = chosen.iter().map(|agent| agent.name).collect();
    title(&format!("{} are destroyed, and recreated under the same names and addresses", names.join(", ")));
    let mut before = Vec::new();
    for agent in &chosen {
        if agent.disk.is_some() {
            agent.machine.ok(&format!("echo {} > /var/lib/kafka/whose && sync", agent.name))?;
        }
        before.push(node(control, agent.name)?.map(|node| node["metadata"]["uid"].clone()));
    }
    let begun = Instant::now();
    for agent in &chosen {
        agent.machine.recreate()?;
    }
    demo.check("they are taken in, as other machines of the same names", || {
        for (agent, old) in chosen.iter().zip(&before) {
            in_place(control, agent, old.as_ref())?;
        }
        Ok(format!("{:.1} s after the first was destroyed", begun.elapsed().as_secs_f64()))
    });
    demo.check("their data is there", || {
        for agent in chosen.iter().filter(|agent| agent.disk.is_some()) {
            let whose = agent.machine.read("/var/lib/kafka/whose")?;
            if whose.trim() != agent.name {
                bail!("{} has the data of {whose}", agent.name);
            }
        }
        Ok("each volume has what its machine wrote before".into())
    });
    table(control);
    Ok(())
}

fn table(control: &Machine) {
    let columns = "-L role,workload -o wide";
    for command in [format!("k3s kubectl get nodes {columns}"), "bowline nodes".into()] {
        tell(&indent(&control.run(&command).map_or_else(|error| error.to_string(), |said| said.stdout)));
    }
}
