//! Bad files and what is said about them, word for word: `golden/NAME.toml` beside
//! `golden/NAME.txt`. `UPDATE=1` rewrites the texts.
//!
//! A line `#-- NAME MODE UID` begins another file of the same case.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end so")]
#![allow(clippy::disallowed_methods, reason = "tests read their own files")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::file;
use bowline_settings::{SourceFile, load};

fn files(name: &str, text: &str) -> Vec<SourceFile> {
    if !text.starts_with("#-- ") {
        return vec![file(&format!("{name}.toml"), text)];
    }
    text.split("#-- ")
        .skip(1)
        .map(|part| {
            let (head, text) = part.split_once('\n').unwrap();
            let head: Vec<&str> = head.split_whitespace().collect();
            let mut file = file(head[0], text);
            file.mode = u32::from_str_radix(head[1], 8).unwrap();
            file.uid = head[2].parse().unwrap();
            file
        })
        .collect()
}

#[test]
fn messages() {
    let folder = Path::new("tests/golden");
    let update = std::env::var_os("UPDATE").is_some();
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    let mut changed = Vec::new();
    for case in cases {
        let name = case.file_stem().unwrap().to_str().unwrap();
        let files = files(name, &fs::read_to_string(&case).unwrap());
        let errors = load(&files).expect_err(name);
        let shown = format!("{errors}\n");
        for line in shown.lines() {
            let width = line.chars().count();
            assert!(width <= 80, "{name}: {width} columns: {line}");
        }
        let all = format!("{errors:?} {}", serde_json::to_string(&errors).unwrap());
        assert!(!shown.contains("hunter2"), "{name}: {shown}");
        assert!(!all.contains("hunter2"), "{name}: {all}");
        let golden = case.with_extension("txt");
        if update {
            fs::write(&golden, shown).unwrap();
        } else if fs::read_to_string(&golden).ok().as_ref() != Some(&shown) {
            changed.push(format!("{}:\n{shown}", golden.display()));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}
