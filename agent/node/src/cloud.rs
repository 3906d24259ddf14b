//! What the cloud says of this machine, taken from cloud-init's instance data.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::Ipv4Addr;

/// The parts that settings can refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudFacts {
    /// `hetzner`, `oracle`, `aws`, `nocloud` …
    pub cloud: String,
    /// The cloud's name of this machine.
    pub instance_id: String,
    /// Region, where there is one.
    pub region: Option<String>,
    /// Availability zone, where there is one.
    pub zone: Option<String>,
    /// The public IPv4 address, where the cloud tells one.
    pub public_ipv4: Option<Ipv4Addr>,
}

impl CloudFacts {
    /// Reads `/run/cloud-init/instance-data.json` (its `v1` and `ds.meta_data`). `None` when it is not that.
    pub fn from_cloud_init(content: &[u8]) -> Option<Self> {
        let all: Value = serde_json::from_slice(content).ok()?;
        let v1 = all.get("v1")?;
        let text =
            |key: &str| v1.get(key).and_then(Value::as_str).filter(|t| !t.is_empty() && *t != "None").map(String::from);
        let meta = all.pointer("/ds/meta_data");
        let public =
            ["public-ipv4", "public_ipv4"].iter().find_map(|key| meta?.get(key)?.as_str()?.trim().parse().ok());
        Some(Self {
            cloud: text("cloud_name").unwrap_or_default(),
            instance_id: text("instance_id").unwrap_or_default(),
            region: text("region"),
            zone: text("availability_zone"),
            public_ipv4: public,
        })
    }
}
