//! Kubernetes's rules for labels, and whose labels Bowline leaves alone.

use std::collections::BTreeMap;

use crate::complaint::{Complaint, excerpt, quote};
use crate::fact;
use crate::reader::{NOT_YET, Reader, Section};
use crate::secret::HIDDEN;
use crate::secret_text;
use crate::tree::Kind;

/// The label of a server's Node.
pub const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// The label of the Node of a member of embedded etcd.
pub const ETCD: &str = "node-role.kubernetes.io/etcd";

/// Labels that someone else sets, and who.
const TAKEN: [(&str, &str); 12] = [
    ("kubernetes.io/hostname", "the kubelet sets it"),
    ("kubernetes.io/os", "the kubelet sets it"),
    ("kubernetes.io/arch", "the kubelet sets it"),
    ("beta.kubernetes.io/os", "the kubelet sets it"),
    ("beta.kubernetes.io/arch", "the kubelet sets it"),
    ("beta.kubernetes.io/instance-type", "Kubernetes copies it from node.kubernetes.io/instance-type"),
    (CONTROL_PLANE, "K3s sets it on every server"),
    ("node-role.kubernetes.io/master", "K3s sets it on every server"),
    (ETCD, "K3s sets it where etcd runs"),
    ("egress.k3s.io/cluster", "K3s sets it"),
    ("p2p.k3s.cattle.io/enabled", "K3s sets it"),
    ("plan.upgrade.cattle.io/k3s", "K3s sets it"),
];

/// Whether values may have facts in braces in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// They are this machine's labels.
    Its,
    /// They are other machines' labels, of which this one knows nothing.
    Others,
}

/// Reads a table of labels. What is wrong is noted and left out.
pub(crate) fn read<'a>(
    reader: &mut Reader<'a>,
    section: &Section<'a>,
    key: &str,
    facts: Facts,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(table) = reader.section(section, key) else {
        return labels;
    };
    for (key, item) in table.table {
        let path = table.key(key);
        if reader.made(check_key(key), item.key, &path).is_none() {
            continue;
        }
        let value = match &item.kind {
            Kind::Text(text) => check_value(key, text, facts),
            kind => {
                let complaint = Complaint::new(format!("the label `{path}` is {}, expected a string", kind.noun()));
                Err(match kind.unquoted().map(|text| check_value(key, &text, facts)) {
                    Some(Ok(_)) => complaint.suggest("put it in quotes"),
                    Some(Err(Complaint { message, suggestion })) => {
                        complaint.suggest(suggestion.unwrap_or_else(|| format!("quotes alone do not help: {message}")))
                    }
                    // `node-role.kubernetes.io = …`: each dot makes a table.
                    None if matches!(kind, Kind::Table(_)) => {
                        let example = "\"node-role.kubernetes.io/ingress\" = \"true\"";
                        complaint.suggest(format!("put a key with dots in it in quotes: {example}"))
                    }
                    None => complaint,
                })
            }
        };
        if let Some(value) = reader.made(value, item.at, &path) {
            labels.insert(key.clone(), value);
        }
    }
    labels
}

/// Whether a label of this key may be set.
pub(crate) fn check_key(key: &str) -> Result<(), Complaint> {
    if let Some((_, who)) = TAKEN.iter().find(|(taken, _)| *taken == key) {
        return Err(Complaint::new(format!("the label `{key}` cannot be set: {who}")).suggest("remove the line"));
    }
    let shown = excerpt(key);
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let wrong = |why: &str| Err(Complaint::new(format!("`{shown}` is not a label: {why}")));
    if name.contains('/') {
        return wrong("it has more than one `/`");
    }
    if name.is_empty() {
        return wrong("its name is empty");
    }
    if name.chars().count() > 63 {
        return wrong("its name (behind any `/`) has more than 63 characters");
    }
    if !is_name(name) {
        return wrong("its name has letters, digits, `-`, `_` and `.`, with a letter or digit at both ends");
    }
    match prefix {
        Some("") => wrong("nothing stands before the `/`"),
        Some(prefix) if prefix.len() > 253 => wrong("the part before the `/` has more than 253 characters"),
        Some(prefix) if !is_subdomain(prefix) => {
            wrong("the part before the `/` is a DNS name in lower case, such as example.com")
        }
        _ => Ok(()),
    }
}

