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
    /// The cloud's name of the machine's size, where cloud-init keeps it.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Region, where there is one.
    pub region: Option<String>,
    /// Availability zone, where there is one.
    pub zone: Option<String>,
    /// The public IPv4 address, where the cloud tells one.
    pub public_ipv4: Option<Ipv4Addr>,
}

/// Where the size stands: EC2, Azure; Oracle and Google, where their words for it are kept.
const TYPES: [&str; 5] = ["/instance-type", "/instance_type", "/imds/compute/vmSize", "/shape", "/machine-type"];
/// Where the region stands, when it is not in `v1`.
const REGIONS: [&str; 3] = ["/region", "/imds/compute/location", "/canonicalRegionName"];
/// Where the zone stands, when it is not in `v1`.
const ZONES: [&str; 3] = ["/availability-zone", "/availability_zone", "/placement/availability-zone"];
/// Where the public address stands: EC2 and those that follow it, Azure, DigitalOcean.
const PUBLIC: [&str; 4] = [
    "/public-ipv4",
    "/public_ipv4",
    "/imds/network/interface/0/ipv4/ipAddress/0/publicIpAddress",
    "/interfaces/public/0/ipv4/ip_address",
];
/// Words of cloud-init for what it does not know.
const NOTHING: [&str; 4] = ["", "None", "unknown", "default"];

impl CloudFacts {
    /// Reads `/run/cloud-init/instance-data.json` (its `v1` and `ds.meta_data`). `None` when it is not that, or when
    /// cloud-init found no cloud.
    pub fn from_cloud_init(content: &[u8]) -> Option<Self> {
        let all: Value = serde_json::from_slice(content).ok()?;
        let v1 = all.get("v1")?;
        let text = |key: &str| v1.get(key).and_then(word);
        let meta = all.pointer("/ds/meta_data");
        let first = |places: &[&str]| places.iter().find_map(|place| word(meta?.pointer(place)?));
        let cloud = text("cloud_name").unwrap_or_default();
        if cloud == "none" {
            return None;
        }
        let mut facts = Self {
            instance_id: text("instance_id").unwrap_or_default(),
            // Google's are paths.
            instance_type: text("instance_type")
                .or_else(|| first(&TYPES))
                .and_then(|path| said(path.rsplit('/').next()?)),
            region: text("region").or_else(|| first(&REGIONS)),
            zone: text("availability_zone").or_else(|| first(&ZONES)),
            public_ipv4: first(&PUBLIC).and_then(|address| address.parse().ok()),
            cloud,
        };
        facts.spell(meta);
        Some(facts)
    }

    /// Spells region and zone as the cloud's own controller for Kubernetes does in its labels.
    fn spell(&mut self, meta: Option<&Value>) {
        let zone = self.zone.as_deref().unwrap_or_default();
        match self.cloud.as_str() {
            // Its region is the place; what the metadata call so is the network zone.
            "hetzner" => {
                if let Some(place) = zone.split_once("-dc").and_then(|(place, _)| said(place)) {
                    self.region = Some(place);
                }
            }
            // cloud-init keeps the name of the availability domain only.
            "oracle" if self.region.is_none() => {
                self.region = zone.rsplit_once("-ad-").and_then(|(region, _)| said(region));
            }
            // cloud-init's zone is the fault domain, which counts only where there are no zones.
            "azure" => {
                let number = meta.and_then(|meta| word(meta.pointer("/imds/compute/zone")?));
                if let (Some(region), Some(number)) = (&self.region, number) {
                    self.zone = Some(format!("{region}-{number}"));
                }
            }
            // It has regions only, and cloud-init calls them zones.
            "digitalocean" if self.region.is_none() => self.region.clone_from(&self.zone),
            _ => {}
        }
    }

