//! The checks of the demo: told as they end, and written down with their evidence.

use anyhow::Result;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Serialize)]
struct Check {
    name: String,
    passed: bool,
    seconds: f64,
    evidence: String,
}

/// The checks so far, told as they end.
#[derive(Default)]
pub(crate) struct Demo {
    checks: Vec<Check>,
}

impl Demo {
    /// Carries a check out. What it returns is its evidence, which is told with it, and an error its failure.
    pub(crate) fn check(&mut self, name: &str, work: impl FnOnce() -> Result<String>) {
        let begun = Instant::now();
        let (passed, evidence) = match work() {
            Ok(evidence) => (true, evidence),
            Err(error) => (false, format!("{error:#}")),
        };
        let seconds = begun.elapsed().as_secs_f64();
        let (said, mark) = (evidence.trim(), if passed { "ok" } else { "FAILED" });
        match said.lines().count() {
            0 | 1 => tell(&format!("[{mark}] {name}: {said}")),
            _ => tell(&format!("[{mark}] {name}:\n{}", indent(said))),
        }
        self.checks.push(Check { name: name.into(), passed, seconds, evidence });
    }

    pub(crate) fn finish(&self) -> Result<ExitCode> {
        let folder = Path::new("target/demo");
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&self.checks)?)?;
        let passed = self.checks.iter().filter(|c| c.passed).count();
        let failed = self.checks.len() - passed;
        tell("every check with its evidence: target/demo/report.json");
        tell(&format!("demo: {passed} passed, {failed} failed"));
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

pub(crate) fn title(text: &str) {
    tell(&format!("\n== {text}"));
}

pub(crate) fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
