//! K3s repeats its own options when it complains of them: what is secret of that goes no further than its log.

use bowline_settings::{Cluster, ConfigScalar, ConfigValue, HIDDEN};

/// A quoted piece of a secret that is so long is no chance.
const NO_CHANCE: usize = 8;

/// The secrets of K3s's options, and the token that it comes in with.
pub(super) fn secrets(spec: &Cluster, token: Option<&str>) -> Vec<String> {
    let scalars = spec.config.values().flat_map(|value| match value {
        ConfigValue::One(one) => std::slice::from_ref(one),
        ConfigValue::Many(many) => many.as_slice(),
    });
    let exposed = scalars.filter_map(|scalar| match scalar {
        ConfigScalar::Secret(secret) => Some(secret.expose()),
        ConfigScalar::Bool(_) | ConfigScalar::Integer(_) | ConfigScalar::Text(_) => None,
    });
    let mut secrets = Vec::new();
    for value in exposed.chain(token).map(str::trim) {
        secrets.push(value.to_owned());
        secrets.extend(passwords(value));
        // `name=value` of a component, and `K10HASH::user:password`.
        secrets.extend(value.split_once('=').map(|(_, inner)| inner.to_owned()));
        let credential = value.split_once("::").map(|(_, credential)| credential);
        secrets.extend(credential.map(|text| text.split_once(':').map_or(text, |(_, password)| password).to_owned()));
    }
    secrets
}

/// The lines without these secrets, and without the password of any URL: another file of K3s's may have one, too.
pub(super) fn hide(lines: Vec<String>, secrets: &[String]) -> Vec<String> {
    lines.into_iter().map(|line| hide_in(&line, secrets)).collect()
}

fn hide_in(line: &str, secrets: &[String]) -> String {
    let mut forms: Vec<String> = secrets.iter().cloned().chain(passwords(line)).flat_map(written).collect();
    forms.retain(|form| !form.is_empty());
    // A secret that is within another one does not break that up.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    let hidden = forms.iter().fold(line.to_owned(), |text, form| text.replace(form, HIDDEN));
    // Go says what is wrong with a URL by a quoted piece of it: `invalid port ":p" after host`.
    let pieces: Vec<&str> = hidden.split('"').collect();
    let within = |piece: &str| {
        let piece = piece.trim_end_matches('\\');
        !piece.is_empty() && forms.iter().any(|form| form.contains(piece))
    };
    if hidden == line && !pieces.iter().any(|piece| piece.len() >= NO_CHANCE && within(piece)) {
        return hidden;
    }
    let shown = pieces.into_iter().map(|piece| match within(piece) {
        true => format!("{HIDDEN}{}", if piece.ends_with('\\') { "\\" } else { "" }),
        false => piece.to_owned(),
    });
    shown.collect::<Vec<_>>().join("\"")
}

/// As it is, and as Go quotes it: in an error, and once more in the line of the log.
fn written(secret: String) -> [String; 3] {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    let once = quoted(&secret);
    let twice = quoted(&once);
    [secret, once, twice]
}

/// What may be the password of the URLs in a text: it may have an `@` of its own.
fn passwords(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split("://").skip(1) {
        let url = rest.split(|c: char| c.is_whitespace() || c == '"').next().unwrap_or_default();
        let Some((_, after)) = url.split_once(':') else { continue };
        found.extend(after.match_indices('@').filter_map(|(end, _)| after.get(..end)).map(str::to_owned));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{hide, secrets};
    use bowline_settings::{ConfigScalar, ConfigValue, Secret};

    /// What is shown of a line, when the datastore is at this URL.
    fn shown(url: &str, line: &str) -> String {
        let file = bowline_settings::SourceFile {
            path: "/etc/bowline/config.d/10.toml".into(),
            text: "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n".into(),
            mode: 0o600,
            uid: 0,
        };
        let mut spec = bowline_settings::load(&[file]).unwrap().settings.cluster.unwrap();
        let secret = |text: &str| ConfigScalar::Secret(Secret::new(text));
        spec.config.insert("datastore-endpoint".into(), ConfigValue::One(secret(url)));
        spec.config.insert("kube-apiserver-arg".into(), ConfigValue::Many(vec![secret("some-token=hunter2")]));
        hide(vec![line.into()], &secrets(&spec, Some("K10abc::server:p4ss\n"))).remove(0)
    }

    #[test]
    fn what_k3s_repeats_of_its_secrets_is_hidden() {
        let url = "postgres://k3s:p%ss@db/k3s";
        assert_eq!(
            shown(url, r#"level=fatal msg="parse \"postgres://k3s:p%ss@db/k3s\": invalid URL escape \"%ss\"""#),
            r#"level=fatal msg="parse \"(hidden)\": invalid URL escape \"(hidden)\"""#
        );
        assert_eq!(shown(url, "k3s at db: p%ss is no password"), "k3s at db: (hidden) is no password");
        assert_eq!(shown(url, "unknown hunter2 and server:p4ss"), "unknown (hidden) and server:(hidden)");
        assert_eq!(shown(url, r#"level=fatal msg="no \"k3s\" here""#), r#"level=fatal msg="no \"k3s\" here""#);
    }

    #[test]
    fn a_password_with_characters_of_a_url_is_hidden_too() {
        // Go cuts the text at `#` before it complains.
        let line = r#"msg="parse \"postgres://k3s:se\": invalid port \":se\" after host""#;
        let hidden = r#"msg="parse \"(hidden)\": invalid port \"(hidden)\" after host""#;
        assert_eq!(shown("postgres://k3s:se#cret@db/k3s", line), hidden);
        let line = r#"msg="parse \"mysql://k3s:a\\\"b@c@tcp(db)/k3s\": no""#;
        assert_eq!(shown(r#"mysql://k3s:a"b@c@tcp(db)/k3s"#, line), r#"msg="parse \"(hidden)\": no""#);
    }

    #[test]
    fn a_url_of_another_file_has_its_password_hidden() {
        let line = r#"msg="parse \"postgres://k3s:o%ther@db/k3s\": invalid URL escape \"%th\"""#;
        let hidden = r#"msg="parse \"postgres://k3s:(hidden)@db/k3s\": invalid URL escape \"(hidden)\"""#;
        assert_eq!(shown("", line), hidden);
        assert_eq!(shown("", "get https://10.0.1.9:6443/cacerts: EOF"), "get https://10.0.1.9:6443/cacerts: EOF");
    }
}
