//! The node's own facts (name, address, route, clock), the ports, and where releases come from.

use super::check::{Check, Subject};
use crate::wiring;
use bowline_cluster::{BINARY, RELEASES, Release, api_port};
use bowline_engine::{Capability, Conditions};
use bowline_node::Node;
use bowline_ports::{ActiveState, ErrorKind, Inspect, Listener, PortError, condition};
use bowline_settings::{Mirror, Role, Settings};
use std::path::Path;

/// The item whose steps download K3s.
const DOWNLOAD: &str = "k3s/binary";

/// What was read.
pub(super) struct Facts {
    pub(super) node: Result<bowline_node::Facts, PortError>,
    pub(super) ports: Vec<Port>,
    pub(super) source: Option<Source>,
}

/// A port that Bowline or K3s listens on.
pub(super) struct Port {
    pub(super) number: u16,
    pub(super) user: User,
    pub(super) listener: Result<Option<Listener>, PortError>,
    /// The service of the process that listens, where one has its name.
    pub(super) service: Option<String>,
    /// K3s is up.
    pub(super) k3s_up: bool,
}

/// Whose port it is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Metrics,
    Kubernetes,
}

/// Where K3s is downloaded from; only while it is not installed.
pub(super) enum Source {
    /// A host, and whether its name leads to an address.
    Host(String, Result<(), PortError>),
    /// A file, and whether it is there.
    File(String, Result<bool, PortError>),
}

pub(super) async fn gather(
    host: &dyn Inspect,
    settings: &Settings,
    resolve: &impl AsyncFn(&str) -> Result<(), PortError>,
) -> Facts {
    let mut numbers: Vec<_> = settings.metrics.listen.iter().map(|l| (l.port, User::Metrics)).collect();
    numbers.sort_by_key(|(number, _)| *number);
    numbers.dedup();
    let servers = settings.cluster.iter().filter(|cluster| cluster.role == Role::Server);
    numbers.extend(servers.map(|cluster| (api_port(cluster), User::Kubernetes)));
    let k3s_up = match &settings.cluster {
        Some(cluster) => host.unit(cluster.role.service()).await.is_ok_and(|unit| unit.active == ActiveState::Active),
        None => false,
    };
    let mut ports = Vec::new();
    for (number, user) in numbers {
        let listener = host.listener(number).await;
        let mut service = None;
        if let Ok(Some(Listener { process: Some(process), .. })) = &listener {
            let name = format!("{process}.service");
            let plain = process.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if plain && host.unit(&name).await.is_ok_and(|unit| unit.active == ActiveState::Active) {
                service = Some(name);
            }
        }
        ports.push(Port { number, user, listener, service, k3s_up });
    }
    Facts { node: node(settings).observe(host).await, ports, source: source(host, settings, resolve).await }
}

fn node(settings: &Settings) -> Node {
    Node { spec: settings.node.clone(), kubernetes: settings.cluster.is_some(), built: wiring::built() }
}

async fn source(
    host: &dyn Inspect,
    settings: &Settings,
    resolve: &impl AsyncFn(&str) -> Result<(), PortError>,
) -> Option<Source> {
    let cluster = settings.cluster.as_ref()?;
    if matches!(host.meta(Path::new(BINARY)).await, Ok(Some(_))) {
        return None;
    }
    if let Some(Mirror::Directory(_)) = &cluster.mirror {
        let url = Release::new(cluster, host.arch()).order(cluster, host.arch()).url;
        let path = url.strip_prefix("file:").unwrap_or(&url).to_string();
        let there = host.meta(Path::new(&path)).await.map(|meta| meta.is_some());
        return Some(Source::File(path, there));
    }
    let name = host_of(&cluster.mirror.as_ref().map_or_else(|| RELEASES.to_string(), ToString::to_string));
    let answer = resolve(&name).await;
    Some(Source::Host(name, answer))
}

/// The host in a URL.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((address, _)) => address.to_string(),
        None => authority.split(':').next().unwrap_or_default().to_string(),
    }
}

