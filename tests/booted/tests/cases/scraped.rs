//! The metrics by further addresses: who is on the list gets them, pods and other machines, and who is not is refused.

use anyhow::{Context, Result, ensure};
use bowline_booted::hetzner::ticket;
use bowline_booted::pair::{KEY_FILE, agent_settings, begin, in_place, server_settings};
use bowline_booted::pods::{self, CONFIG};
use bowline_booted::{
    ADDRESS, KEY, NODE, configure, deb, joiners, json, ready, releases, report, with_k3s, with_k3s_as,
};
use bowline_testbed::{Bed, Cast, Machine, Prometheus, case_of, say};
use std::time::Duration;

const AGENT: &str = "worker-0";
const AGENT_ADDRESS: &str = "10.0.1.30";
const RULES: &str =
    "[[enroll.allow]]\nname = \"workers\"\nnodes = \"worker-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n";
const SOON: Duration = Duration::from_secs(60);

/// The socket that others may ask, and who may. The pods need their image.
fn metrics(allow: &str) -> String {
    format!(
        "{CONFIG}\
         [metrics]\nlisten = [\"127.0.0.1:9787\", \"{{address}}:9787\"]\nallow = [{allow}]\n"
    )
}

const ASK: &str = "curl --silent --show-error --max-time 10 --write-out '\\n%{http_code}'";

fn ask(machine: &Machine, address: &str) -> Result<String> {
    Ok(machine.run(&format!("{ASK} http://{address}:9787/metrics"))?.to_string())
}

fn ask_from_pod(server: &Machine, pod: &str, address: &str) -> Result<String> {
    pods::ask(server, pod, address, 9787, "/metrics")
}

/// Somebody got the metrics of the node of this role.
fn is_scrape(said: &str, role: &str) -> Result<()> {
    let wanted = format!("bowline_node_role{{role=\"{role}\"}} 1\n");
    ensure!(said.contains(&wanted), "no metrics of a {role}: {said}");
    Ok(())
}

/// Asks from an address that is on no list: the bed's own end of the bridge has it.
fn stranger(bed: &Bed, address: &str) -> Result<String> {
    let from = joiners::source(0);
    let ask = format!("{ASK} --interface {from} http://{address}:9787/metrics");
    Ok(bed.run(&["sh", "-c", &ask])?.to_string())
}

fn is_refused(said: &str, who: &str) -> Result<()> {
    let told = format!("{who} may not ask; see metrics.allow in the settings");
    ensure!(said.contains(&told) && said.contains("403"), "{who} is not refused: {said}");
    ensure!(!said.contains("bowline_"), "{who} got metrics: {said}");
    Ok(())
}

/// A Prometheus on another machine knows both nodes, by the addresses of theirs.
fn prometheus(watcher: &Machine) -> Result<()> {
    let prometheus = watcher.start_prometheus(&format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: bowline\n    static_configs:\n      \
         - targets: [\"{ADDRESS}:9787\", \"{AGENT_ADDRESS}:9787\"]\n"
    ))?;
    watcher.wait_for("Prometheus to know both", SOON, || knows_both(&prometheus).map(|()| true))
}

fn knows_both(prometheus: &Prometheus) -> Result<()> {
    ensure!(prometheus.query("count(bowline_node_ready == 1) == 2")?.len() == 1, "not both are ready");
    for (role, address) in [("server", ADDRESS), ("agent", AGENT_ADDRESS)] {
        let found = prometheus.query(&format!("bowline_node_role{{role=\"{role}\"}} == 1"))?;
        let instances: Vec<_> = found.iter().map(|(labels, _)| labels["instance"].clone()).collect();
        ensure!(instances == [format!("{address}:9787")], "{role}: {instances:?}");
        let restarts = format!("bowline_k3s_restarts_total{{instance=\"{address}:9787\"}}");
        ensure!(prometheus.query(&restarts)?.len() == 1, "no K3s of the {role}");
    }
    for target in prometheus.targets()? {
        ensure!(target["health"] == "up" && target["lastError"] == "", "{target:#}");
    }
    Ok(())
}

