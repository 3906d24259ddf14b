//! The same exposition as OpenMetrics 1.0 text, for who asks for it: families of counters are named without `_total`, quotes in
//! help are escaped, and it has an end.

use std::fmt::Write;

/// The media type of [`openmetrics`].
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

/// Turns text of the form 0.0.4 into OpenMetrics.
pub fn openmetrics(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.strip_suffix("_total"))
        .collect();
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|head| Some((*head, line.strip_prefix(head)?)));
        let Some((head, rest)) = described else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = name.strip_suffix("_total").filter(|name| counters.contains(name)).unwrap_or(name);
        let rest = if head == "# HELP " { rest.replace('"', "\\\"") } else { rest.to_owned() };
        let _ = writeln!(out, "{head}{name} {rest}");
    }
    out.push_str("# EOF\n");
    out
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
                        # TYPE b_total gauge\nb_total 2\n# EOF\n";
        assert_eq!(openmetrics(text), expected);
    }
}
