//! One name, several machines: who holds it, who waits, and who gives way.

use anyhow::{Result, anyhow, bail, ensure};
use bowline_booted::hetzner::ticket;
use bowline_booted::joiners::Joiner;
use bowline_booted::kube::node;
use bowline_booted::pair::{agent, agent_settings, begin, in_place, server, uid};
use bowline_booted::told::{still_tells, tells, tells_within};
use bowline_booted::{ADDRESS, KEY, pid, ready, releases, with_k3s_as};
use bowline_enroll::Code;
use bowline_enroll::wire::EnrollAnswer;
use bowline_testbed::{Cast, Machine, case_of, say};
use std::net::SocketAddr;
use std::time::Duration;

const NAME: &str = "worker-0";
/// A name that no rule takes.
const STRANGER: &str = "stranger-0";
/// The key of another cluster.
const WRONG_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const RULES: &str = "[enroll]\ngrace = \"120s\"\n[[enroll.allow]]\nname = \"workers\"\nnodes = \"worker-*\"\n\
     role = \"agent\"\nfrom = \"10.0.1.0/24\"\ngrant = { \"node-role.kubernetes.io/worker\" = \"true\" }\n";
/// The Lease has to stand still, and the cluster to give the Node up, before a machine that is silent counts as gone.
const GONE: Duration = Duration::from_secs(240);

fn is_worker(node: &serde_json::Value) -> bool {
    node["metadata"]["labels"]["node-role.kubernetes.io/worker"] == "true"
}

fn k3s(machine: &Machine) -> Result<String> {
    Ok(machine.run("systemctl is-active k3s-agent")?.stdout.trim().to_string())
}

/// Who was refused stands in `bowline nodes`, and each grant and refusal in the journal, by ids that never change.
fn is_told(server: &Machine) -> Result<()> {
    server.wait_for("the refusals in `bowline nodes`", Duration::from_secs(75), || {
        let told = server.ok("bowline nodes")?;
        let (refused, unproven) = told.split_once("asked without a valid ticket:").unwrap_or((told.as_str(), ""));
        let line = |name: &str, code: &str| refused.lines().any(|line| line.starts_with(name) && line.ends_with(code));
        let named = line(NAME, "node-is-alive") && line(STRANGER, "outside-rules");
        Ok(named && unproven.contains("10.0.1.30") && unproven.contains(NAME))
    })?;
    for (id, name, words) in [
        ("6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b01", NAME, "/v1/enroll: agent worker-0 from 10.0.1.30: granted"),
        (
            "6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b02",
            NAME,
            "/v1/enroll: agent worker-0 from 10.0.1.31: node-is-alive: the node",
        ),
        ("6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b02", STRANGER, "/v1/enroll: agent stranger-0 from 10.0.1.30: outside-rules: "),
        ("6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b03", NAME, "refused: somebody at 10.0.1.30 has no ticket for agent worker-0"),
    ] {
        let lines = server.ok(&format!("journalctl --no-pager -o cat -u bowline MESSAGE_ID={id} NODE={name}"))?;
        ensure!(lines.lines().any(|line| line.starts_with(words)), "{id}: {words:?} is not in:\n{lines}");
    }
    Ok(())
}

