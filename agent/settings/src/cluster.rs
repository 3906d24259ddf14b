//! Reads `[cluster]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::complaint::{Complaint, quote};
use crate::k3s::Mirror;
use crate::model::{Arch, Cluster, Distribution, Role, is_normal};
use crate::options;
use crate::reader::{Reader, Section};

pub(crate) const KEYS: [&str; 7] = ["distribution", "version", "role", "sha256", "mirror", "ca-file", "config"];

const LATER: [&str; 12] = [
    "servers",
    "ticket",
    "ticket-file",
    "key-file",
    "channel",
    "addons",
    "kubeconfig",
    "services",
    "datastore",
    "init",
    "init-wait",
    "startup-taint",
];

/// Reads the table. None when it is not there or can not be used.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Option<Cluster> {
    let section = reader.section(root, "cluster")?;
    reader.known(&section, &KEYS, &LATER);
    reader.missing(&section, "distribution", "distribution = \"k3s\"");
    reader.missing(&section, "version", "version = \"v1.34.1+k3s1\"");
    reader.missing(&section, "role", "role = \"server\"");
    let distribution = reader.choice(&section, "distribution", &[("k3s", Distribution::K3s)], &["microk8s", "none"]);
    let version = reader.parsed(&section, "version");
    let role = reader.choice(&section, "role", &[("server", Role::Server)], &["agent"]);
    let sha256 = sums(reader, &section);
    let mirror: Option<Mirror> = reader.parsed(&section, "mirror");
    let ca_file = reader.with(&section, "ca-file", absolute);
    if reader.whole {
        check_mirror(reader, &section, mirror.as_ref(), sha256.is_empty());
    }
    let config = match reader.section(&section, "config") {
        Some(table) => options::read(reader, &table),
        None => BTreeMap::new(),
    };
    Some(Cluster { distribution: distribution?, version: version?, role: role?, sha256, mirror, ca_file, config })
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
