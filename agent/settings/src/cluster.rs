//! Reads `[cluster]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::complaint::{Complaint, quote};
use crate::join::{self, Datastore, INIT_WAIT, Join, ServerAddress, TicketSource, Version};
use crate::k3s::Mirror;
use crate::model::{Arch, Cluster, Distribution, Managed, Role, is_normal};
use crate::options;
use crate::reader::{Reader, Section};
use crate::source::Spot;

pub(crate) const KEYS: [&str; 16] = [
    "distribution",
    "services",
    "version",
    "role",
    "servers",
    "ticket",
    "ticket-file",
    "key-file",
    "datastore",
    "init",
    "init-wait",
    "startup-taint",
    "sha256",
    "mirror",
    "ca-file",
    "config",
];

const LATER: [&str; 3] = ["channel", "addons", "kubeconfig"];

/// What `[cluster]` says of this node's Kubernetes.
pub(crate) enum Kubernetes {
    /// Bowline runs it.
    Own(Box<Cluster>),
    /// Something else does.
    Managed(Managed),
}

/// Reads the table. None when it is not there or cannot be used.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Option<Kubernetes> {
    let section = reader.section(root, "cluster")?;
    reader.known(&section, &KEYS, &LATER);
    reader.missing(&section, "distribution", "distribution = \"k3s\"");
    let kinds = [("k3s", Some(Distribution::K3s)), ("none", None)];
    match reader.choice(&section, "distribution", &kinds, &["microk8s"]) {
        Some(None) => Some(Kubernetes::Managed(managed(reader, &section))),
        other => own(reader, &section, other.flatten()).map(|cluster| Kubernetes::Own(Box::new(cluster))),
    }
}

/// `distribution = "none"`: the services that wait for the volumes are all there is to say.
fn managed<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Managed {
    for key in KEYS.iter().filter(|key| !["distribution", "services"].contains(key)) {
        if let Some(item) = section.get(key) {
            let text =
                format!("`{}` is for a Kubernetes that Bowline runs, and `distribution` is \"none\"", section.key(key));
            reader.complain(item.key, &section.key(key), Complaint::new(text).suggest("remove it"));
        }
    }
    let mut services: Vec<String> = Vec::new();
    for (service, at) in reader.texts(section, "services", service).unwrap_or_default() {
        if services.contains(&service) {
            let text = format!("the service {} is in the list twice", quote(&service));
            reader.complain(at, &section.key("services"), Complaint::new(text));
        } else {
            services.push(service);
        }
    }
    Managed { services }
}

/// The name of a service that is no template.
fn service(text: &str) -> Result<String, Complaint> {
    let name = text.strip_suffix(".service").unwrap_or_default();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte));
    if name.is_empty() || !plain || name.ends_with('@') || text.len() > 255 {
        return Err(Complaint::new(format!("{} is not the name of a systemd service", quote(text)))
            .suggest("services = [\"containerd.service\", \"kubelet.service\"]"));
    }
    Ok(text.to_owned())
}

fn own<'a>(reader: &mut Reader<'a>, section: &Section<'a>, distribution: Option<Distribution>) -> Option<Cluster> {
    reader.missing(section, "role", "role = \"server\"");
    if let (Some(_), Some(item)) = (distribution, section.get("services")) {
        let text = "`cluster.services` is for `distribution = \"none\"`: of K3s it is known what waits for the volumes";
        reader.complain(item.key, &section.key("services"), Complaint::new(text).suggest("remove it"));
    }
    let role = reader.choice(section, "role", &[("server", Role::Server), ("agent", Role::Agent)], &[]);
    if role != Some(Role::Agent) {
        reader.missing(section, "version", "version = \"v1.34.1+k3s1\"");
    }
    let version = match section.get("version") {
        None => (role == Some(Role::Agent)).then_some(Version::OfServers),
        Some(_) => reader.parsed(section, "version").map(Version::Exact),
    };
    let sha256 = sums(reader, section);
    let mirror: Option<Mirror> = reader.parsed(section, "mirror");
    let ca_file = reader.with(section, "ca-file", absolute);
    if reader.whole {
        check_mirror(reader, section, mirror.as_ref(), sha256.is_empty());
    }
    let config = match reader.section(section, "config") {
        Some(table) => options::read(reader, &table),
        None => BTreeMap::new(),
    };
    let join = joining(reader, section, role);
    let (distribution, version, role) = (distribution?, version?, role?);
    Some(Cluster { distribution, version, role, sha256, mirror, ca_file, config, join })
}

