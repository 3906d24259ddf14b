//! A small writer of both text formats.

use crate::openmetrics;
use std::fmt::Write;

/// In which form the exposition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Prometheus's own, 0.0.4.
    Text,
    /// OpenMetrics 1.0: families of counters are named without `_total`, quotes in help are escaped, and it has an end.
    OpenMetrics,
}

/// Gauge or counter: what is written directly. Histograms are the `prometheus` crate's.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Gauge,
    Counter,
}

/// Collects families. A family's series have to be written together, so start one and finish it.
pub(crate) struct Exposition {
    text: String,
    form: Form,
}

impl Exposition {
    pub(crate) fn with_capacity(form: Form, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), form }
    }

    /// Starts a family. The name is without the prefix, which every family has.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let (kind, described) = match (kind, self.form) {
            (Kind::Gauge, _) => ("gauge", name),
            (Kind::Counter, Form::Text) => ("counter", name),
            (Kind::Counter, Form::OpenMetrics) => ("counter", openmetrics::family(name)),
        };
        let help = match self.form {
            Form::Text => help.into(),
            Form::OpenMetrics => openmetrics::help(help),
        };
        for part in ["# HELP bowline_", described, " ", &help, "\n# TYPE bowline_", described, " ", kind, "\n"] {
            self.text.push_str(part);
        }
        Family { text: &mut self.text, name }
    }

    /// A family of one series without labels.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: impl Value) {
        self.family(name, Kind::Gauge, help).series("", value);
    }

    /// Families that the `prometheus` crate has encoded.
    pub(crate) fn encoded(&mut self, text: &str) {
        match self.form {
            Form::Text => self.text.push_str(text),
            Form::OpenMetrics => openmetrics::translate(text, &mut self.text),
        }
    }

    pub(crate) fn into_text(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A family that has its header.
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// One series. `labels` is what [`labels`] made, or empty.
    pub(crate) fn series(&mut self, labels: &str, value: impl Value) {
        self.text.push_str("bowline_");
        self.text.push_str(self.name);
        self.text.push_str(labels);
        self.text.push(' ');
        value.write(self.text);
        self.text.push('\n');
    }

    /// One series for each of `all`, 1 for the one that is true.
    pub(crate) fn one_of(&mut self, fixed: &[(&str, &str)], key: &str, all: &[&str], now: &str) {
        for name in all {
            let mut pairs = fixed.to_vec();
            pairs.push((key, name));
            self.series(&labels(&pairs), *name == now);
        }
    }
}

/// `{a="b",c="d"}` with the values escaped.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(128);
    for (at, (key, value)) in pairs.iter().enumerate() {
        text.push(if at == 0 { '{' } else { ',' });
        text.push_str(key);
        text.push_str("=\"");
        let mut rest = *value;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            text.push_str(&rest[..at]);
            text.push_str(match rest.as_bytes()[at] {
                b'\\' => "\\\\",
                b'"' => "\\\"",
                _ => "\\n",
            });
            rest = &rest[at + 1..];
        }
        text.push_str(rest);
        text.push('"');
    }
    if !pairs.is_empty() {
        text.push('}');
    }
    text
}

/// The same labels and one more, whose value needs no escaping.
pub(crate) fn also(labels: &str, key: &str, value: &str) -> String {
    format!("{},{key}=\"{value}\"}}", labels.trim_end_matches('}'))
}

/// What a series may have as its value.
pub(crate) trait Value {
    fn write(self, text: &mut String);
}

impl Value for u64 {
    fn write(self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{self}");
    }
}

impl Value for i64 {
    fn write(self, text: &mut String) {
        let _ = write!(text, "{self}");
    }
}

impl Value for usize {
    fn write(self, text: &mut String) {
        (self as u64).write(text);
    }
}

impl Value for bool {
    fn write(self, text: &mut String) {
        text.push(if self { '1' } else { '0' });
    }
}

impl Value for f64 {
    fn write(self, text: &mut String) {
        let _ = match self {
            v if v.is_nan() => write!(text, "NaN"),
            f64::INFINITY => write!(text, "+Inf"),
            f64::NEG_INFINITY => write!(text, "-Inf"),
            v => write!(text, "{v}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(labels(&[]), "");
        assert_eq!(labels(&[("a", "b"), ("c", "d e")]), r#"{a="b",c="d e"}"#);
        assert_eq!(labels(&[("m", "/mnt/a\\b\"c\nd")]), r#"{m="/mnt/a\\b\"c\nd"}"#);
        assert_eq!(labels(&[("m", "/mnt/ü, {x=1}")]), r#"{m="/mnt/ü, {x=1}"}"#);
    }

    #[test]
    fn values_are_what_prometheus_reads() {
        let text = |f: &dyn Fn(&mut String)| {
            let mut text = String::new();
            f(&mut text);
            text
        };
        assert_eq!(text(&|t| u64::MAX.write(t)), "18446744073709551615");
        assert_eq!(text(&|t| 0.5.write(t)), "0.5");
        assert_eq!(text(&|t| 12.0.write(t)), "12");
        assert_eq!(text(&|t| f64::NAN.write(t)), "NaN");
        assert_eq!(text(&|t| f64::INFINITY.write(t)), "+Inf");
        assert_eq!(text(&|t| true.write(t)), "1");
    }
}
