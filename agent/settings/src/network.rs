//! Ports and networks that cannot be together: what the guard closes to pods, what Kubernetes needs, and where the
//! nodes themselves are.

use std::net::IpAddr;

use crate::complaint::{Complaint, quote};
use crate::join::{ENROLL_PORT, ServerAddress};
use crate::metrics::METRICS_PORT;
use crate::net::{Cidr, Listen, ListenHost, number};
use crate::reader::{Reader, Section};
use crate::source::Spot;
use crate::tree::{Item, Kind, Table};

/// K3s's options that are one port.
const PORTS: [&str; 3] = ["https-listen-port", "advertise-port", "lb-server-port"];

/// K3s's options that are networks: one each, since a node has one address here, and K3s does not start with networks of both kinds
/// then ("must share the same IP version"). With what K3s has by itself (its
/// `util.GetDefaultAddresses`), by the kind of the node's address.
const NETWORKS: [(&str, &str, &str, &str); 2] = [
    ("cluster-cidr", "10.42.0.0/16", "fd00:42::/56", "the network of the pods"),
    ("service-cidr", "10.43.0.0/16", "fd00:43::/112", "the network of the services"),
];

/// K3s's own port for its API, until `https-listen-port` says another.
const API: u16 = 6443;

/// The kubelet's port.
pub const KUBELET_PORT: u16 = 10250;

/// What Kubernetes listens on besides its API, to be reached from other machines.
const KUBERNETES: [(u16, &str); 4] =
    [(2379, "etcd"), (2380, "etcd"), (KUBELET_PORT, "the kubelet"), (10256, "kube-proxy's health check")];

/// What K3s takes for `cluster-cidr` or `service-cidr` where nobody says; `None` for other options.
pub fn usual_network(option: &str, ipv6: bool) -> Option<&'static str> {
    NETWORKS.iter().find(|(known, ..)| *known == option).map(|(_, v4, v6, _)| if ipv6 { *v6 } else { *v4 })
}

/// A port and where it stands.
struct Port {
    port: u16,
    shown: String,
    at: Spot,
    path: String,
}

/// A network, and what is in it.
struct Net {
    cidr: Cidr,
    what: &'static str,
    key: String,
    /// Where it is written; `None` for K3s's own.
    at: Option<Spot>,
}

impl Net {
    fn new(cidr: Cidr, what: &'static str, key: &str, at: Spot) -> Self {
        Self { cidr, what, key: key.into(), at: Some(at) }
    }

    fn shown(&self) -> String {
        let own = if self.at.is_none() { " (K3s's own, where nothing else says another)" } else { "" };
        format!("{}{own}", self.cidr)
    }
}

/// Whether the value of an option of K3s is a port or a network, where it has to be one.
pub(crate) fn check_option<'a>(reader: &mut Reader<'a>, path: &str, name: &str, item: &'a Item) {
    let network = NETWORKS.iter().find(|(known, ..)| *known == name);
    if path.ends_with("+\"") && (network.is_some() || PORTS.contains(&name)) {
        let complaint = Complaint::new(format!("`{name}` cannot be added to: a cluster has it once"));
        reader.complain_of_key(item.key, path, complaint.suggest(format!("write {name} = …")));
        return;
    }
    if PORTS.contains(&name) && port_of(item).is_none() {
        let complaint = Complaint::new(format!("`{name}` is a port: a whole number from 1 to 65535"));
        reader.complain(item.at, path, complaint);
    }
    let Some((_, v4, v6, _)) = network else { return };
    let mut first: Option<Cidr> = None;
    for (text, at) in parts(item) {
        let read = text.parse::<Cidr>();
        let Some(network) = Cidr::masked(text) else {
            let address = text.split_once('/').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok());
            let words = format!("{} is not a network: expected one such as \"{v4}\"", quote(text));
            let words =
                Complaint::new(words).suggest(format!("\"{v4}\", or \"{v6}\" where nodes have addresses of IPv6"));
            reader.complain(at, path, read.err().filter(|_| address).unwrap_or(words));
            continue;
        };
        if read.is_err() {
            let complaint = Complaint::new(format!("\"{text}\" is an address inside {network}, which K3s makes of it"));
            reader.warn(at, path, complaint.suggest(format!("\"{network}\"")));
        }
        if let Some(first) = first {
            let complaint = Complaint::new(format!(
                "`{name}` is one network, not {first} and {network}: a node has one address here, and K3s starts only with \
                 networks of its kind"
            ));
            reader.complain(at, path, complaint.suggest("leave one of them out"));
        }
        first = first.or(Some(network));
    }
}

