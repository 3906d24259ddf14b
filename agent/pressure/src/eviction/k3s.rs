//! What K3s hands on to its kubelet, out of its own configuration files and the command line of its unit.

use super::{Problem, Text, option, yaml};
use serde_json::Value;

/// The file that is read first, and the directory of those that follow it by their names (`*.yaml`, `*.yml`).
pub const FILES: [&str; 2] = ["/etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/config.yaml.d"];
/// What K3s from 1.32 on writes into [`Options::managed`] at each start.
pub const DEFAULTS: &str = "00-k3s-defaults.conf";
/// Where it copies the file that `config` names, and the directory that `config-dir` names; neither is removed again.
pub const COPIES: [&str; 2] = ["10-cli-config.conf", "20-cli-config-dir"];
/// Where K3s keeps its data, unless `data-dir` says otherwise.
const DATA: &str = "/var/lib/rancher/k3s";

/// What of K3s's configuration the kubelet and its filesystems depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The kubelet's options (`kubelet-arg`).
    pub arguments: Vec<String>,
    /// The directory that there is where K3s has run a kubelet.
    pub agent: String,
    /// On whose filesystem `nodefs` is.
    pub nodefs: String,
    /// On whose filesystem `imagefs` is.
    pub imagefs: String,
    /// A configuration file of somebody's own (`config`).
    pub config: Option<String>,
    /// A directory of such files of somebody's own (`config-dir`).
    pub config_dir: Option<String>,
    /// K3s's own directory of the kubelet's configuration files. From 1.32 on the kubelet reads no others
    /// (`extractConfigArgs` of `pkg/daemons/agent`).
    pub managed: String,
}

/// Reads K3s's configuration files, in their order: a later file replaces a key, or adds to it where the key ends in `+`. What the
/// text of its unit has on the command line replaces either.
///
/// # Errors
/// When a file is no configuration: which, and why.
pub fn options(files: &[Text], unit: &str) -> Result<Options, Problem> {
    let (mut arguments, mut data): (Vec<String>, _) = (Vec::new(), DATA.to_string());
    for (name, text) in files {
        for (key, value) in yaml(text).map_err(|problem| problem.at(name))? {
            match key.as_str() {
                "kubelet-arg" => arguments = texts(&value).map_err(|problem| problem.at(name))?,
                "kubelet-arg+" => arguments.extend(texts(&value).map_err(|problem| problem.at(name))?),
                "data-dir" | "d" => {
                    let problem = || Problem(format!("{key} is no text: {value}")).at(name);
                    data = value.as_str().ok_or_else(problem)?.trim_end_matches('/').to_string();
                }
                _ => {}
            }
        }
    }
    let (mut given, mut words) = (Vec::new(), command_line(unit));
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        if !["--kubelet-arg", "--data-dir", "-d"].contains(&name) {
            continue;
        }
        let Some(value) = value.or_else(|| words.next()) else { break };
        let value = value.trim_matches(QUOTES);
        match name {
            "--kubelet-arg" => given.push(value.to_owned()),
            _ => data = value.trim_end_matches('/').to_owned(),
        }
    }
    if !given.is_empty() {
        arguments = given;
    }
    let option = |name: &str| option(&arguments, name);
    Ok(Options {
        agent: format!("{data}/agent"),
        nodefs: option("root-dir").unwrap_or_else(|| "/var/lib/kubelet".into()),
        imagefs: format!("{data}/agent/containerd"),
        config: option("config"),
        config_dir: option("config-dir"),
        managed: format!("{data}/agent/etc/kubelet.conf.d"),
        arguments,
    })
}

const QUOTES: [char; 2] = ['"', '\''];

/// The words of a unit's `ExecStart=`, as K3s's installer writes them: each in quotes, on lines that are continued.
fn command_line(unit: &str) -> impl Iterator<Item = &str> {
    let mut continued = false;
    let lines = unit.lines().filter(move |line| {
        let own = continued || line.trim_start().starts_with("ExecStart=");
        continued = own && line.ends_with('\\');
        own
    });
    let words = lines.flat_map(str::split_whitespace).map(|word| word.trim_matches(QUOTES));
    words.filter(|word| !word.is_empty() && *word != "\\")
}

/// One text or a list of them.
fn texts(value: &Value) -> Result<Vec<String>, Problem> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let all = match value {
        Value::Array(values) => values.iter().map(text).collect(),
        Value::Null => Some(Vec::new()),
        other => text(other).map(|one| vec![one]),
    };
    all.ok_or_else(|| Problem(format!("kubelet-arg is no list of texts: {value}")))
}
