//! What an agent may not set on itself: it follows the settings of both sides, the cluster key, and right clocks.

use anyhow::{Result, ensure};
use bowline_booted::hetzner::ticket;
use bowline_booted::joiners::Joiner;
use bowline_booted::kube::node;
use bowline_booted::pair::{KEY_FILE, agent_settings, begin, in_place, server, server_settings};
use bowline_booted::told::{no_longer_tells, tells, tells_within};
use bowline_booted::{ADDRESS, FIRST_BOOT, KEY, NODE, clock, configure, releases, with_k3s_as};
use bowline_enroll::wire::EnrollAnswer;
use bowline_testbed::{Cast, Machine, case_of, say};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const NAME: &str = "kafka-0";
const ROLE: &str = "node-role.kubernetes.io/kafka";
const COLOUR: &str = "node-restriction.kubernetes.io/colour";
/// What somebody else changed is told by a watch of the Node; while none stands, it is seen by the next look, 80 seconds later.
const NEXT_LOOK: Duration = Duration::from_secs(90);
const NEW_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The one after that.
const NEXT_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// The rule, with what it grants.
fn rules(role: &str) -> String {
    format!(
        "[[enroll.allow]]\nname = \"kafka\"\nnodes = \"kafka-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n\
         grant = {{ \"{ROLE}\" = \"{role}\" }}\npermit = [\"node-restriction.kubernetes.io/*\"]\n\
         permit-taints = [\"team\"]\n"
    )
}

fn label<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    node["metadata"]["labels"][key].as_str()
}

fn taints(node: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = node["spec"]["taints"].as_array().into_iter().flatten();
    all.map(|taint| format!("{}={}:{}", text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]))).collect()
}

fn becomes(server: &Machine, what: &str, fits: impl Fn(&Value) -> bool) -> Result<()> {
    server.wait_for(what, NEXT_LOOK, || Ok(node(server, NAME)?.is_some_and(|node| fits(&node))))
}

