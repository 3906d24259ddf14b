//! `enroll_…`: hundreds of machines come in at once, by one issuer and by three. The issuers are the real daemon on booted
//! machines with an API server and etcd of their own.

use crate::figure::{Figure, median, rounded};
use crate::tell;
use anyhow::{Result, ensure};
use bowline_booted::joiners::{self, Joiners, NETWORK, Served};
use bowline_booted::servers::{SERVERS, all_ready, three};
use bowline_booted::{ADDRESS, KEY, bare, install_and_wait, peak_memory, releases, settings};
use bowline_testbed::{Bed, Machine};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const FEW: u32 = 50;
const MANY: u32 = 500;

/// By one issuer: fifty, then five hundred, and what the daemon took in memory.
pub(crate) fn one_issuer() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-enroll")?;
    let measure = || -> Result<Vec<Figure>> {
        let releases = releases(&bed)?;
        let machine = bare(&bed, &releases, None)?;
        machine.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
        let settings = settings::server(&releases)
            .replace("role = \"server\"\n", "role = \"server\"\nkey-file = \"/etc/bowline/cluster.key\"\n");
        install_and_wait(&machine, &settings)?;
        let issuers = begin(&bed, &[(&machine, ADDRESS)])?;

        let few = run(&bed, "few", FEW, &issuers)?;
        counted(&machine, "few", FEW)?;
        let before = peak_memory(&machine)?;
        let many = run(&bed, "many", MANY, &issuers)?;
        let after = peak_memory(&machine)?;
        counted(&machine, "many", MANY)?;
        let measured = json!({ "before": rounded(before), "joiners": MANY });
        Ok(vec![
            served("enroll_500_one_issuer", &many),
            Figure::new("enroll_500_issuer_rss", after, "MB").measured(measured),
            served("enroll_50_one_issuer", &few),
        ])
    };
    measure().inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

/// By three issuers, each of which a third of the machines asks first.
pub(crate) fn three_issuers() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-enroll-three")?;
    let measure = || -> Result<Vec<Figure>> {
        let releases = releases(&bed)?;
        let all = three(&bed, &releases)?;
        all_ready(&all[0], &SERVERS.map(|(name, _)| name))?;
        let addresses = SERVERS.map(|(_, address)| address);
        let issuers = begin(&bed, &[(&all[0], addresses[0]), (&all[1], addresses[1]), (&all[2], addresses[2])])?;
        let many = run(&bed, "many", MANY, &issuers)?;
        counted(&all[1], "many", MANY)?;
        Ok(vec![served("enroll_500_three_issuers", &many)])
    };
    measure().inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

/// Gives the servers a rule for the joiners, and the joiners addresses; returns when every server lets one in.
fn begin(bed: &Bed, servers: &[(&Machine, &str)]) -> Result<Vec<SocketAddr>> {
    joiners::addresses(bed, MANY)?;
    let rule = format!(
        "[[enroll.allow]]\nname = \"joiners\"\nnodes = \"joiner-*\"\nrole = \"agent\"\nfrom = \"{NETWORK}\"\n\
         grant = {{ \"node-role.kubernetes.io/worker\" = \"true\" }}\n"
    );
    let mut issuers = Vec::new();
    for (number, (machine, address)) in servers.iter().enumerate() {
        machine.put("/etc/bowline/config.d/20-joiners.toml", &rule, 0o600)?;
        let issuer = SocketAddr::new(address.parse()?, 7470);
        // Another name each time: who was let in late holds its name.
        let mut tries = 0;
        machine.wait_for("the issuer to let somebody in", Duration::from_secs(60), || {
            tries += 1;
            Ok(Joiners::new(&format!("joiner-probe-{number}-{tries}"), 1, &[issuer])?.ask(bed)?.failed == 0)
        })?;
        issuers.push(issuer);
    }
    // K3s goes on starting its controllers for a while after it is Ready.
    std::thread::sleep(Duration::from_secs(10));
    Ok(issuers)
}

fn run(bed: &Bed, word: &str, count: u32, issuers: &[SocketAddr]) -> Result<Served> {
    let served = Joiners::new(&format!("joiner-{word}"), count, issuers)?.ask(bed)?;
    tell(&format!("    {count} let in within {:.2} s, {} tries failed", served.seconds, served.failed));
    if let Some(failure) = &served.first_failure {
        tell(&format!("    the first failure: {failure}"));
    }
    Ok(served)
}

/// Every joiner has a claim, a node password and a token of its own in the cluster.
fn counted(server: &Machine, word: &str, count: u32) -> Result<()> {
    for (what, list) in [
        ("claims", format!("-n bowline get configmaps -o name | grep -c '/claim.joiner-{word}-'")),
        (
            "node passwords",
            format!("-n kube-system get secrets -o name | grep -c '/joiner-{word}-.*node-password.k3s$'"),
        ),
        (
            "tokens",
            format!("-n kube-system get secrets -L bowline/node --no-headers | grep -c ' joiner-{word}-[0-9]* *$'"),
        ),
    ] {
        let found = server.run(&format!("k3s kubectl {list}"))?.stdout;
        ensure!(found.trim() == count.to_string(), "{} {what} for {count} joiners", found.trim());
    }
    Ok(())
}

fn served(name: &'static str, served: &Served) -> Figure {
    let at = |share: f64| {
        let place = (share * served.each.len() as f64).ceil() as usize;
        served.each.get(place.saturating_sub(1)).copied().map(rounded)
    };
    let measured = json!({
        "joiners": served.each.len(),
        "failed": served.failed,
        "median": rounded(median(&served.each)),
        "p99": at(0.99),
        "by_second": rounded(served.each.len() as f64 / served.seconds),
    });
    Figure::new(name, served.seconds, "s").failed(served.failed).measured(measured)
}
