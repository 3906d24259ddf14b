//! One figure, and all of them as a file and as a table.

use crate::goals::{self, Goals};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// What was measured, beside what it is compared with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) ours: f64,
    /// Null where there is nobody to compare with.
    pub(crate) peer: Option<f64>,
    /// `ours` by `peer`.
    pub(crate) ratio: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) peer_name: Option<&'static str>,
    /// How often it was measured.
    pub(crate) runs: usize,
    /// What it may be at most; in the table only, where each figure is beside it.
    #[serde(skip)]
    pub(crate) goals: Goals,
    /// How much failed while it was measured.
    #[serde(skip)]
    pub(crate) failed: usize,
    /// Everything that the figure was made of.
    pub(crate) measured: Value,
}

impl Figure {
    pub(crate) fn new(name: &'static str, ours: f64, unit: &'static str) -> Self {
        Self {
            name,
            ours: rounded(ours),
            peer: None,
            ratio: None,
            unit,
            peer_name: None,
            runs: 1,
            goals: goals::of(name),
            failed: 0,
            measured: Value::Null,
        }
    }

    /// So much has failed.
    pub(crate) fn failed(mut self, failed: usize) -> Self {
        self.failed = failed;
        self
    }

    pub(crate) fn beside(mut self, peer: f64, name: &'static str) -> Self {
        self.peer = Some(rounded(peer));
        self.ratio = Some(rounded(self.ours / peer));
        self.peer_name = Some(name);
        self
    }

    pub(crate) fn runs(mut self, runs: usize) -> Self {
        self.runs = runs;
        self
    }

    pub(crate) fn measured(mut self, measured: Value) -> Self {
        self.measured = measured;
        self
    }

    fn met(&self) -> bool {
        let Goals { ours, ratio, none_failed } = self.goals;
        ours.is_none_or(|goal| self.ours <= goal)
            && ratio.is_none_or(|goal| self.ratio.is_some_and(|r| r <= goal))
            && (!none_failed || self.failed == 0)
    }

    fn goal(&self) -> String {
        let ours = self.goals.ours.map_or_else(|| "-".into(), |goal| goal.to_string());
        let ratio = self.goals.ratio.map(|goal| format!(", ratio {goal}")).unwrap_or_default();
        let failed = if self.goals.none_failed { ", none failed" } else { "" };
        format!("{ours}{ratio}{failed}")
    }
}

/// Writes `results.json` into the folder.
pub(crate) fn write(folder: &Path, figures: &[Figure]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(folder.join("results.json"), serde_json::to_vec_pretty(figures)?)?)
}

/// The same for people.
pub(crate) fn table(figures: &[Figure]) -> String {
    let or_dash = |number: Option<f64>| number.map_or("-".into(), |n| n.to_string());
    let mut text = String::new();
    let mut line = |cells: [&str; 8]| {
        let [name, ours, peer, ratio, unit, goal, met, peer_name] = cells;
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:28} {ours:>9} {peer:>9} {ratio:>7}  {unit:12} {goal:>15}  {met:5} {peer_name}");
    };
    line(["", "ours", "peer", "ratio", "", "at most", "", "peer"]);
    for f in figures {
        line([
            f.name,
            &f.ours.to_string(),
            &or_dash(f.peer),
            &or_dash(f.ratio),
            f.unit,
            &f.goal(),
            if f.met() { "ok" } else { "over" },
            f.peer_name.unwrap_or_default(),
        ]);
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// How many goals were met, and which were not.
pub(crate) fn sum(figures: &[Figure]) -> String {
    let (met, missed): (Vec<_>, Vec<_>) = figures.iter().partition(|f| f.met());
    let names = |figures: &[&Figure]| figures.iter().map(|figure| figure.name).collect::<Vec<_>>().join(", ");
    match missed.is_empty() {
        true => format!("goals met: all {}", met.len()),
        false => format!("goals met: {}\ngoals missed: {}, {}", met.len(), missed.len(), names(&missed)),
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// To three decimals: none of these is measured more closely.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_file_has_the_agreed_keys_and_the_table_says_what_is_over() {
        let rss = Figure::new("idle_rss", 13.0, "MB").beside(26.0, "node_exporter");
        let json = serde_json::to_value(&rss).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["measured", "name", "ours", "peer", "peer_name", "ratio", "runs", "unit"]);
        assert_eq!(json["ratio"], 0.5);
        let alone = Figure::new("package_size", 3.5, "MB");
        assert!(serde_json::to_value(&alone).unwrap()["peer"].is_null());
        assert_eq!(sum(&[rss.clone(), alone.clone()]), "goals met: 1\ngoals missed: 1, idle_rss");
        assert_eq!(sum(&[alone.clone(), alone.clone()]), "goals met: all 2");
        let table = table(&[rss, alone]);
        assert!(table.contains("12, ratio 0.45  over  node_exporter"), "{table}");
        assert!(table.lines().nth(2).unwrap().ends_with(" 4  ok"), "{table}");
    }

    #[test]
    fn what_failed_meanwhile_is_over_whatever_the_number() {
        let line = |figure: Figure| super::table(&[figure]).lines().nth(1).unwrap().to_string();
        let quick = || Figure::new("enroll_500_one_issuer", 3.0, "s");
        assert!(line(quick()).ends_with("10, none failed  ok"));
        assert!(line(quick().failed(1)).ends_with("10, none failed  over"));
        assert!(line(Figure::new("enroll_50_one_issuer", 99.0, "s")).ends_with("-, none failed  ok"));
    }
}
