//! Patterns of names and label keys, in which `*` stands for any text.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};

/// A name or key in which each `*` stands for any text, also none: `kafka-*`.
///
/// There is no other sign with a meaning, and no way to write a plain `*`: neither
/// names nor label keys have one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for one text only.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether a text, the whole of it, fits.
    pub fn matches(&self, text: &str) -> bool {
        wild(&self.0, text)
    }

    /// A pattern that was looked at already.
    pub(crate) fn plain(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// A pattern of node names.
    pub(crate) fn of_nodes(text: &str) -> Result<Self, Complaint> {
        let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*'));
        if text.is_empty() || text.len() > 63 || !plain {
            return Err(Complaint::new(format!(
                "{} is not a name for nodes: lower-case letters, digits, `-` and `.`, and `*` for any text",
                quote(text)
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether a text, the whole of it, fits a pattern in which `*` stands for any text. Takes at most as many steps as
/// the lengths of both multiplied.
pub(crate) fn wild(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut star, mut seen) = (0, None, 0);
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(letter) if text.get(seen) == Some(letter) => {
                at += 1;
                seen += 1;
            }
            _ => {
                // The last star takes one more letter, and all is tried again from there.
                let Some((place, took)) = star else { return false };
                star = Some((place, took + 1));
                at = place + 1;
                seen = took + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|letter| *letter == b'*')
}

impl FromStr for Pattern {
    type Err = Complaint;

    /// A pattern of label or taint keys.
    fn from_str(text: &str) -> Result<Self, Complaint> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./*".contains(&byte));
        if text.is_empty() || text.len() > 317 || !plain || text.matches('/').count() > 1 {
            let help = match text.split(['=', ':']).next() {
                Some(key) if key.len() < text.len() && !key.is_empty() => format!("the key alone: {}", quote(key)),
                _ => "\"topology.kubernetes.io/*\"".into(),
            };
            return Err(Complaint::new(format!("{} can be no key, with `*` for any text", quote(text))).suggest(help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars() {
        for (pattern, fits, does_not) in [
            ("kafka-*", vec!["kafka-", "kafka-0", "kafka-0.x"], vec!["kafka", "xkafka-0", ""]),
            ("*", vec!["", "a"], vec![]),
            ("a", vec!["a"], vec!["", "ab", "ba"]),
            ("*-b*d", vec!["-bd", "a-b-bd", "-bdd"], vec!["-b", "bd", "-bda"]),
            ("a**b", vec!["ab", "axb"], vec!["a"]),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            for text in fits {
                assert!(parsed.matches(text), "{pattern} {text}");
            }
            for text in does_not {
                assert!(!parsed.matches(text), "{pattern} {text}");
            }
        }
        let slow: Pattern = "*a".repeat(100).parse().unwrap();
        assert!(!slow.matches(&"a".repeat(60).repeat(50).replace("aa", "ab")), "and it ends");
    }

    #[test]
    fn what_is_none() {
        for text in ["", "Kafka-*", "a b", "a/b", "ä", "a?", &"a".repeat(64)] {
            assert!(Pattern::of_nodes(text).is_err(), "{text}");
        }
        for text in ["", "a b", "a/b/c", "ü/*", &"a".repeat(318)] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