#[test]
fn pods_and_machines_on_the_list_scrape_it_and_nobody_else() -> Result<()> {
    case_of(Cast { servers: 1, agents: 1, plain: 1, virtuals: 0, patient: false }, "scraped", |bed| {
        let releases = releases(bed)?;
        // The package first, and then the settings: what is served follows them.
        let server = with_k3s(bed, &releases, None)?;
        server.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
        server.install(&deb()?)?;
        server.wait_for("Bowline without settings", SOON, || Ok(report(&server)?["settings"]["absent"] == true))?;
        let allowed = metrics("\"10.0.1.0/24\", \"pods\"");
        configure(&server, &format!("{}{allowed}", server_settings(&releases, RULES)))?;
        ready(&server)?;
        let agent = with_k3s_as(bed, &releases, AGENT, AGENT_ADDRESS, None)?;
        begin(&agent, &agent_settings(&releases, &ticket(AGENT), "", &allowed))?;
        in_place(&server, &agent, AGENT, |_| true)?;
        let watcher = bed.machine("watcher").address("10.0.1.40").start()?;
        joiners::addresses(bed, 1)?;

        for (address, role) in [(ADDRESS, "server"), (AGENT_ADDRESS, "agent")] {
            is_scrape(&ask(&watcher, address)?, role)?;
            is_refused(&stranger(bed, address)?, &joiners::source(0).to_string())?;
        }
        prometheus(&watcher)?;
        say("machines");

        // A pod of each node asks both nodes; the loopback that it has is its own.
        for machine in [&server, &agent] {
            pods::image(machine)?;
        }
        let mut theirs = String::new();
        for (pod, node) in [("on-server", NODE), ("on-agent", AGENT)] {
            theirs = pods::run(&server, pod, node)?;
            ensure!(theirs.starts_with("10.42."), "{pod} has {theirs}");
            for (target, role) in [(ADDRESS, "server"), (AGENT_ADDRESS, "agent")] {
                is_scrape(&ask_from_pod(&server, pod, target)?, role)?;
            }
            let own = ask_from_pod(&server, pod, "127.0.0.1")?;
            ensure!(own.contains("Connection refused"), "{pod} reaches the host's loopback: {own}");
        }
        say("pods");

        // Without "pods" on the list a pod is a stranger, and so is a machine that is not named.
        let named = agent_settings(&releases, &ticket(AGENT), "", &metrics(&format!("\"{ADDRESS}\"")));
        configure(&agent, &named)?;
        agent.wait_for("the watcher to be refused", SOON, || {
            Ok(ask(&watcher, AGENT_ADDRESS)?.contains("may not ask"))
        })?;
        is_refused(&ask(&watcher, AGENT_ADDRESS)?, "10.0.1.40")?;
        is_refused(&ask_from_pod(&server, "on-agent", AGENT_ADDRESS)?, &theirs)?;
        is_scrape(&ask(&server, AGENT_ADDRESS)?, "agent")?;
        is_scrape(&ask(&agent, "127.0.0.1")?, "agent")?;

        // A Prometheus on the machine itself, with the configuration that is shipped as it is.
        let shipped = server.read("/usr/share/bowline/prometheus/scrape.yml")?;
        server
            .start_prometheus(&shipped)?
            .wait_query("up{job=\"bowline\"} == 1 and on (instance) bowline_node_ready == 1", SOON)?;
        server.ok("systemctl stop prometheus.service")?;

        // All of it is well-formed: the metrics with an issuer's, and every JSON.
        server.ok("curl -sSf http://127.0.0.1:9787/metrics > /run/metrics && promtool check metrics < /run/metrics")?;
        for command in ["check", "config", "doctor", "nodes", "volumes"] {
            json(&server, command, command)?;
        }
        json(&server, "plan", "report")?;
        let nodes = json(&server, "nodes", "nodes")?;
        let held = nodes["nodes"].as_array().context("no list")?;
        ensure!(held.iter().any(|one| one["name"] == AGENT && one["node"] == "registered"), "{nodes:#}");
        // So has the file that everybody can read; and the forms are on the machine.
        bowline_schema::read("report", &server.read("/run/bowline/status.json")?).map_err(anyhow::Error::msg)?;
        let shipped = server.ok("cd /usr/share/bowline/schema && ls")?;
        ensure!(shipped.split_whitespace().eq(bowline_schema::FORMS.map(|form| format!("{form}.json"))), "{shipped}");

        // A node that goes without a word is missing.
        are_missing(&server, 0)?;
        agent.ok("systemctl stop bowline k3s-agent")?;
        server.ok(&format!("k3s kubectl delete node {AGENT}"))?;
        are_missing(&server, 1)
    })
}

/// So many of the two nodes are missing, as a Bowline that starts now tells: it counts them then, and every half hour.
fn are_missing(server: &Machine, missing: usize) -> Result<()> {
    server.ok("systemctl restart bowline")?;
    let lines = [("expected", 2), ("missing", missing)].map(|(what, count)| format!("bowline_nodes_{what} {count}"));
    server.wait_for(&lines.join(", "), SOON, || {
        let text = server.run("curl -sf http://127.0.0.1:9787/metrics")?.stdout;
        Ok(lines.iter().all(|line| text.lines().any(|one| one == line)))
    })
}
