//! Plays every `NAME.toml` of this crate's folder and compares the story with `NAME.txt`. `UPDATE=1` rewrites the
//! texts.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_scenarios::{Scenario, play};
use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = fs::read_dir(".").unwrap();
    let mut cases: Vec<_> = folder.map(|entry| entry.unwrap().path()).filter(|path| is_case(path)).collect();
    cases.sort();
    cases
}

fn is_case(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "toml") && path.file_name().is_some_and(|name| name != "Cargo.toml")
}

/// The story, or why there is none.
fn tell(case: &Path) -> Result<String, String> {
    let text = fs::read_to_string(case).map_err(|error| error.to_string())?;
    let scenario: Scenario = toml::from_str(&text).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let story = runtime.block_on(play(&scenario))?;
    match story.contains("s3cr3t") {
        true => Err("the story tells a secret".into()),
        false => Ok(story),
    }
}

#[test]
fn scenarios() {
    let cases = cases();
    assert!(cases.len() >= 16, "only {} scenarios", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.file_stem().unwrap().to_string_lossy();
        let golden = case.with_extension("txt");
        match tell(case) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(story) if std::env::var_os("UPDATE").is_some() => fs::write(golden, story).unwrap(),
            Ok(story) => {
                let wanted = fs::read_to_string(&golden).unwrap_or_default();
                if wanted != story {
                    wrong.push(format!("{name} (UPDATE=1 takes it over):\n{}", difference(&wanted, &story)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} scenarios:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// From the first line that differs on.
fn difference(wanted: &str, got: &str) -> String {
    let same = wanted.lines().zip(got.lines()).take_while(|(one, other)| one == other).count();
    let rest = |text: &str, mark: &str| {
        let lines = text.lines().skip(same).take(12);
        lines.map(|line| format!("  {mark} {line}\n")).collect::<String>()
    };
    format!("  line {}\n{}{}", same + 1, rest(wanted, "-"), rest(got, "+"))
}

/// A text without its scenario is a leftover.
#[test]
fn every_text_has_its_scenario() {
    for entry in fs::read_dir(".").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "txt") {
            assert!(path.with_extension("toml").exists(), "{} has no scenario", path.display());
        }
    }
}
