//! The sockets of the metrics: bound where the settings say, as soon as the addresses are known, and tried again
//! while they cannot be had. A port in use degrades the node; it never holds up volumes or Kubernetes.

use super::scrape::Pages;
use crate::wiring;
use bowline_engine::{CapabilityReport, CapabilityState, Failing, Risk, StepReport};
use bowline_host::real::http::{Limits, Listening, Server, Sources};
use bowline_host::real::unix_now;
use bowline_metrics::Role;
use bowline_ports::PortError;
use bowline_settings::{Allow, Cidr, ConfigScalar, ConfigValue, Metrics, ServerAddress, Settings, usual_network};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const TRY_AGAIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Listeners {
    /// The networks of the pods that the cluster's servers told of last, and what the settings said of the cluster then.
    told: Option<(Vec<ServerAddress>, String)>,
    /// Whether the machine's address was one of IPv6 when it was known last.
    ipv6: bool,
    wanted: Vec<SocketAddr>,
    served: Option<Served>,
    sockets: Vec<Listening>,
    missing: Vec<Missing>,
}

/// What of the settings the sockets and their pages depend on: a change of anything else leaves them alone.
#[derive(Debug, PartialEq)]
struct Served {
    metrics: Metrics,
    pods: Vec<Cidr>,
    volumes: Vec<String>,
    role: Option<Role>,
    issuer: bool,
}

impl Served {
    fn of(settings: &Settings, told: Option<&str>, ipv6: bool, issuer: bool) -> Self {
        Self {
            metrics: settings.metrics.clone(),
            pods: pods(settings, told, ipv6),
            volumes: settings.volumes.iter().map(|volume| volume.name.clone()).collect(),
            role: wiring::role(settings),
            issuer,
        }
    }
}

struct Missing {
    address: SocketAddr,
    error: PortError,
    attempts: u32,
    since: i64,
    tried: Instant,
}

impl Listeners {
    /// Binds what is wanted and not bound yet; does nothing when all is as it should be. `pods` is the networks that the
    /// cluster's servers told of.
    pub(crate) async fn adjust(
        &mut self,
        settings: &Settings,
        address: Option<IpAddr>,
        pods: Option<&str>,
        pages: Pages,
    ) {
        // A look that does not come so far says nothing of them, and changes nothing.
        let servers = settings.cluster.as_ref().map(|cluster| cluster.join.servers.clone()).unwrap_or_default();
        self.told = match pods {
            Some(pods) => Some((servers, pods.to_owned())),
            None => self.told.take().filter(|(of, _)| *of == servers && !servers.is_empty()),
        };
        let wanted: Vec<_> = settings.metrics.listen.iter().filter_map(|l| l.resolve(address)).collect();
        self.ipv6 = address.map_or(self.ipv6, |address| address.is_ipv6());
        let told = self.told.as_ref().map(|(_, pods)| pods.as_str());
        let served = Served::of(settings, told, self.ipv6, pages.enrolments.is_some());
        let changed = wanted != self.wanted || self.served.as_ref() != Some(&served);
        let due = self.missing.iter().any(|m| m.tried.elapsed() >= TRY_AGAIN);
        if !changed && !due {
            return;
        }
        let server = |loopback| Server::new(pages.clone().handler(loopback), sources(&served), Limits::default());
        let servers = [server(false), server(true)];
        let addresses: Vec<SocketAddr> = if changed {
            // Closes what is open: who may ask may have changed too.
            for socket in self.sockets.drain(..) {
                socket.close().await;
            }
            self.missing.retain(|m| wanted.contains(&m.address));
            wanted.clone()
        } else {
            self.missing.iter().map(|m| m.address).collect()
        };
        for address in addresses {
            match servers[usize::from(address.ip().is_loopback())].listen(&[address]).await {
                Ok(listening) => {
                    self.sockets.push(listening);
                    self.missing.retain(|m| m.address != address);
                }
                Err(error) => self.failed(address, error),
            }
        }
        self.wanted = wanted;
        self.served = Some(served);
    }

    fn failed(&mut self, address: SocketAddr, error: PortError) {
        match self.missing.iter_mut().find(|m| m.address == address) {
            Some(known) => (known.attempts, known.tried, known.error) = (known.attempts + 1, Instant::now(), error),
            None => {
                tracing::warn!("metrics: {}", error.in_full());
                self.missing.push(Missing { address, error, attempts: 1, since: unix_now(), tried: Instant::now() });
            }
        }
    }

