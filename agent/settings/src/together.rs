//! What `[cluster]` and `[enroll]` say together: which combinations cannot work.

use crate::complaint::Complaint;
use crate::enroll::Enroll;
use crate::k3s::K3sVersion;
use crate::model::{Cluster, Role};
use crate::reader::{Reader, Section};
use crate::source::Spot;
use crate::tree::{Item, Kind};

/// K3s's own options that decide where the data is.
const STORES: [&str; 3] = ["cluster-init", "datastore-endpoint", "disable-etcd"];

/// K3s's own options for the token, which a node that joins is given.
const TOKENS: [&str; 3] = ["token", "token-file", "agent-token"];

const KEY_FILE: &str = "add key-file = \"/etc/bowline/cluster.key\"";

/// Notes what cannot be, and gives `[enroll]` back as it counts: with its defaults
/// on every server that has the cluster key, and nowhere else.
pub(crate) fn check<'a>(
    reader: &mut Reader<'a>,
    root: &Section<'a>,
    cluster: Option<&Cluster>,
    enroll: Option<Enroll>,
) -> Option<Enroll> {
    if reader.whole {
        let section = reader.section(root, "cluster");
        // By what is written, so that a wrong value elsewhere hides nothing here.
        let text = |key| section.as_ref().and_then(|section| section.get(key)?.text());
        let role = text("role").filter(|_| text("distribution") != Some("none"));
        match (&section, role) {
            (Some(section), Some("agent")) => agent(reader, section),
            (Some(section), Some("server")) => server(reader, section),
            _ => {}
        }
        if let Some(item) = root.get("enroll") {
            enrolment(reader, section.as_ref(), role, item.key);
            if role == Some("server") {
                servers_need_etcd(reader, root, section.as_ref());
                only_claimed(reader, root, section.as_ref());
            }
        }
    }
    let cluster = cluster.filter(|cluster| cluster.role == Role::Server)?;
    cluster.join.key_file.as_ref()?;
    Some(enroll.unwrap_or_default())
}

/// Labels and taints are set with the credentials of a K3s that Bowline runs.
pub(crate) fn labels_need_k3s<'a>(reader: &mut Reader<'a>, root: &Section<'a>, managed: bool) {
    let Some(node) = reader.section(root, "node").filter(|_| managed && reader.whole) else { return };
    for key in ["labels", "taints"] {
        if let Some(item) = node.get(key) {
            let text = format!("`{}` is not set with `distribution = \"none\"` yet", node.key(key));
            reader.warn(item.key, &node.key(key), Complaint::new(text));
        }
    }
}

/// Persistent volumes are objects of the cluster's API; an agent's are made by the servers, which name them.
pub(crate) fn persistent_volumes<'a>(reader: &mut Reader<'a>, root: &Section<'a>, k3s: bool) {
    if !reader.whole {
        return;
    }
    let cluster = reader.section(root, "cluster");
    let agent = cluster.and_then(|section| section.get("role")?.text()) == Some("agent");
    let volumes = root.get("volume").and_then(|item| match &item.kind {
        Kind::List(items) => Some(items),
        _ => None,
    });
    for table in volumes.into_iter().flatten().filter_map(Item::table) {
        let Some(item) = table.get("persistent-volume") else { continue };
        let path = format!("volume.{}.persistent-volume", table.get("name").and_then(Item::text).unwrap_or_default());
        let name = item.table().and_then(|table| table.get("name"));
        if !k3s {
            let complaint = Complaint::new("a persistent volume is made in a cluster, and these settings are of none")
                .suggest("remove it, or add [cluster] with distribution = \"k3s\"");
            reader.complain(item.key, &path, complaint);
        } else if let Some(name) = name.filter(|_| agent) {
            let complaint =
                Complaint::new("`name` is for servers: an agent's is called NODE.VOLUME").suggest("remove it");
            reader.complain(name.key, &format!("{path}.name"), complaint);
        }
    }
}

