//! K3s in the simulation: its releases, its life, and its Node as the API has it.

use super::inspect::sha256;
use super::state::{SimUnit, State};
use bowline_ports::{
    ActiveState, CORDONED, Digest, ErrorKind, FetchOrder, K3S_CONFIG, K3S_ETCD_TOMBSTONE, KUBELET_PODS, NodeObject,
    PortError, Ready, k3s_kubeconfig, node_path,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const SERVER: &str = "k3s.service";
const AGENT: &str = "k3s-agent.service";
/// An agent's kubelet has it when it has come in.
const KUBELET_CERTIFICATE: &str = "/var/lib/rancher/k3s/agent/client-kubelet.crt";
/// A server has it as soon as its etcd runs.
const ETCD_DATA: &str = "/var/lib/rancher/k3s/server/db/etcd/member/wal";
/// K3s notes a member's name before it knows whether it will be one.
const ETCD_NAME: &str = "/var/lib/rancher/k3s/server/db/etcd/name";
/// K3s says READY this long after its start; its Node is registered and Ready a little later.
const UP_AFTER: Duration = Duration::from_secs(3);
const REGISTERED_AFTER: Duration = Duration::from_secs(4);
const READY_AFTER: Duration = Duration::from_secs(6);
/// So long after its start a server comes to the mark that it was taken out of etcd.
const REJOINS_AFTER: Duration = Duration::from_secs(2);

/// Whether a unit is K3s, in either role.
pub(super) fn is_k3s(unit: &str) -> bool {
    unit == SERVER || unit == AGENT
}

impl State {
    /// Its main process is started.
    pub(super) fn start_k3s(&mut self, unit: &str) -> Result<(), PortError> {
        if !self.files.contains_key(Path::new("/usr/local/bin/k3s")) {
            return Err(PortError::new(ErrorKind::NotFound, "k3s: no such file"));
        }
        if unit == SERVER && self.files.contains_key(Path::new(K3S_ETCD_TOMBSTONE)) {
            if !self.has_server_to_join() {
                self.violations.push("a server that was taken out of etcd begins a second cluster".into());
            }
            self.k3s_rejoins = Some(Instant::now() + REJOINS_AFTER);
        }
        self.state_of(unit).started = true;
        self.k3s_starts += 1;
        self.note_open_ports();
        let kubeconfig = k3s_kubeconfig(unit != AGENT);
        self.put(&kubeconfig, b"kubeconfig of the simulation".to_vec(), 0o600);
        self.put(Path::new(KUBELET_PODS), Vec::new(), 0o700);
        if unit == AGENT {
            self.put(Path::new(KUBELET_CERTIFICATE), b"certificate of the simulation".to_vec(), 0o600);
        }
        if unit == SERVER {
            self.put(Path::new(ETCD_NAME), b"name of the simulation".to_vec(), 0o600);
        }
        // One that ends before its etcd runs has no data.
        if unit == SERVER && self.k3s.dies_with.is_none() && (self.has_server_to_join() || self.begins_with_etcd()) {
            self.put(Path::new(ETCD_DATA), Vec::new(), 0o700);
        }
        Ok(())
    }

    fn begins_with_etcd(&self) -> bool {
        let text = self.files.get(Path::new(K3S_CONFIG)).map(|file| file.text()).unwrap_or_default();
        text.lines().any(|line| line == "\"cluster-init\": true")
    }

    /// Whether a server that was taken out of etcd is kept from being started: the gate in its unit, where that has it.
    pub(super) fn is_held_out(&self, unit: &str) -> bool {
        let gated = unit.lines().any(|line| line.starts_with("ExecCondition=") && line.contains(K3S_ETCD_TOMBSTONE));
        gated && self.files.contains_key(Path::new(K3S_ETCD_TOMBSTONE)) && !self.has_server_to_join()
    }

    fn has_server_to_join(&self) -> bool {
        let named =
            |text: String| text.lines().any(|line| line.starts_with("\"server\":") || line.starts_with("server:"));
        let all = self.files.iter().filter(|(path, _)| path.starts_with("/etc/rancher/k3s/config.yaml.d"));
        all.map(|(_, file)| file.text()).any(named)
    }

    /// A server that was taken out of etcd removes the mark of that when it joins anew.
    pub(super) fn k3s_goes_on(&mut self) {
        if self.k3s_rejoins.take_if(|at| *at <= Instant::now()).is_some() {
            self.files.remove(Path::new(K3S_ETCD_TOMBSTONE));
        }
    }

    /// It is down: nobody says any more how its Node is.
    pub(super) fn k3s_went(&mut self) {
        self.k3s_rejoins = None;
        if let Some(node) = &mut self.node {
            node.ready = Ready::Unknown;
        }
    }

    /// Restarts since the start: a K3s that dies is started again every five seconds.
    pub(super) fn k3s_restarts(&self, unit: &SimUnit) -> u32 {
        match &self.k3s.dies_with {
            Some(_) if unit.active => u32::try_from(unit.since.elapsed().as_secs() / 5).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    pub(super) fn k3s_state(&self, state: &SimUnit) -> (ActiveState, String) {
        if self.k3s.dies_with.is_some() {
            (ActiveState::Activating, "auto-restart".into())
        } else if state.since.elapsed() < UP_AFTER {
            (ActiveState::Activating, "start".into())
        } else {
            (ActiveState::Active, "running".into())
        }
    }

    /// For how long the API server has been up.
    pub(super) fn api(&self) -> Result<Duration, PortError> {
        let up = [SERVER, AGENT].iter().filter_map(|name| self.units.get(*name)).find(|unit| unit.active);
        up.map(|unit| unit.since.elapsed())
            .filter(|up| *up >= UP_AFTER && self.k3s.dies_with.is_none())
            .ok_or_else(|| PortError::new(ErrorKind::Unreachable, "the API server at 127.0.0.1:6443 does not answer"))
    }

    /// The Node as the API server has it now.
    pub(super) fn node(&mut self, name: &str) -> Result<Option<NodeObject>, PortError> {
        let up = self.api()?;
        if self.node.is_none() && up >= REGISTERED_AFTER {
            self.node = Some(self.registered(name));
        }
        let never = self.k3s.never_ready.clone();
        if let Some(node) = &mut self.node {
            let ready = up >= READY_AFTER && never.is_none();
            node.ready = if ready { Ready::True } else { Ready::False };
            node.ready_message = if ready { String::new() } else { never.unwrap_or_else(|| "starting".into()) };
        }
        let object = self.objects.get(&node_path(name)).unwrap_or(&Value::Null);
        if let Some(node) = &mut self.node {
            node.unschedulable = object["spec"]["unschedulable"] == true;
            node.cordoned = !object["metadata"]["annotations"][CORDONED].is_null();
        }
        Ok(self.node.clone().filter(|node| node.name == name))
    }

    fn registered(&self, name: &str) -> NodeObject {
        let mut node = NodeObject {
            name: name.into(),
            uid: "sim-1".into(),
            labels: BTreeMap::from([("kubernetes.io/hostname".into(), name.into())]),
            managers: BTreeMap::from([("kubernetes.io/hostname".into(), vec!["k3s".into()])]),
            ready: Ready::False,
            ready_message: String::new(),
            internal_ips: Vec::new(),
            taints: self.foreign_taints.iter().cloned().chain(self.told_taints()).collect(),
            own_taints: None,
            unschedulable: false,
            cordoned: false,
            kubelet_version: "v1.34.1+k3s1".into(),
        };
        for label in &self.foreign_labels {
            node.labels.insert(label.key.clone(), label.value.clone());
            node.managers.entry(label.key.clone()).or_default().push(label.manager.clone());
        }
        node
    }

    /// Taints of K3s's configuration: given at registration, and never again.
    fn told_taints(&self) -> Vec<String> {
        let text = self.files.get(Path::new(K3S_CONFIG)).map(|file| file.text()).unwrap_or_default();
        let told = text.lines().find_map(|line| line.strip_prefix("\"node-taint+\": "));
        told.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
    }
}

impl State {
    /// Downloads, verifies, and puts the file where it belongs.
    pub(super) fn fetched(&mut self, order: &FetchOrder) -> Result<(), PortError> {
        let named = |version: &&String| {
            order.url.contains(&version.replace('+', "%2B")) || order.url.contains(version.as_str())
        };
        let Some(version) = self.k3s.releases.iter().find(named) else {
            return Err(PortError::new(ErrorKind::Invalid, format!("{}: 404 Not Found", order.url))
                .hint("does that version exist?"));
        };
        let content = format!("k3s {}", self.k3s.serves.as_ref().unwrap_or(version)).into_bytes();
        if let Digest::Pinned(wanted) = &order.digest
            && *wanted != sha256(&content)
        {
            return Err(PortError::new(ErrorKind::Invalid, format!("{}: the checksum does not fit", order.url)));
        }
        self.put(&order.to, content, 0o755);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{SimHost, World};
    use bowline_ports::node_name;

    /// Bowline was purged, and the host renamed: at the next boot nothing else tells of the Node.
    #[tokio::test]
    async fn a_node_keeps_its_name_while_the_volume_with_k3s_data_is_not_there() {
        let host = SimHost::new(&World::default());
        host.rename("n2");
        host.put("/usr/local/bin/k3s", "");
        host.put(K3S_CONFIG, "\"node-name\": \"n1\"\n");
        assert_eq!(node_name(&host, None).await.unwrap(), "n2", "K3s has never run as n1");
        host.lock().start_k3s(AGENT).unwrap();
        host.lock().files.retain(|path, _| !path.starts_with("/var/lib/rancher"));
        assert_eq!(node_name(&host, None).await.unwrap(), "n1");
    }
}
