//! A StatefulSet's data come back through its claim: on the recreated node, and in another cluster.

use anyhow::{Context, Result, ensure};
use bowline_booted::hetzner::ticket;
use bowline_booted::kube::get;
use bowline_booted::pair::{KEY_FILE, agent_settings, begin, in_place, server_settings, uid};
use bowline_booted::pods::{CONFIG, IMAGE, image};
use bowline_booted::told::{no_longer_tells, tells};
use bowline_booted::{FIRST_BOOT, KEY, NODE, configure, install_and_wait, releases, with_k3s, with_k3s_as};
use bowline_testbed::{Bed, Cast, Disk, Machine, Releases, case_of, say};
use serde_json::json;
use std::time::Duration;

const NAME: &str = "kafka-0";
const RULES: &str = "[[enroll.allow]]\nname = \"kafka\"\nnodes = \"kafka-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n\
     grant = { \"node-role.kubernetes.io/kafka\" = \"true\" }\n";
const PERMIT: &str = "permit-claims = [\"kafka/*\"]\n";
/// The servers look after what nodes have asked for every two minutes.
const NEXT_LOOK: Duration = Duration::from_secs(180);

/// The control node. What local-path gives out is on a volume as well, and told to Kubernetes for a claim of its own.
fn server(releases: &Releases, disk: &Disk, permit: &str) -> String {
    let volume = format!(
        "[[volume]]\nname = \"local\"\ndevice = \"{}\"\nmount = \"/var/lib/rancher/k3s/storage\"\nformat = \"blank-only\"\n\
         directories = [{{ path = \"grafana\" }}]\n\
         persistent-volume = {{ path = \"grafana\", claim = \"monitoring/grafana\", name = \"grafana\" }}\n",
        disk.link()
    );
    format!("{}{volume}", server_settings(releases, &format!("{RULES}{permit}")))
}

fn kafka(bed: &Bed, releases: &Releases, disk: &Disk) -> Result<Machine> {
    let machine = with_k3s_as(bed, releases, NAME, "10.0.1.20", Some(disk))?;
    begin(&machine, &kafka_settings(releases, disk))?;
    Ok(machine)
}

fn kafka_settings(releases: &Releases, disk: &Disk) -> String {
    let volume = format!(
        "[[volume]]\nname = \"data\"\ndevice = \"{}\"\nmount = \"/mnt/data\"\nformat = \"blank-only\"\n\
         directories = [{{ path = \"0\", owner = \"1001:0\", mode = \"0770\" }}]\n\
         persistent-volume = {{ path = \"0\", claim = \"kafka/data-kafka-0\" }}\n\
         {CONFIG}",
        disk.link()
    );
    agent_settings(releases, &ticket(NAME), "", &volume)
}

/// Writes a file once, and shows beside it what it finds: what a pod before it has written.
fn stateful_set(server: &Machine) -> Result<()> {
    let script = "[ -e /data/first ] && cat /data/first > /data/found; \
                  [ -e /data/first ] || echo precious > /data/first; exec sleep 2147483647";
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "kafka", "namespace": "kafka" },
        "spec": {
            "serviceName": "kafka", "replicas": 1, "selector": { "matchLabels": { "app": "kafka" } },
            "template": {
                "metadata": { "labels": { "app": "kafka" } },
                "spec": {
                    "hostNetwork": true, "terminationGracePeriodSeconds": 1,
                    "securityContext": { "runAsUser": 1001, "runAsGroup": 0 },
                    "containers": [{
                        "name": "kafka", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
                        "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": "bowline-local",
                    "resources": { "requests": { "storage": "512Mi" } },
                },
            }],
        },
    });
    server.put("/root/kafka.json", set.to_string(), 0o644)?;
    server.ok("k3s kubectl create namespace kafka --dry-run=client -o yaml | k3s kubectl apply -f -")?;
    server.ok("k3s kubectl apply -f /root/kafka.json").map(drop)
}

/// Waits until the pod runs, and its claim has the node's volume.
fn runs(server: &Machine) -> Result<()> {
    let mut pod = json!(null);
    let running = server.wait_for("the pod to run", FIRST_BOOT, || {
        pod = get(server, "/api/v1/namespaces/kafka/pods/kafka-0")?.unwrap_or_default();
        Ok(pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null())
    });
    running
        .with_context(|| format!("{:#}", json!([pod["status"], volume(server, "kafka-0.data").unwrap_or_default()])))?;
    let bound = volume(server, "kafka-0.data")?;
    ensure!(bound["status"]["phase"] == "Bound" && bound["spec"]["local"]["path"] == "/mnt/data/0", "{bound:#}");
    ensure!(bound["spec"]["capacity"]["storage"] == "536870912", "{bound:#}");
    ensure!(bound["spec"]["persistentVolumeReclaimPolicy"] == "Retain", "{bound:#}");
    Ok(())
}

