//! Each target over its corpus, and for a short while beyond it. What every input has to hold is in the targets.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How often each goes on beyond its corpus. By number and with one seed, not by time: a change is not failed for what a
/// faster run would find in another one's.
const BEYOND: [&str; 2] = ["-runs=3000", "-seed=1"];
/// What one input may take, of time in seconds and of memory in MB, and how long it may be.
const LIMITS: [&str; 3] = ["-timeout=60", "-rss_limit_mb=1024", "-max_len=4096"];

fn corpus(target: &str) -> PathBuf {
    Path::new("corpus").join(target)
}

fn run(target: &str) {
    let (corpus, check) = (corpus(target), bowline_fuzz::target(target).unwrap());
    let mut good = 0;
    for seed in std::fs::read_dir(&corpus).unwrap() {
        let seed = seed.unwrap().path();
        let wanted = seed.file_name().unwrap().to_string_lossy().starts_with("good-");
        let bytes = std::fs::read(&seed).unwrap();
        assert!(bytes.len() <= 4096, "{} is too long for a seed", seed.display());
        // Whatever it is called: what a name promises is what becomes of it.
        assert_eq!(check(&bytes), wanted, "{}", seed.display());
        good += usize::from(wanted);
    }
    assert!(good > 0, "without an input that is taken the others are refused for nothing");

    let (found, artifacts) = (tempfile::tempdir().unwrap(), Path::new("artifacts"));
    std::fs::create_dir_all(artifacts.join(target)).unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_fuzz"))
        .env("TARGET", target)
        .args(BEYOND)
        .args(LIMITS)
        .arg(format!("-artifact_prefix={}/", artifacts.join(target).display()))
        // What it finds goes into the first folder.
        .args([found.path(), &corpus])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{target}: {}\n{text}", said.status);
    let tried = text.lines().find_map(|line| line.strip_prefix("Done ")).unwrap_or_else(|| panic!("{text}"));
    println!("{target}: {tried}");
}

/// A test for each, so that they run beside each other and say by themselves what they found.
macro_rules! tests {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            run(stringify!($target));
        })*

        #[test]
        fn every_target_has_its_test_and_every_corpus_its_target() {
            assert_eq!(bowline_fuzz::names(), [$(stringify!($target)),*]);
            for folder in std::fs::read_dir(corpus(".")).unwrap() {
                let name = folder.unwrap().file_name().into_string().unwrap();
                assert!(bowline_fuzz::target(&name).is_some(), "corpus/{name} is nobody's");
            }
        }
    };
}

tests!(agreed, answer, api, claim, cloud, door, download, joiner, pages, proof, request, words);