/// The keys about coming into a cluster; what they are together is for `together`.
fn joining<'a>(reader: &mut Reader<'a>, section: &Section<'a>, role: Option<Role>) -> Join {
    let list: Option<Vec<(ServerAddress, Spot)>> = reader.texts(section, "servers", str::parse);
    let list = list.unwrap_or_default();
    for (index, (server, at)) in list.iter().enumerate() {
        if list.iter().take(index).any(|(other, _)| other == server) {
            let complaint = Complaint::new(format!("the server {server} is in the list twice"));
            reader.complain(*at, &section.key("servers"), complaint);
        }
    }
    let servers: Vec<ServerAddress> = list.into_iter().map(|(server, _)| server).collect();
    let inline = reader.with(section, "ticket", join::ticket).map(TicketSource::Inline);
    // Also one that is no ticket may be a secret, such as the key itself.
    if let Some(item) = section.get("ticket") {
        options::check_readers(reader, &section.key("ticket"), item);
    }
    let file = reader.with(section, "ticket-file", join::secret_file).map(TicketSource::File);
    let stores = [Datastore::Sqlite, Datastore::Etcd].map(|store| (store.as_str(), store));
    let datastore = reader.choice(section, "datastore", &stores, &[]).unwrap_or_default();
    let init = reader.boolean(section, "init").unwrap_or_default();
    let wait = reader.parsed(section, "init-wait").unwrap_or(INIT_WAIT);
    Join {
        ticket: inline.or(file),
        key_file: reader.with(section, "key-file", join::secret_file),
        datastore: if servers.is_empty() { datastore } else { Datastore::Etcd },
        init: init.then_some(wait),
        startup_taint: reader.boolean(section, "startup-taint").unwrap_or(role == Some(Role::Agent)),
        servers,
    }
}

fn sums<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> BTreeMap<Arch, crate::k3s::Sha256> {
    let mut sums = BTreeMap::new();
    if let Some(table) = reader.section(section, "sha256") {
        reader.known(&table, &["amd64", "arm64"], &[]);
        for arch in [Arch::Amd64, Arch::Arm64] {
            if let Some(sum) = reader.parsed(&table, arch.as_str()) {
                sums.insert(arch, sum);
            }
        }
    }
    sums
}

fn check_mirror<'a>(reader: &mut Reader<'a>, section: &Section<'a>, mirror: Option<&Mirror>, no_sums: bool) {
    if let (Some(Mirror::Http(url)), Some(item), true) = (mirror, section.get("mirror"), no_sums) {
        let complaint = Complaint::new(
            "a mirror by http can be changed on its way here, and `cluster.sha256` \
             is not set to notice that",
        );
        let secure = url.replacen("http://", "https://", 1);
        reader.complain(
            item.at,
            &section.key("mirror"),
            complaint.suggest(format!("{}, or add sha256 = {{ amd64 = \"…\" }}", quote(&secure))),
        );
    }
    if let (None, Some(item)) = (section.get("mirror"), section.get("ca-file")) {
        reader.complain(
            item.key,
            &section.key("ca-file"),
            Complaint::new(
                "`cluster.ca-file` is for a mirror, and there is none: K3s's own release page has a public certificate",
            )
            .suggest("remove the line, or set `mirror`"),
        );
    }
    if let (Some(Mirror::Http(_) | Mirror::Directory(_)), Some(item)) = (mirror, section.get("ca-file")) {
        reader.complain(
            item.key,
            &section.key("ca-file"),
            Complaint::new("`cluster.ca-file` is for a mirror by https, and this one is not")
                .suggest("remove the line"),
        );
    }
}

/// An absolute path that means what it says.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if text.chars().any(char::is_control) || !is_normal(&path) || text == "/" {
        return Err(Complaint::new(format!(
            "{} is not the absolute path of a file, without `.` and `..` in it",
            quote(text)
        )));
    }
    Ok(path)
}
