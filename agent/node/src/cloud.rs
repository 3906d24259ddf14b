//! What the cloud says of this machine.
//!
//! - `init`: in cloud-init's instance data.
//! - `service`: at its metadata service, which `table` knows of each cloud.
//! - `spell`: regions and zones as the cloud's own controller for Kubernetes writes them.

mod init;
mod service;
mod spell;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use service::{ask, detect};
pub(crate) use table::never_tells;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};

/// Words for what is not known or not there.
const NOTHING: [&str; 4] = ["", "None", "unknown", "default"];

/// The parts that settings can refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudFacts {
    /// `hetzner`, `oracle`, `aws`, `nocloud` …
    pub cloud: String,
    /// The cloud's name of this machine.
    pub instance_id: String,
    /// The cloud's name of the machine's size, where it tells it.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Region, where there is one.
    pub region: Option<String>,
    /// Availability zone, where there is one.
    pub zone: Option<String>,
    /// The public IPv4 address, where the cloud tells one.
    pub public_ipv4: Option<Ipv4Addr>,
}

impl CloudFacts {
    /// Without what says nothing: a part of a word may be empty.
    fn sensible(mut self) -> Self {
        for part in [&mut self.instance_type, &mut self.region, &mut self.zone] {
            *part = part.take().and_then(|text| said(&text));
        }
        self
    }

    /// What is known in all: what is missing here is as another source says it of the same machine.
    #[must_use]
    pub fn or(mut self, other: Option<&Self>) -> Self {
        if let Some(other) = other {
            self.instance_type = self.instance_type.or_else(|| other.instance_type.clone());
            self.region = self.region.or_else(|| other.region.clone());
            self.zone = self.zone.or_else(|| other.zone.clone());
            self.public_ipv4 = self.public_ipv4.or(other.public_ipv4);
        }
        self
    }
}

/// What was kept at an earlier look, and of which machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As [`Facts::machine`](crate::Facts) was then: an image of that machine's disk is another machine.
    #[serde(default)]
    pub machine: Option<String>,
    /// The boot at which the metadata service told it last.
    #[serde(default)]
    pub boot: Option<String>,
    /// What was known.
    #[serde(flatten)]
    pub facts: CloudFacts,
}

/// What the metadata service said at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it says of the machine.
    pub facts: CloudFacts,
    /// The addresses that it has in private networks, whether an interface has them yet or not. Never kept: they come and go.
    pub networks: Vec<Network>,
}

/// An address in a private network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// The network's name, where the cloud tells it.
    pub name: Option<String>,
    /// The MAC of the interface that is to have it, in lower case with colons, where the cloud tells it.
    pub mac: Option<String>,
}

/// What came of asking the metadata service of the cloud that the machine is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The cloud.
    pub cloud: &'static str,
    /// What it said; nothing, when what is looked for is what it never says.
    pub said: Result<Option<Said>, bowline_ports::PortError>,
}

/// A text or number that says something.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => said(text),
        Value::Number(number) => said(&number.to_string()),
        _ => None,
    }
}

/// A text, unless it says nothing.
fn said(text: &str) -> Option<String> {
    let text = text.trim();
    (!NOTHING.contains(&text)).then(|| text.to_owned())
}
