//! `persistent-volume` of a volume: `{ path = "data-0", claim = "kafka/data-0-trading-cluster-kafka-0" }`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::access::{Directory, below};
use crate::complaint::{Complaint, quote};
use crate::labels::is_subdomain;
use crate::reader::{Reader, Section};

pub(crate) const KEYS: [&str; 4] = ["claim", "path", "name", "storage-class"];

/// The StorageClass of persistent volumes that name no other; it has no provisioner.
pub const STORAGE_CLASS: &str = "bowline-local";

/// A PersistentVolumeClaim, by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimName {
    /// The namespace: an RFC 1123 label.
    pub namespace: String,
    /// The name: an RFC 1123 subdomain.
    pub name: String,
}

impl FromStr for ClaimName {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let parts = text
            .split_once('/')
            .filter(|(namespace, name)| is_subdomain(namespace) && !namespace.contains('.') && is_object_name(name));
        let (namespace, name) = parts.ok_or_else(|| {
            Complaint::new(format!("{} is not a claim: expected its namespace and name", quote(text)))
                .suggest("claim = \"kafka/data-kafka-0\"; a StatefulSet's are TEMPLATE-STATEFULSET-NUMBER")
        })?;
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ClaimName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What Kubernetes is told of a volume: a static local PersistentVolume, kept for one claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PersistentVolume {
    /// The only claim that it is for.
    pub claim: ClaimName,
    /// One of the volume's `directories`; None is all of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Its name in the cluster; None is the node's and the volume's. Servers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The StorageClass that the claim has to name.
    pub storage_class: String,
}

impl PersistentVolume {
    /// Its name in the cluster, of a volume of a node.
    pub fn object_name(&self, node: &str, volume: &str) -> String {
        self.name.clone().unwrap_or_else(|| object_name(node, volume))
    }
}

/// The name of the PersistentVolume of a node's volume: a volume's name has no `.`, so that no other pair gives the same.
pub fn object_name(node: &str, volume: &str) -> String {
    format!("{node}.{volume}")
}

/// Whether Kubernetes takes a text as the name of an object: an RFC 1123 subdomain of at most 253 characters.
pub fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && is_subdomain(text)
}

/// Reads `persistent-volume`, of a volume with these directories.
pub(crate) fn read<'a>(
    reader: &mut Reader<'a>,
    volume: &Section<'a>,
    directories: &[Directory],
) -> Option<PersistentVolume> {
    let section = reader.section(volume, "persistent-volume")?;
    reader.known(&section, &KEYS, &[]);
    reader.missing(&section, "claim", "claim = \"kafka/data-kafka-0\", the only one that it is for");
    let claim = reader.parsed(&section, "claim");
    let path = reader.with(&section, "path", below);
    if let (Some(path), Some(item)) = (&path, section.get("path"))
        && reader.whole
        && !directories.iter().any(|directory| directory.path == *path)
    {
        let path = path.display();
        let complaint = Complaint::new(format!("\"{path}\" is none of the volume's `directories`"));
        let help = format!("add directories = [{{ path = \"{path}\", owner = \"1001:0\", mode = \"0770\" }}]");
        reader.complain(item.at, &section.key("path"), complaint.suggest(help));
    }
    let name = reader.with(&section, "name", |text| checked(text, "a PersistentVolume"));
    let class = reader.with(&section, "storage-class", |text| checked(text, "a StorageClass"));
    Some(PersistentVolume { claim: claim?, path, name, storage_class: class.unwrap_or_else(|| STORAGE_CLASS.into()) })
}

fn checked(text: &str, of: &str) -> Result<String, Complaint> {
    if is_object_name(text) {
        return Ok(text.to_owned());
    }
    let text = format!("{} is not a name for {of}: lower-case letters, digits, `-` and `.`", quote(text));
    Err(Complaint::new(text))
}

/// A pattern of claims that a node may have volumes for: `kafka/*`.
pub(crate) fn claim_pattern(text: &str) -> Result<crate::Pattern, Complaint> {
    let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'/' | b'*'));
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    if !plain || parts.is_none() || text.len() > 317 || text.matches('/').count() > 1 {
        return Err(Complaint::new(format!("{} is not a claim: expected NAMESPACE/NAME", quote(text)))
            .suggest("\"kafka/*\" for every claim in the namespace kafka"));
    }
    Ok(crate::Pattern::plain(text))
}

/// The directory of the machine that is given to Kubernetes.
pub fn persistent_path(mount: &Path, volume: &PersistentVolume) -> PathBuf {
    volume.path.as_ref().map_or_else(|| mount.to_path_buf(), |path| mount.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_have_a_namespace_and_a_name() {
        let claim: ClaimName = "kafka/data-0-trading-cluster-kafka-0".parse().unwrap();
        assert_eq!((claim.namespace.as_str(), claim.to_string().len()), ("kafka", 36));
        for wrong in ["", "data-0", "/data", "kafka/", "kafka/a/b", "Kafka/data", "ka.fka/data", "kafka/data_0", "*/a"]
        {
            assert!(wrong.parse::<ClaimName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_of_claims_say_where() {
        assert!(claim_pattern("kafka/*").unwrap().matches("kafka/data-0"));
        assert!(!claim_pattern("kafka/*").unwrap().matches("kube-system/data-0"));
        for wrong in ["", "*", "kafka", "kafka/", "/x", "a/b/c", "Kafka/*", "kafka/a b"] {
            assert!(claim_pattern(wrong).is_err(), "{wrong}");
        }
    }
}
