//! Pods that really run: an image of one small program, made on the machine and given to its containerd.

use crate::FIRST_BOOT;
use anyhow::Result;
use bowline_testbed::Machine;

/// The image: a shell, and a pause. K3s is to have it as `pause-image`, too.
pub const IMAGE: &str = "docker.io/bed/busybox:1";

const MAKE: &str = r#"
set -eu
socket=/run/k3s/containerd/containerd.sock
dir=$(mktemp -d)
cd "$dir"
mkdir bin
cp /bin/busybox bin/
ln -s busybox bin/sh
tar -cf layer.tar bin
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
    let said = machine.run_with(&format!("sh -c '{}' make {IMAGE}", MAKE.replace('\'', r"'\''")), b"", FIRST_BOOT)?;
    anyhow::ensure!(said.success(), "{said}");
    Ok(())
}
