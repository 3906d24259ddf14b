//! `settled_api_writes`, `settled_api_reads`: what a settled cluster asks of its API, counted by the API itself; and meanwhile
//! `settled_cpu_day`, `settled_writes_hour`.

use crate::figure::Figure;
use crate::idle::{self, Idle, RARELY};
use crate::tell;
use anyhow::{Context, Result, ensure};
use bowline_booted::hetzner::{self, AGENTS, CONTROL};
use bowline_booted::{
    FIRST_BOOT, KEY, NODE, VOLUME, bare, bare_as, configure, deb, install_and_wait, releases, report, settings,
};
use bowline_testbed::{Bed, Machine};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// For so long it is counted.
const WINDOW: Duration = Duration::from_secs(600);
/// After the last thing that happened, until what follows from it has happened too: an issuer cleans up 20 s after it was
/// asked, and a watch of the Node begins within 80 s.
const SETTLES: Duration = Duration::from_secs(120);
/// Where the API server writes down who asked for what.
const LOG: &str = "/var/log/kube-audit.log";
const POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n";
const OPTIONS: &str = "[cluster.config]\nkube-apiserver-arg = [\"audit-log-path=/var/log/kube-audit.log\", \
    \"audit-policy-file=/etc/rancher/audit.yaml\"]\n";
/// How the API's verbs are counted.
const READS: [&str; 3] = ["get", "list", "watch"];

/// Requests of Bowline: by whom, with which verb, and how many.
type Asked = BTreeMap<String, BTreeMap<String, u32>>;

/// All four, from one server and one agent.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-api")?;
    measure(&bed).inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let releases = releases(bed)?;
    let server = bare(bed, &releases, Some(&bed.disk(VOLUME, "20G")?))?;
    server.put("/etc/rancher/audit.yaml", POLICY, 0o600)?;
    server.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
    server.put("/etc/bowline/config.d/20-cluster.toml", CONTROL, 0o600)?;
    install_and_wait(&server, &format!("{}{}{OPTIONS}{RARELY}", settings::server(&releases), settings::volume()))?;
    let (name, address, _) = AGENTS[3];
    let agent = bare_as(bed, &releases, name, address, None)?;
    configure(&agent, &format!("{}{RARELY}", hetzner::agent_settings(&releases, name, None)))?;
    agent.install(&deb()?)?;
    agent.wait_for("the agent to be settled", FIRST_BOOT, || {
        Ok(report(&agent).is_ok_and(|report| report["conditions"]["node-settled"] == "yes"))
    })?;
    tell(&format!("    it settles, then is watched for {} s", WINDOW.as_secs()));
    std::thread::sleep(SETTLES);
    let idle = [(NODE, Idle::begin(&server)?), (name, Idle::begin(&agent)?)];

    let before = asked(&server, "")?;
    ensure!(before.values().any(|by| by.contains_key("create")), "the API has not heard of Bowline: {before:?}");
    let from = now(&server)?;
    std::thread::sleep(WINDOW);
    let done = idle.into_iter().map(|(name, idle)| Ok((name, idle.end()?))).collect::<Result<Vec<_>>>()?;
    let counted = asked(&server, &from)?;
    let window = WINDOW.as_secs_f64();
    let sum = |by: &BTreeMap<String, u32>, reads: bool| {
        by.iter().filter(|(verb, _)| READS.contains(&verb.as_str()) == reads).map(|(_, count)| *count).sum::<u32>()
    };
    let writes: u32 = counted.values().map(|by| sum(by, false)).sum();
    let reads = counted.values().map(|by| sum(by, true)).max().unwrap_or_default();
    ensure!(reads > 0, "nobody has looked at the API for {window} s");
    let measured = json!({ "window": WINDOW.as_secs(), "by_user_and_verb": counted, "server": NODE, "agent": name });
    let mut figures = vec![
        Figure::new("settled_api_writes", f64::from(writes) * 3600.0 / window, "by the hour")
            .measured(measured.clone()),
        Figure::new("settled_api_reads", f64::from(reads) * 60.0 / window, "by the minute").measured(measured),
    ];
    figures.extend(idle::figures(&done));
    Ok(figures)
}

/// What Bowline has asked since a time that [`now`] gave.
fn asked(server: &Machine, from: &str) -> Result<Asked> {
    let lines = server.ok(&format!("grep '\"userAgent\":\"bowline/' {LOG}"))?;
    let mut asked = Asked::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).context("a line of the audit log")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // A request that goes on has two events: it counts when it ends.
        if event["stage"] == "ResponseComplete" && text(&event["requestReceivedTimestamp"]).as_str() >= from {
            *asked.entry(text(&event["user"]["username"])).or_default().entry(text(&event["verb"])).or_default() += 1;
        }
    }
    Ok(asked)
}

/// The time as the audit log writes it.
fn now(server: &Machine) -> Result<String> {
    Ok(server.ok("date -u +%Y-%m-%dT%H:%M:%S.%6NZ")?.trim().to_owned())
}
