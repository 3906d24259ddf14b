//! JSON without duplicate keys: serde's own maps silently take the last of two, and what is not read is not looked at.

use super::MAX_LABELS;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Options as they are told: no key twice.
pub(super) fn options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_map(Reader(|_, _, _| Ok(())))
}

/// Labels as they are sent: keys and values valid by Kubernetes's rules, no key twice, at most [`MAX_LABELS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(is_label)).map(Self)
    }
}

/// Why an entry, behind so many others, may not be there.
type Check = fn(usize, &str, &str) -> Result<(), String>;

fn is_label(before: usize, key: &str, value: &str) -> Result<(), String> {
    if !bowline_settings::is_label_key(key) || !bowline_settings::is_label_value(value) {
        return Err(format!("{key:?}: {value:?} is no label by Kubernetes's rules"));
    }
    if before >= MAX_LABELS {
        return Err(format!("more than {MAX_LABELS} labels"));
    }
    Ok(())
}

struct Reader(Check);

impl<'de> Visitor<'de> for Reader {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((key, value)) = access.next_entry::<String, String>()? {
            (self.0)(all.len(), &key, &value).map_err(A::Error::custom)?;
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{key}`")));
            }
            all.insert(key, value);
        }
        Ok(all)
    }
}

/// Anything that has no key twice, in any of its objects.
pub(super) struct EachOnce;

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for EachOnce {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((key, Self)) = all.next_entry::<String, Self>()? {
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("duplicate key `{twice}`")));
            }
        }
        Ok(self)
    }
}