    /// What the report says of the sockets: nothing while all are open.
    pub(crate) fn reports(&self) -> Vec<CapabilityReport> {
        if self.missing.is_empty() {
            return Vec::new();
        }
        let step = |m: &Missing| StepReport {
            item: format!("listen/{}", m.address),
            what: format!("serve metrics on {}", m.address),
            why: "`[metrics] listen` says so".into(),
            risk: Risk::Safe,
            action: serde_json::Value::Null,
            running: None,
            failing: Some(Failing {
                attempts: m.attempts,
                since: m.since,
                kind: m.error.kind,
                error: m.error.message.clone(),
                hint: m.error.hint.clone(),
                next_try: unix_now() + TRY_AGAIN.saturating_sub(m.tried.elapsed()).as_secs().cast_signed(),
            }),
        };
        vec![CapabilityReport {
            name: "metrics".into(),
            state: CapabilityState::Failing,
            steps: self.missing.iter().map(step).collect(),
            waits: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            error: None,
        }]
    }

    /// When the next try is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.missing.iter().map(|m| TRY_AGAIN.saturating_sub(m.tried.elapsed())).min()
    }
}

/// Who may ask, besides the machine itself.
fn sources(served: &Served) -> Sources {
    let allowed = served.metrics.allow.iter().flat_map(|allow| match allow {
        Allow::Network(cidr) => vec![*cidr],
        Allow::Pods => served.pods.clone(),
    });
    let networks: Vec<Cidr> = allowed.collect();
    Sources::loopback_and(move |peer| networks.iter().any(|network| network.contains(peer)))
}

/// The networks of the pods: those of the cluster that let this machine in, else K3s's `cluster-cidr`, or its default; none as long
/// as a cluster that it is to come into has not told.
fn pods(settings: &Settings, told: Option<&str>, ipv6: bool) -> Vec<Cidr> {
    let cluster = settings.cluster.as_ref();
    let unknown = cluster.is_some_and(|c| !c.join.servers.is_empty() && !c.config.contains_key("cluster-cidr"));
    let text = match told {
        Some(told) => told.to_owned(),
        None if unknown => String::new(),
        None => own_pods(settings, ipv6),
    };
    text.split(',').filter_map(Cidr::masked).collect()
}

/// Those of a cluster that this machine founds, with an address of IPv4 or IPv6.
pub(crate) fn own_pods(settings: &Settings, ipv6: bool) -> String {
    let configured = settings.cluster.as_ref().and_then(|c| c.config.get("cluster-cidr"));
    match configured {
        None => usual_network("cluster-cidr", ipv6).unwrap_or_default().into(),
        Some(ConfigValue::One(one)) => text(one).unwrap_or_default(),
        Some(ConfigValue::Many(many)) => many.iter().filter_map(text).collect::<Vec<_>>().join(","),
    }
}

fn text(value: &ConfigScalar) -> Option<String> {
    match value {
        ConfigScalar::Text(text) => Some(text.clone()),
        ConfigScalar::Bool(_) | ConfigScalar::Integer(_) | ConfigScalar::Secret(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_settings::SourceFile;

    fn served(text: &str) -> Served {
        told(text, None)
    }

    fn told(text: &str, pods: Option<&str>) -> Served {
        let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        Served::of(&bowline_settings::load(&[file]).unwrap().settings, pods, false, false)
    }

    /// An agent has no options of its own: its pods have the network that the servers have.
    #[test]
    fn pods_that_may_ask_are_those_of_the_cluster_that_let_this_machine_in() {
        let pods = |told_of: Option<&str>, text: &str| told(text, told_of).pods;
        let nets = |text: &str| text.split(',').map(|net| net.parse().unwrap()).collect::<Vec<Cidr>>();
        let node = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n";
        assert_eq!(pods(None, node), nets("10.42.0.0/16"));
        assert_eq!(own_pods(&Settings::default(), true), "fd00:42::/56");
        assert_eq!(pods(Some("10.52.0.0/16,fd52::/56"), node), nets("10.52.0.0/16,fd52::/56"));
        let joins = node.replace("server\"\n", "server\"\nkey-file = \"/k\"\nservers = [\"10.0.1.9\"]\n");
        assert_eq!(pods(None, &joins), []);
        assert_eq!(pods(Some("10.52.0.0/16"), &joins), nets("10.52.0.0/16"));
        let own = format!("{node}[cluster.config]\ncluster-cidr = \"10.53.0.0/16\"\n");
        assert_eq!(pods(None, &own), nets("10.53.0.0/16"));
        // As K3s reads it.
        assert_eq!(pods(None, &own.replace("10.53.0.0", "10.53.0.1")), nets("10.53.0.0/16"));
    }

    /// The package may come first: pages that were made without a cluster would never show its K3s.
    #[test]
    fn a_cluster_that_comes_later_is_served_and_a_label_changes_nothing() {
        let server = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n";
        let with = served(server);
        assert_ne!(with, served("# none\n"));
        assert_eq!(with.role, Some(Role::Server));
        assert_eq!(with, served(&format!("{server}[node]\nlabels = {{ a = \"b\" }}\n")));
        assert_ne!(with, served(&format!("{server}[cluster.config]\ncluster-cidr = \"10.52.0.0/16\"\n")));
    }
}
