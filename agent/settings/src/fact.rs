//! Facts in braces: what the values of labels can take from the machine, such as `{zone}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::complaint::{Complaint, excerpt};
use crate::labels::is_value;
use crate::reader::NOT_YET;
use crate::suggest;

/// Something that a machine knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// The node's own address.
    Address,
    /// The public IPv4 address, as the cloud tells it.
    PublicIpv4,
    /// The cloud's region.
    Region,
    /// The cloud's availability zone.
    Zone,
    /// The cloud's name of the machine.
    InstanceId,
    /// The cloud's name of the machine's size.
    InstanceType,
    /// Vendor and device of the graphics card, as PCI numbers.
    Gpu,
}

impl Fact {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Address, Self::PublicIpv4, Self::Region, Self::Zone, Self::InstanceId, Self::InstanceType, Self::Gpu];

    /// The name, without braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::PublicIpv4 => "public-ipv4",
            Self::Region => "region",
            Self::Zone => "zone",
            Self::InstanceId => "instance-id",
            Self::InstanceType => "instance-type",
            Self::Gpu => "gpu",
        }
    }

    /// The condition that tells it: `fact/zone`.
    pub fn condition(self) -> String {
        format!("fact/{}", self.as_str())
    }

    /// The fact of a name without braces.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.as_str() == name)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.as_str())
    }
}

/// Labels with their facts put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Those that can be set.
    pub labels: BTreeMap<String, String>,
    /// Keys of those that wait for a fact, each with the fact.
    pub missing: Vec<(String, Fact)>,
    /// Those that came out as no value of a label, with what came out.
    pub wrong: Vec<(String, String)>,
}

impl Filled {
    /// The keys that wait for a fact, each with what is waited for, and why.
    pub fn waits(&self) -> impl Iterator<Item = (&String, String, &'static str)> {
        self.missing.iter().map(|(key, fact)| (key, format!("the fact {fact}"), "the label is made of it"))
    }

    /// The labels whose values are none, each with that value, why it is none, and what to do.
    pub fn refusals(&self) -> impl Iterator<Item = (&String, &String, String, String)> {
        self.wrong.iter().map(|(key, value)| {
            let why = format!("“{value}” is not a label value: at most 63 letters, digits, `-`, `_` and `.`");
            (key, value, why, format!("write a value of your own for {key} in [node] labels, or remove it"))
        })
    }
}

/// Puts facts into labels. Each label stands for itself: one that lacks a fact holds no other back.
pub fn fill(labels: &BTreeMap<String, String>, known: impl Fn(Fact) -> Option<String>) -> Filled {
    let mut filled = Filled::default();
    for (key, template) in labels {
        let mut missing = Vec::new();
        let value = replaced(template, |name| {
            let fact = Fact::named(name)?;
            let value = known(fact);
            if value.is_none() {
                missing.push((key.clone(), fact));
            }
            value
        });
        if !missing.is_empty() {
            missing.dedup();
            filled.missing.append(&mut missing);
        } else if is_value(&value) {
            filled.labels.insert(key.clone(), value);
        } else {
            filled.wrong.push((key.clone(), value));
        }
    }
    filled
}

/// The facts that labels are made of.
pub fn facts_of(labels: &BTreeMap<String, String>) -> BTreeSet<Fact> {
    labels.values().flat_map(|value| names(value)).filter_map(Fact::named).collect()
}

/// A value with a letter in the place of each fact, to be judged by its other letters.
pub(crate) fn outline(value: &str) -> Result<String, Complaint> {
    match names(value).into_iter().find(|name| Fact::named(name).is_none()) {
        Some(unknown) => Err(complain(unknown)),
        None => Ok(replaced(value, |_| Some("x".to_owned()))),
    }
}

/// Whether something in a value stands in braces.
pub(crate) fn has_braces(value: &str) -> bool {
    !names(value).is_empty()
}

fn complain(name: &str) -> Complaint {
    let complaint = Complaint::new(format!("the fact `{{{}}}` {NOT_YET}", excerpt(name)));
    match suggest::nearest(name, Fact::ALL.map(Fact::as_str)) {
        Some(near) => complaint.suggest(format!("did you mean \"{{{near}}}\"?")),
        None => complaint.suggest(format!("known are {}", Fact::ALL.map(|fact| fact.to_string()).join(", "))),
    }
}

/// What stands in braces.
fn names(value: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = value;
    while let Some((_, name, behind)) = next(rest) {
        all.push(name);
        rest = behind;
    }
    all
}

/// A value with what stands in braces replaced, where there is something to replace it with.
fn replaced<'a>(value: &'a str, mut with: impl FnMut(&'a str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, name, behind)) = next(rest) {
        text.push_str(before);
        text.push_str(&with(name).unwrap_or_default());
        rest = behind;
    }
    text + rest
}

/// The text before the first braces, what is in them, and the text behind.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, behind) = rest.split_once('}')?;
    Some((before, name, behind))
}

#[cfg(test)]
mod tests {
    use super::{Fact, Filled, facts_of, fill, outline};
    use std::collections::BTreeMap;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn known(fact: Fact) -> Option<String> {
        match fact {
            Fact::Zone => Some("fsn1-dc14".into()),
            Fact::Region => Some("fsn1".into()),
            Fact::Address => Some("fd00:1::7".into()),
            _ => None,
        }
    }

    #[test]
    fn facts_are_put_in_and_each_label_stands_for_itself() {
        let all = labels(&[
            ("plain", "a"),
            ("zone", "{zone}"),
            ("both", "r-{region}.{zone}"),
            ("gpu", "{gpu}-{gpu}-{zone}"),
            ("address", "{address}"),
        ]);
        let Filled { labels, missing, wrong } = fill(&all, known);
        let pairs: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("both", "r-fsn1.fsn1-dc14"), ("plain", "a"), ("zone", "fsn1-dc14")]);
        assert_eq!(missing, [("gpu".to_string(), Fact::Gpu)]);
        assert_eq!(wrong, [("address".to_string(), "fd00:1::7".to_string())]);
    }

    #[test]
    fn a_value_that_gets_too_long_is_wrong() {
        let all = labels(&[("long", &format!("{}-{{zone}}", "x".repeat(60)))]);
        assert_eq!(fill(&all, known).wrong.len(), 1);
    }

    #[test]
    fn what_labels_are_made_of() {
        let all = labels(&[("a", "{zone}"), ("b", "{gpu}-{zone}"), ("c", "x")]);
        assert_eq!(facts_of(&all).into_iter().collect::<Vec<_>>(), [Fact::Zone, Fact::Gpu]);
    }

    #[test]
    fn unknown_facts() {
        assert_eq!(outline("a-{zone}{gpu}").as_deref(), Ok("a-xx"));
        let near = outline("{zones}").unwrap_err();
        assert_eq!(near.suggestion.as_deref(), Some("did you mean \"{zone}\"?"));
        let far = outline("{}").unwrap_err();
        assert!(far.suggestion.unwrap().starts_with("known are {address}, {public-ipv4}"));
    }
}