/// Notes what of ports and networks cannot be together.
pub(crate) fn check<'a>(reader: &mut Reader<'a>, root: &Section<'a>) {
    let Some(cluster) = own(root.table, "cluster").filter(|_| reader.whole) else { return };
    let is = |key: &str, what: &str| cluster.get(key).and_then(Item::text) == Some(what);
    if is("distribution", "none") {
        return;
    }
    ports(reader, root, cluster, is("role", "server"));
    networks(reader, root, cluster, is("role", "server"));
}

/// Pods are kept from the ports of issuers, on every machine and to everywhere but the pods' own network.
fn ports<'a>(reader: &mut Reader<'a>, root: &Section<'a>, cluster: &'a Table, server: bool) {
    let listen = root.get("enroll").and_then(|item| item.table()?.get("listen"));
    let mut closed: Vec<Port> = Vec::new();
    for (text, at) in listen.into_iter().flat_map(texts) {
        if let Ok(place) = Listen::parse(text, ENROLL_PORT) {
            closed.push(Port { port: place.port, shown: place.to_string(), at, path: "enroll.listen".into() });
        }
    }
    for (text, at) in cluster.get("servers").into_iter().flat_map(texts) {
        if let Ok(server) = text.parse::<ServerAddress>() {
            closed.push(Port { port: server.port, shown: server.to_string(), at, path: "cluster.servers".into() });
        }
    }
    let api = own(cluster, "config").and_then(|config| config.get("https-listen-port"));
    let taken = [(api_port(cluster), "K3s's API server")].into_iter().chain(KUBERNETES);
    for port in &closed {
        let Port { port, shown, at, path } = port;
        let why = match taken.clone().find(|(taken, _)| taken == port) {
            Some((_, what)) => format!("{shown} is in the way of Kubernetes: {what} listens there"),
            None if *port == API => format!(
                "nobody could ask at {shown}: `servers` takes no port {API}, which is K3s's own until it is told another"
            ),
            None if *port < 1024 => format!(
                "{shown} would keep pods from port {port} everywhere, the internet included: pods cannot open the port \
                 of an issuer, and ports below 1024 are those of other services"
            ),
            None => continue,
        };
        reader.complain(*at, path, Complaint::new(why).suggest(format!("port {ENROLL_PORT} is the usual one")));
    }
    // The usual port is written nowhere: what is in its way is what can be changed.
    let usual = server && listen.is_none() && cluster.contains_key("key-file");
    if let Some(item) = api.filter(|item| usual && port_of(item) == Some(ENROLL_PORT)) {
        let complaint =
            Complaint::new(format!("port {ENROLL_PORT} is where this server lets others in (`enroll.listen`)"));
        let help = format!("write {API}, K3s's own, or set `listen` in [enroll]");
        reader.complain(item.at, "cluster.config.https-listen-port", complaint.suggest(help));
    }
    let mut issuers: Vec<Listen> =
        listen.into_iter().flat_map(texts).filter_map(|(text, _)| Listen::parse(text, ENROLL_PORT).ok()).collect();
    if usual {
        issuers.push(Listen { host: ListenHost::NodeAddress, port: ENROLL_PORT });
    }
    let shut: Vec<u16> = closed.iter().map(|port| port.port).chain(issuers.iter().map(|issuer| issuer.port)).collect();
    scrapes(reader, root, &issuers, &shut);
}

