//! Maps without duplicate keys: serde's own silently take the last of two.

use super::MAX_LABELS;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Labels as they are sent: keys and values valid by Kubernetes's rules, no key twice, at most [`MAX_LABELS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some((key, value)) = access.next_entry::<String, String>()? {
            if !bowline_settings::is_label_key(&key) || !bowline_settings::is_label_value(&value) {
                return Err(A::Error::custom(format!("{key:?}: {value:?} is no label by Kubernetes's rules")));
            }
            if labels.len() >= MAX_LABELS {
                return Err(A::Error::custom(format!("more than {MAX_LABELS} labels")));
            }
            if labels.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{key}`")));
            }
            labels.insert(key, value);
        }
        Ok(labels)
    }
}