#[test]
fn a_living_machine_keeps_its_name_and_one_that_was_replaced_gives_way() -> Result<()> {
    case_of(Cast::cluster(1, 2).patient(), "names", |bed| {
        let releases = releases(bed)?;
        let server = server(bed, &releases, RULES)?;
        let first = agent(bed, &releases, NAME, "10.0.1.30", None)?;
        let old = in_place(&server, &first, NAME, is_worker)?;
        let runs = pid(&first, "k3s-agent")?;

        // Its host is renamed: the Node goes on as what it is, and so does its K3s. A name that is given away is the host's again.
        first.ok("hostnamectl set-hostname renamed && systemctl restart bowline")?;
        tells(&first, &["the host is now called renamed, and its Node stays worker-0"])?;
        ready(&first)?;
        let kept = in_place(&server, &first, NAME, is_worker)?;
        ensure!(uid(&kept) == uid(&old) && pid(&first, "k3s-agent")? == runs, "the Node is another one");
        ensure!(node(&server, "renamed")?.is_none(), "there are two Nodes");
        first.ok(&format!("hostnamectl set-hostname {NAME} && bowline apply"))?;

        // A pod with the host's network has stolen the ticket, and asks from the node's own address; also under a name that
        // no rule takes, and with a ticket of another cluster.
        let asks = |name: &str, key: &str| {
            first.within(|| {
                let thief = Joiner::new(name, "10.0.1.30".parse()?, SocketAddr::new(ADDRESS.parse()?, 7470), key)?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(thief.once())
            })
        };
        for (name, code) in [(NAME, Code::NodeIsAlive), (STRANGER, Code::OutsideRules)] {
            let EnrollAnswer::Refused(refusal) = asks(name, KEY)? else { bail!("{name} is let in") };
            ensure!(refusal.code == code, "{name}: {}: {}", refusal.code, refusal.message);
        }
        ensure!(asks(NAME, WRONG_KEY).is_err(), "a ticket of another cluster is answered with a proof");

        // Another machine with the same name and ticket, while the first lives.
        let second = with_k3s_as(bed, &releases, "twin", "10.0.1.31", None)?;
        begin(&second, &agent_settings(&releases, &ticket(NAME), &format!("name = \"{NAME}\"\n"), ""))?;
        tells(&second, &["10.0.1.10:7470 says: the node worker-0 may be alive: its Lease has to stand still"])?;
        // The thief goes on asking while the kubelet is restarted, by which its Lease stands still for a while.
        std::thread::scope(|scope| {
            let thief = scope.spawn(|| {
                (0..7).try_for_each(|_| {
                    std::thread::sleep(Duration::from_secs(4));
                    let EnrollAnswer::Refused(refusal) = asks(NAME, KEY)? else { bail!("the thief has the name") };
                    ensure!(refusal.code == Code::NodeIsAlive, "{}: {}", refusal.code, refusal.message);
                    Ok(())
                })
            });
            std::thread::sleep(Duration::from_secs(8));
            first.ok("systemctl restart k3s-agent")?;
            thief.join().map_err(|_| anyhow!("the thief was cut off"))?
        })?;
        still_tells(&second, &["the node worker-0 may be alive"])?;
        ensure!(k3s(&second)? != "active", "it runs");
        is_told(&server)?;
        // Also while its kubelet says that its network is broken.
        let config = "/var/lib/rancher/k3s/agent/etc/cni/net.d/10-flannel.conflist";
        first.ok(&format!("mv {config} /root/"))?;
        server.wait_for("the kubelet to miss its network", GONE, || {
            let conditions = node(&server, NAME)?.map(|node| node["status"]["conditions"].clone()).unwrap_or_default();
            let mut all = conditions.as_array().into_iter().flatten();
            Ok(all.any(|condition| condition["type"] == "Ready" && condition["status"] == "False"))
        })?;
        std::thread::sleep(Duration::from_secs(5));
        still_tells(&second, &["the node worker-0 may be alive"])?;
        first.ok(&format!("mv /root/10-flannel.conflist {config}"))?;
        let kept = in_place(&server, &first, NAME, is_worker)?;
        ensure!(uid(&kept) == uid(&old) && pid(&first, "k3s-agent")? != runs, "the Node is another one");
        let events = server.ok(&format!("k3s kubectl get events -A --field-selector involvedObject.name={NAME}"))?;
        ensure!(events.contains("Refused") && events.contains("may be alive"), "{events}");

        // The first is cut off for long enough: the other one is let in.
        first.cut_link()?;
        std::thread::sleep(Duration::from_secs(20));
        still_tells(&second, &["the node worker-0 may be alive: its Lease has to stand still"])?;
        ensure!(node(&server, NAME)?.is_some_and(|node| uid(&node) == uid(&old)), "it is only cut off for a moment");
        second.wait_for("the second machine to be let in", GONE, || {
            Ok(node(&server, NAME)?.is_some_and(|node| uid(&node) != uid(&old)))
        })?;
        let new = in_place(&server, &second, NAME, is_worker)?;
        say("a machine that was cut off was replaced");

        // It comes back, finds its name given away, and stops: the Node stays the other's.
        first.restore_link()?;
        tells_within(&first, GONE, &["the name worker-0 is held as agent by machine", "not by this one"])?;
        first.wait_for("K3s to have stopped", GONE, || Ok(k3s(&first)? == "inactive"))?;
        let now = in_place(&server, &second, NAME, is_worker)?;
        ensure!(uid(&now) == uid(&new), "the Node is that of the second machine");
        ensure!(now["status"]["addresses"][0]["address"] == "10.0.1.31", "{}", now["status"]["addresses"]);

        // Somebody deletes the Node: its kubelet would not make it again by itself.
        server.ok(&format!("k3s kubectl delete node {NAME}"))?;
        tells_within(&second, GONE, &["the Node to be there again", "it was deleted while K3s runs"])?;
        let back = in_place(&server, &second, NAME, |node| is_worker(node) && uid(node) != uid(&new))?;
        let journal = second.journal("bowline")?;
        ensure!(journal.contains("restart K3s (its Node was deleted)"), "the reason is not told:\n{journal}");
        ensure!(back["status"]["addresses"][0]["address"] == "10.0.1.31", "{}", back["status"]["addresses"]);
        Ok(())
    })
}
