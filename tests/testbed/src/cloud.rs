//! A stand-in for a cloud: its metadata service on the bed's web server, at the address where machines look for it, and
//! what a machine's firmware says of it. What it answers is a file of `tests/clouds`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::artefacts::checkout;
use crate::bed::Bed;
use crate::machine::Machine;
use crate::web::Web;

/// Where every cloud's metadata service is.
const ADDRESS: &str = "169.254.169.254/32";

/// A cloud as a machine sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// Files of `/sys/class/dmi/id`.
    pub dmi: BTreeMap<String, String>,
    /// The header without which its service says no.
    pub header: Option<String>,
    /// The path where the token is had without which it says no.
    pub token: Option<String>,
    /// What it says, by path and query.
    pub answers: BTreeMap<String, String>,
}

impl Cloud {
    /// One of `tests/clouds` (`hetzner`).
    pub fn recorded(name: &str) -> Result<Cloud> {
        let file = checkout().join("tests/clouds").join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(toml::from_str(&text)?)
    }
}

/// The bed's metadata service.
pub struct Metadata {
    web: Arc<Web>,
}

impl Bed {
    /// The metadata service, which answers nothing yet. Machines reach it by their default route.
    pub fn metadata(&self) -> Result<Metadata> {
        let metadata = Metadata { web: self.web()? };
        self.route_metadata(true)?;
        Ok(metadata)
    }

    /// Lets packets to the metadata service arrive, or vanish on their way.
    pub fn route_metadata(&self, there: bool) -> Result<()> {
        let verb = if there { "replace" } else { "del" };
        let output = self.run(&["ip", "address", verb, ADDRESS, "dev", "br0"])?;
        anyhow::ensure!(output.success(), "{output}");
        Ok(())
    }
}

impl Metadata {
    /// Answers as this cloud does, besides what it answered before.
    pub fn answer_as(&self, cloud: &Cloud) {
        let mut demands: Vec<String> = cloud.header.iter().cloned().collect();
        if let Some(token) = &cloud.token {
            // Only EC2 has tokens.
            const TOKEN: &str = "token-of-the-bed==";
            self.web.put(&format!("PUT {token}"), TOKEN);
            self.web.demand(&format!("PUT {token}"), &["x-aws-ec2-metadata-token-ttl-seconds: 60".to_owned()]);
            demands.push(format!("x-aws-ec2-metadata-token: {TOKEN}"));
        }
        for (path, body) in &cloud.answers {
            self.say(path, body);
            self.web.demand(without_query(path), &demands);
        }
    }

    /// Answers this at a path from now on.
    pub fn say(&self, path: &str, body: &str) {
        self.web.put(without_query(path), body);
    }

    /// How often it was asked for anything that this cloud has.
    pub fn requests(&self, cloud: &Cloud) -> u64 {
        cloud.answers.keys().map(|path| self.web.count(without_query(path)).requests).sum()
    }
}

/// The web server knows paths only.
fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// Lays the strings that a case wrote over what the kernel shows of this host's firmware, if it shows any.
const SHOW_FIRMWARE: &str = "\
[Unit]
Description=The firmware's strings of the testbed
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'mkdir -p /run/bowline-bed/class/dmi; ln -sfn /etc/bowline-bed/dmi /run/bowline-bed/class/dmi/id; \
mount -t overlay overlay -o lowerdir=/run/bowline-bed/class:/sys/class /sys/class'
[Install]
WantedBy=sysinit.target
";

impl Machine {
    /// Has `/sys/class/dmi/id` say this, now and after reboots: a stand-in, since a container has no firmware of its own.
    pub fn firmware(&self, strings: &BTreeMap<String, String>) -> Result<()> {
        self.ok("rm -rf /etc/bowline-bed/dmi")?;
        for (name, text) in strings {
            // As the kernel has them: what could tell machines apart is for root.
            let mode = if name.ends_with("_uuid") || name.ends_with("_serial") { 0o400 } else { 0o444 };
            self.put(&format!("/etc/bowline-bed/dmi/{name}"), format!("{text}\n"), mode)?;
        }
        let unit = "bowline-bed-firmware.service";
        self.put(&format!("/etc/systemd/system/{unit}"), SHOW_FIRMWARE, 0o644)?;
        self.ok(&format!("systemctl daemon-reload && systemctl --quiet enable --now {unit}")).map(drop)
    }
}
