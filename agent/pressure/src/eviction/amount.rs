//! How much has to be free: a part of the whole, or a number as Kubernetes writes it.

use super::Problem;

/// How much has to be free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A part of the whole filesystem, from 0 to 1, in the kubelet's own precision.
    Part(f32),
    /// Bytes or inodes.
    Number(u64),
}

/// Powers that Kubernetes's suffixes stand for. Those of ten also below one, where a number is rounded up.
const SUFFIXES: [(&str, f64); 16] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("", 1.0),
];

impl Amount {
    /// Reads what stands behind a signal. `None`: `0%` and `100%`, by which the kubelet means no threshold.
    ///
    /// # Errors
    /// When it is neither a percentage nor a quantity, or none above zero, where the kubelet does not start.
    pub fn read(text: &str) -> Result<Option<Self>, Problem> {
        let wrong =
            || Problem(format!("{text:?} is neither a percentage nor a quantity above zero, such as 10% or 1Gi"));
        if let Some(percent) = text.strip_suffix('%') {
            if percent == "0" || percent == "100" {
                return Ok(None);
            }
            let part = percent.parse::<f32>().map_err(|_| wrong())? / 100.0;
            return if (0.0..=1.0).contains(&part) { Ok(Some(Self::Part(part))) } else { Err(wrong()) };
        }
        match quantity(text).filter(|number| *number > 0) {
            Some(number) => Ok(Some(Self::Number(number))),
            None => Err(wrong()),
        }
    }

    /// How much that is of so much, as the kubelet computes it.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Part(part) => (whole as f64 * f64::from(part)) as u64,
            Self::Number(number) => number,
        }
    }
}

/// A quantity as a whole number, rounded up; exact up to 2^53.
fn quantity(text: &str) -> Option<u64> {
    let digits = |part: &str| {
        part.chars().all(|c| c.is_ascii_digit() || c == '.') && part.contains(|c: char| c.is_ascii_digit())
    };
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    if !digits(number) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let by = match SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        Some((_, by)) => *by,
        None => 10f64.powi(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let whole = (number * by).ceil();
    (whole <= u64::MAX as f64).then_some(whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, whole, wanted) in [
            ("10%", 1000, Some(100)),
            ("5%", 50_000_000_000, Some(2_500_000_037)), // 5 % is no 32-bit number: so the kubelet
            ("2.5%", 1000, Some(25)),
            ("0%", 1000, None),
            ("100%", 1000, None),
            ("1Gi", 0, Some(1 << 30)),
            ("500Mi", 0, Some(500 << 20)),
            ("1.5Gi", 0, Some(1_610_612_736)),
            ("100M", 0, Some(100_000_000)),
            ("2k", 0, Some(2000)),
            ("1e9", 0, Some(1_000_000_000)),
            ("2E", 0, Some(2_000_000_000_000_000_000)),
            ("1500m", 0, Some(2)),
            ("+7", 0, Some(7)),
            ("10000", 0, Some(10_000)),
        ] {
            assert_eq!(Amount::read(text).unwrap().map(|amount| amount.of(whole)), wanted, "{text}");
        }
        for text in [
            "", "%", "x%", "-5%", "101%", "NaN%", "0", "0Gi", "-1Gi", "1GiB", "1 Gi", "Gi", "1..2", "ten", "99E",
            "1e99",
        ] {
            let error = Amount::read(text).unwrap_err();
            assert!(error.0.contains("such as 10% or 1Gi"), "{text}: {error}");
        }
    }
}
