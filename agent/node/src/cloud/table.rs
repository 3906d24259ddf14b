//! The clouds: how each is recognised, what its metadata service is asked, and what its answers mean.
//!
//! Single values are asked for wherever a cloud has them: its larger documents hold user-data, keys and tokens, which are
//! nobody's business here. The paths are those of cloud-init's sources (`DataSource*.py`) and of the clouds' own documentation.

use super::{CloudFacts, Network, spell, word};
use bowline_ports::MetadataToken;
use bowline_settings::Fact;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// A cloud with a metadata service.
#[derive(Debug)]
pub(crate) struct Cloud {
    /// As cloud-init calls it.
    pub(crate) name: &'static str,
    /// Files of the firmware's strings with how they begin in this cloud, or two files (`A=B`) that have the same; one of them is enough.
    pub(super) dmi: &'static [(&'static str, &'static str)],
    /// The header without which it does not answer.
    pub(super) header: Option<(&'static str, &'static str)>,
    /// The token without which it does not answer.
    pub(super) token: Option<MetadataToken>,
    /// What it is asked for.
    pub(super) documents: &'static [Document],
    /// What it is asked for next.
    pub(super) more: fn(&Words) -> Vec<Document>,
    /// What its answers say of the machine.
    pub(super) facts: fn(&Words) -> CloudFacts,
    /// What they say of its private networks.
    pub(super) networks: fn(&Words) -> Vec<Network>,
    /// What it never tells.
    pub(crate) never: &'static [Fact],
}

/// Something to ask for.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// The name of its content among [`Words`].
    pub(super) name: Cow<'static, str>,
    /// Path and query.
    pub(super) path: Cow<'static, str>,
    pub(super) form: Form,
}

/// How a document is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// One word, which may be in quotation marks, or several lines of them.
    Text,
    Json,
    YamlList,
}

/// All that a metadata service said, by the names of its documents. What it does not have is not in it.
#[derive(Debug, Default)]
pub(super) struct Words(pub(super) Map<String, Value>);

impl Words {
    /// A value in a document: `zone`, or with a pointer into it `instance/compute/zone`.
    fn word(&self, place: &str) -> Option<String> {
        word(self.value(place)?)
    }

    fn value(&self, place: &str) -> Option<&Value> {
        let (name, pointer) = place.split_at(place.find('/').unwrap_or(place.len()));
        self.0.get(name)?.pointer(pointer)
    }

    fn ipv4(&self, place: &str) -> Option<Ipv4Addr> {
        self.word(place)?.parse().ok()
    }

    fn list(&self, place: &str) -> impl Iterator<Item = &Value> {
        self.value(place).and_then(Value::as_array).into_iter().flatten()
    }

    /// What a cloud says in plain words.
    fn plain(&self, cloud: &str) -> CloudFacts {
        CloudFacts {
            cloud: cloud.into(),
            instance_id: self.word("id").unwrap_or_default(),
            instance_type: self.word("type"),
            region: self.word("region"),
            zone: self.word("zone"),
            public_ipv4: self.ipv4("public-ipv4"),
        }
    }
}

const fn document(name: &'static str, path: &'static str, form: Form) -> Document {
    Document { name: Cow::Borrowed(name), path: Cow::Borrowed(path), form }
}

const fn text(name: &'static str, path: &'static str) -> Document {
    document(name, path, Form::Text)
}

fn network(address: Option<&Value>, name: Option<&Value>, mac: Option<&Value>) -> Option<Network> {
    let mac = mac.and_then(word).map(|mac| {
        let digits: Vec<char> = mac.to_lowercase().chars().filter(char::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| two.iter().collect::<String>()).collect::<Vec<_>>().join(":")
    });
    // Google's networks have paths.
    let name = name.and_then(word).and_then(|path| path.rsplit('/').next().map(String::from));
    Some(Network { address: word(address?)?.parse::<IpAddr>().ok()?, name, mac })
}

const NO_MORE: fn(&Words) -> Vec<Document> = |_| Vec::new();

