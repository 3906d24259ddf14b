//! Reads `[node]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::complaint::{Complaint, quote};
use crate::fact::Fact;
use crate::labels;
use crate::model::{ExternalAddress, Node};
use crate::net::Cidr;
use crate::reader::{NOT_YET, Reader, Section};
use crate::taint::{self, Taint};

pub(crate) const KEYS: [&str; 5] = ["name", "address", "external-address", "labels", "taints"];

/// Reads the table; without one, nothing is set.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Node {
    let Some(section) = reader.section(root, "node") else {
        return Node::default();
    };
    reader.known(&section, &KEYS, &[]);
    let name = reader.with(&section, "name", node_name);
    let address = reader.with(&section, "address", network);
    let external_address = reader.with(&section, "external-address", external);
    let mut node = Node { name, address, external_address, ..Node::default() };
    node.labels = labels::read(reader, &section, "labels", labels::Facts::Its);
    node.taints = read_taints(reader, &section, "taints");
    node
}

/// A list of taints. Two of one key and effect cannot both be on a node.
pub(crate) fn read_taints<'a>(reader: &mut Reader<'a>, section: &Section<'a>, key: &str) -> Vec<Taint> {
    let list = reader.texts(section, key, taint::check).unwrap_or_default();
    let path = section.key(key);
    for (index, (taint, at)) in list.iter().enumerate() {
        let mut earlier = list.iter().take(index);
        if let Some((other, first)) = earlier.find(|(t, _)| t.key == taint.key && t.effect == taint.effect) {
            let message = if other == taint {
                format!("the taint {} is there twice", quote(&taint.to_string()))
            } else {
                format!("{} and {} cannot both be on a node", quote(&other.to_string()), quote(&taint.to_string()))
            };
            reader.contradiction(*at, *first, &path, Complaint::new(message));
        }
    }
    list.into_iter().map(|(taint, _)| taint).collect()
}

/// Whether a text is a name for a node, as [`crate::Node::name`] wants it.
pub fn is_node_name(text: &str) -> bool {
    text.len() <= 63 && labels::is_subdomain(text)
}

/// A node name: a DNS name that is also good as the value of the node's label
/// `kubernetes.io/hostname`, which is where its 63 characters come from.
pub(crate) fn node_name(text: &str) -> Result<String, Complaint> {
    let length = text.chars().count();
    let complaint = if text.is_empty() {
        Complaint::new("a node's name cannot be empty").suggest("remove the line, and the host name is used")
    } else if text.contains('{') {
        Complaint::new("a node's name cannot have facts in braces in it")
    } else if length > 63 {
        Complaint::new(format!("a node's name has at most 63 characters, {} has {length}", quote(text)))
    } else if !labels::is_subdomain(text) {
        let complaint = Complaint::new(format!(
            "{} is not a name for a node: lower-case letters, digits, `-` and `.`, with a \
             letter or digit at both ends of each part",
            quote(text)
        ));
        let plain = text.to_lowercase().replace(['_', ' '], "-");
        if labels::is_subdomain(&plain) { complaint.suggest(quote(&plain)) } else { complaint }
    } else {
        return Ok(text.to_owned());
    };
    Err(complaint)
}

/// A network in which a node can have its address.
fn network(text: &str) -> Result<Cidr, Complaint> {
    let network: Cidr = text.parse()?;
    let loopback = "is this machine itself: no other node reaches it there";
    let link = "is for a single link: such addresses are not looked at";
    let many = "is for groups of machines: no machine has such an address";
    let reserved = [
        (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, loopback),
        (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16, link),
        (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4, many),
        (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, loopback),
        (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10, link),
        (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8, many),
    ];
    let within = |(all, bits, _): &(IpAddr, u8, &str)| {
        *bits <= network.prefix() && Cidr::around(*all, *bits).contains(network.address())
    };
    match reserved.into_iter().find(within) {
        Some((_, _, why)) => {
            Err(Complaint::new(format!("{} {why}", quote(text)))
                .suggest("the private network's, such as \"10.0.1.0/24\""))
        }
        None => Ok(network),
    }
}

fn external(text: &str) -> Result<ExternalAddress, Complaint> {
    if let Some(fact) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        if fact == "public-ipv4" {
            return Ok(ExternalAddress::PublicIpv4);
        }
        let what = format!("the fact `{{{}}}`", crate::complaint::excerpt(fact));
        return Err(if Fact::named(fact).is_some() {
            Complaint::new(format!("{what} is not an external address")).suggest("\"{public-ipv4}\"")
        } else {
            let complaint = Complaint::new(format!("{what} {NOT_YET}"));
            match crate::suggest::nearest(fact, ["public-ipv4"]) {
                Some(_) => complaint.suggest("did you mean \"{public-ipv4}\"?"),
                None => complaint.suggest("\"{public-ipv4}\", or an address"),
            }
        });
    }
    let address: IpAddr = text.parse().map_err(|_| {
        let complaint = Complaint::new(format!(
            "{} is not an external address: expected an IP address or \"{{public-ipv4}}\"",
            quote(text)
        ));
        match text.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => complaint.suggest(quote(address)),
            _ => complaint,
        }
    })?;
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(Complaint::new(format!("nobody outside can reach this node at {address}")));
    }
    Ok(ExternalAddress::Ip(address))
}