pub(super) fn diagnose(facts: &Facts, settings: &Settings, daemon: bool) -> Vec<Check> {
    let mut checks = match &facts.node {
        Ok(_) if settings.is_empty() => Vec::new(),
        Ok(seen) => own(&node(settings), seen),
        Err(error) => vec![Check::blind("node", error)],
    };
    checks.extend(facts.ports.iter().map(|one| port(one, daemon)));
    checks.extend(facts.source.as_ref().map(source_check));
    checks
}

/// The same plan that Bowline makes, told as checks.
fn own(node: &Node, facts: &bowline_node::Facts) -> Vec<Check> {
    let plan = node.plan(facts, &Conditions::default());
    let value = |key: &str| plan.conditions.get(key).cloned();
    let mut checks = Vec::new();
    for (item, name) in [
        ("name", "node's name"),
        ("address", "node's address"),
        ("external-address", "external address"),
        ("default-route", "default route"),
        ("clock", "clock"),
    ] {
        // There is no way out without an address, which is a finding already.
        if item == "default-route" && isolated(facts) && plan.waits.iter().any(|w| w.item == item) {
            checks.push(Check::skipped(name, "no interface has an address yet, see above"));
            continue;
        }
        if let Some(refusal) = plan.refusals.iter().find(|r| r.item == item) {
            let subject = Subject::Item(Node::NAME, item.into());
            checks.push(Check::finding(name, &*refusal.why, &*refusal.hint).explains(subject));
        } else if let Some(wait) = plan.waits.iter().find(|w| w.item == item) {
            if wait.overdue.is_empty() {
                checks.push(Check::note(name, format!("waiting for {}: {}", wait.what, wait.why)));
                continue;
            }
            let found = format!("{} is missing: {}", wait.what, wait.why);
            let check = Check::finding(name, found, &*wait.overdue).explains(Subject::Item(Node::NAME, item.into()));
            checks.push(match item {
                // By such a clock no certificate is valid, and nothing is downloaded.
                "clock" => {
                    check.command("timedatectl set-ntp true").explains(Subject::Item("cluster", DOWNLOAD.into()))
                }
                // What is in no network can reach nothing.
                "address" if isolated(facts) => check
                    .explains(Subject::Item(Node::NAME, "default-route".into()))
                    .explains(Subject::Failure(ErrorKind::Unreachable)),
                "default-route" => check.explains(Subject::Failure(ErrorKind::Unreachable)),
                _ => check,
            });
        } else if let Some(note) = plan.notes.iter().find(|n| n.item == item) {
            checks.push(Check::note(name, &*note.text));
        } else if let Some(value) = value(item) {
            let text = match item {
                "address" => format!("{value} on {}", self::value(&plan.conditions, condition::INTERFACE)),
                "default-route" => format!("by {}", facts.default_route.as_deref().unwrap_or("an interface")),
                "clock" => "synchronised".into(),
                _ => value,
            };
            checks.push(Check::ok(name, text));
        }
    }
    checks
}

/// Whether nothing but the loopback interface has an address.
fn isolated(facts: &bowline_node::Facts) -> bool {
    facts.addresses.iter().all(|one| one.address.is_loopback())
}

fn value<'a>(conditions: &'a std::collections::BTreeMap<String, String>, key: &str) -> &'a str {
    conditions.get(key).map_or("", String::as_str)
}

fn port(port: &Port, daemon: bool) -> Check {
    let number = port.number;
    let (name, of_whom) = match port.user {
        User::Metrics => (format!("port {number} (metrics)"), "Bowline"),
        User::Kubernetes => (format!("port {number} (Kubernetes)"), "K3s"),
    };
    let listener = match &port.listener {
        Ok(Some(listener)) => listener,
        Ok(None) => return Check::ok(name, "free"),
        Err(error) => return Check::blind(name, error),
    };
    let own = match (port.user, listener.process.as_deref()) {
        (User::Metrics, Some(process)) => process == "bowline",
        (User::Metrics, None) => daemon,
        (User::Kubernetes, Some(process)) => process.starts_with("k3s") || process == "kube-apiserver",
        (User::Kubernetes, None) => port.k3s_up,
    };
    if own {
        return Check::ok(name, format!("{of_whom} listens there"));
    }
    let who = listener.process.as_deref().unwrap_or("another process");
    let remedy = match port.user {
        User::Metrics => format!("stop {who}, or choose another port in `[metrics] listen`"),
        User::Kubernetes => {
            format!("stop {who} (`ss -tlnp 'sport = :{number}'` shows its process): K3s needs this port")
        }
    };
    let subject = match port.user {
        User::Metrics => Subject::Capability("metrics"),
        User::Kubernetes => Subject::Item("cluster", "k3s".into()),
    };
    let check = Check::finding(name, format!("it is in use by {who}"), remedy).explains(subject);
    match &port.service {
        Some(service) => check.command(format!("systemctl disable --now {service}")),
        None => check,
    }
}

