//! The project's own files, as laws about them need them.

#![allow(dead_code, reason = "each law needs some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may end so, and reads the sources"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout.
pub(crate) fn root() -> PathBuf {
    std::env::current_dir().unwrap().ancestors().nth(2).unwrap().to_path_buf()
}

/// A file of the checkout.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A source file without its tests and comments.
pub(crate) struct Code {
    /// Its path in the checkout.
    pub(crate) path: String,
    lines: Vec<(usize, String)>,
}

impl Code {
    /// Its lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().map(|(number, line)| (*number, line.as_str()))
    }
}

/// All Rust files in a folder, or the one at a path, without their tests and comments.
pub(crate) fn code(path: &str) -> Vec<Code> {
    let mut paths = Vec::new();
    walk(&root().join(path), &mut paths);
    assert!(!paths.is_empty(), "there is no code at {path}");
    let own = |path: &PathBuf| {
        let tests = path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests");
        path.extension().is_some_and(|end| end == "rs") && !tests
    };
    paths.into_iter().filter(own).map(|path| strip(&path)).collect()
}

fn walk(path: &Path, all: &mut Vec<PathBuf>) {
    if path.is_file() {
        return all.push(path.to_path_buf());
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| walk(entry, all));
}

/// By our style, tests of a file are its last part.
fn strip(path: &Path) -> Code {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let lines = lines
        .take_while(|(_, line)| *line != "#[cfg(test)]" || text.contains("#[cfg(test)]\nmod tests;"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number, line.to_string()))
        .collect();
    Code { path: path.strip_prefix(root()).unwrap().display().to_string(), lines }
}

/// The crates in a folder, by the names of their folders.
pub(crate) fn crates(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap());
    let crates = entries.filter(|entry| entry.path().join("Cargo.toml").exists());
    let mut names: Vec<_> = crates.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What a crate's own `[dependencies]` name.
pub(crate) fn dependencies(manifest: &str) -> Vec<String> {
    let text = read(manifest);
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
            assert!(!line.starts_with("[dependencies."), "{manifest}: write dependencies as lines of one table");
            assert!(!line.contains(".dependencies]"), "{manifest}: no dependencies by target");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            names.extend(line.split(['.', ' ', '=']).next().map(String::from));
        }
    }
    names
}

/// Every file that git keeps, with its text; what is no text is left out.
pub(crate) fn tracked() -> Vec<(String, String)> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // Removed and not committed yet: as if it had never been there.
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            files.push((name.to_string(), text));
        }
    }
    assert!(files.len() > 100, "only {} files", files.len());
    files
}
