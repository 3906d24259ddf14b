//! Pods that really run: an image of one small program, made on the machine and given to its containerd.

use crate::FIRST_BOOT;
use crate::kube::get;
use anyhow::{Context, Result};
use bowline_testbed::Machine;
use serde_json::{Value, json};

/// The image: a shell, and a pause.
pub const IMAGE: &str = "docker.io/bed/busybox:1";

/// The image that K3s takes for the pause of every pod, where its options name no other.
pub const PAUSE: &str = "docker.io/rancher/mirrored-pause:3.6";

/// The `[cluster.config]` of a node whose pods are to run. The image is its pause as well. And no pod is evicted for how full
/// the disk is: that is the host's, which is no part of the story.
pub const CONFIG: &str = "[cluster.config]\npause-image = \"docker.io/bed/busybox:1\"\nkubelet-arg = [\"eviction-hard=memory.available<1Mi\"]\n";

const MAKE: &str = r#"
set -eu
socket=/run/k3s/containerd/containerd.sock
dir=$(mktemp -d)
cd "$dir"
mkdir bin
cp /bin/busybox bin/
ln -s busybox bin/sh
echo "$1" >name
tar -cf layer.tar bin name
sum=$(sha256sum <layer.tar | cut -d' ' -f1)
cat >config.json <<EOF
{ "architecture": "$(dpkg --print-architecture)", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ["sha256:$sum"] },
  "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/busybox", "sleep", "2147483647"] } }
EOF
echo '[{ "Config": "config.json", "RepoTags": ["'"$1"'"], "Layers": ["layer.tar"] }]' >manifest.json
tar -cf image.tar config.json layer.tar manifest.json
until ctr -a $socket version >/dev/null 2>&1; do sleep 0.2; done
ctr -a $socket -n k8s.io images import image.tar >/dev/null
rm -r "$dir""#;

/// Gives a machine, on which K3s starts, the image.
pub fn image(machine: &Machine) -> Result<()> {
    image_named(machine, IMAGE)
}

/// The same under another name, which makes it another image.
pub fn image_named(machine: &Machine, name: &str) -> Result<()> {
    let said = machine.run_with(&format!("sh -c '{}' make {name}", MAKE.replace('\'', r"'\''")), b"", FIRST_BOOT)?;
    anyhow::ensure!(said.success(), "{said}");
    Ok(())
}

/// Runs a pod on a node, with an address of its own, and waits until it has one: that is returned. The node has the image.
pub fn run(server: &Machine, name: &str, node: &str) -> Result<String> {
    let container = json!({ "name": name, "image": IMAGE, "imagePullPolicy": "Never" });
    let status = until(server, name, node, &container, "Running")?;
    Ok(status["podIP"].as_str().context("a pod without an address")?.to_owned())
}

/// Runs a pod that says something and ends, and waits until it has.
pub fn run_to_its_end(server: &Machine, name: &str, node: &str) -> Result<()> {
    let command = ["/bin/busybox", "echo", "it is done"];
    let container = json!({ "name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": command });
    until(server, name, node, &container, "Succeeded").map(drop)
}

/// Makes a pod of one container, and waits for its phase: its status is returned.
fn until(server: &Machine, name: &str, node: &str, container: &Value, phase: &str) -> Result<Value> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container],
            "restartPolicy": if phase == "Running" { "Always" } else { "Never" },
        },
    });
    let file = format!("/root/{name}.json");
    server.put(&file, pod.to_string(), 0o644)?;
    server.ok(&format!("k3s kubectl apply -f {file}"))?;
    let mut status = Value::Null;
    let there = server.wait_for(&format!("the pod {name} to be {phase}"), FIRST_BOOT, || {
        let pod = get(server, &format!("/api/v1/namespaces/default/pods/{name}"))?.unwrap_or_default();
        status = pod["status"].clone();
        Ok(status["phase"] == phase)
    });
    there.with_context(|| format!("{status:#}"))?;
    Ok(status)
}

/// Asks for a page from within a pod: the whole answer with its head, or what went wrong. (busybox's wget looks up names of
/// ports, which a program without libraries cannot.)
pub fn ask(server: &Machine, pod: &str, address: &str, port: u16, path: &str) -> Result<String> {
    let within = format!("printf \"GET {path} HTTP/1.0\\r\\n\\r\\n\"; exec /bin/busybox cat >&2");
    let ask = format!("/bin/busybox timeout 30 /bin/busybox nc {address} {port} -e /bin/busybox sh -c '{within}'");
    Ok(server.run(&format!("k3s kubectl exec {pod} -- {ask}"))?.stderr)
}
