//! A settings file as a tree in which every value knows where it stands.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::source::Spot;

/// Keys and values of one table.
pub(crate) type Table = BTreeMap<String, Item>;

/// One value. It has no `Debug`: it may be a secret.
#[derive(Clone, PartialEq)]
pub(crate) struct Item {
    /// The value.
    pub(crate) kind: Kind,
    /// Where its key is.
    pub(crate) key: Spot,
    /// Where the value is.
    pub(crate) at: Spot,
    /// Where earlier values were that it replaced.
    pub(crate) replaced: Vec<Spot>,
    /// Where earlier parts of it are, when it adds to them.
    pub(crate) joined: Vec<Spot>,
}

/// A TOML value.
#[derive(Clone, PartialEq)]
pub(crate) enum Kind {
    Text(String),
    /// None: too large for 64 bits.
    Integer(Option<i64>),
    Float(String),
    Bool(bool),
    Time(String),
    List(Vec<Item>),
    Table(Table),
}

impl Kind {
    /// What it is, for messages.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a fraction",
            Self::Bool(_) => "true or false",
            Self::Time(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Kind {
    /// What stands there without quotes, when that is one value.
    pub(crate) fn unquoted(&self) -> Option<String> {
        match self {
            Self::Integer(number) => number.map(|number| number.to_string()),
            Self::Float(text) | Self::Time(text) => Some(text.clone()),
            Self::Bool(yes) => Some(yes.to_string()),
            Self::Text(_) | Self::List(_) | Self::Table(_) => None,
        }
    }
}

impl Item {
    /// The text, when it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The table, when it is one.
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// Reads one file. With problems, the tree is not to be relied on.
pub(crate) fn parse(file: usize, text: &str) -> (Table, Vec<toml::de::Error>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    (table(file, document.get_ref()), errors)
}

fn table(file: usize, entries: &DeTable<'_>) -> Table {
    entries
        .iter()
        .map(|(key, value)| {
            let spot = Spot::new(file, key.span());
            (key.get_ref().to_string(), item(file, spot, value))
        })
        .collect()
}

fn item(file: usize, key: Spot, value: &Spanned<DeValue<'_>>) -> Item {
    let at = Spot::new(file, value.span());
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => Kind::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Kind::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Kind::Bool(*value),
        DeValue::Datetime(time) => Kind::Time(time.to_string()),
        DeValue::Array(items) => {
            Kind::List(items.iter().map(|value| item(file, Spot::new(file, value.span()), value)).collect())
        }
        DeValue::Table(entries) => Kind::Table(table(file, entries)),
    };
    Item { kind, key, at, replaced: Vec::new(), joined: Vec::new() }
}
