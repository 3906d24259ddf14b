//! A firewall on the machines themselves, such as Oracle's Ubuntu images have: `bowline doctor` names each port between the
//! nodes that it refuses, here and from another node, and the command that it prints lets the nodes' network in.

use anyhow::{Result, ensure};
use bowline_booted::findings::{findings, nothing_found, the_finding};
use bowline_booted::pair::KEY_FILE;
use bowline_booted::pair::{agent, begin, in_place, server_settings};
use bowline_booted::{FIRST_BOOT, KEY, ready, releases, with_k3s};
use bowline_testbed::{Cast, Machine, case_of};
use serde_json::Value;

const AGENT: &str = "worker";
const RULE: &str =
    "[[enroll.allow]]\nname = \"workers\"\nnodes = \"worker\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n";
/// As the images have it in /etc/iptables/rules.v4, but for what goes out.
const ORACLE: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
    -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -i lo -j ACCEPT\n\
    -A INPUT -p udp --sport 123 -j ACCEPT\n-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT\n\
    -A INPUT -j REJECT --reject-with icmp-host-prohibited\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n\
    COMMIT\n";
/// Somebody's own rules for nftables.
const NFT: &str = "table inet theirs {\n chain input {\n  type filter hook input priority filter; policy drop;\n  \
    ct state vmap { established : accept, related : accept, invalid : drop }\n  iifname \"lo\" accept\n  \
    meta l4proto { icmp, ipv6-icmp } accept\n  tcp dport { 22, 7470 } accept\n }\n}\n";
const CHECK: &str = "this machine's firewall";

#[test]
fn each_port_that_a_host_firewall_refuses_is_named_and_let_in_by_the_command() -> Result<()> {
    case_of(Cast::cluster(1, 1), "firewall", |bed| {
        let releases = releases(bed)?;
        let server = with_k3s(bed, &releases, None)?;
        server.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
        let settings = server_settings(&releases, RULE);
        begin(&server, &settings.replace("role = \"server\"\nkey", "role = \"server\"\ndatastore = \"etcd\"\nkey"))?;
        let worker = agent(bed, &releases, AGENT, "10.0.1.20", None)?;
        ready(&server)?;
        in_place(&server, &worker, AGENT, |_| true)?;
        ready(&worker)?;
        for machine in [&server, &worker] {
            nothing_found(machine, FIRST_BOOT)?;
        }

        oracle(&worker)?;
        let here = the_finding(&worker, CHECK, ": TCP 10250 and UDP 8472 (-A INPUT -j REJECT ")?;
        the_finding(&server, "node worker", "TCP 10250: rejected by a firewall, though the node is Ready")?;
        carry_out(&worker, &here, "iptables -I INPUT -s 10.0.1.0/24 ")?;
        nothing_found(&server, FIRST_BOOT)?;

        oracle(&server)?;
        let ports = ": TCP 2379-2380, 6443, 7470, 10250 and UDP 8472 (-A INPUT -j REJECT ";
        let here = the_finding(&server, CHECK, ports)?;
        the_finding(&worker, "server 10.0.1.10", "TCP 6443 and 7470: ")?;
        carry_out(&server, &here, "iptables -I INPUT -s 10.0.1.0/24 ")?;
        nothing_found(&worker, FIRST_BOOT)?;

        // Other rules beside those, and one finding for each port that they refuse.
        server.put("/etc/theirs.nft", NFT, 0o644)?;
        server.ok("nft -f /etc/theirs.nft")?;
        let ports = ": TCP 2379-2380, 6443, 10250 and UDP 8472 (the policy of chain input in table inet theirs)";
        let here = the_finding(&server, CHECK, ports)?;
        carry_out(&server, &here, "nft insert rule inet theirs input ip saddr 10.0.1.0/24 ")?;
        nothing_found(&worker, FIRST_BOOT)?;
        // The ports that Bowline itself closes to pods are closed all the time, and no finding.
        server.ok("nft list table inet bowline")?;
        let all = findings(&server)?;
        ensure!(all.is_empty(), "{all:#?}");
        Ok(())
    })
}

/// Loads the rules as the image does at its boot, beside those of Kubernetes.
fn oracle(machine: &Machine) -> Result<()> {
    machine.put("/etc/iptables/rules.v4", ORACLE, 0o644)?;
    machine.ok("iptables-restore --noflush < /etc/iptables/rules.v4").map(drop)
}

/// Runs the command of a finding, and sees that it is gone.
fn carry_out(machine: &Machine, finding: &Value, begins: &str) -> Result<()> {
    let command = finding["command"].as_str().unwrap_or_default();
    ensure!(command.starts_with(begins), "{finding}");
    machine.ok(command)?;
    nothing_found(machine, FIRST_BOOT)
}
