//! What the README shows is what the package has.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::{bowline, settings};
use std::collections::BTreeSet;
use std::fs;

/// The settings on its first screen are those of the document that one pastes, without the mirror, which one may have.
#[test]
fn the_readme_shows_the_settings_of_the_shipped_document() {
    let readme = fs::read_to_string("../../README.md").unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();

    let document = fs::read_to_string("../../packaging/cloud-init/bowline.yaml").unwrap();
    let (_, rest) = document.split_once("config.d/10-node.toml\n").unwrap();
    let (_, rest) = rest.split_once("content: |\n").unwrap();
    let settings = rest.lines().map_while(|line| line.strip_prefix("      "));
    let mut mirror = false;
    let mut shipped = String::new();
    for line in settings {
        match line {
            "# [mirror" => mirror = true,
            "# mirror]" => mirror = false,
            comment if comment.starts_with('#') => {}
            _ if mirror => {}
            line => shipped.push_str(&format!("{line}\n")),
        }
    }
    assert!(shipped.contains("[[volume]]"), "{shipped}");
    assert_eq!(shown, shipped);
}

/// Who has only the machine finds from `man bowline` where settings and explanations are.
#[test]
fn the_man_page_names_the_files_of_the_package() {
    let folder = settings(&[]);
    assert_eq!(bowline(folder.path(), &["internal", "papers", "papers"]).code, 0);
    let page = fs::read_to_string(folder.path().join("papers/man/bowline.1")).unwrap();
    for place in ["/etc/bowline/config.d", "reference.toml", "CLUSTERS.md", "/usr/share/bowline/schema"] {
        assert!(page.contains(place), "{place}");
    }
    let docs = fs::read_to_string("../../debian/bowline.docs").unwrap();
    // What the README's end names is there, but for what it says is not.
    let readme = fs::read_to_string("../../README.md").unwrap();
    let (_, further) = readme.split_once("## Further reading\n").unwrap();
    let (there, _) = further.split_once("In the repository alone").unwrap();
    let named: Vec<_> = there.split('`').filter(|word| word.ends_with(".md")).collect();
    assert!(named.len() == 3 && named.iter().all(|paper| docs.lines().any(|line| line == *paper)), "{named:?}");
    for paper in docs.lines() {
        assert!(page.contains(paper), "{paper}");
        assert!(fs::read_to_string("../../packaging/build-deb").unwrap().contains(&format!("/{paper}\"")), "{paper}");
    }
}

/// Alerting relies on them: each is in the README's table, which has no other.
#[test]
fn the_readme_lists_every_message_id() {
    let id = |word: &&str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    let ids = |text: &str, mark: char| -> BTreeSet<String> { text.split(mark).filter(id).map(String::from).collect() };
    let mut known = BTreeSet::new();
    for file in ["engine/src/engine/log.rs", "issuer/src/lib.rs"] {
        known.extend(ids(&fs::read_to_string(format!("../../agent/{file}")).unwrap(), '"'));
    }
    assert!(known.len() >= 12, "{known:?}");
    assert_eq!(known, ids(&fs::read_to_string("../../README.md").unwrap(), '`'));
}