/// Those that are known. Amazon's older machines have nothing but a UUID that begins with its name, as one in 4096 of others does:
/// it is asked last.
pub(super) static CLOUDS: [Cloud; 6] = [HETZNER, ORACLE, GOOGLE, AZURE, DIGITALOCEAN, AWS];

/// Whether the cloud of this name has no way to tell its machines a fact.
pub(crate) fn never_tells(cloud: &str, fact: Fact) -> bool {
    CLOUDS.iter().any(|known| known.name == cloud && known.never.contains(&fact))
}

const HETZNER: Cloud = Cloud {
    name: "hetzner",
    dmi: &[("sys_vendor", "Hetzner")],
    header: None,
    token: None,
    documents: &[
        text("id", "/hetzner/v1/metadata/instance-id"),
        text("zone", "/hetzner/v1/metadata/availability-zone"),
        text("public-ipv4", "/hetzner/v1/metadata/public-ipv4"),
        document("networks", "/hetzner/v1/metadata/private-networks", Form::YamlList),
    ],
    more: NO_MORE,
    facts: |said| {
        let (region, zone) = spell::hetzner(said.word("zone").as_deref());
        CloudFacts { region, zone, ..said.plain("hetzner") }
    },
    networks: |said| {
        let of = |one: &Value| network(one.get("ip"), one.get("network_name"), one.get("mac_address"));
        said.list("networks").filter_map(of).collect()
    },
    never: &[Fact::InstanceType],
};

const ORACLE: Cloud = Cloud {
    name: "oracle",
    dmi: &[("chassis_asset_tag", "OracleCloud.com")],
    header: Some(("authorization", "Bearer Oracle")),
    token: None,
    documents: &[
        text("id", "/opc/v2/instance/id"),
        text("type", "/opc/v2/instance/shape"),
        text("region", "/opc/v2/instance/region"),
        text("zone", "/opc/v2/instance/availabilityDomain"),
        document("vnics", "/opc/v2/vnics/", Form::Json),
    ],
    more: NO_MORE,
    facts: |said| {
        let zone = said.word("zone").map(|domain| spell::oracle(&domain));
        CloudFacts { zone, ..said.plain("oracle") }
    },
    networks: |said| {
        said.list("vnics").filter_map(|vnic| network(vnic.get("privateIp"), None, vnic.get("macAddr"))).collect()
    },
    never: &[Fact::PublicIpv4],
};

/// The documents of its interfaces begin with this, and go on with the MAC.
const AWS_INTERFACE: &str = "interface ";
/// The UUID of the machine, where its serial number is the same: as `ds-identify` of cloud-init tells them.
const UUID_AS_SERIAL: &str = "product_uuid=product_serial";
/// As many interfaces as its largest machines have.
const AWS_INTERFACES: usize = 16;

const AWS: Cloud = Cloud {
    name: "aws",
    dmi: &[("sys_vendor", "Amazon EC2"), (UUID_AS_SERIAL, "ec2")],
    header: None,
    token: Some(MetadataToken {
        path: "/latest/api/token",
        lifetime: ("x-aws-ec2-metadata-token-ttl-seconds", "60"),
        header: "x-aws-ec2-metadata-token",
    }),
    documents: &[
        text("id", "/2021-01-03/meta-data/instance-id"),
        text("type", "/2021-01-03/meta-data/instance-type"),
        text("region", "/2021-01-03/meta-data/placement/region"),
        text("zone", "/2021-01-03/meta-data/placement/availability-zone"),
        text("public-ipv4", "/2021-01-03/meta-data/public-ipv4"),
        text("macs", "/2021-01-03/meta-data/network/interfaces/macs/"),
    ],
    more: |said| {
        let macs = said.word("macs").unwrap_or_default();
        let document = |mac: &str| Document {
            name: format!("{AWS_INTERFACE}{mac}").into(),
            path: format!("/2021-01-03/meta-data/network/interfaces/macs/{mac}/local-ipv4s").into(),
            form: Form::Text,
        };
        macs.lines().take(AWS_INTERFACES).map(|line| document(line.trim().trim_end_matches('/'))).collect()
    },
    facts: |said| said.plain("aws"),
    networks: |said| {
        let mut all = Vec::new();
        for (name, addresses) in &said.0 {
            let Some(mac) = name.strip_prefix(AWS_INTERFACE) else { continue };
            let lines = addresses.as_str().unwrap_or_default().lines();
            all.extend(lines.filter_map(|line| network(Some(&line.into()), None, Some(&mac.into()))));
        }
        all
    },
    never: &[],
};