/// What scrapes are answered at is not where an issuer listens, and for pods not at a port that they cannot open.
fn scrapes<'a>(reader: &mut Reader<'a>, root: &Section<'a>, issuers: &[Listen], shut: &[u16]) {
    let key = |key: &str| root.get("metrics").and_then(|item| item.table()?.get(key)).into_iter().flat_map(texts);
    let pods = key("allow").any(|(text, _)| text == "pods");
    // Where the machine's address is one of these, `{address}` is that.
    let node = own(root.table, "node").and_then(|node| node.get("address")).and_then(Item::text);
    let node = node.and_then(|text| text.parse::<Cidr>().ok());
    let same = |one: &Listen, other: &Listen| match (&one.host, &other.host) {
        _ if one.port != other.port => false,
        (ListenHost::NodeAddress, ListenHost::Ip(ip)) | (ListenHost::Ip(ip), ListenHost::NodeAddress) => {
            !ip.is_loopback() && node.is_none_or(|node| node.contains(*ip))
        }
        _ => one == other || one.overlaps(other),
    };
    // What is said of such a one already is enough.
    let kubernetes = kubernetes(root);
    for (text, at) in key("listen") {
        let Ok(place) = text.parse::<Listen>() else { continue };
        if kubernetes.iter().any(|(port, _)| *port == place.port) {
            continue;
        }
        let message = match issuers.iter().find(|issuer| same(issuer, &place)) {
            Some(issuer) => format!("{place} is taken: this server lets others in at {issuer}"),
            None if pods && !place.is_loopback() && shut.contains(&place.port) => {
                format!("{place} is the port of an issuer, which pods cannot open: none of them could scrape it")
            }
            None => continue,
        };
        let help = format!("port {METRICS_PORT} is the usual one");
        reader.complain(at, "metrics.listen", Complaint::new(message).suggest(help));
    }
}

/// The networks of pods, services and nodes are apart. What the guard lets through to pods is let through to nothing else.
fn networks<'a>(reader: &mut Reader<'a>, root: &Section<'a>, cluster: &'a Table, server: bool) {
    let node = own(root.table, "node").and_then(|node| node.get("address"));
    let address = node
        .and_then(|item| Some(Net::new(item.text()?.parse().ok()?, "the node's own address", "node.address", item.at)));
    // Who joins has the networks of the cluster that it joins.
    let founds = server && !cluster.contains_key("servers");
    let ipv4 = address.as_ref().map(|net| net.cidr.address().is_ipv4());
    let all = of_cluster(own(cluster, "config"), founds, ipv4);
    small(reader, own(cluster, "config"), &all);
    for (index, one) in all.iter().enumerate() {
        for other in all.iter().take(index).filter(|other| other.what != one.what) {
            if one.cidr.contains(other.cidr.address()) || other.cidr.contains(one.cidr.address()) {
                let message = format!("{}, {}, and {}, {}, overlap", one.what, one.shown(), other.what, other.shown());
                report(reader, one, other, Complaint::new(message).suggest("give each a network of its own"));
            }
        }
    }
    let servers = cluster.get("servers").into_iter().flat_map(texts).filter_map(|(text, at)| {
        let address = Cidr::around(text.parse::<ServerAddress>().ok()?.ip()?, u8::MAX);
        Some(Net::new(address, "a server's address", "cluster.servers", at))
    });
    let listens = root.get("enroll").and_then(|item| item.table()?.get("listen"));
    let listens = listens.into_iter().flat_map(texts).filter_map(|(text, at)| {
        let ListenHost::Ip(address) = Listen::parse(text, ENROLL_PORT).ok()?.host else { return None };
        Some(Net::new(Cidr::around(address, u8::MAX), "an issuer's address", "enroll.listen", at))
    });
    for one in address.into_iter().chain(servers).chain(listens) {
        let holds = |net: &&Net| net.cidr.prefix() <= one.cidr.prefix() && net.cidr.contains(one.cidr.address());
        let Some(net) = all.iter().filter(holds).min_by_key(|net| net.at.is_none()) else { continue };
        let complaint = Complaint::new(format!("{} cannot be in {}, {}", one.what, net.what, net.shown())).suggest(
            "write the network of the machines, or give the pods and services others (`cluster-cidr`, `service-cidr`)",
        );
        report(reader, &one, net, complaint);
    }
}

