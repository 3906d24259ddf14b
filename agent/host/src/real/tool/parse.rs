//! What the programs print, as data. Samples in the tests are captured from the real ones.

use bowline_ports::{Signature, SignatureKind};
use serde::Deserialize;

/// The signatures in `blkid -p -o export`: a filesystem (or member) and a partition table.
pub(crate) fn blkid(text: &str) -> Vec<Signature> {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(unescape).filter(|v| !v.is_empty())
    };
    let mut found = Vec::new();
    if let Some(name) = value("TYPE") {
        let kind = usage(value("USAGE").as_deref().unwrap_or_default(), &name);
        found.push(Signature { kind, name, uuid: value("UUID"), label: value("LABEL") });
    }
    if let Some(name) = value("PTTYPE") {
        found.push(Signature { kind: SignatureKind::PartitionTable, name, uuid: value("PTUUID"), label: None });
    }
    found
}

/// `blkid` puts a backslash before what a shell would interpret.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => plain.extend(characters.next()),
            c => plain.push(c),
        }
    }
    plain
}

#[derive(Deserialize)]
struct WipefsOutput {
    signatures: Vec<WipefsSignature>,
}

#[derive(Deserialize)]
struct WipefsSignature {
    #[serde(rename = "type")]
    name: String,
    #[serde(default)]
    usage: Option<String>,
    #[serde(default)]
    uuid: Option<String>,
    #[serde(default)]
    label: Option<String>,
}

/// The signatures in `wipefs -n --json`; the copies of one structure are one.
pub(crate) fn wipefs(text: &str) -> Result<Vec<Signature>, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let output: WipefsOutput = serde_json::from_str(text)?;
    let mut found = Vec::new();
    for one in output.signatures {
        let kind = usage(one.usage.as_deref().unwrap_or_default(), &one.name);
        let filled = |value: Option<String>| value.filter(|v| !v.is_empty());
        add(&mut found, Signature { kind, name: one.name, uuid: filled(one.uuid), label: filled(one.label) });
    }
    Ok(found)
}

/// Adds a signature unless the same structure is among them.
pub(crate) fn add(found: &mut Vec<Signature>, new: Signature) {
    let same =
        |old: &Signature| old.name == new.name && (old.uuid == new.uuid || old.uuid.is_none() || new.uuid.is_none());
    if !found.iter().any(same) {
        found.push(new);
    }
}

fn usage(usage: &str, name: &str) -> SignatureKind {
    const TABLES: [&str; 12] =
        ["gpt", "dos", "PMBR", "sun", "sgi", "bsd", "mac", "minix", "ultrix", "unixware", "atari", "solaris-x86"];
    match usage {
        "filesystem" => SignatureKind::Filesystem,
        "partition-table" => SignatureKind::PartitionTable,
        "" if TABLES.contains(&name) => SignatureKind::PartitionTable,
        _ => SignatureKind::Member,
    }
}

/// The version in `k3s --version` (`k3s version v1.34.1+k3s1 (…)`).
pub(crate) fn k3s_version(text: &str) -> Option<String> {
    let mut words = text.lines().next()?.split_whitespace();
    let version = words.by_ref().skip_while(|word| *word != "version").nth(1)?;
    version.starts_with('v').then(|| version.to_owned())
}

/// The lines of `journalctl -o cat`, without empty ones.
pub(crate) fn journal(text: &str) -> Vec<String> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[Signature]) -> Vec<(&str, SignatureKind)> {
        found.iter().map(|s| (s.name.as_str(), s.kind)).collect()
    }

    #[test]
    fn blkid_of_filesystems_members_and_tables() {
        let ext4 = "DEVNAME=/proc/self/fd/0\nLABEL=my\\ data\nUUID=6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11\nVERSION=1.0\n\
                    BLOCK_SIZE=1024\nTYPE=ext4\nUSAGE=filesystem\n";
        let found = blkid(ext4);
        assert_eq!(names(&found), [("ext4", SignatureKind::Filesystem)]);
        assert_eq!(found[0].uuid.as_deref(), Some("6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11"));
        assert_eq!(found[0].label.as_deref(), Some("my data"));
        let lvm = "DEVNAME=/dev/loop0\nUUID=Ww9HmG-6giq-XZyC-kyZV-tCfn-ZtR4-popjJt\nVERSION=LVM2\\ 001\n\
                   TYPE=LVM2_member\nUSAGE=raid\n";
        assert_eq!(names(&blkid(lvm)), [("LVM2_member", SignatureKind::Member)]);
        let swap = "DEVNAME=/dev/loop0\nUUID=ddef1e69-c081-4028-8ce2-cb36a2c48a57\nVERSION=1\nTYPE=swap\nUSAGE=other\n";
        assert_eq!(names(&blkid(swap)), [("swap", SignatureKind::Member)]);
        let gpt = "DEVNAME=/dev/loop0\nPTUUID=0f0c4a4e-8b2a-4a7e-9d55-7d9f62d7c001\nPTTYPE=gpt\n";
        assert_eq!(names(&blkid(gpt)), [("gpt", SignatureKind::PartitionTable)]);
        assert!(blkid("DEVNAME=/dev/sda1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NUMBER=1\n").is_empty());
        assert!(blkid("").is_empty());
    }

    #[test]
    fn wipefs_lists_each_structure_once() {
        let text = r#"{"signatures": [
            {"device":"0", "offset":"0x438", "type":"ext4", "usage":"filesystem",
             "uuid":"6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11", "label":"data"},
            {"device":"0", "offset":"0x200", "type":"gpt", "usage":"partition-table", "uuid":null, "label":null},
            {"device":"0", "offset":"0x3fffe00", "type":"gpt", "usage":"partition-table", "uuid":null, "label":null},
            {"device":"0", "offset":"0x1fe", "type":"PMBR", "usage":null, "uuid":null, "label":null}]}"#;
        let found = wipefs(text).unwrap();
        assert_eq!(
            names(&found),
            [
                ("ext4", SignatureKind::Filesystem),
                ("gpt", SignatureKind::PartitionTable),
                ("PMBR", SignatureKind::PartitionTable)
            ]
        );
        assert!(wipefs("{\n   \"signatures\": [\n\n   ]\n}\n").unwrap().is_empty());
        assert!(wipefs("").unwrap().is_empty());
        assert!(wipefs("wipefs: error").is_err());
    }

    #[test]
    fn k3s_says_its_version_in_the_first_line() {
        let text = "k3s version v1.34.1+k3s1 (24fc436e)\ngo version go1.24.6\n";
        assert_eq!(k3s_version(text).as_deref(), Some("v1.34.1+k3s1"));
        assert_eq!(k3s_version("go version go1.24.6"), None);
        assert_eq!(k3s_version(""), None);
    }

    #[test]
    fn journal_lines_are_kept_in_order() {
        assert_eq!(journal("one\n\ntwo  \n"), ["one", "two"]);
    }
}