#[test]
fn labels_and_taints_are_kept_through_changes_fights_and_another_cluster_key() -> Result<()> {
    case_of(Cast::cluster(1, 1).patient(), "kept", |bed| {
        let releases = releases(bed)?;
        let server = server(bed, &releases, &rules("true"))?;
        let agent = with_k3s_as(bed, &releases, NAME, "10.0.1.20", None)?;
        let settings = |ticket: &str, labels: &str, taints: &str| {
            agent_settings(&releases, ticket, &format!("labels = {{ {labels} }}\ntaints = [{taints}]\n"), "")
        };
        let old_ticket = ticket(NAME);
        let blue = format!("size = \"small\", \"{COLOUR}\" = \"blue\"");
        begin(&agent, &settings(&old_ticket, &blue, "\"team=a:NoSchedule\""))?;
        in_place(&server, &agent, NAME, |node| {
            label(node, "size") == Some("small")
                && label(node, COLOUR) == Some("blue")
                && label(node, ROLE) == Some("true")
                && taints(node) == ["team=a:NoSchedule"]
        })?;

        // Changed and removed on the node: one it may set itself, one that the servers set, a taint.
        let green = format!("size = \"big\", \"{COLOUR}\" = \"green\"");
        configure(&agent, &settings(&old_ticket, &green, "\"team=b:NoSchedule\""))?;
        becomes(&server, "the changed labels and taint", |node| {
            (label(node, "size"), label(node, COLOUR)) == (Some("big"), Some("green"))
                && taints(node) == ["team=b:NoSchedule"]
        })?;
        configure(&agent, &settings(&old_ticket, &format!("\"{COLOUR}\" = \"green\""), ""))?;
        becomes(&server, "label and taint to be gone", |node| {
            label(node, "size").is_none() && taints(node).is_empty()
        })?;

        // Changed on the server alone: the node is not touched.
        let before = agent.ok("stat -c %Y /etc/bowline/config.d/10-node.toml")?;
        configure(&server, &server_settings(&releases, &rules("broker")))?;
        becomes(&server, "what the changed rule grants", |node| label(node, ROLE) == Some("broker"))?;
        ensure!(agent.ok("stat -c %Y /etc/bowline/config.d/10-node.toml")? == before);

        // Another manager takes a label and a taint over: they stay theirs, are told, and hold nothing back. What is only
        // taken away comes back. Taints are one list: another one in it is nobody's business here.
        configure(&agent, &settings(&old_ticket, &format!("\"{COLOUR}\" = \"green\""), "\"team=c:NoSchedule\""))?;
        becomes(&server, "the taint", |node| taints(node) == ["team=c:NoSchedule"])?;
        let taint = "k3s kubectl taint --field-manager=rival --overwrite node";
        server.ok(&format!("{taint} {NAME} team=theirs:NoSchedule rival=yes:PreferNoSchedule"))?;
        let kubectl = "k3s kubectl label --field-manager=rival --overwrite node";
        server.ok(&format!("{kubectl} {NAME} {COLOUR}=red"))?;
        server.ok(&format!("k3s kubectl label node {NAME} {ROLE}-"))?;
        becomes(&server, "the role to be back", |node| label(node, ROLE) == Some("broker"))?;
        tells_within(&agent, NEXT_LOOK, &["have node-restriction.kubernetes.io/colour=green", "is kept by rival"])?;
        tells_within(
            &agent,
            NEXT_LOOK,
            &["have team=c:NoSchedule", "team=theirs:NoSchedule is kept by somebody else"],
        )?;
        ensure!(node(&server, NAME)?.is_some_and(|node| label(&node, COLOUR) == Some("red")), "it was fought over");
        let both = ["team=theirs:NoSchedule", "rival=yes:PreferNoSchedule"];
        let there = node(&server, NAME)?.map(|node| taints(&node)).unwrap_or_default();
        ensure!(there.len() == 2 && both.iter().all(|one| there.iter().any(|t| t == one)), "fought over: {there:?}");
        server.ok(&format!("k3s kubectl label --field-manager=rival node {NAME} {COLOUR}-"))?;
        server.ok(&format!("{taint} {NAME} team:NoSchedule-"))?;
        becomes(&server, "the label to be Bowline's again", |node| label(node, COLOUR) == Some("green"))?;
        becomes(&server, "the taint to be Bowline's again, beside the other one", |node| {
            let there = taints(node);
            there.len() == 2 && ["team=c:NoSchedule", both[1]].iter().all(|one| there.iter().any(|t| t == one))
        })?;
        no_longer_tells(&agent, "is kept by rival")?;
        no_longer_tells(&agent, "is kept by somebody else")?;
        say("labels and taints follow");
        told_at_once(&server)?;

        // The cluster key is changed: first both count, then the new one alone. No restart is needed.
        server.put(KEY_FILE, format!("{NEW_KEY}\n{KEY}\n"), 0o600)?;
        server.ok("systemctl reload bowline")?;
        let purple = format!("\"{COLOUR}\" = \"purple\"");
        configure(&agent, &settings(&old_ticket, &purple, ""))?;
        becomes(&server, "what the old ticket asks for", |node| label(node, COLOUR) == Some("purple"))?;
        let new_ticket = server.ok(&format!("bowline ticket {NAME}"))?;
        let new_ticket = new_ticket.trim();
        ensure!(new_ticket != old_ticket, "tickets are made by the first key");
        server.put(KEY_FILE, format!("{NEW_KEY}\n"), 0o600)?;
        server.ok("systemctl reload bowline")?;

        // The machine comes again, with the old ticket, and with a clock that is a year ahead.
        agent.recreate()?;
        clock::set_off(&agent, "+365d")?;
        begin(&agent, &settings(&old_ticket, &purple, ""))?;
        tells(&agent, &["the answer of 10.0.1.10:7470 is not proven", "the cluster key differs"])?;
        configure(&agent, &settings(new_ticket, &purple, ""))?;
        // It is let in all the same, and told what its clock is.
        tells_within(
            &agent,
            FIRST_BOOT,
            &["the clock of this machine to be right: it is 36", " d ahead of that of the servers"],
        )?;
        tells_within(&agent, FIRST_BOOT, &["a right clock (it is 36", "K3s does not start before that"])?;
        only_its_own_name(&server, &agent)?;
        clock::set_right(&agent)?;
        in_place(&server, &agent, NAME, |node| label(node, COLOUR) == Some("purple"))?;
        stays_out_until_the_key_changes(&server, &agent, &|ticket, colour| {
            settings(ticket, &format!("\"{COLOUR}\" = \"{colour}\""), "")
        })
    })
}

