//! What counts as a secret, by its name or its looks, and which lines hold one.

use crate::suggest::within;

/// Words that make a name a secret's, wherever they stand in it.
const WORDS: [&str; 11] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "ticket",
    "private-key",
    "access-key",
    "api-key",
    "joinkey",
    "apikey",
];

/// Whole names of secrets; a slip of the pen in one of them is a secret, too.
const NAMES: [&str; 9] = [
    "token",
    "agent-token",
    "ticket",
    "secret",
    "password",
    "datastore-endpoint",
    "vpn-auth",
    "etcd-s3-access-key",
    "etcd-s3-secret-key",
];

/// Names that only sound like secrets.
const HARMLESS: [&str; 7] = [
    "etcd-s3-config-secret",
    "secrets-encryption",
    "secrets-encryption-provider",
    "enable-bootstrap-token-auth",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "authentication-token-webhook",
];

/// Endings of names whose values say where a secret is, or how long it lasts.
const ENDINGS: [&str; 8] = ["file", "-path", "-dir", "-ttl", "-version", "-expiration", "-mode", "-name"];

/// Whether a value of this name is a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_suffix('+').unwrap_or(&name);
    if HARMLESS.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return false;
    }
    WORDS.iter().any(|word| name.contains(word))
        || NAMES.iter().any(|known| within(name, known, if known.len() < 8 { 1 } else { 2 }))
}

/// Whether a text looks like a secret, whatever its name: a K3s token, a private
/// key, or a URL with a password in it.
pub(crate) fn is_secret_value(text: &str) -> bool {
    let token = text.find("K10").is_some_and(|start| text.get(start..).is_some_and(|rest| rest.contains("::")));
    let password = text.split("://").skip(1).any(|rest| {
        let host = rest.split(['/', '"', '\'', ' ']).next().unwrap_or_default();
        host.split_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    token || password || text.contains("PRIVATE KEY")
}

/// How much of a line may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All of it.
    All,
    /// What stands before the first `=`: a key, and its value is a secret.
    Key,
    /// Nothing: it may be a part of a secret.
    Nothing,
}

/// For every line of a file, how much of it may be shown.
///
/// It reads lines, not TOML, so that it also serves files that are no TOML.
pub(crate) fn shown_lines(text: &str) -> Vec<Shown> {
    let mut lines = Vec::new();
    let mut open = None;
    let mut secret = false;
    for line in text.split('\n') {
        let begins = open.is_none() && is_statement(line);
        secret = (secret && !begins) || mentions_secret(line);
        lines.push(match (secret, begins && has_bare_key(line)) {
            (false, _) => Shown::All,
            (true, true) => Shown::Key,
            (true, false) => Shown::Nothing,
        });
        open = still_open(line, open);
    }
    lines
}

fn has_bare_key(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim();
        !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    })
}

/// Whether a line begins something of its own: a table, a key, a comment, nothing.
fn is_statement(line: &str) -> bool {
    let line = line.trim();
    let Some(first) = line.chars().next() else {
        return true;
    };
    let key = line.split_once('=').is_some_and(|(key, value)| {
        let key = key.trim();
        !value.starts_with('=')
            && !value.is_empty()
            && !key.is_empty()
            && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.\"'+/ ".contains(letter))
    });
    first == '#' || (first == '[' && line.ends_with(']') && !line.contains('"')) || key
}

/// Whether a name and its value are not to be shown together, as no line with them is.
pub(crate) fn is_secret_pair(name: &str, value: &str) -> bool {
    is_secret_name(name) || is_key_instead_of_its_file(&format!("{name} = {value}"))
}

fn mentions_secret(line: &str) -> bool {
    is_secret_value(line)
        || is_key_instead_of_its_file(line)
        || line
            .split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_+".contains(letter)))
            .any(|word| !word.is_empty() && is_secret_name(word))
}

/// Whether a line names the file of a key or ticket, and has what may be the key
/// or ticket itself: 32 hexadecimal digits in a row, or more.
fn is_key_instead_of_its_file(line: &str) -> bool {
    let digits = line.split(|letter: char| !letter.is_ascii_hexdigit()).any(|run| run.len() >= 32);
    digits && ["key", "ticket"].iter().any(|word| line.contains(word))
}

/// The mark of the multi-line string that is open at the end of a line.
fn still_open(line: &str, mut open: Option<&'static str>) -> Option<&'static str> {
    let mut rest = line;
    while let Some(letter) = rest.chars().next() {
        let mut step = letter.len_utf8();
        match open {
            Some(mark) if rest.starts_with(mark) => {
                open = None;
                step = mark.len();
            }
            Some("\"\"\"") if letter == '\\' => step += rest.chars().nth(1).map_or(0, char::len_utf8),
            Some(_) => {}
            None if letter == '#' => return None,
            None if rest.starts_with("\"\"\"") || rest.starts_with("'''") => {
                open = Some(if letter == '"' { "\"\"\"" } else { "'''" });
                step = 3;
            }
            None if letter == '"' || letter == '\'' => step = quoted(rest, letter),
            None => {}
        }
        rest = rest.get(step..).unwrap_or_default();
    }
    open
}

/// How long the string is that a text begins with.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if letter == mark && !escaped {
            return at + 1;
        }
        escaped = letter == '\\' && mark == '"' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Shown, is_secret_name, is_secret_value, shown_lines};

    #[test]
    fn names() {
        for name in [
            "token",
            "agent-token",
            "tokn",
            "agent_token",
            "datastore-endpoint",
            "datastore-endpiont",
            "etcd-s3-secret-key",
            "vpn-auth",
            "token+",
            "Ticket",
            "db-password",
            "oidc-client-secret",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "token-file",
            "agent-token-file",
            "disable",
            "secrets-encryption",
            "tls-san",
            "vpn-auth-file",
            "datastore-cafile",
            "datastore-keyfile",
            "mount",
            "labels",
            "etcd-s3-config-secret",
            "service-account-private-key-file",
            "taint",
            "role",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values() {
        assert!(is_secret_value("K10abc::server:pw"));
        assert!(is_secret_value("postgres://u:p@host/db"));
        assert!(is_secret_value("-----BEGIN EC PRIVATE KEY-----"));
        assert!(!is_secret_value("https://mirror.example/k3s"));
        assert!(!is_secret_value("https://mirror.example:8443/a@b:c"));
    }

    #[test]
    fn lines() {
        let text = "a = 1\ntoken = \"\"\"\nfirst\nx = y\n\"\"\"\nb = 2\nconfig = { token = \"x\" }\n\
                    agent-token = \"un\nclosed==\nc = 3\n\"token+\" = 1";
        let got: String = shown_lines(text)
            .into_iter()
            .map(|line| match line {
                Shown::All => 'a',
                Shown::Key => 'k',
                Shown::Nothing => '-',
            })
            .collect();
        assert_eq!(got, "ak---akk-a-");
    }
}