/// The value of a label, when it is one; facts stay in it as they are. A refused one is not
/// repeated where the label's name sounds as if a secret came to be there.
pub(crate) fn check_value(key: &str, value: &str, facts: Facts) -> Result<String, Complaint> {
    let secret = secret_text::is_secret_pair(key, value);
    let shown = if secret { HIDDEN.to_owned() } else { quote(value) };
    let braces = fact::has_braces(value);
    if braces && facts == Facts::Others {
        let why = "facts in braces are those of the machine whose settings these are";
        return Err(Complaint::new(format!("{shown} cannot be used here: {why}")).suggest("write the value itself"));
    }
    let plain = fact::outline(value).map_err(|complaint| match secret {
        true => Complaint::new(format!("the fact in braces in {shown} {NOT_YET}")),
        false => complaint,
    })?;
    let length = plain.chars().count();
    if length > 63 {
        return Err(Complaint::new(format!("the value of a label has at most 63 characters, this has {length}")));
    }
    if plain.is_empty() || is_name(&plain) {
        return Ok(value.to_owned());
    }
    let complaint = Complaint::new(format!(
        "{} is not a label value: letters, digits, `-`, `_` and `.`, with a letter \
         or digit at both ends",
        shown
    ));
    if !braces && value.contains(['{', '}']) && !secret {
        return Err(complaint.suggest("facts stand in a pair of braces: \"{zone}\""));
    }
    let plain: String = value
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect();
    let plain = plain.trim_matches(['-', '_', '.']);
    Err(if plain.is_empty() || secret || braces { complaint } else { complaint.suggest(quote(plain)) })
}

/// Whether a text is the key of a label or taint by Kubernetes's rules, whoever it
/// belongs to.
pub fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    is_name(name) && name.len() <= 63 && prefix.is_none_or(|prefix| prefix.len() <= 253 && is_subdomain(prefix))
}

/// Whether a text is the value of a label or taint by Kubernetes's rules.
pub fn is_value(value: &str) -> bool {
    value.is_empty() || (value.len() <= 63 && is_name(value))
}

/// Letters, digits, `-`, `_`, `.`; a letter or digit first and last.
fn is_name(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A DNS name in lower case, part by part.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.is_empty()
            && part.len() <= 63
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !part.starts_with('-')
            && !part.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use super::{Facts, check_key, check_value, is_key, is_value};

    #[test]
    fn keys() {
        for key in [
            "role",
            "a",
            "A_b.c-9",
            "example.com/x",
            "node-role.kubernetes.io/kafka",
            "topology.kubernetes.io/zone",
            "node.kubernetes.io/instance-type",
            &format!("example.com/{}", "x".repeat(63)),
        ] {
            assert_eq!(check_key(key), Ok(()), "{key}");
            assert!(is_key(key), "{key}");
        }
        for key in [
            "",
            "/",
            "/x",
            "x/",
            "a/b/c",
            "-a",
            "a-",
            "a b",
            "Example.com/x",
            "a..b/x",
            "ä",
            "kubernetes.io/hostname",
            "node-role.kubernetes.io/master",
            &"x".repeat(64),
            &format!("{}/x", "a.".repeat(130)),
        ] {
            assert!(check_key(key).is_err(), "{key}");
            assert!(!is_key(key) || key.contains("kubernetes.io/"), "{key}");
        }
    }

    #[test]
    fn values() {
        let check = |value: &str| check_value("pool", value, Facts::Its);
        for value in ["", "true", "a", "A_b.c-9", &"x".repeat(63)] {
            assert_eq!(check(value).as_deref(), Ok(value));
            assert!(is_value(value), "{value}");
        }
        for value in ["-", "a b", "{zone", "a/b", "a-", "ü", &"x".repeat(64)] {
            assert!(check(value).is_err(), "{value}");
            assert!(!is_value(value), "{value}");
        }
        let key = check_value("key-file", "hunter2 7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5", Facts::Its).unwrap_err();
        assert!(!key.to_string().contains("hunter2"), "{key}");
        assert_eq!(check("high memory").unwrap_err().suggestion.as_deref(), Some("write \"high-memory\""));
    }

    #[test]
    fn facts() {
        for value in ["{zone}", "a-{zone}", "{region}.{zone}"] {
            assert_eq!(check_value("pool", value, Facts::Its).as_deref(), Ok(value));
            assert!(check_value("pool", value, Facts::Others).is_err(), "{value}");
        }
        for value in ["{zone}-", "{zone} {gpu}", "{x}", "{}", "{{zone}}"] {
            assert!(check_value("pool", value, Facts::Its).is_err(), "{value}");
        }
    }
}
