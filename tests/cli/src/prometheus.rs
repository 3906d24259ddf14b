//! What is shipped for Prometheus and Grafana, and a real Prometheus that has recorded what Bowline tells.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A file or folder of `packaging`.
pub fn packaging(path: &str) -> PathBuf {
    // Tests are run in the folder of their crate.
    fs::canonicalize("../../packaging").unwrap_or_default().join(path)
}

/// A file's text.
///
/// # Panics
/// When it cannot be read.
#[allow(clippy::panic)]
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every metric of Bowline's that a text names, with what follows. Recorded ones (`mountpoint:bowline_…`) are not its own.
pub fn metrics(text: &str) -> Vec<(&str, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let begins = text.match_indices("bowline_").filter(|(at, _)| !text[..*at].ends_with(part));
    begins
        .map(|(at, _)| {
            let rest = &text[at..];
            rest.split_at(rest.find(|c| !part(c)).unwrap_or(rest.len()))
        })
        .collect()
}

/// The expositions that the tests hold: the golden one, and families of `recorded/` that it does not have.
///
/// # Panics
/// When one cannot be read.
pub fn exposition() -> String {
    let golden = read(Path::new("../../agent/metrics/tests/golden/degraded.prom"));
    let has: BTreeSet<&str> = golden.lines().filter_map(family).collect();
    let recorded = read(Path::new("recorded/pressure.prom"));
    let further = recorded.lines().filter(|line| family(line).is_some_and(|name| !has.contains(name)));
    golden.lines().chain(further).fold(String::new(), |text, line| text + line + "\n")
}

/// The family of a line of an exposition: of its header, or of a series.
fn family(line: &str) -> Option<&str> {
    let header = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
    header.unwrap_or(line).split(['{', ' ']).next()
}

/// The names of all series of [`exposition`].
///
/// # Panics
/// When it cannot be read.
pub fn known() -> BTreeSet<String> {
    exposition().lines().filter(|line| !line.starts_with('#')).filter_map(family).map(str::to_string).collect()
}

/// Two hours of [`exposition`] from these nodes, a sample a minute until `end` (seconds since 1970), as OpenMetrics. Counters
/// go on counting, and times are near.
///
/// # Panics
/// When it cannot be read.
pub fn recording(nodes: &[&str], end: u64) -> String {
    let mut text = String::new();
    for line in exposition().lines().filter(|line| !line.starts_with('#')) {
        let name = family(line).unwrap_or_default();
        let (series, value) = line.rsplit_once(' ').unwrap_or_default();
        let labels = series[name.len()..].trim_start_matches('{').trim_end_matches('}');
        let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
        for node in nodes {
            for minute in 0..=120 {
                let at = end - (120 - minute) * 60;
                let value = match value.parse::<f64>() {
                    Ok(value) if counts => (value + 1.0 + minute as f64).to_string(),
                    Ok(_) if name.ends_with("_timestamp_seconds") => (at - 60).to_string(),
                    _ => value.to_string(),
                };
                let comma = if labels.is_empty() { "" } else { "," };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name}{{{labels}{comma}instance=\"{node}\",job=\"bowline\"}} {value} {at}");
            }
        }
    }
    text
}

/// A Prometheus of this test on a loopback port of its own. It ends with its owner, also when that panics or is killed.
pub struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one with a configuration, and with samples (OpenMetrics, without the last line) as if it had scraped them.
    ///
    /// # Panics
    /// When it does not come up within a minute.
    #[allow(clippy::expect_used, clippy::panic)]
    pub fn start(config: &str, samples: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [settings, openmetrics, data, log] =
            ["prometheus.yml", "samples", "data", "log"].map(|name| folder.path().join(name));
        fs::write(&settings, config).expect("its configuration");
        fs::write(&openmetrics, format!("{samples}# EOF\n")).expect("the samples");
        let mut blocks = Command::new(tool("promtool"));
        blocks.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&openmetrics).arg(&data);
        let made = blocks.output().expect("promtool");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(tool("prometheus"));
        command.arg(format!("--config.file={}", settings.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        command.stdout(Stdio::null()).stderr(File::create(&log).expect("its log"));
        let child = command.spawn().expect("setpriv, of util-linux");
        let mut prometheus = Self { child, address: String::new(), _folder: folder };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(120) {
            let said = read(&log);
            let line = said.lines().find(|line| line.contains("\"Listening on\""));
            if let Some((_, address)) = line.and_then(|line| line.split_once("address=")) {
                prometheus.address = address.trim().to_string();
                if curl(&[&format!("http://{}/-/ready", prometheus.address)]).is_some() {
                    return prometheus;
                }
            }
            let ended = prometheus.child.try_wait().expect("whether it runs");
            assert!(ended.is_none(), "Prometheus ended: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("Prometheus is not ready: {}", read(&log));
    }

    /// What its API answers (`data`), or why it does not.
    pub fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, String> {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let url = format!("http://{}/api/v1/{path}", self.address);
        let mut words = vec!["--get", url.as_str()];
        words.extend(fields.iter().flat_map(|field| ["--data-urlencode", field]));
        let text = curl(&words).ok_or("no answer")?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(text) }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What curl got; `None` when it could not connect, or was told that the server is not ready.
fn curl(words: &[&str]) -> Option<String> {
    let output =
        Command::new("curl").args(["--silent", "--noproxy", "*", "--max-time", "30"]).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.contains("Service Unavailable")).then_some(text)
}

/// A program of Debian's package `prometheus`, from `PATH`, or from where `tests/run` puts it.
///
/// # Panics
/// When it is at neither.
#[allow(clippy::panic)]
pub fn tool(name: &str) -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache"))).map(|it| it.join("bowline"));
    let cache = folder("BOWLINE_CACHE").or(cache).map(|it| it.join("tools"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(cache).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not there; this fetches it: tests/run with true"))
}
