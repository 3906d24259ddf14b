//! Lengths of time: `15s`, `10m`, `2h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};
use crate::net::number;

/// A length of time in whole seconds, written as a number and one of `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl Span {
    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The same as the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Span {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds)));
        let count = unit.and_then(|(count, seconds)| Some((number::<u64>(count)?, seconds)));
        let (count, seconds) = count.ok_or_else(|| {
            Complaint::new(format!(
                "{} is not a length of time: expected \"30s\", \"10m\", \"2h\" or \"7d\"",
                quote(text)
            ))
        })?;
        // More is a slip of the pen.
        let seconds = count.checked_mul(seconds).filter(|seconds| *seconds <= 100 * 366 * 86_400);
        seconds.map(Self).ok_or_else(|| {
            Complaint::new(format!("{} is more than a hundred years, the longest there is", quote(text)))
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, seconds)| self.0 > 0 && self.0.is_multiple_of(*seconds));
        let (unit, seconds) = whole.copied().unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn lengths() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), ("7d", 604_800)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.duration().as_secs(), seconds);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!(Span::from_secs(90).to_string(), "90s");
        assert_eq!(Span::from_secs(120).to_string(), "2m");
        for text in ["", "s", "10", "1h30m", "-1s", "+1s", "01s", "1.5h", "1 m", "99999999999999999999s", "99999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!("100000d".parse::<Span>().unwrap_err().message.contains("more than a hundred years"));
    }
}