fn enrolment<'a>(reader: &mut Reader<'a>, cluster: Option<&Section<'a>>, role: Option<&str>, at: Spot) {
    let complaint = match (cluster, role) {
        (None, _) => Complaint::new("`enroll` is for servers, and there is no [cluster] here")
            .suggest("remove it, or add [cluster]"),
        (Some(section), _) if section.get("distribution").and_then(Item::text) == Some("none") => {
            Complaint::new("`enroll` is for servers that Bowline runs, and `distribution` is \"none\"")
                .suggest("remove it")
        }
        (Some(section), Some("agent")) => {
            let complaint = Complaint::new("`enroll` is for servers, and this node is an agent").suggest("remove it");
            return with_role(reader, section, at, "enroll", complaint);
        }
        (Some(section), Some("server")) if section.get("key-file").is_none() => {
            Complaint::new("nobody can be let in without the cluster key: `cluster.key-file` is missing")
                .suggest(KEY_FILE)
        }
        _ => return,
    };
    reader.complain(at, "enroll", complaint);
}

fn agent<'a>(reader: &mut Reader<'a>, section: &Section<'a>) {
    reader.missing(section, "servers", "servers = [\"10.0.1.10\"], any server node");
    empty_servers(reader, section, "an agent has to ask a server");
    match (section.get("ticket"), section.get("ticket-file")) {
        (None, None) => {
            let complaint = Complaint::new("`cluster.ticket` is missing: without one no server lets this agent in");
            let help = "`bowline ticket --role agent NAME` on a server prints it; ticket-file names a file with it";
            reader.complain(section.at, &section.key("ticket"), complaint.suggest(help));
        }
        (Some(inline), Some(file)) => {
            let complaint = Complaint::new("an agent has one ticket: `ticket` or `ticket-file`, and here are both");
            let (at, other) = in_order(inline.key, file.key);
            reader.contradiction(at, other, &section.key("ticket-file"), complaint.suggest("remove one of them"));
        }
        _ => {}
    }
    for (key, why) in [
        ("key-file", "no agent has the cluster key: it would let in anybody"),
        ("datastore", "the cluster's data is on servers"),
        ("init", "agents found no cluster"),
        ("init-wait", "agents found no cluster"),
    ] {
        if let Some(item) = section.get(key) {
            let path = section.key(key);
            let complaint = Complaint::new(format!("`{path}` is for servers: {why}")).suggest("remove it");
            with_role(reader, section, item.key, &path, complaint);
        }
    }
    if let Some(config) = reader.section(section, "config") {
        for key in STORES {
            refuse(reader, &config, key, "is for servers", "remove it");
        }
        for key in TOKENS {
            refuse(reader, &config, key, "cannot be set on an agent: its token comes from the servers", "remove it");
        }
    }
}

fn server<'a>(reader: &mut Reader<'a>, section: &Section<'a>) {
    for key in ["ticket", "ticket-file"] {
        let why = "is for agents: a server's own ticket follows from the cluster key";
        refuse(reader, section, key, why, "remove it, and set key-file");
    }
    empty_servers(reader, section, "a server that starts a cluster has no `servers`");
    let servers = section.get("servers");
    if let (Some(servers), None) = (servers, section.get("key-file")) {
        let complaint = Complaint::new("no server lets this one in without the cluster key: `key-file` is missing");
        reader.complain(servers.key, &section.key("servers"), complaint.suggest(KEY_FILE));
    }
    if servers.is_none() {
        let why = "is for a server that asks others first, and there are no `servers`";
        refuse(reader, section, "init", why, "remove it: without `servers` it starts a cluster by itself");
    }
    // One that is no boolean was reported already.
    let no_init = section.get("init").is_none_or(|item| matches!(item.kind, Kind::Bool(false)));
    if no_init {
        refuse(reader, section, "init-wait", "has no meaning without init = true", "remove it, or add init = true");
    }
    let datastore = section.get("datastore");
    if let (Some(servers), Some(item)) = (servers, datastore)
        && item.text() == Some("sqlite")
    {
        let complaint = Complaint::new("a server that joins others has its data in etcd, as they have")
            .suggest("remove `datastore`, or write \"etcd\"");
        let (at, other) = in_order(servers.key, item.key);
        reader.contradiction(at, other, &section.key("datastore"), complaint);
    }
    let Some(config) = reader.section(section, "config") else { return };
    let Some(decided) = servers.or(datastore) else { return };
    let what = if servers.is_some() { "servers" } else { "datastore" };
    let tokens = TOKENS.iter().filter(|_| servers.is_some());
    for key in STORES.iter().chain(tokens) {
        let Some(item) = config.get(key) else { continue };
        let complaint =
            Complaint::new(format!("the K3s option `{key}` cannot be set here: `{what}` in [cluster] decides that"));
        let (at, other) = in_order(decided.key, item.key);
        reader.contradiction(at, other, &config.key(key), complaint.suggest("remove one of them"));
    }
}

