//! Maps without duplicate keys: serde's own silently take the last of two.

use super::MAX_LABELS;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
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
