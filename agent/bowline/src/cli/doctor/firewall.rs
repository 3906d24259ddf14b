//! Whether this machine's own firewall refuses what other nodes need of it. From outside that cannot be told of UDP at
//! all, and of TCP only by another node, so that its rules are read as the tools list them that made them.
//!
//! - `rules`: what rules do with a packet.
//! - `iptables`, `nft`: how each tool lists them.

mod iptables;
mod nft;
mod rules;
#[cfg(test)]
mod tests;

use super::check::Check;
use bowline_cluster::api_port;
use bowline_engine::Report;
use bowline_host::real::firewall::{Dialect, Listing};
use bowline_join::agree::agreed;
use bowline_ports::{Inspect, PortError, condition};
use bowline_settings::{Cidr, Cluster, Datastore, Role, Settings};
use rules::{Base, Packet, Protocol, network};
use serde_json::Value;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

const NAME: &str = "this machine's firewall";
/// Where K3s writes which network between pods it makes, on every node (K3s: pkg/agent/flannel/setup.go).
const FLANNEL: &str = "/var/lib/rancher/k3s/agent/etc/flannel/net-conf.json";

/// What was read, and what for.
pub(super) struct Facts {
    /// What each tool lists.
    pub(super) listings: Result<Vec<Listing>, PortError>,
    /// This node's address, and its interface.
    pub(super) address: IpAddr,
    pub(super) interface: String,
    /// The network of the nodes, where the settings have it.
    pub(super) nodes: Option<Cidr>,
    /// What others need of this node.
    pub(super) needed: Vec<Needed>,
}

/// One port, or several in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needed {
    protocol: Protocol,
    ports: RangeInclusive<u16>,
}

impl Needed {
    fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, ports: port..=port }
    }

    fn udp(port: u16) -> Self {
        Self { protocol: Protocol::Udp, ports: port..=port }
    }
}

/// `now` is of a look just now, by which the node's address is known. `None` while it is not.
pub(super) async fn gather(
    host: &dyn Inspect,
    settings: &Settings,
    cluster: &Cluster,
    now: &Report,
    firewall: &impl AsyncFn(bool) -> Result<Vec<Listing>, PortError>,
) -> Option<Facts> {
    let said = |key: &str| now.conditions.get(key).map(String::as_str);
    let address: IpAddr = said(condition::ADDRESS)?.parse().ok()?;
    let written = host.read(Path::new(FLANNEL)).await.ok().flatten();
    let written = written.and_then(|file| serde_json::from_slice::<Value>(&file.content).ok());
    let backend = match written.as_ref().and_then(|conf| conf["Backend"]["Type"].as_str()) {
        Some(written) => written.to_string(),
        None => backend(cluster, said(condition::K3S_OPTIONS)),
    };
    Some(Facts {
        listings: firewall(address.is_ipv6()).await,
        address,
        interface: said(condition::INTERFACE)?.to_string(),
        nodes: settings.node.address.filter(|network| !network.is_single()),
        needed: needed(settings, cluster, &backend, address),
    })
}

/// The network between pods, by the options that the servers told and by this node's own.
fn backend(cluster: &Cluster, told: Option<&str>) -> String {
    let told = told.and_then(|text| serde_json::from_str::<Value>(text).ok());
    match told.as_ref().and_then(|told| told["flannel-backend"].as_str()) {
        Some(told) => told.to_string(),
        None => agreed(&cluster.config, false).flannel_backend,
    }
}

fn needed(settings: &Settings, cluster: &Cluster, backend: &str, address: IpAddr) -> Vec<Needed> {
    let mut all = vec![Needed::tcp(10250)];
    match backend {
        "vxlan" => all.push(Needed::udp(8472)),
        "wireguard" | "wireguard-native" if address.is_ipv4() => all.push(Needed::udp(51820)),
        "wireguard" | "wireguard-native" => all.push(Needed::udp(51821)),
        // Routes alone, or none of K3s's doing.
        _ => {}
    }
    if cluster.role == Role::Server {
        all.push(Needed::tcp(api_port(cluster)));
        let listens = settings.enroll.iter().flat_map(|enroll| &enroll.listen);
        all.extend(listens.map(|listen| Needed::tcp(listen.port)));
        if cluster.join.datastore == Datastore::Etcd {
            all.push(Needed { protocol: Protocol::Tcp, ports: 2379..=2380 });
        }
    }
    all.sort_by_key(|one| (one.protocol, *one.ports.start()));
    all.dedup();
    all
}

/// Ports that one chain refuses.
struct Closed<'a> {
    listing: &'a Listing,
    base: Base,
    rule: String,
    needed: Vec<&'a Needed>,
}

