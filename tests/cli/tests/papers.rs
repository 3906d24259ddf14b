//! What the README shows is what the package has.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

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
