//! The commonest slips in TOML: what was meant, beside what the parser says. Nothing of the file is repeated here, since any
//! part of it may be a secret.

/// What is said of a problem at this byte of a file, and what helps.
pub(crate) fn of(text: &str, at: usize, said: &str) -> (String, Option<&'static str>) {
    if text.contains('\0') {
        let message = "this is not text in UTF-8: it has NUL characters in it, as UTF-16 has";
        return (message.to_owned(), Some("save the file as UTF-8"));
    }
    (format!("not valid TOML: {said}"), help(text, at, said))
}

fn help(text: &str, at: usize, said: &str) -> Option<&'static str> {
    // Of the problem's own line.
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim_start());
    if said.starts_with("duplicate key") || key.starts_with('[') {
        return None;
    }
    if at < start + line.find('=')? {
        // Bare keys have letters, digits, `-` and `_`, and a dot begins a table.
        let bare = |letter: char| letter.is_ascii_alphanumeric() || "-_. ".contains(letter);
        let quoted = key.contains(['"', '\'']);
        return (!quoted && !key.chars().all(bare)).then_some(
            "put a key with other signs than letters, digits, - and _ in quotes: \"example.com/pool\" = \"general\"",
        );
    }
    let word = value.split('#').next().unwrap_or_default().trim_end().to_lowercase();
    if ["true", "false", "yes", "no", "on", "off"].contains(&word.as_str()) {
        return Some("write `true` or `false`, in lower case, without quotes; text needs quotes");
    }
    let begins = value.chars().next()?;
    (begins.is_alphanumeric() || "/.:*".contains(begins))
        .then_some("text needs quotes, also an address, a version, a size or a time: \"10.0.1.0/24\"")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn common_slips() {
        let help = |text: &str, at: usize| of(text, at, "invalid").1.unwrap_or_default();
        assert!(help("[node]\naddress = 10.0.1.0/24\n", 21).contains("text needs quotes"));
        assert!(help("distribution = k3s\n", 15).contains("text needs quotes"));
        assert!(help("labels.node-role.kubernetes.io/ingress = \"true\"\n", 30).contains("put a key"));
        for (text, at) in [
            ("[node\na = 1\n", 5),
            ("a = \"b\n", 6),
            ("a = [1, 2\n", 9),
            ("", 0),
            ("ü", 1),
            ("a =", 3),
            ("\"a/b = 1", 3),
        ] {
            assert_eq!(of(text, at, "invalid").1, None, "{text}");
        }
        assert_eq!(of("a = 1\na = 2\n", 6, "duplicate key").1, None);
        assert!(of("[\0n\0o\0d\0e\0]\0", 1, "invalid").0.contains("UTF-8"));
    }
}
