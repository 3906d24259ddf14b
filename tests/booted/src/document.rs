//! The cloud-init document of the package, with its values filled in.

use bowline_testbed::{Releases, Repository};

/// As it is shipped.
pub const SHIPPED: &str = include_str!("../../../packaging/cloud-init/bowline.yaml");

/// Fills in the apt source with its key, and the mirror with its authority. Only what stands below `write_files:` is
/// touched: the header explains the marks by their names.
pub fn fill_in(repository: &Repository, releases: &Releases) -> String {
    let values = [
        ("@APT_SOURCE@", repository.url()),
        ("@APT_KEY@", repository.key().to_string()),
        ("@K3S_MIRROR@", releases.url()),
        ("@K3S_MIRROR_CA@", releases.ca_pem().to_string()),
    ];
    let (header, body) = SHIPPED.split_once("write_files:").unwrap_or(("", SHIPPED));
    let mut out = format!("{header}write_files:");
    for line in body.split_inclusive('\n') {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let mut line = line.to_string();
        for (mark, value) in &values {
            line = line.replace(mark, &value.trim_end().replace('\n', &format!("\n{indent}")));
        }
        out.push_str(&line);
    }
    out
}

/// The same document with other settings: what an agent is given.
pub fn with_settings(filled: &str, settings: &str) -> String {
    const HEAD: &str = "10-node.toml\n    permissions: \"0600\"\n    content: |\n";
    let (before, after) = filled.split_once(HEAD).unwrap_or((filled, ""));
    let old: usize = after.split_inclusive('\n').take_while(|line| line.starts_with("      ")).map(str::len).sum();
    let new: String = settings.lines().map(|line| format!("      {line}\n")).collect();
    format!("{before}{HEAD}{new}{}", after.get(old..).unwrap_or_default())
}

/// What was filled in, as the lines that differ.
pub fn diff(filled: &str) -> Vec<String> {
    let shipped: Vec<_> = SHIPPED.lines().collect();
    let filled: Vec<_> = filled.lines().collect();
    let mut out: Vec<String> = shipped.iter().filter(|l| !filled.contains(l)).map(|l| format!("- {l}")).collect();
    out.extend(filled.iter().filter(|l| !shipped.contains(l)).map(|l| format!("+ {l}")));
    out
}