    /// What is known in all: what is missing here is as it was kept of the same machine.
    #[must_use]
    pub fn with_kept(mut self, kept: Option<&Self>) -> Self {
        if let Some(kept) = kept.filter(|kept| kept.instance_id == self.instance_id) {
            self.instance_type = self.instance_type.or_else(|| kept.instance_type.clone());
            self.region = self.region.or_else(|| kept.region.clone());
            self.zone = self.zone.or_else(|| kept.zone.clone());
            self.public_ipv4 = self.public_ipv4.or(kept.public_ipv4);
        }
        self
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(data: &str) -> CloudFacts {
        CloudFacts::from_cloud_init(data.as_bytes()).unwrap()
    }

    /// Region, zone, instance id, instance type, public address.
    fn told(data: &str) -> [String; 5] {
        let facts = facts(data);
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let public = facts.public_ipv4.map(|address| address.to_string());
        [or(facts.region), or(facts.zone), facts.instance_id, or(facts.instance_type), or(public)]
    }

    #[test]
    fn what_each_cloud_says() {
        let hetzner = r#"{"v1":{"cloud_name":"hetzner","instance_id":"42","region":"eu-central",
            "availability_zone":"fsn1-dc14"},"ds":{"meta_data":{"public-ipv4":"203.0.113.7"}}}"#;
        assert_eq!(told(hetzner), ["fsn1", "fsn1-dc14", "42", "-", "203.0.113.7"]);
        let oracle = r#"{"v1":{"cloud_name":"oracle","instance_id":"ocid1.instance.oc1..x","region":null,
            "availability_zone":"uk-london-1-ad-2"},"ds":{"meta_data":{"instance-id":"ocid1.instance.oc1..x"}}}"#;
        assert_eq!(told(oracle), ["uk-london-1", "uk-london-1-ad-2", "ocid1.instance.oc1..x", "-", "-"]);
        let aws = r#"{"v1":{"cloud_name":"aws","instance_id":"i-0abc","region":"eu-central-1",
            "availability_zone":"eu-central-1a"},
            "ds":{"meta_data":{"instance-type":"t3.micro","public-ipv4":"203.0.113.8"}}}"#;
        assert_eq!(told(aws), ["eu-central-1", "eu-central-1a", "i-0abc", "t3.micro", "203.0.113.8"]);
        let gce = r#"{"v1":{"cloud_name":"gce","instance_id":"77","region":"europe-west1",
            "availability_zone":"europe-west1-b"},
            "ds":{"meta_data":{"machine-type":"projects/1/machineTypes/n2-standard-2"}}}"#;
        assert_eq!(told(gce), ["europe-west1", "europe-west1-b", "77", "n2-standard-2", "-"]);
        let azure = r#"{"v1":{"cloud_name":"azure","instance_id":"6d33","region":"westus2","availability_zone":"0"},
            "ds":{"meta_data":{"imds":{"compute":{"location":"westus2","vmSize":"Standard_D2","zone":"1"},
            "network":{"interface":[{"ipv4":{"ipAddress":[{"publicIpAddress":"203.0.113.9"}]}}]}}}}}"#;
        assert_eq!(told(azure), ["westus2", "westus2-1", "6d33", "Standard_D2", "203.0.113.9"]);
        assert_eq!(told(&azure.replace(r#""zone":"1""#, r#""zone":"""#))[1], "0");
        let ocean = r#"{"v1":{"cloud_name":"digitalocean","instance_id":"99","region":null,
            "availability_zone":"fra1"},"ds":{"meta_data":{
            "interfaces":{"public":[{"ipv4":{"ip_address":"203.0.113.10"}}]}}}}"#;
        assert_eq!(told(ocean), ["fra1", "fra1", "99", "-", "203.0.113.10"]);
    }

    #[test]
    fn words_for_nothing_are_nothing() {
        let data = r#"{"v1":{"cloud_name":"upcloud","instance_id":"a","region":"None","availability_zone":"default"}}"#;
        assert_eq!(told(data), ["-", "-", "a", "-", "-"]);
    }

    #[test]
    fn a_part_of_a_word_may_say_nothing_too() {
        let hetzner = r#"{"v1":{"cloud_name":"hetzner","instance_id":"a","instance_type":"types/ ","region":"eu",
            "availability_zone":"-dc14"}}"#;
        assert_eq!(told(hetzner), ["eu", "-dc14", "a", "-", "-"]);
        let oracle = r#"{"v1":{"cloud_name":"oracle","instance_id":"a","availability_zone":"-ad-1"}}"#;
        assert_eq!(told(oracle), ["-", "-ad-1", "a", "-", "-"]);
    }

    #[test]
    fn without_a_cloud_there_is_nothing() {
        assert_eq!(
            CloudFacts::from_cloud_init(br#"{"v1":{"cloud_name":"none","instance_id":"iid-datasource-none"}}"#),
            None
        );
        assert_eq!(CloudFacts::from_cloud_init(b"{}"), None);
        assert_eq!(CloudFacts::from_cloud_init(b"half"), None);
    }

    #[test]
    fn what_was_kept_fills_gaps_of_the_same_machine_only() {
        let kept = CloudFacts { instance_id: "42".into(), zone: Some("fsn1-dc14".into()), ..CloudFacts::default() };
        let now = |id: &str| CloudFacts { instance_id: id.into(), ..CloudFacts::default() }.with_kept(Some(&kept));
        assert_eq!(now("42").zone.as_deref(), Some("fsn1-dc14"));
        assert_eq!(now("43").zone, None);
    }

    #[test]
    fn what_an_older_bowline_kept_is_read() {
        let old = br#"{"cloud":"hetzner","instance_id":"42","region":null,"zone":"fsn1-dc14","public_ipv4":null}"#;
        assert_eq!(serde_json::from_slice::<CloudFacts>(old).unwrap().zone.as_deref(), Some("fsn1-dc14"));
    }
}
