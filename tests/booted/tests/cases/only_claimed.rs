//! `only-claimed`: a kubelet under a name that nobody let in may make its Node with the startup taint only, and keeps it.

use anyhow::{Result, ensure};
use bowline_booted::{
    FIRST_BOOT, KEY, NODE, configure, deb, hetzner, install_and_wait, ready, releases, settings, with_k3s, with_k3s_as,
};
use bowline_testbed::{Cast, Machine, Output, case_of};
use serde_json::json;
use std::time::Duration;

const AGENT: &str = "k3s-trading-dev-worker";
const RULE: &str = "[enroll]\nonly-claimed = true\n[[enroll.allow]]\nname = \"workers\"\nnodes = \"k3s-trading-dev-*\"\n\
     role = \"agent\"\nfrom = \"10.0.1.0/24\"\n";
const SOON: Duration = Duration::from_secs(60);
/// The policy and what puts it in force.
const POLICY: &str = "k3s kubectl get validatingadmissionpolicy,validatingadmissionpolicybinding -o name";

/// Makes a Node as a kubelet of that name would.
fn make_node(server: &Machine, name: &str, taints: &serde_json::Value) -> Result<Output> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }, "spec": { "taints": taints },
    });
    let kubectl = format!("k3s kubectl --as=system:node:{name} --as-group=system:nodes create -f -");
    server.run_with(&kubectl, node.to_string().as_bytes(), SOON)
}

fn taints(server: &Machine, name: &str) -> Result<String> {
    server.ok(&format!("k3s kubectl get node {name} -o jsonpath='{{.spec.taints[*].key}}'"))
}

fn in_force(server: &Machine, wanted: bool) -> Result<()> {
    server.wait_for("the policy to come or go", SOON, || {
        Ok(server.ok(POLICY)?.matches("bowline-only-claimed").count() == if wanted { 2 } else { 0 })
    })
}

#[test]
fn only_names_that_were_let_in_lose_the_startup_taint() -> Result<()> {
    case_of(Cast::cluster(1, 1), "only-claimed", |bed| {
        let releases = releases(bed)?;
        let server = with_k3s(bed, &releases, None)?;
        // The key comes as a credential of the unit.
        server.put("/etc/credstore/bowline.cluster-key", format!("{KEY}\n"), 0o600)?;
        let key_file = "key-file = \"/run/credentials/bowline.service/cluster-key\"\n";
        let role = "role = \"server\"\n";
        let settings = settings::server(&releases).replace(role, &format!("{role}{key_file}"));
        install_and_wait(&server, &format!("{settings}{RULE}"))?;
        in_force(&server, true)?;
        // Another one would be here with Bowline's next start only, and a reload says so.
        server.ok("systemctl reload bowline")?;
        server.wait_for("the reload to say so", SOON, || {
            Ok(server.journal("bowline")?.contains("cluster-key is as systemd brought it when Bowline started"))
        })?;

        // The API server takes a moment to compile what it was given.
        server.wait_for("a stranger to be refused", SOON, || {
            let said = make_node(&server, "stranger", &json!([]))?;
            if said.success() {
                server.ok("k3s kubectl delete node stranger")?;
            }
            Ok(!said.success() && said.stderr.contains("only-claimed"))
        })?;
        let other = json!([{ "key": "bowline/initializing", "effect": "PreferNoSchedule" }]);
        ensure!(!make_node(&server, "stranger", &other)?.success(), "a taint that keeps nobody away is none");
        let tainted = json!([{ "key": "bowline/initializing", "effect": "NoSchedule" }]);
        let said = make_node(&server, "stranger", &tainted)?;
        ensure!(said.success(), "{said}");

        // Whoever was let in comes in as before.
        let agent = with_k3s_as(bed, &releases, AGENT, "10.0.1.30", None)?;
        // Its ticket, too, comes as a credential.
        let ticket = hetzner::ticket(AGENT);
        agent.put("/etc/credstore/bowline.ticket", format!("{ticket}\n"), 0o600)?;
        let inline = format!("ticket = \"{ticket}\"");
        let file = "ticket-file = \"/run/credentials/bowline.service/ticket\"";
        configure(&agent, &hetzner::agent_settings(&releases, AGENT, None).replace(&inline, file))?;
        agent.install(&deb()?)?;
        ready(&agent)?;
        server.wait_for("the agent to lose the taint", FIRST_BOOT, || {
            Ok(!taints(&server, AGENT)?.contains("bowline/initializing"))
        })?;
        ensure!(taints(&server, "stranger")?.contains("bowline/initializing"), "the stranger keeps it");

        // The cluster's own server comes back by itself.
        server.ok(&format!("k3s kubectl delete node {NODE} && systemctl restart k3s"))?;
        server.wait_for("the server's Node to be back", FIRST_BOOT, || {
            Ok(server.run(&format!("k3s kubectl wait --for=condition=Ready node {NODE} --timeout=1s"))?.success())
        })?;
        ready(&server)?;

        // It goes with the setting, and with the package.
        configure(&server, &format!("{settings}{}", RULE.replace("only-claimed = true", "")))?;
        in_force(&server, false)?;
        configure(&server, &format!("{settings}{RULE}"))?;
        in_force(&server, true)?;
        let said = server.ok("dpkg --remove bowline 2>&1")?;
        ensure!(said.contains("bowline-only-claimed"), "{said}");
        in_force(&server, false)?;
        // The API server takes a moment to forget it.
        server.wait_for("strangers to be let in again", SOON, || {
            Ok(make_node(&server, "another", &json!([]))?.success())
        })?;
        Ok(())
    })
}