pub(super) fn diagnose(facts: &Facts) -> Check {
    let listings = match &facts.listings {
        Ok(listings) if listings.is_empty() => {
            let text = "there is neither iptables nor nft here, by which rules could be made or read";
            return Check::skipped(NAME, text);
        }
        Ok(listings) => listings,
        Err(error) => return Check::blind(NAME, error),
    };
    let (mut closed, mut unread) = (Vec::new(), Vec::new());
    for listing in listings {
        match refused(listing, facts) {
            Ok(refused) => closed.extend(refused),
            Err(why) => unread.push(format!("what {} says cannot be read: {why}", listing.tool)),
        }
    }
    let from = facts.nodes.map_or_else(String::new, |nodes| format!(" from {nodes}"));
    if closed.is_empty() {
        let all = named(&facts.needed.iter().collect::<Vec<_>>());
        return match unread.as_slice() {
            [] => Check::ok(NAME, format!("no rule refuses {all}{from}")),
            unread => Check::skipped(NAME, unread.join("; ")),
        };
    }
    let found: Vec<_> = closed.iter().map(|one| format!("{} ({})", named(&one.needed), one.rule)).collect();
    let found = format!("it refuses what other nodes need of this one{from}: {}", found.join("; "));
    let check = |remedy: &str| Check::finding(NAME, found.clone(), remedy);
    let Some(nodes) = facts.nodes else {
        let lines: Vec<_> = closed.iter().map(|one| one.lines("NETWORK").join("; ")).collect();
        return check(&format!(
            "let the nodes' network in, and nobody else (`[node] address` does not say which it is): {}",
            lines.join("; ")
        ));
    };
    let mut lasting: Vec<&str> = closed.iter().map(Closed::lasting).collect();
    lasting.dedup();
    let commands: Vec<String> = closed.iter().flat_map(|one| one.lines(&nodes.to_string())).collect();
    check(&format!("let the nodes' network in; {}", lasting.join("; "))).command(commands.join(" && "))
}

/// What a listing refuses; or why it cannot be read.
fn refused<'a>(listing: &'a Listing, facts: &'a Facts) -> Result<Vec<Closed<'a>>, String> {
    let text = listing.text.as_ref().map_err(String::clone)?;
    let rules = match listing.dialect {
        Dialect::Iptables => iptables::parse(text),
        Dialect::Nft => nft::parse(text, facts.address.is_ipv6())?,
    };
    let from = match facts.nodes {
        Some(nodes) => network(nodes.address(), nodes.prefix()),
        None => network(facts.address, 0),
    };
    let mut closed: Vec<Closed<'_>> = Vec::new();
    for needed in &facts.needed {
        for port in needed.ports.clone() {
            let packet = Packet {
                protocol: needed.protocol,
                port,
                from: from.clone(),
                to: facts.address,
                interface: facts.interface.clone(),
            };
            for (base, rule) in rules.refusals(&packet) {
                match closed.iter_mut().find(|one| one.base == *base && one.rule == rule) {
                    Some(one) if one.needed.last() == Some(&needed) => {}
                    Some(one) => one.needed.push(needed),
                    None => closed.push(Closed { listing, base: base.clone(), rule, needed: vec![needed] }),
                }
            }
        }
    }
    Ok(closed)
}

impl Closed<'_> {
    fn by_ufw(&self) -> bool {
        self.listing.dialect == Dialect::Iptables
            // Its chains of IPv6 have names of their own.
            && self.listing.text.as_ref().is_ok_and(|text| {
                [":ufw-user-input ", ":ufw6-user-input "].iter().any(|chain| text.contains(chain))
            })
    }

    fn by_firewalld(&self) -> bool {
        self.listing.dialect == Dialect::Nft && self.base.table.ends_with(" firewalld")
    }

    /// The commands that let a network in.
    fn lines(&self, nodes: &str) -> Vec<String> {
        if self.by_firewalld() {
            let add = format!("firewall-cmd --permanent --zone=trusted --add-source={nodes}");
            return vec![add, "firewall-cmd --reload".into()];
        }
        let mut lines = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let range = |needed: &&&Needed| match (needed.ports.start(), needed.ports.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) if self.listing.dialect == Dialect::Nft => format!("{first}-{last}"),
                (first, last) => format!("{first}:{last}"),
            };
            let ports: Vec<_> =
                self.needed.iter().filter(|needed| needed.protocol == protocol).map(|n| range(&n)).collect();
            if ports.is_empty() {
                continue;
            }
            let (name, Base { table, name: chain, .. }) = (protocol.name(), &self.base);
            let comma = ports.join(",");
            lines.push(match self.listing.dialect {
                Dialect::Iptables if self.by_ufw() => {
                    format!("ufw allow proto {name} from {nodes} to any port {comma}")
                }
                Dialect::Iptables => {
                    let program = self.listing.tool.trim_end_matches("-save");
                    let table = if table == "filter" { String::new() } else { format!(" -t {table}") };
                    format!("{program}{table} -I {chain} -s {nodes} -p {name} -m multiport --dports {comma} -j ACCEPT")
                }
                Dialect::Nft => {
                    let family = if nodes.contains(':') { "ip6" } else { "ip" };
                    let ports = ports.join(", ");
                    format!(
                        "nft insert rule {table} {chain} {family} saddr {nodes} {name} dport '{{ {ports} }}' accept"
                    )
                }
            });
        }
        lines
    }

    /// What makes it last over a reboot.
    fn lasting(&self) -> &'static str {
        if self.by_firewalld() || self.by_ufw() {
            return "it keeps that over reboots";
        }
        match self.listing.dialect {
            Dialect::Iptables => {
                "the next boot forgets it: write the same rules into /etc/iptables/rules.v4 (IPv6: rules.v6) too, above the \
                 one that refuses. (`netfilter-persistent save` would keep Kubernetes's own rules with them.)"
            }
            Dialect::Nft => "the next boot forgets it: write the same rules into /etc/nftables.conf too",
        }
    }
}

/// `TCP 6443, 10250 and UDP 8472`
fn named(needed: &[&Needed]) -> String {
    let of = |protocol: Protocol| {
        let ports: Vec<_> = needed.iter().filter(|one| one.protocol == protocol).map(|one| text(&one.ports)).collect();
        (!ports.is_empty()).then(|| format!("{} {}", protocol.name().to_uppercase(), ports.join(", ")))
    };
    [Protocol::Tcp, Protocol::Udp].into_iter().filter_map(of).collect::<Vec<_>>().join(" and ")
}

fn text(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}
