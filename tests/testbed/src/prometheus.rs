//! Debian's Prometheus inside a machine: started with a configuration, and asked by its own API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine::Machine;

/// Where its API listens inside the machine.
const API: &str = "http://127.0.0.1:9090";

/// A Prometheus that runs in a machine.
pub struct Prometheus {
    machine: Machine,
}

impl Machine {
    /// Starts the machine's Prometheus with this configuration (`prometheus.yml`), checked by promtool, and waits until it is ready.
    pub fn start_prometheus(&self, config: &str) -> Result<Prometheus> {
        self.put("/etc/prometheus/prometheus.yml", config, 0o644)?;
        self.ok("promtool check config /etc/prometheus/prometheus.yml")?;
        self.ok("systemctl restart prometheus.service")?;
        let ready = format!("curl -sf {API}/-/ready");
        self.wait_for("Prometheus to be ready", Duration::from_secs(30), || Ok(self.run(&ready)?.success()))?;
        Ok(Prometheus { machine: self.clone() })
    }
}

impl Prometheus {
    /// The samples of an instant query: labels and value.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let answer = self
            .get(&format!("--get --data-urlencode 'query={}' {API}/api/v1/query", expression.replace('\'', "'\\''")))?;
        let samples = answer["data"]["result"].as_array().context("no result")?;
        samples
            .iter()
            .map(|sample| {
                let value = sample["value"][1].as_str().context("no value")?;
                Ok((sample["metric"].clone(), value.parse::<f64>()?))
            })
            .collect()
    }

    /// Waits until a query has a result, and returns it.
    pub fn wait_query(&self, expression: &str, limit: Duration) -> Result<Vec<(Value, f64)>> {
        crate::wait_some(&format!("Prometheus to know {expression}"), limit, || {
            Ok(Some(self.query(expression)?).filter(|samples| !samples.is_empty()))
        })
    }

    /// What it scrapes, with `health` and `lastError` of each.
    pub fn targets(&self) -> Result<Vec<Value>> {
        let answer = self.get(&format!("{API}/api/v1/targets"))?;
        Ok(answer["data"]["activeTargets"].as_array().context("no targets")?.clone())
    }

    /// The rules that it has loaded, with `health` and `lastError` of each.
    pub fn rules(&self) -> Result<Vec<Value>> {
        let answer = self.get(&format!("{API}/api/v1/rules"))?;
        let groups = answer["data"]["groups"].as_array().context("no groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    fn get(&self, words: &str) -> Result<Value> {
        let text = self.machine.ok(&format!("curl -sS {words}"))?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        if answer["status"] != "success" {
            bail!("Prometheus: {text}");
        }
        Ok(answer)
    }
}