fn empty_servers<'a>(reader: &mut Reader<'a>, section: &Section<'a>, why: &str) {
    if let Some(item) = section.get("servers")
        && matches!(&item.kind, crate::tree::Kind::List(items) if items.is_empty())
    {
        let complaint = Complaint::new(format!("`cluster.servers` is an empty list: {why}"));
        let help = "name a server, or remove the line on the node that starts the cluster";
        reader.complain(item.at, &section.key("servers"), complaint.suggest(help));
    }
}

/// A role that another file gave the node is shown beside what does not fit it.
fn with_role<'a>(reader: &mut Reader<'a>, section: &Section<'a>, at: Spot, path: &str, complaint: Complaint) {
    match section.get("role") {
        Some(role) if role.key.file != at.file => reader.contradiction(at, role.key, path, complaint),
        _ => reader.complain_of_key(at, path, complaint),
    }
}

/// Rules for servers on a server whose data no other can share.
fn servers_need_etcd<'a>(reader: &mut Reader<'a>, root: &Section<'a>, cluster: Option<&Section<'a>>) {
    let Some(cluster) = cluster.filter(|cluster| cluster.get("servers").is_none()) else { return };
    let config = cluster.get("config").and_then(Item::table);
    let own = |key: &str| config.and_then(|config| config.get(key)).map(|item| &item.kind);
    // K3s's own options may say where the data is.
    if matches!(own("cluster-init"), Some(Kind::Bool(true))) || own("datastore-endpoint").is_some() {
        return;
    }
    let datastore = cluster.get("datastore").and_then(|item| item.text()).unwrap_or("sqlite");
    let rules = root.get("enroll").and_then(|item| item.table()?.get("allow"));
    let Some(crate::tree::Kind::List(rules)) = rules.map(|item| &item.kind) else { return };
    let role = |rule: &'a crate::tree::Item| rule.table()?.get("role").filter(|role| role.text() == Some("server"));
    if let Some(role) = rules.iter().find_map(role).filter(|_| datastore == "sqlite") {
        let message = "no server can join this one: the cluster's data is in sqlite";
        let help = "add datastore = \"etcd\" to [cluster]: best before K3s starts for the first time";
        reader.warn(role.at, "enroll.allow", Complaint::new(message).suggest(help));
    }
}

/// The admission policy of `only-claimed` is of an API that Kubernetes has since 1.30: before, it would never be in force.
fn only_claimed<'a>(reader: &mut Reader<'a>, root: &Section<'a>, cluster: Option<&Section<'a>>) {
    let wish = root.get("enroll").and_then(|item| item.table()?.get("only-claimed"));
    let Some(wish) = wish.filter(|item| matches!(item.kind, Kind::Bool(true))) else { return };
    let item = cluster.and_then(|section| section.get("version"));
    let version = item.and_then(|item| item.text()?.parse::<K3sVersion>().ok());
    if let (Some(version), Some(item)) = (version, item)
        && (version.major, version.minor) < (1, 30)
    {
        let message =
            format!("`enroll.only-claimed` takes Kubernetes 1.30 or later, and `cluster.version` is {version}");
        let complaint = Complaint::new(message).suggest("remove it, or write a later version");
        let (at, other) = in_order(wish.key, item.key);
        reader.contradiction(at, other, "enroll.only-claimed", complaint);
    }
}

fn refuse<'a>(reader: &mut Reader<'a>, section: &Section<'a>, key: &str, why: &str, instead: &str) {
    if let Some(item) = section.get(key) {
        let path = section.key(key);
        reader.complain_of_key(item.key, &path, Complaint::new(format!("`{path}` {why}")).suggest(instead));
    }
}

/// The later of two places first.
fn in_order(one: Spot, other: Spot) -> (Spot, Spot) {
    if (one.file, one.start) > (other.file, other.start) { (one, other) } else { (other, one) }
}
