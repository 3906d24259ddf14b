//! The agents: tied, destroyed, recreated under their names.

use crate::checks::{Demo, indent, tell, title};
use anyhow::{Context, Result, bail};
use bowline_booted::hetzner::{AGENTS, Agent, METRICS, in_place};
use bowline_booted::kube::node;
use bowline_booted::{ADDRESS, FIRST_BOOT, pods};
use bowline_testbed::Machine;
use std::time::Instant;

/// Waits until all agents are nodes of the cluster as they should be.
pub(crate) fn tied(control: &Machine, agents: &[Agent], begun: Instant, demo: &mut Demo) {
    title("The agents come in");
    demo.check("all five nodes are Ready, with roles and labels", || {
        for agent in agents {
            in_place(control, agent, None)?;
        }
        Ok(format!("{:.1} s after the first began to boot", begun.elapsed().as_secs_f64()))
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
    tell(
        "    The new machines asked while the old ones might still have lived, and were refused until those were proven gone:\n    \
         that is what `bowline nodes` still lists below `refused`.",
    );
    table(control);
    Ok(())
}

/// One Prometheus scrapes all nodes, each at the address that it can reach, and has the shipped rules.
pub(crate) fn scraped(control: &Machine, agents: &[Agent], demo: &mut Demo) {
    title("A Prometheus on the worker scrapes all five nodes, once they listen on their private address");
    tell(&indent(METRICS));
    demo.check("every node is scraped, and the shipped alerts are loaded", || {
        let machines = std::iter::once(control).chain(agents.iter().map(|agent| &agent.machine));
        for machine in machines {
            machine.put("/etc/bowline/config.d/60-metrics.toml", METRICS, 0o600)?;
        }
        let watcher = &agents.last().context("no agent")?.machine;
        let addresses = std::iter::once(ADDRESS).chain(AGENTS.iter().map(|(_, address, _)| *address));
        let targets: Vec<_> = addresses.map(|address| format!("\"{address}:9787\"")).collect();
        let prometheus = watcher.start_prometheus(&format!(
            "global: {{ scrape_interval: 1s }}\nrule_files: [/usr/share/bowline/prometheus/rules.yml]\nscrape_configs:\n  \
             - job_name: bowline\n    static_configs:\n      - targets: [{}]\n",
            targets.join(", ")
        ))?;
        let all = format!("count(bowline_node_ready == 1) == {}", targets.len());
        prometheus.wait_query(&all, FIRST_BOOT)?;
        let seen = prometheus.query("bowline_node_role == 1")?;
        let lines = seen.iter().map(|(labels, _)| format!("{} {}", labels["instance"], labels["role"]));
        let rules = prometheus.rules()?;
        if rules.is_empty() {
            bail!("it has no rules");
        }
        Ok(format!("{}\n{} rules", lines.collect::<Vec<_>>().join("\n"), rules.len()))
    });
}

/// So does a pod, which has an address of the pods' network.
pub(crate) fn scraped_by_a_pod(control: &Machine, agents: &[Agent], demo: &mut Demo) {
    const POD: &str = "scraper";
    demo.check("a pod on the worker scrapes every node, its own too", || {
        let worker = agents.last().context("no agent")?;
        for image in [pods::IMAGE, pods::PAUSE] {
            pods::image_named(&worker.machine, image)?;
        }
        let address = pods::run(control, POD, worker.name)?;
        let mut lines = vec![format!("{POD} has the address {address}")];
        for node in std::iter::once(ADDRESS).chain(AGENTS.iter().map(|(_, address, _)| *address)) {
            let answer = pods::ask(control, POD, node, 9787, "/metrics")?;
            let ready = answer.lines().find(|line| line.starts_with("bowline_node_ready "));
            lines.push(format!("{node} {}", ready.with_context(|| format!("{node} says {answer}"))?));
        }
        control.ok(&format!("k3s kubectl delete pod {POD} --now"))?;
        Ok(lines.join("\n"))
    });
}

fn table(control: &Machine) {
    for command in ["k3s kubectl get nodes -L role,workload", "bowline nodes"] {
        tell(&indent(&control.run(command).map_or_else(|error| error.to_string(), |said| said.stdout)));
    }
}