/// Warns of a network of pods in which not even one node's has room: Kubernetes gives each node a /24, or /64 of IPv6,
/// unless somebody says otherwise, here or in K3s's own files.
fn small(reader: &mut Reader<'_>, config: Option<&Table>, all: &[Net]) {
    let keys = ["kube-controller-manager-arg", "kube-controller-arg"];
    let keys = keys.into_iter().flat_map(|key| [key.to_owned(), format!("{key}+")]);
    let arguments = keys.filter_map(|key| config?.get(&key));
    if arguments.flat_map(parts).any(|(text, _)| text.contains("node-cidr-mask-size")) {
        return;
    }
    for net in all.iter().filter(|net| net.key.ends_with(".cluster-cidr")) {
        let (each, usual) = if net.cidr.address().is_ipv4() { (24, 16) } else { (64, 56) };
        if let Some(at) = net.at.filter(|_| net.cidr.prefix() > each) {
            let message = format!("{}, {}, has no room for one node's, a /{each}", net.what, net.cidr);
            let help = format!("give it a /{usual}, or set node-cidr-mask-size in `kube-controller-manager-arg`");
            reader.warn(at, &net.key, Complaint::new(message).suggest(help));
        }
    }
}

/// The networks of the pods and services that are written; with K3s's own, by the kind of the node's address, where
/// nothing is and this machine may found the cluster.
fn of_cluster(config: Option<&Table>, founds: bool, ipv4: Option<bool>) -> Vec<Net> {
    let mut all = Vec::new();
    for (name, v4, v6, what) in NETWORKS {
        let key = format!("cluster.config.{name}");
        match config.and_then(|config| config.get(name)) {
            Some(item) => {
                let written = parts(item).into_iter().filter_map(|(text, at)| Some((Cidr::masked(text)?, at)));
                all.extend(written.map(|(cidr, at)| Net::new(cidr, what, &key, at)));
            }
            None if founds => {
                let usual = [v4, v6].into_iter().filter_map(Cidr::masked);
                let usual = usual.filter(|cidr| ipv4.is_none_or(|ipv4| ipv4 == cidr.address().is_ipv4()));
                all.extend(usual.map(|cidr| Net { cidr, what, key: key.clone(), at: None }));
            }
            None => {}
        }
    }
    all
}

/// Notes two networks that cannot be together. A network of K3s's own is a guess: its own files, an earlier installation
/// or a CNI with a pool of its own may say another.
fn report(reader: &mut Reader<'_>, one: &Net, other: &Net, complaint: Complaint) {
    match (one.at, other.at) {
        (Some(at), Some(first)) => reader.contradiction(at, first, &one.key, complaint),
        (Some(at), None) => reader.warn(at, &one.key, complaint),
        (None, Some(at)) => reader.warn(at, &other.key, complaint),
        (None, None) => {}
    }
}

/// Ports that Kubernetes needs on every address, where there is `[cluster]`.
pub(crate) fn kubernetes(root: &Section<'_>) -> Vec<(u16, &'static str)> {
    let Some(cluster) = own(root.table, "cluster") else { return Vec::new() };
    vec![(api_port(cluster), "its API server"), (KUBELET_PORT, "the kubelet")]
}

/// The port of K3s's API.
fn api_port(cluster: &Table) -> u16 {
    own(cluster, "config").and_then(|config| port_of(config.get("https-listen-port")?)).unwrap_or(API)
}

/// The table of this name in a table.
fn own<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key).and_then(Item::table)
}

/// A port, as a number or in quotes.
fn port_of(item: &Item) -> Option<u16> {
    let port = match &item.kind {
        Kind::Integer(Some(port)) => u16::try_from(*port).ok(),
        Kind::Text(text) => number(text),
        _ => None,
    };
    port.filter(|port| *port > 0)
}

/// The strings of a list.
fn texts(item: &Item) -> Vec<(&str, Spot)> {
    match &item.kind {
        Kind::List(items) => items.iter().filter_map(|item| Some((item.text()?, item.at))).collect(),
        _ => Vec::new(),
    }
}

/// The parts of one string with commas, or of a list of such.
fn parts(item: &Item) -> Vec<(&str, Spot)> {
    let all = item.text().map_or_else(|| texts(item), |text| vec![(text, item.at)]);
    all.into_iter().flat_map(|(text, at)| text.split(',').map(move |part| (part.trim(), at))).collect()
}