fn source_check(source: &Source) -> Check {
    match source {
        Source::Host(name, Ok(())) => Check::ok("release source", format!("{name} has an address")),
        Source::Host(_, Err(error)) => {
            let remedy = "give the machine a name server that answers (resolvectl status; cat /etc/resolv.conf), or \
                          use another `[cluster] mirror`; `file:/…` needs no network";
            Check::finding("release source", error.message.clone(), remedy)
                .explains(Subject::Failure(ErrorKind::Unreachable))
                .explains(Subject::Item("cluster", DOWNLOAD.into()))
        }
        Source::File(path, Ok(true)) => Check::ok("release source", format!("{path} is there")),
        Source::File(path, Ok(false)) => {
            let remedy =
                "put the release's file there, with its checksum file beside it, or correct `[cluster] mirror`";
            Check::finding("release source", format!("{path} does not exist"), remedy)
                .explains(Subject::Item("cluster", DOWNLOAD.into()))
        }
        Source::File(_, Err(error)) => Check::blind("release source", error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn seen(number: u16, user: User, process: Option<&str>, k3s_up: bool) -> Port {
        let listener = Ok(Some(Listener { port: number, process: process.map(Into::into) }));
        Port { number, user, listener, service: None, k3s_up }
    }

    #[test]
    fn ports() {
        use User::{Kubernetes, Metrics};
        for (user, process, daemon, k3s_up, finding) in [
            (Metrics, Some("bowline"), true, false, false),
            (Metrics, Some("node_exporter"), true, false, true),
            (Metrics, None, true, false, false),
            (Metrics, None, false, false, true),
            (Kubernetes, Some("k3s-server"), true, true, false),
            (Kubernetes, Some("nginx"), true, true, true),
            (Kubernetes, None, true, true, false),
            (Kubernetes, None, true, false, true),
        ] {
            let check = port(&seen(1, user, process, k3s_up), daemon);
            assert_eq!(check.is_finding(), finding, "{process:?} {check:?}");
        }
    }

    #[test]
    fn a_service_in_the_way_has_its_command() {
        let mut nginx = seen(6443, User::Kubernetes, Some("nginx"), false);
        nginx.service = Some("nginx.service".into());
        let Verdict::Finding { found, command, .. } = port(&nginx, true).verdict else { panic!("a finding") };
        assert_eq!(found, "it is in use by nginx");
        assert_eq!(command.as_deref(), Some("systemctl disable --now nginx.service"));
    }

    #[test]
    fn hosts_of_mirrors() {
        for (url, host) in [
            ("https://github.com/k3s-io/k3s", "github.com"),
            ("https://mirror.example:8443/k3s", "mirror.example"),
            ("http://[fd00::1]:80/k3s", "fd00::1"),
            ("http://10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }

    #[test]
    fn a_mirror_without_a_name() {
        let error = PortError::new(ErrorKind::Unreachable, "resolving mirror.example: Name or service not known");
        let check = source_check(&Source::Host("mirror.example".into(), Err(error)));
        let Verdict::Finding { found, .. } = check.verdict else { panic!("a finding") };
        assert_eq!(found, "resolving mirror.example: Name or service not known");
        assert!(source_check(&Source::File("/srv/k3s".into(), Ok(false))).is_finding());
        assert!(!source_check(&Source::Host("mirror.example".into(), Ok(()))).is_finding());
    }
}
