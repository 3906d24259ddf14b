//! What cloud-init keeps of the cloud's metadata, at each boot.

use super::{CloudFacts, spell, word};
use serde_json::Value;

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
                .and_then(|path| path.rsplit('/').next().map(String::from)),
            region: text("region").or_else(|| first(&REGIONS)),
            zone: text("availability_zone").or_else(|| first(&ZONES)),
            public_ipv4: first(&PUBLIC).and_then(|address| address.parse().ok()),
            cloud,
        };
        facts.place(first(&["/imds/compute/zone"]));
        Some(facts.sensible())
    }

    /// Region and zone, as the cloud's own controller spells them.
    fn place(&mut self, zone_number: Option<String>) {
        let zone = self.zone.as_deref();
        match self.cloud.as_str() {
            "hetzner" => (self.region, self.zone) = spell::hetzner(zone),
            // It keeps the physical availability domain only, whose number is another one for each tenancy: no zone.
            "oracle" => {
                let region = zone.and_then(|domain| domain.rsplit_once("-ad-")).map(|(region, _)| region.into());
                (self.region, self.zone) = (self.region.take().or(region), None);
            }
            // What it calls zone is the fault domain.
            "azure" => {
                let location = self.region.take();
                (self.region, self.zone) = spell::azure(location.as_deref(), zone_number, self.zone.take());
            }
            // It has regions only, and cloud-init calls them zones.
            "digitalocean" if self.region.is_none() => self.region.clone_from(&self.zone),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(data: &str) -> CloudFacts {
        CloudFacts::from_cloud_init(data.as_bytes()).unwrap()
    }

    /// Region, zone, instance id, instance type, public address.
    fn said(data: &str) -> [String; 5] {
        let facts = facts(data);
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let public = facts.public_ipv4.map(|address| address.to_string());
        [or(facts.region), or(facts.zone), facts.instance_id, or(facts.instance_type), or(public)]
    }

    #[test]
    fn what_each_cloud_says() {
        let hetzner = r#"{"v1":{"cloud_name":"hetzner","instance_id":"42","region":"eu-central",
            "availability_zone":"fsn1-dc14"},"ds":{"meta_data":{"public-ipv4":"203.0.113.7"}}}"#;
        assert_eq!(said(hetzner), ["fsn1", "fsn1-dc14", "42", "-", "203.0.113.7"]);
        let oracle = r#"{"v1":{"cloud_name":"oracle","instance_id":"ocid1.instance.oc1..x","region":null,
            "availability_zone":"uk-london-1-ad-2"},"ds":{"meta_data":{"instance-id":"ocid1.instance.oc1..x"}}}"#;
        assert_eq!(said(oracle), ["uk-london-1", "-", "ocid1.instance.oc1..x", "-", "-"]);
        let aws = r#"{"v1":{"cloud_name":"aws","instance_id":"i-0abc","region":"eu-central-1",
            "availability_zone":"eu-central-1a"},
            "ds":{"meta_data":{"instance-type":"t3.micro","public-ipv4":"203.0.113.8"}}}"#;
        assert_eq!(said(aws), ["eu-central-1", "eu-central-1a", "i-0abc", "t3.micro", "203.0.113.8"]);
        let gce = r#"{"v1":{"cloud_name":"gce","instance_id":"77","region":"europe-west1",
            "availability_zone":"europe-west1-b"},
            "ds":{"meta_data":{"machine-type":"projects/1/machineTypes/n2-standard-2"}}}"#;
        assert_eq!(said(gce), ["europe-west1", "europe-west1-b", "77", "n2-standard-2", "-"]);
        let azure = r#"{"v1":{"cloud_name":"azure","instance_id":"6d33","region":"westus2","availability_zone":"0"},
            "ds":{"meta_data":{"imds":{"compute":{"location":"westus2","vmSize":"Standard_D2","zone":"1"},
            "network":{"interface":[{"ipv4":{"ipAddress":[{"publicIpAddress":"203.0.113.9"}]}}]}}}}}"#;
        assert_eq!(said(azure), ["westus2", "westus2-1", "6d33", "Standard_D2", "203.0.113.9"]);
        assert_eq!(said(&azure.replace(r#""zone":"1""#, r#""zone":"""#))[1], "0");
        let ocean = r#"{"v1":{"cloud_name":"digitalocean","instance_id":"99","region":null,
            "availability_zone":"fra1"},"ds":{"meta_data":{
            "interfaces":{"public":[{"ipv4":{"ip_address":"203.0.113.10"}}]}}}}"#;
        assert_eq!(said(ocean), ["fra1", "fra1", "99", "-", "203.0.113.10"]);
    }

    #[test]
    fn words_for_nothing_are_nothing() {
        let data = r#"{"v1":{"cloud_name":"upcloud","instance_id":"a","region":"None","availability_zone":"default"}}"#;
        assert_eq!(said(data), ["-", "-", "a", "-", "-"]);
    }

    #[test]
    fn a_part_of_a_word_may_say_nothing_too() {
        let hetzner = r#"{"v1":{"cloud_name":"hetzner","instance_id":"a","instance_type":"types/ ",
            "availability_zone":"-dc14"}}"#;
        assert_eq!(said(hetzner), ["-", "-dc14", "a", "-", "-"]);
        let oracle = r#"{"v1":{"cloud_name":"oracle","instance_id":"a","availability_zone":"-ad-1"}}"#;
        assert_eq!(said(oracle), ["-", "-", "a", "-", "-"]);
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
}
