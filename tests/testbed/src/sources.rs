//! The machine's own apt sources: where base root file systems come from. No mirror is ever named in the project.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::Os;

/// The releases of Debian whose names may stand in a sources file.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "forky", "sid"];

/// The part of the host's apt sources that carries Debian's main suites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sources {
    /// deb822 stanzas (`.sources`) or lines (`.list`).
    text: String,
    /// The suite that they name.
    suite: &'static str,
    /// How such a file's name ends.
    pub(crate) extension: &'static str,
}

impl Sources {
    /// A file with [`for_suite`](Self::for_suite), for as long as it is held.
    pub(crate) fn listed(&self, os: Os) -> Result<NamedTempFile> {
        let file = tempfile::Builder::new().suffix(&format!(".{}", self.extension)).tempfile()?;
        fs::write(file.path(), self.for_suite(os.suite()))?;
        Ok(file)
    }

    /// The same mirror's other suite.
    pub(crate) fn for_suite(&self, suite: &str) -> String {
        self.text.replace(self.suite, suite)
    }
}

/// The first sources file of this host that carries Debian's main suites; `BOWLINE_SOURCES` names another one.
pub(crate) fn find() -> Result<Sources> {
    if let Some(path) = env::var_os("BOWLINE_SOURCES") {
        let path = PathBuf::from(path);
        return read(&path)?.with_context(|| format!("BOWLINE_SOURCES={}: no Debian main suite in it", path.display()));
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let listed = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut listed: Vec<_> = listed.map(|entry| entry.path()).collect();
    listed.sort();
    files.append(&mut listed);
    for file in files.iter().filter(|file| file.is_file()) {
        if let Some(sources) = read(file)? {
            return Ok(sources);
        }
    }
    bail!("no file under /etc/apt carries Debian's main suites");
}

fn read(path: &Path) -> Result<Option<Sources>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("sources") => from_stanzas(&text),
        Some("list") => from_lines(&text),
        _ => None,
    })
}

fn from_stanzas(text: &str) -> Option<Sources> {
    let (mut kept, mut suite) = (Vec::new(), None);
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let line = stanza.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>())
        };
        let disabled = field("enabled:").is_some_and(|words| words == ["no"]);
        let main = field("components:").is_some_and(|words| words.contains(&"main"));
        let named = field("suites:").and_then(|words| debian_suite(words.first()?));
        if let (Some(named), true, false) = (named, main, disabled) {
            suite.get_or_insert(named);
            kept.push(stanza.trim());
        }
    }
    Some(Sources { text: kept.join("\n\n") + "\n", suite: suite?, extension: "sources" })
}

fn from_lines(text: &str) -> Option<Sources> {
    let (mut kept, mut suite) = (Vec::new(), None);
    for line in text.lines().filter(|line| line.starts_with("deb ")) {
        let options_end = line.find(']').map_or(3, |at| at + 1);
        let mut words = line[options_end..].split_whitespace().skip(1);
        let named = words.next().and_then(debian_suite);
        if let (Some(named), true) = (named, words.any(|word| word == "main")) {
            suite.get_or_insert(named);
            kept.push(line);
        }
    }
    Some(Sources { text: kept.join("\n") + "\n", suite: suite?, extension: "list" })
}

/// `bookworm` of `bookworm-security`.
fn debian_suite(word: &str) -> Option<&'static str> {
    SUITES
        .into_iter()
        .find(|suite| word == *suite || word.strip_prefix(suite).is_some_and(|rest| rest.starts_with(['-', '/'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_stanzas_are_kept_and_follow_the_suite() {
        let text = "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://other.test\nSuites: nodistro\nComponents: main\n";
        let sources = from_stanzas(text).unwrap();
        let trixie = sources.for_suite("trixie");
        assert!(trixie.contains("Suites: trixie trixie-updates"));
        assert!(!trixie.contains("other.test"));
    }

    #[test]
    fn one_line_sources_with_options_are_read() {
        let text = "# deb http://old.test bullseye main\ndeb [signed-by=/k] http://mirror.test/debian bookworm main contrib\n\
                    deb http://third.test bookworm stable\n";
        let sources = from_lines(text).unwrap();
        assert_eq!(sources.text, "deb [signed-by=/k] http://mirror.test/debian bookworm main contrib\n");
        assert_eq!(from_lines("deb http://mirror.test/ubuntu noble main\n"), None);
    }
}
