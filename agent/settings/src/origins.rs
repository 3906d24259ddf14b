//! Where every value comes from.

use serde::Serialize;

use crate::complaint::printable;
use crate::error::Place;
use crate::reader::dotted;
use crate::secret::HIDDEN;
use crate::secret_text;
use crate::source::{Sources, Spot};
use crate::tree::{Item, Kind, Table};

/// One value of the merged settings and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// The dotted key: `cluster.version`, `volume.data.mount`,
    /// `node.labels."example.com/pool"`, `enroll.allow.kafka.nodes`.
    pub key: String,
    /// The value as TOML; `(hidden)` for a secret.
    pub value: String,
    /// Whether it is a secret.
    pub secret: bool,
    /// Where it was written.
    #[serde(flatten)]
    pub place: Place,
    /// Where values were written that it replaced, the oldest first.
    pub replaced: Vec<Place>,
    /// Where parts of it were written that it added to (`"disable+" = […]`).
    pub added_to: Vec<Place>,
}

/// Every value that was written, in the order of sections; arrays are one value.
/// Values that nobody wrote (defaults) are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Origins(Vec<Origin>);

/// What settings are made of, in the order in which it is shown.
pub(crate) const SECTIONS: [&str; 10] =
    ["cluster", "node", "volume", "enroll", "metrics", "pressure", "usage", "directory", "reclaim", "log"];

impl Origins {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Origin> {
        self.0.iter()
    }

    /// The one of this dotted key.
    pub fn get(&self, key: &str) -> Option<&Origin> {
        self.0.iter().find(|origin| origin.key == key)
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many values were written.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn of(sources: &Sources<'_>, tree: &Table) -> Self {
        let mut origins = Vec::new();
        for (name, item) in SECTIONS.into_iter().filter_map(|name| tree.get(name).map(|item| (name, item))) {
            collect(sources, name, name, item, &mut origins);
        }
        Self(origins)
    }
}

impl<'a> IntoIterator for &'a Origins {
    type Item = &'a Origin;
    type IntoIter = std::slice::Iter<'a, Origin>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn collect(sources: &Sources<'_>, path: &str, key: &str, item: &Item, into: &mut Vec<Origin>) {
    if let Kind::Table(table) = &item.kind {
        for (key, item) in table {
            collect(sources, &dotted(path, key), key, item, into);
        }
        return;
    }
    let named = match path {
        "volume" | "enroll.allow" => Some("name"),
        "directory" => Some("path"),
        _ => None,
    };
    if let (Some(by), Kind::List(items)) = (named, &item.kind) {
        for item in items {
            let name = item.table().and_then(|table| table.get(by));
            let name = name.and_then(Item::text).unwrap_or_default();
            collect(sources, &dotted(path, name), name, item, into);
        }
        return;
    }
    let option = path.starts_with("cluster.config.");
    let ticket = path == "cluster.ticket";
    let secret =
        ticket || if option { holds_secret(key, item) } else { item.text().is_some_and(secret_text::is_secret_value) };
    let places = |spots: &[Spot]| spots.iter().map(|spot| sources.place(*spot)).collect();
    into.push(Origin {
        key: path.to_owned(),
        value: if secret { HIDDEN.to_owned() } else { render(item) },
        secret,
        place: sources.place(item.key),
        replaced: places(&item.replaced),
        added_to: places(&item.joined),
    });
}

/// Whether an option of K3s is a secret, by its name or its looks. Switches and
/// numbers never are.
pub(crate) fn holds_secret(key: &str, item: &Item) -> bool {
    match &item.kind {
        Kind::Text(text) => is_secret_option(key, text),
        Kind::List(items) => items.iter().any(|item| holds_secret(key, item)),
        Kind::Table(table) => table.iter().any(|(key, item)| holds_secret(key, item)),
        _ => false,
    }
}

/// The same for one text: also `name=value`, as in `kube-apiserver-arg`.
pub(crate) fn is_secret_option(key: &str, text: &str) -> bool {
    let inner = key.trim_end_matches('+').ends_with("-arg")
        && text.split_once('=').is_some_and(|(name, value)| secret_text::is_secret_name(name) && !is_switch(value));
    secret_text::is_secret_name(key) || inner || secret_text::is_secret_value(text)
}

fn is_switch(value: &str) -> bool {
    matches!(value, "true" | "false") || value.bytes().all(|byte| byte.is_ascii_digit())
}

/// A value as TOML, on one line.
fn render(item: &Item) -> String {
    match &item.kind {
        Kind::Text(text) => basic_string(text),
        Kind::Integer(Some(number)) => number.to_string(),
        Kind::Integer(None) => "?".to_owned(),
        Kind::Float(text) | Kind::Time(text) => text.clone(),
        Kind::Bool(value) => value.to_string(),
        Kind::List(items) => {
            let items: Vec<String> = items.iter().map(render).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Table(table) => {
            let pairs: Vec<String> =
                table.iter().map(|(key, item)| format!("{} = {}", dotted("", key), render(item))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

/// A string of TOML on one line, also where the text has several.
fn basic_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if printable(letter) != letter => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(letter)));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