const GOOGLE: Cloud = Cloud {
    name: "gce",
    dmi: &[("product_name", "Google Compute Engine"), ("product_serial", "GoogleCloud-")],
    header: Some(("metadata-flavor", "Google")),
    token: None,
    documents: &[
        text("id", "/computeMetadata/v1/instance/id"),
        text("type", "/computeMetadata/v1/instance/machine-type"),
        text("zone", "/computeMetadata/v1/instance/zone"),
        document("interfaces", "/computeMetadata/v1/instance/network-interfaces/?recursive=true", Form::Json),
    ],
    more: NO_MORE,
    facts: |said| {
        let (region, zone) = spell::google(said.word("zone").as_deref());
        let instance_type = said.word("type").and_then(|path| path.rsplit('/').next().map(String::from));
        let public_ipv4 = said.ipv4("interfaces/0/accessConfigs/0/externalIp");
        CloudFacts { region, zone, instance_type, public_ipv4, ..said.plain("gce") }
    },
    networks: |said| {
        let of = |one: &Value| network(one.get("ip"), one.get("network"), one.get("mac"));
        said.list("interfaces").filter_map(of).collect()
    },
    never: &[],
};

const AZURE: Cloud = Cloud {
    name: "azure",
    dmi: &[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")],
    header: Some(("metadata", "true")),
    token: None,
    // It takes five requests a second and no more. User-data are in it from version 2021-01-01 on.
    documents: &[document("instance", "/metadata/instance?api-version=2020-09-01", Form::Json)],
    more: NO_MORE,
    facts: |said| {
        let (region, zone) = spell::azure(
            said.word("instance/compute/location").as_deref(),
            said.word("instance/compute/zone"),
            said.word("instance/compute/platformFaultDomain"),
        );
        CloudFacts {
            instance_id: said.word("instance/compute/vmId").unwrap_or_default(),
            instance_type: said.word("instance/compute/vmSize"),
            region,
            zone,
            public_ipv4: said.ipv4("instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress"),
            ..said.plain("azure")
        }
    },
    networks: |said| {
        let mut all = Vec::new();
        for interface in said.list("instance/network/interface") {
            let addresses = interface.pointer("/ipv4/ipAddress").and_then(Value::as_array).into_iter().flatten();
            let of = |one: &Value| network(one.get("privateIpAddress"), None, interface.get("macAddress"));
            all.extend(addresses.filter_map(of));
        }
        all
    },
    never: &[],
};

const DIGITALOCEAN: Cloud = Cloud {
    name: "digitalocean",
    dmi: &[("sys_vendor", "DigitalOcean")],
    header: None,
    token: None,
    documents: &[
        text("id", "/metadata/v1/id"),
        text("region", "/metadata/v1/region"),
        text("public-ipv4", "/metadata/v1/interfaces/public/0/ipv4/address"),
        text("address", "/metadata/v1/interfaces/private/0/ipv4/address"),
        text("mac", "/metadata/v1/interfaces/private/0/mac"),
    ],
    more: NO_MORE,
    // It has regions only; its volumes and its machines are in a region, so that it serves as zone as well.
    facts: |said| CloudFacts { zone: said.word("region"), ..said.plain("digitalocean") },
    networks: |said| network(said.value("address"), None, said.value("mac")).into_iter().collect(),
    never: &[Fact::InstanceType],
};
