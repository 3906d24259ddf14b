//! Typed reading of a tree: every problem is noted, and reading goes on.

use std::str::FromStr;

use crate::complaint::{Complaint, excerpt, quote};
use crate::error::Error;
use crate::source::{Sources, Spot};
use crate::suggest;
use crate::tree::{Item, Kind, Table};

/// Says that a name or value is one that later versions know.
pub(crate) const NOT_YET: &str = "is not known to this version of Bowline";

/// A table with its dotted name and its place.
pub(crate) struct Section<'a> {
    /// The dotted name; empty for the whole file.
    pub(crate) path: String,
    /// Where it begins.
    pub(crate) at: Spot,
    /// What is in it.
    pub(crate) table: &'a Table,
}

impl<'a> Section<'a> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Item> {
        self.table.get(key)
    }

    /// The dotted name of a key in it.
    pub(crate) fn key(&self, key: &str) -> String {
        dotted(&self.path, key)
    }
}

/// A key behind a path, quoted where TOML wants that.
pub(crate) fn dotted(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let key = if bare { excerpt(key) } else { quote(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The table that a key belongs in, when some table has it.
fn home(key: &str) -> Option<&'static str> {
    if crate::cluster::KEYS.contains(&key) {
        Some("[cluster]")
    } else if crate::node::KEYS.contains(&key) && key != "name" {
        Some("[node]")
    } else if crate::volume::KEYS.contains(&key) && key != "name" {
        Some("a [[volume]]")
    } else if crate::metrics::KEYS.contains(&key) {
        Some("[metrics]")
    } else if crate::enroll::KEYS.contains(&key) {
        Some("[enroll]")
    } else if crate::enroll::RULE_KEYS.contains(&key) && key != "name" {
        Some("an [[enroll.allow]]")
    } else if crate::pressure::PRESSURE_KEYS.contains(&key) {
        Some("[pressure]")
    } else if crate::pressure::USAGE_KEYS.contains(&key) {
        Some("[usage]")
    } else if crate::pressure::DIRECTORY_KEYS.contains(&key) {
        Some("a [[directory]]")
    } else if crate::reclaim::KEYS.contains(&key) {
        Some("[reclaim]")
    } else if crate::options::is_option(key.trim_end_matches('+')) {
        Some("[cluster.config]")
    } else {
        None
    }
}

/// Notes problems while a tree is read.
pub(crate) struct Reader<'a> {
    sources: &'a Sources<'a>,
    /// What is wrong.
    pub(crate) errors: Vec<Error>,
    /// What works and is unwise.
    pub(crate) warnings: Vec<Error>,
    /// Whether this is all of the settings, or one file of several: only the
    /// whole can lack something or be at odds with itself.
    pub(crate) whole: bool,
    /// Whether the files are drafts: whose they are and who can read them counts in their place only.
    pub(crate) drafts: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(sources: &'a Sources<'a>, whole: bool, drafts: bool) -> Self {
        Self { sources, errors: Vec::new(), warnings: Vec::new(), whole, drafts }
    }

    /// The sources that are read.
    pub(crate) fn sources(&self) -> &'a Sources<'a> {
        self.sources
    }

    /// Notes a problem.
    pub(crate) fn complain(&mut self, at: Spot, key: &str, complaint: Complaint) {
        self.errors.push(self.sources.error(at, key, complaint));
    }

    /// Notes a problem with a key. What is written behind it may be anything, also
    /// a secret whose name has a slip in it, so that it is not shown.
    pub(crate) fn complain_of_key(&mut self, at: Spot, key: &str, complaint: Complaint) {
        let mut error = self.sources.error(at, key, complaint);
        if let Some(snippet) = &mut error.snippet {
            snippet.hide_value();
        }
        self.errors.push(error);
    }

    /// Notes a problem between two places.
    pub(crate) fn contradiction(&mut self, at: Spot, other: Spot, key: &str, complaint: Complaint) {
        let mut error = self.sources.error(at, key, complaint);
        error.also.push(self.sources.place(other));
        self.errors.push(error);
    }

    /// Notes what works and is unwise.
    pub(crate) fn warn(&mut self, at: Spot, key: &str, complaint: Complaint) {
        self.warnings.push(self.sources.error(at, key, complaint));
    }

    fn wrong_type(&mut self, item: &Item, key: &str, wanted: &str) {
        let message = format!("`{key}` is {}, expected {wanted}", item.kind.noun());
        let complaint = Complaint::new(message);
        let complaint = match &item.kind {
            Kind::Text(_) if wanted.starts_with("a list") => complaint.suggest("put it in brackets: [\"…\"]"),
            Kind::List(_) if key.ends_with(".nodes") => complaint.suggest("write one [[enroll.allow]] for each name"),
            Kind::List(_) if wanted == "a table" => complaint.suggest(format!("write [{key}]")),
            // `[volume.data]`: the name was meant.
            Kind::Table(table) if ["volume", "enroll.allow", "directory"].contains(&key) => {
                let tables = table.values().all(|item| item.table().is_some());
                match table.keys().next().filter(|_| tables && key != "directory") {
                    Some(name) => complaint.suggest(format!("write [[{key}]], and beneath it name = {}", quote(name))),
                    None => complaint.suggest(format!("write [[{key}]]")),
                }
            }
            _ => complaint,
        };
        self.complain(item.at, key, complaint);
    }

    /// Something without quotes where a string is wanted: quotes help where what is written is good in them, else what is
    /// said of that does.
    fn no_string<T>(
        &mut self,
        item: &Item,
        key: &str,
        wanted: &str,
        make: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let Some(text) = item.kind.unquoted() else {
            self.wrong_type(item, key, wanted);
            return None;
        };
        let complaint = Complaint::new(format!("`{key}` is {}, expected {wanted}", item.kind.noun()));
        let help = match make(&text) {
            Ok(_) => "put it in quotes".to_owned(),
            Err(Complaint { message, suggestion }) => {
                suggestion.unwrap_or_else(|| format!("quotes alone do not help: {message}"))
            }
        };
        self.complain(item.at, key, complaint.suggest(help));
        None
    }

    /// A table in a table.
    pub(crate) fn section(&mut self, parent: &Section<'a>, key: &str) -> Option<Section<'a>> {
        let item = parent.get(key)?;
        let path = parent.key(key);
        match item.table() {
            Some(table) => Some(Section { path, at: item.key, table }),
            None => {
                self.wrong_type(item, &path, "a table");
                None
            }
        }
    }

    /// Refuses every key that is not one of `known`. Those of `later` are names
    /// that other versions know.
    pub(crate) fn known(&mut self, section: &Section<'a>, known: &[&str], later: &[&str]) {
        for (key, item) in section.table {
            if known.contains(&key.as_str()) {
                continue;
            }
            let path = section.key(key);
            let complaint = if later.contains(&key.as_str()) {
                Complaint::new(format!("`{path}` {NOT_YET}"))
                    .suggest("remove it, or install a version of Bowline that has it")
            } else {
                let inside = match section.path.as_str() {
                    "" => "at the top of a file".to_owned(),
                    "volume" => "in a [[volume]]".to_owned(),
                    "enroll.allow" => "in an [[enroll.allow]]".to_owned(),
                    "directory" => "in a [[directory]]".to_owned(),
                    path => match (path.strip_prefix("volume."), path.strip_prefix("enroll.allow.")) {
                        (Some(name), _) => format!("in the [[volume]] {name}"),
                        (_, Some(name)) => format!("in the [[enroll.allow]] {name}"),
                        _ => format!("in [{path}]"),
                    },
                };
                let near = suggest::nearest(key, known.iter().copied());
                let home = home(key);
                let labels = section.path.starts_with("enroll.allow") && key == "labels";
                let help = match (near, home) {
                    _ if labels => "labels that such a node gets are in `grant`".to_owned(),
                    (Some(name), _) => format!("did you mean `{name}`?"),
                    (None, Some(home)) => format!("it belongs in {home}"),
                    (None, None) => format!("known here: {}", known.join(", ")),
                };
                Complaint::new(format!("unknown key `{}` {inside}", excerpt(key))).suggest(help)
            };
            self.complain_of_key(item.key, &path, complaint);
        }
    }

    /// Says that a key is missing, when the settings are whole.
    pub(crate) fn missing(&mut self, section: &Section<'a>, key: &str, example: &str) {
        if self.whole && section.get(key).is_none() {
            let path = section.key(key);
            // A slip of the pen in its name was reported already.
            let meant = format!("did you mean `{key}`?");
            let slip =
                |error: &Error| error.suggestion.as_ref() == Some(&meant) && error.key.starts_with(&section.path);
            if self.errors.iter().any(slip) {
                return;
            }
            let complaint = Complaint::new(format!("`{path}` is missing")).suggest(format!("add {example}"));
            self.complain(section.at, &path, complaint);
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, section: &Section<'a>, key: &str) -> Option<bool> {
        let item = section.get(key)?;
        if let Kind::Bool(value) = item.kind {
            return Some(value);
        }
        self.wrong_type(item, &section.key(key), "true or false without quotes");
        None
    }

    /// A string that stands for something.
    pub(crate) fn parsed<T: FromStr<Err = Complaint>>(&mut self, section: &Section<'a>, key: &str) -> Option<T> {
        self.with(section, key, str::parse)
    }

    /// A string that a function makes something of.
    pub(crate) fn with<T>(
        &mut self,
        section: &Section<'a>,
        key: &str,
        make: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let item = section.get(key)?;
        let path = section.key(key);
        match item.text() {
            Some(text) => self.made(make(text), item.at, &path),
            None => self.no_string(item, &path, "a string", make),
        }
    }

    /// The value, or its complaint noted.
    pub(crate) fn made<T>(&mut self, made: Result<T, Complaint>, at: Spot, key: &str) -> Option<T> {
        match made {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complain(at, key, complaint);
                None
            }
        }
    }

    /// One word of a few.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        section: &Section<'a>,
        key: &str,
        words: &[(&str, T)],
        later: &[&str],
    ) -> Option<T> {
        let path = section.key(key);
        self.with(section, key, |text| {
            if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            if later.contains(&text) {
                let complaint = Complaint::new(format!("`{path} = \"{text}\"` {NOT_YET}"));
                return Err(complaint.suggest(format!("this version has {}", all.join(", "))));
            }
            let complaint =
                Complaint::new(format!("{} is not a value of `{path}`: expected {}", quote(text), all.join(", ")));
            let near = suggest::nearest(text, words.iter().map(|(word, _)| *word));
            Err(match near {
                Some(word) => complaint.suggest(format!("did you mean \"{word}\"?")),
                None => complaint,
            })
        })
    }

    /// A list, item by item.
    pub(crate) fn list(&mut self, section: &Section<'a>, key: &str, of: &str) -> Option<&'a [Item]> {
        let item = section.get(key)?;
        if let Kind::List(items) = &item.kind {
            return Some(items);
        }
        let path = section.key(key);
        self.wrong_type(item, &path, &format!("a list of {of}"));
        None
    }

    /// A list of strings that a function makes something of, each with its place.
    pub(crate) fn texts<T>(
        &mut self,
        section: &Section<'a>,
        key: &str,
        make: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<Vec<(T, Spot)>> {
        let items = self.list(section, key, "strings")?;
        let path = section.key(key);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match item.text() {
                Some(text) => {
                    if let Some(value) = self.made(make(text), item.at, &path) {
                        values.push((value, item.at));
                    }
                }
                None => drop(self.no_string(item, &path, "strings in its list", &make)),
            }
        }
        Some(values)
    }
}
