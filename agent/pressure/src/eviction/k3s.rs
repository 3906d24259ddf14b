//! What K3s hands on to its kubelet, out of its own configuration files.

use super::{Problem, Text, option, yaml};
use serde_json::Value;

/// The file that is read first, and the directory of those that follow it by their names (`*.yaml`, `*.yml`).
pub const FILES: [&str; 2] = ["/etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/config.yaml.d"];
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
    /// A configuration file of somebody's own (`--config`), which the kubelet reads first.
    pub config: Option<String>,
    /// The directory of the kubelet's configuration files (`*.conf`, by their names).
    pub drop_ins: String,
}

/// Reads K3s's configuration files, in their order. A later file replaces a key, or adds to it where the key ends in `+`.
///
/// # Errors
/// When one is no configuration: which, and why.
pub fn options(files: &[Text]) -> Result<Options, Problem> {
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
    let option = |name: &str| option(&arguments, name);
    Ok(Options {
        agent: format!("{data}/agent"),
        nodefs: option("root-dir").unwrap_or_else(|| "/var/lib/kubelet".into()),
        imagefs: format!("{data}/agent/containerd"),
        config: option("config"),
        drop_ins: option("config-dir").unwrap_or_else(|| format!("{data}/agent/etc/kubelet.conf.d")),
        arguments,
    })
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
