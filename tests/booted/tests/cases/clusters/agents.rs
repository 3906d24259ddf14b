//! Agents come into the cluster by themselves: a ticket, no token, nobody who logs in.

use crate::secrets::{nobody_showed_them, only_root_reads_them, stay_out_of_outputs, watch};
use anyhow::{Context, Result, ensure};
use bowline_booted::looks::SOON;
use bowline_booted::{
    ADDRESS, FIRST_BOOT, KEY, NODE, configure, deb, install_and_wait, kube, ready, releases, report, settings,
    with_k3s, with_k3s_as,
};
use bowline_testbed::{Bed, Cast, Disk, Machine, Releases, case_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The contract's own test vector: the ticket of `k3s-trading-dev-kafka-0` as an agent, by [`KEY`].
const TICKET: &str = "bafdb87168aa0ef8680e58f2ba7126918b636d540226b2d365caeef8c9fbcd7e";
const KAFKA: &str = "k3s-trading-dev-kafka-0";
const KAFKA_ADDRESS: &str = "10.0.1.20";
const SERIAL: &str = "4711";

/// Whom the server lets in, and as what.
const RULE: &str = "[[enroll.allow]]\nname = \"kafka\"\nnodes = \"k3s-trading-dev-kafka-*\"\nrole = \"agent\"\n\
     from = \"10.0.1.0/24\"\ngrant = { \"node-role.kubernetes.io/kafka\" = \"true\" }\n\
     permit = [\"topology.kubernetes.io/*\"]\ntaints = [\"dedicated=kafka:NoSchedule\"]\n";

fn server(bed: &Bed, releases: &Releases) -> Result<Machine> {
    let machine = with_k3s(bed, releases, None)?;
    machine.put("/etc/bowline/cluster.key", format!("{KEY}\n"), 0o600)?;
    let settings = settings::server(releases)
        .replace("role = \"server\"\n", "role = \"server\"\nkey-file = \"/etc/bowline/cluster.key\"\n");
    install_and_wait(&machine, &format!("{settings}{RULE}"))?;
    Ok(machine)
}

fn agent_settings(releases: &Releases, ticket: &str, disk: Option<&Disk>) -> String {
    let volume = disk.map(|disk| {
        format!(
            "[[volume]]\nname = \"kafka\"\ndevice = \"{}\"\nmount = \"/var/lib/kafka\"\nformat = \"blank-only\"\n",
            disk.link()
        )
    });
    format!(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"{ADDRESS}\"]\nticket = \"{ticket}\"\n\
         mirror = \"{}\"\nca-file = \"/etc/bowline/mirror-ca.pem\"\n[node]\naddress = \"10.0.1.0/24\"\n\
         labels = {{ role = \"kafka\", \"node-role.kubernetes.io/forbidden\" = \"true\" }}\n{}",
        releases.url(),
        volume.unwrap_or_default()
    )
}

fn agent(bed: &Bed, releases: &Releases, ticket: &str, disk: Option<&Disk>) -> Result<Machine> {
    let machine = with_k3s_as(bed, releases, KAFKA, KAFKA_ADDRESS, disk)?;
    begin(&machine, releases, ticket, disk)?;
    Ok(machine)
}

fn begin(machine: &Machine, releases: &Releases, ticket: &str, disk: Option<&Disk>) -> Result<()> {
    configure(machine, &agent_settings(releases, ticket, disk))?;
    machine.install(&deb()?)?;
    Ok(())
}

/// The Node of the agent, as the server has it.
fn kafka(server: &Machine) -> Result<Option<Value>> {
    kube::node(server, KAFKA)
}

/// Waits until the agent's Node is Ready with all that it should have, and another than the old one; returns it.
fn in_place(server: &Machine, agent: &Machine, old: Option<&Value>) -> Result<Value> {
    let mut last = Value::Null;
    server
        .wait_for("the agent's Node to be as it should", FIRST_BOOT, || {
            let Some(node) = kafka(server)? else { return Ok(false) };
            let ready = kube::is_ready(&node);
            let label = |key: &str| node["metadata"]["labels"][key].as_str().map(String::from);
            let keys: Vec<_> =
                node["spec"]["taints"].as_array().into_iter().flatten().map(|t| t["key"].clone()).collect();
            let fits = ready
                && old.is_none_or(|old| old["metadata"]["uid"] != node["metadata"]["uid"])
                && label("role").as_deref() == Some("kafka")
                && label("node-role.kubernetes.io/kafka").as_deref() == Some("true")
                && keys.iter().any(|key| key == "dedicated")
                && !keys.iter().any(|key| key == "bowline/initializing");
            last = node;
            Ok(fits)
        })
        .with_context(|| {
            let said = agent.run("bowline status").map(|o| o.stdout).unwrap_or_default();
            format!("{said}\n{}", json!([last["metadata"]["labels"], last["spec"]["taints"]]))
        })?;
    Ok(last)
}

#[test]
fn an_agent_comes_in_with_its_ticket_alone_and_comes_back_under_its_name() -> Result<()> {
    case_of(Cast::cluster(1, 1).patient(), "agents", |bed| {
        let releases = releases(bed)?;
        let server = server(bed, &releases)?;
        let disk = bed.disk(SERIAL, "512M")?;
        let agent = agent(bed, &releases, TICKET, Some(&disk))?;
        let node = in_place(&server, &agent, None)?;
        // One forbidden label holds nothing back, and is told.
        assert!(node["metadata"]["labels"]["node-role.kubernetes.io/forbidden"].is_null());
        agent.wait_for("the forbidden label to be told", FIRST_BOOT, || {
            Ok(agent.run("bowline status")?.stdout.contains("node-role.kubernetes.io/forbidden"))
        })?;
        // The token has served and is gone; its hash goes on pinning the cluster.
        server.wait_for("the token to be gone", Duration::from_secs(60), || {
            let list = "k3s kubectl -n kube-system get secrets -l bowline/node -o name";
            Ok(server.ok(list)?.trim().is_empty())
        })?;
        assert!(agent.read("/etc/rancher/k3s/bowline-token")?.starts_with("K10"));

        // What both ends know of each other stands nowhere but in their files.
        let secret = |machine: &Machine, file: &str| Ok::<_, anyhow::Error>(machine.read(file)?.trim().to_owned());
        let token = secret(&server, "/var/lib/rancher/k3s/server/token")?;
        let (own, theirs) =
            (secret(&server, "/var/lib/bowline/machine.key")?, secret(&agent, "/var/lib/bowline/machine.key")?);
        let password = secret(&agent, "/etc/rancher/node/password")?;
        let used = secret(&agent, "/etc/rancher/k3s/bowline-token")?;
        let last = |token: &str| token.rsplit([':', '.']).next().unwrap_or_default().to_owned();
        let all = [KEY.to_owned(), TICKET.to_owned(), last(&token), last(&used), own, theirs, password];
        ensure!(all.iter().all(|secret| secret.len() >= 16), "too short to look for");
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        for machine in [&server, &agent] {
            stay_out_of_outputs(machine, &all)?;
            machine.put("/root/secrets", all.join("\n") + "\n", 0o600)?;
            let holders = only_root_reads_them(machine)?;
            ensure!(holders.iter().any(|file| file == "/var/lib/bowline/machine.key"), "{holders:?}");
        }

        // In the morning: the same name and address, another machine, the same disk.
        agent.ok("echo precious > /var/lib/kafka/file")?;
        agent.recreate()?;
        for machine in [&server, &agent] {
            watch(machine, &[KEY, TICKET])?;
        }
        let begin_again = Instant::now();
        begin(&agent, &releases, TICKET, Some(&disk))?;
        in_place(&server, &agent, Some(&node))?;
        for machine in [&server, &agent] {
            nobody_showed_them(machine)?;
            machine.ok("systemctl stop watch")?;
        }
        server.wait_for("its new Node to tell whom it replaced", FIRST_BOOT, || {
            Ok(server.ok(&format!("k3s kubectl describe node {KAFKA}"))?.contains("Replaced"))
        })?;
        assert_eq!(agent.read("/var/lib/kafka/file")?, "precious\n");
        bowline_testbed::say(&format!("recreated and in place after {:?}", begin_again.elapsed()));
        agent.reboot()?;
        in_place(&server, &agent, None)?;
        ready(&server)?;
        agent.wait_for("the Node to be settled", FIRST_BOOT, || {
            Ok(report(&agent).is_ok_and(|report| report["conditions"]["node-settled"] == "yes"))
        })?;

        released_and_taken_back(&server, &agent)?;

        // It leaves in good order, and comes back.
        let leaves = Instant::now();
        let said = agent.run("bowline leave --drain --timeout 280s")?;
        bowline_testbed::say(&format!("left after {:?}", leaves.elapsed()));
        ensure!(said.success() && said.stdout.contains("has left its cluster"), "{said}");
        assert!(kafka(&server)?.is_none(), "its Node is gone");
        let held: serde_json::Value = serde_json::from_str(&server.ok("bowline nodes --json")?)?;
        let holds = held["nodes"].as_array().into_iter().flatten().any(|one| one["name"] == KAFKA);
        ensure!(!holds && held["nodes"].is_array(), "its name is free: {held}");
        assert_eq!(agent.run("systemctl is-active k3s-agent")?.stdout.trim(), "inactive");
        agent.reboot()?;
        agent.wait_for("it to know that it has left", FIRST_BOOT, || {
            Ok(report(&agent).is_ok_and(|report| report["conditions"]["left"] == "yes"))
        })?;
        let back = Instant::now();
        agent.ok("bowline leave --undo")?;
        in_place(&server, &agent, None)?;
        bowline_testbed::say(&format!("back after {:?}", back.elapsed()));
        assert_eq!(agent.read("/var/lib/kafka/file")?, "precious\n");
        ensure!(server.ok(&format!("k3s kubectl get node {NODE}"))?.contains(NODE), "the server is there");

        // Bowline is purged, and Kubernetes works on without it. Installed again it has another machine key: what keeps
        // its name alive is this machine's own K3s, which stops until it is let in.
        agent.ok("apt-get -qq purge bowline")?;
        agent.ok("systemctl restart k3s-agent")?;
        let before = in_place(&server, &agent, None)?;
        begin(&agent, &releases, TICKET, Some(&disk))?;
        in_place(&server, &agent, Some(&before))?;
        let journal = agent.journal("bowline")?;
        ensure!(journal.contains("the K3s that runs here as"), "the reason is not told:\n{journal}");
        assert_eq!(agent.read("/var/lib/kafka/file")?, "precious\n");
        Ok(())
    })
}

/// The disk is released while a pod uses it: the pod goes, the node takes no more, and all of it comes back. One that is interrupted
/// leaves the node as it was.
fn released_and_taken_back(server: &Machine, agent: &Machine) -> Result<()> {
    let pod = |held: &[&str]| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "uses-it", "finalizers": held },
            "spec": {
                "nodeName": KAFKA,
                "containers": [{ "name": "c", "image": "nowhere", "imagePullPolicy": "Never" }],
                "volumes": [{ "name": "data", "hostPath": { "path": "/var/lib/kafka/file" } }],
            },
        })
    };
    let takes_none =
        || Ok::<_, anyhow::Error>(kafka(server)?.is_some_and(|node| node["spec"]["unschedulable"] == true));
    // It cannot go: the command is at work until it is cut off.
    server.put("/root/pod.json", pod(&["bed.test/held"]).to_string(), 0o644)?;
    server.ok("k3s kubectl apply -f /root/pod.json")?;
    let cut_off = "bowline volumes release kafka 2> /root/said & release=$!
        until grep -q 'takes no more pods' /root/said; do sleep 0.05; done; kill $release; wait $release; echo $?";
    let code = agent.run_with(cut_off, b"", FIRST_BOOT)?.stdout;
    let said = agent.read("/root/said")?;
    ensure!(code.trim() == "143" && said.contains(&format!("{KAFKA} takes pods again")), "{code}: {said}");
    ensure!(!takes_none()?, "{said}");
    server.ok("k3s kubectl patch pod uses-it --type=merge -p '{\"metadata\":{\"finalizers\":null}}'")?;
    server.put("/root/pod.json", pod(&[]).to_string(), 0o644)?;
    server.ok("k3s kubectl delete pod uses-it --ignore-not-found && k3s kubectl apply -f /root/pod.json")?;
    let said = agent.run_with("bowline volumes release kafka", b"", FIRST_BOOT)?;
    ensure!(said.success() && said.stdout.contains("can be detached"), "{said}");
    ensure!(said.stderr.contains("default/uses-it: it was asked to go") && takes_none()?, "{said}");
    agent.ok("! mountpoint -q /var/lib/kafka && ! touch /var/lib/kafka/file")?;
    agent.ok("bowline volumes take kafka")?;
    in_place(server, agent, None)?;
    agent.wait_for("it to take pods again", SOON, || Ok(!takes_none()?))?;
    assert_eq!(agent.read("/var/lib/kafka/file")?, "precious\n");
    // As what an earlier Bowline left behind that died after it had dropped the record.
    server.ok(&format!("k3s kubectl cordon {KAFKA} && k3s kubectl annotate node {KAFKA} bowline/cordoned=true"))?;
    let said = agent.run("bowline volumes take kafka")?;
    ensure!(said.success() && said.stdout.contains("take them again"), "{said}");
    agent.wait_for("it to take pods again", SOON, || Ok(!takes_none()?))?;
    // As `kubectl uncordon` leaves it: the next cordon is not Bowline's.
    server.ok(&format!("k3s kubectl annotate node {KAFKA} bowline/cordoned=true"))?;
    // Where no watch of the Node stands just now, it is looked at within 80 s.
    agent.wait_for("the annotation to go", SOON * 3, || {
        Ok(kafka(server)?.is_some_and(|node| node["metadata"]["annotations"]["bowline/cordoned"].is_null()))
    })
}