fn volume(server: &Machine, name: &str) -> Result<serde_json::Value> {
    Ok(get(server, &format!("/api/v1/persistentvolumes/{name}"))?.unwrap_or_default())
}

/// Waits until a pod has found what an earlier one wrote.
fn finds_what_was_written(server: &Machine, kafka: &Machine) -> Result<()> {
    kafka.wait_for("the pod to find the file", FIRST_BOOT, || {
        Ok(kafka.run("cat /mnt/data/0/found")?.stdout == "precious\n")
    })?;
    runs(server)?;
    kafka.ok("rm /mnt/data/0/found").map(drop)
}

#[test]
fn a_stateful_set_finds_its_data_again() -> Result<()> {
    case_of(Cast::cluster(1, 1).patient(), "persistent", |bed| {
        let releases = releases(bed)?;
        let (local, disk) = (bed.disk("41000000", "512M")?, bed.disk("40000000", "512M")?);
        let control = with_k3s(bed, &releases, Some(&local))?;
        control.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
        install_and_wait(&control, &server(&releases, &local, ""))?;
        let agent = kafka(bed, &releases, &disk)?;
        let node = in_place(&control, &agent, NAME, |_| true)?;

        // Which claims a node may have volumes for, the servers' rules say.
        let why = "does not permit volumes for the claim kafka/data-kafka-0";
        tells(&agent, &["have the PersistentVolume kafka-0.data", why])?;
        ensure!(volume(&control, "kafka-0.data")?.is_null(), "it was made all the same");
        configure(&control, &server(&releases, &local, PERMIT))?;
        stateful_set(&control)?;
        image(&agent)?;
        runs(&control)?;
        no_longer_tells(&agent, why)?;
        ensure!(agent.ok("stat -c %u:%g:%a /mnt/data/0")?.trim() == "1001:0:770", "whose the directory is");
        ensure!(agent.read("/mnt/data/0/first")? == "precious\n", "what the pod wrote");

        // A server's own is made with its own credentials.
        let own = volume(&control, "grafana")?;
        ensure!(own["spec"]["local"]["path"] == "/var/lib/rancher/k3s/storage/grafana", "{own:#}");
        let on = &own["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"][0];
        ensure!(on == NODE, "{own:#}");

        // In the morning: another machine under its name, with the same disk.
        agent.recreate()?;
        begin(&agent, &kafka_settings(&releases, &disk))?;
        in_place(&control, &agent, NAME, |now| uid(now) != uid(&node))?;
        image(&agent)?;
        finds_what_was_written(&control, &agent)?;
        say("on the recreated node");

        // Deleted with its claim, and made anew: Kubernetes keeps the volume from the new claim, Bowline gives it back.
        control.ok("k3s kubectl -n kafka delete statefulset/kafka pod/kafka-0 pvc/data-kafka-0 --wait=false")?;
        control.wait_for("the claim to be gone", FIRST_BOOT, || {
            Ok(get(&control, "/api/v1/namespaces/kafka/persistentvolumeclaims/data-kafka-0")?.is_none())
        })?;
        stateful_set(&control)?;
        control.wait_for("the volume to be given to the new claim", NEXT_LOOK, || {
            Ok(volume(&control, "kafka-0.data")?["status"]["phase"] == "Bound")
        })?;
        finds_what_was_written(&control, &agent)?;
        say("by a new claim");

        // The whole cluster is another one.
        control.recreate()?;
        control.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
        install_and_wait(&control, &server(&releases, &local, PERMIT))?;
        in_place(&control, &agent, NAME, |_| true)?;
        ensure!(get(&control, "/api/v1/namespaces/kafka")?.is_none(), "it is the same cluster");
        stateful_set(&control)?;
        finds_what_was_written(&control, &agent)?;
        ensure!(!volume(&control, "grafana")?.is_null(), "the server's own");

        // It leaves for good: a volume stays as long as its claim is bound to it, and goes without one.
        control.ok("k3s kubectl -n kafka delete statefulset/kafka pod/kafka-0 pvc/data-kafka-0 --wait=false")?;
        control.wait_for("the claim to be gone", FIRST_BOOT, || {
            Ok(get(&control, "/api/v1/namespaces/kafka/persistentvolumeclaims/data-kafka-0")?.is_none())
        })?;
        let said = agent.run_with("bowline leave --timeout 600s", b"", FIRST_BOOT)?;
        ensure!(said.success(), "{said}");
        control.wait_for("the volume to be gone", NEXT_LOOK, || Ok(volume(&control, "kafka-0.data")?.is_null()))?;
        ensure!(agent.read("/mnt/data/0/first")? == "precious\n", "its data stay");
        ensure!(!volume(&control, "grafana")?.is_null(), "the server's own stays");
        Ok(())
    })
}
