//! What capabilities tell each other, and how long the present one has waited.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

/// Conditions stated by all capabilities (`address` -> `10.0.1.20`), with a note of which ones were asked for:
/// a capability looks again when one of those changes.
#[derive(Debug, Default)]
pub struct Conditions {
    values: BTreeMap<String, String>,
    waited: BTreeMap<(String, String), Duration>,
    asked: Mutex<BTreeSet<String>>,
}

impl Conditions {
    /// Conditions from key and value pairs, for plans in tests.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(pairs.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(), BTreeMap::new())
    }

    pub(crate) fn new(values: BTreeMap<String, String>, waited: BTreeMap<(String, String), Duration>) -> Self {
        Self { values, waited, asked: Mutex::default() }
    }

    /// The same conditions with a wait that has lasted for some time, for plans in tests.
    #[must_use]
    pub fn after(mut self, item: &str, what: &str, waited: Duration) -> Self {
        self.waited.insert((item.into(), what.into()), waited);
        self
    }

    /// The value of a condition; `None` while nobody states it.
    pub fn get(&self, key: &str) -> Option<&str> {
        if let Ok(mut asked) = self.asked.lock() {
            asked.insert(key.to_string());
        }
        self.values.get(key).map(String::as_str)
    }

    /// Whether a condition has this value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }

    /// How long the capability has been waiting for something, zero if it was not.
    pub fn waited(&self, item: &str, what: &str) -> Duration {
        self.waited.get(&(item.to_string(), what.to_string())).copied().unwrap_or_default()
    }

    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}
