//! What OpenMetrics 1.0 has otherwise than the older text, and who asks for it.

use std::borrow::Cow;
use std::fmt::Write;

/// The media type of [`Form::OpenMetrics`](crate::Form::OpenMetrics).
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether an `Accept` header asks for OpenMetrics rather than for the older text. What is named with a larger `q` is wanted
/// more, and among equals what is named more exactly.
pub fn wants_openmetrics(accept: &str) -> bool {
    let quality = |names: &[&str]| accept.split(',').filter_map(|one| weighed(one, names)).fold(0.0_f64, f64::max);
    let open = quality(&["application/openmetrics-text"]);
    open > 0.0 && open >= quality(&["text/plain", "*/*", "text/*"])
}

/// The weight of one media range, where it is one of these; ones of other versions are none.
fn weighed(range: &str, names: &[&str]) -> Option<f64> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    if !names.iter().any(|one| name.eq_ignore_ascii_case(one)) {
        return None;
    }
    let (mut weight, mut known) = (1.0, true);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key.trim() {
            "q" => weight = value.trim().parse().unwrap_or(0.0),
            "version" => known &= ["1.0.0", "0.0.1", "0.0.4"].contains(&value.trim().trim_matches('"')),
            _ => {}
        }
    }
    known.then_some(weight)
}

/// What a family of counters is called.
pub(crate) fn family(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// A help text.
pub(crate) fn help(text: &str) -> Cow<'_, str> {
    if text.contains('"') { text.replace('"', "\\\"").into() } else { text.into() }
}

/// Adds families of the form 0.0.4 as OpenMetrics.
pub(crate) fn translate(text: &str, out: &mut String) {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in text.lines() {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|head| Some((*head, line.strip_prefix(head)?)));
        let Some((head, rest)) = described else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = if counters.contains(&name) { family(name) } else { name };
        let rest = if head == "# HELP " { help(rest) } else { rest.into() };
        let _ = writeln!(out, "{head}{name} {rest}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_it_gets_it() {
        // As Prometheus 2.42 and 3 ask, and as people and others do.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, wanted) in [
            (prometheus, true),
            ("application/openmetrics-text; version=1.0.0", true),
            ("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.4", false),
            ("application/openmetrics-text;version=9.0.0, */*;q=0.1", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("", false),
        ] {
            assert_eq!(wants_openmetrics(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn counters_lose_their_ending_in_what_describes_them() {
        let text = "# HELP a_total Says \"it\".\n# TYPE a_total counter\na_total{x=\"y\"} 1\n# HELP b_total A gauge.\n\
                    # TYPE b_total gauge\nb_total 2\n";
        let expected = "# HELP a Says \\\"it\\\".\n# TYPE a counter\na_total{x=\"y\"} 1\n# HELP b_total A gauge.\n\
                        # TYPE b_total gauge\nb_total 2\n";
        let mut open = String::new();
        translate(text, &mut open);
        assert_eq!(open, expected);
    }
}
