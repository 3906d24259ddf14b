//! `bowline config`: the merged settings, each with its origin.

use super::{INVALID, load, output};
use bowline_settings::{Origin, Place};
use std::path::Path;
use std::process::ExitCode;

/// Columns at most.
const WIDTH: usize = 80;

pub(super) fn run(folder: &Path, json: bool) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    if json {
        output::print_json(&loaded.origins);
    } else if loaded.origins.is_empty() {
        output::print(&format!("no settings yet in {}", folder.display()));
    } else {
        // Laid out already: a value is there to be copied, and keeps its blanks.
        output::print_as_is(&loaded.origins.iter().map(text).collect::<String>());
    }
    ExitCode::SUCCESS
}

/// A setting as it stands in a file, and beneath as a comment where it is from.
fn text(origin: &Origin) -> String {
    let place = |place: &Place| format!("{}:{}", place.file.display(), place.line);
    let mut text = value(&origin.key, &origin.value);
    let mut line = format!("    # {}", place(&origin.place));
    if let Some(first) = origin.replaced.first() {
        let replaced = format!("replaces {}", place(first));
        if line.chars().count() + 2 + replaced.chars().count() > WIDTH {
            text.push_str(&format!("{line},\n"));
            line = format!("    # {replaced}");
        } else {
            line.push_str(&format!(", {replaced}"));
        }
    }
    text.push_str(&format!("{line}\n"));
    text
}

/// `key = value`, with a list over several lines where one is not enough. What stands in quotes is never broken.
fn value(key: &str, value: &str) -> String {
    let mut text = format!("{key} =");
    let mut used = text.chars().count();
    for part in parts(value) {
        let needs = part.chars().count();
        if used + 1 + needs > WIDTH {
            text.push_str("\n    ");
            used = 4;
        } else {
            text.push(' ');
            used += 1;
        }
        text.push_str(part);
        used += needs;
    }
    text.push('\n');
    text
}

/// A value of TOML in the parts between which a line may end: those of a list.
fn parts(value: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in value.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            ' ' if depth == 1 && value.starts_with('[') => {
                parts.push(&value[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_broken_between_their_parts_only() {
        let list = r#"["a b", "c \" d", { path = "x y", mode = "0770" }, ["e", "f"], 5]"#;
        assert_eq!(
            parts(list),
            [r#"["a b","#, r#""c \" d","#, r#"{ path = "x y", mode = "0770" },"#, r#"["e", "f"],"#, "5]"]
        );
        assert_eq!(parts(r#""a b c""#), [r#""a b c""#]);
        assert_eq!(parts("{ a = 1, b = 2 }"), ["{ a = 1, b = 2 }"]);
    }

    #[test]
    fn a_line_is_as_long_as_the_page_or_one_part() {
        let long = format!("\"{}\"", "word ".repeat(20).trim_end());
        assert_eq!(value("node.labels.a", "\"b\""), "node.labels.a = \"b\"\n");
        assert_eq!(value("node.labels.a", &long), format!("node.labels.a =\n    {long}\n"));
        let names: Vec<String> = (0..12).map(|n| format!("\"option-{n:02}\"")).collect();
        let text = value("cluster.config.disable", &format!("[{}]", names.join(", ")));
        let wanted = "cluster.config.disable = [\"option-00\", \"option-01\", \"option-02\", \"option-03\",\n    \
                      \"option-04\", \"option-05\", \"option-06\", \"option-07\", \"option-08\",\n    \
                      \"option-09\", \"option-10\", \"option-11\"]\n";
        assert_eq!(text, wanted);
    }
}