/// A machine whose name is revoked is given nothing any more, nor let in when it is made anew, and comes back as CLUSTERS.md has it:
/// by a ticket of another cluster key.
fn stays_out_until_the_key_changes(
    server: &Machine,
    agent: &Machine,
    settings: &dyn Fn(&str, &str) -> String,
) -> Result<()> {
    let ticket = server.ok(&format!("bowline ticket {NAME}"))?;
    let said = server.ok(&format!("bowline nodes revoke {NAME}"))?;
    ensure!(said.contains("its ticket is refused until the cluster key changes"), "{said}");
    configure(agent, &settings(ticket.trim(), "white"))?;
    tells_within(agent, NEXT_LOOK, &["kafka-0 was revoked"])?;
    ensure!(node(server, NAME)?.is_some_and(|node| label(&node, COLOUR) == Some("purple")), "it is given a label");

    agent.recreate()?;
    server.ok(&format!("k3s kubectl delete node {NAME}"))?;
    begin(agent, &settings(ticket.trim(), "white"))?;
    let refused = "10.0.1.10:7470 says: kafka-0 was revoked: it comes in again after the cluster key was changed";
    tells_within(agent, FIRST_BOOT, &[refused])?;
    ensure!(node(server, NAME)?.is_none(), "it is let in");

    server.put(KEY_FILE, format!("{NEXT_KEY}\n{NEW_KEY}\n"), 0o600)?;
    server.ok("systemctl reload bowline")?;
    let ticket = server.ok(&format!("bowline ticket {NAME}"))?;
    configure(agent, &settings(ticket.trim(), "white"))?;
    in_place(server, agent, NAME, |node| label(node, COLOUR) == Some("white"))?;
    Ok(())
}

/// By now a watch of the Node stands: what is taken away three times is back three times before a look of every 80 seconds
/// could have seen it twice.
fn told_at_once(server: &Machine) -> Result<()> {
    let begun = Instant::now();
    for _ in 0..3 {
        server.ok(&format!("k3s kubectl label node {NAME} {ROLE}-"))?;
        becomes(server, "the role to be back", |node| label(node, ROLE) == Some("broker"))?;
    }
    ensure!(begun.elapsed() < Duration::from_secs(150), "nobody tells the agent of its Node: {:?}", begun.elapsed());
    Ok(())
}

/// K3s binds a bootstrap token to no name. That of this machine, which lives for three minutes, is good for none that
/// is a Node or was let in, since Bowline has stored passwords for those.
fn only_its_own_name(server: &Machine, agent: &Machine) -> Result<()> {
    const CLAIMED: &str = "kafka-9";
    let answer = server.within(|| {
        let joiner = Joiner::new(CLAIMED, ADDRESS.parse()?, SocketAddr::new(ADDRESS.parse()?, 7470), NEW_KEY)?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(joiner.once())
    })?;
    ensure!(matches!(answer, EnrollAnswer::Granted(_)), "{CLAIMED} is not let in");
    ensure!(node(server, CLAIMED)?.is_none(), "it has no Node");
    let ask = |name: &str| {
        agent.ok(&format!(
            "token=$(sed 's/^K10[^:]*:://' /etc/rancher/k3s/bowline-token); id=${{token%%.*}}; \
             openssl req -new -newkey rsa:2048 -nodes -keyout /tmp/k -subj /CN=x -outform DER -out /tmp/csr 2>/dev/null; \
             printf 'header = \"Authorization: Bearer %s\"\\n' \"$token\" > /tmp/h; chmod 600 /tmp/h; \
             curl -sk -o /dev/null -w '%{{http_code}}' -K /tmp/h -H 'K3s-Node-Name: {name}' \
             -H \"K3s-Node-Password: $(cat /etc/rancher/node/password)\" --data-binary @/tmp/csr \
             https://{ADDRESS}:6443/v1-k3s/client-kubelet.crt"
        ))
    };
    let (own, other, claimed) = (ask(NAME)?, ask(NODE)?, ask(CLAIMED)?);
    ensure!(own == "200", "its own name: {own}");
    ensure!(other == "403", "the name of another Node: {other}");
    ensure!(claimed == "403", "the name of a machine that was let in and is no Node yet: {claimed}");
    Ok(())
}
