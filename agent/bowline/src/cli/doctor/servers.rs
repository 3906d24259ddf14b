//! What of the network matters once there is a cluster: whether its servers can be reached, and who can ask the
//! cloud's metadata address.

use super::check::{Check, Subject};
use bowline_cluster::api_port;
use bowline_host::real::reach::Reach;
use bowline_ports::{Inspect, METADATA};
use bowline_settings::{Role, Settings};
use std::time::Duration;

/// It is one hop away, or not there at all.
const NEAR: Duration = Duration::from_secs(1);
/// Servers may be far away.
pub(super) const FAR: Duration = Duration::from_secs(3);
/// What nodes need of each other.
pub(super) const PORTS: &str = "open TCP 6443, 7470 and 10250 and UDP 8472 (WireGuard: 51820 and 51821) between all nodes, and TCP 2379-2380 between \
     servers";

/// What was tried.
pub(super) struct Facts {
    metadata: Reach,
    servers: Vec<Server>,
    /// This node has no API of its own.
    agent: bool,
}

/// A server of the settings, by its host, with its ports.
struct Server {
    host: String,
    enroll: (u16, Reach),
    api: (u16, Reach),
}

/// `None` without a cluster: there are no pods, and nobody to ask.
pub(super) async fn gather(
    host: &dyn Inspect,
    settings: &Settings,
    reach: &impl AsyncFn(&str, u16, Duration) -> Reach,
) -> Option<Facts> {
    let cluster = settings.cluster.as_ref()?;
    let own = host.addresses().await.unwrap_or_default();
    let others = cluster.join.servers.iter().filter(|server| !own.iter().any(|own| Some(own.address) == server.ip()));
    let mut servers = Vec::new();
    for server in others {
        let api = api_port(cluster);
        let (enrolled, answered) = tokio::join!(reach(&server.host, server.port, FAR), reach(&server.host, api, FAR));
        servers.push(Server { host: server.host.clone(), enroll: (server.port, enrolled), api: (api, answered) });
    }
    let metadata = reach(&METADATA.ip().to_string(), METADATA.port(), NEAR).await;
    Some(Facts { metadata, servers, agent: cluster.role == Role::Agent })
}

pub(super) fn diagnose(facts: &Facts) -> Vec<Check> {
    // Who reaches one server is let in by that one.
    let alone = facts.servers.iter().all(|server| server.enroll.1 != Reach::Open);
    let cut_off = facts.agent && facts.servers.iter().all(|server| server.api.1 != Reach::Open);
    let mut checks = vec![metadata(&facts.metadata)];
    for server in &facts.servers {
        checks.extend(of_server(server).into_iter().map(|mut check| {
            if alone {
                check = check.explains(Subject::Capability("join"));
            }
            if cut_off {
                for item in ["k3s", "node"] {
                    check = check.explains(Subject::Item("cluster", item.into()));
                }
                check = check.explains(Subject::Capability("labels"));
            }
            check
        }));
    }
    checks
}

fn of_server(Server { host, enroll, api }: &Server) -> Vec<Check> {
    // Of what it rejects, a firewall tells one that asks often only now and then: silence beside that is the same.
    let rejects = [&enroll.1, &api.1].contains(&&Reach::Rejected);
    let as_told = |reach: &Reach| if rejects && *reach == Reach::Silent { Reach::Rejected } else { reach.clone() };
    let (enrolled, answered) = (as_told(&enroll.1), as_told(&api.1));
    if enrolled == answered {
        return vec![port(host, &format!("{} and {}", api.0, enroll.0), &enrolled)];
    }
    vec![port(host, &enroll.0.to_string(), &enrolled), port(host, &api.0.to_string(), &answered)]
}

fn metadata(reach: &Reach) -> Check {
    let (name, address) = ("metadata address", METADATA.ip());
    match reach {
        Reach::Open => Check::note(
            name,
            format!(
                "{address} answers this machine, and every pod on it too where no policy keeps pods away: what is in \
                 the user-data is no secret to them (SECURITY.md: Enrolment)"
            ),
        ),
        _ => Check::ok(name, format!("{address} does not answer here")),
    }
}

/// One port of a server, or two that stand alike.
fn port(host: &str, ports: &str, reach: &Reach) -> Check {
    let name = format!("server {host}");
    match reach {
        Reach::Open => Check::ok(name, format!("TCP {ports} can be reached")),
        Reach::Closed => Check::finding(
            name,
            format!("TCP {ports}: nothing listens there"),
            format!(
                "look at `bowline status` on that server: TCP 7470 takes its `key-file` and a K3s that runs, 6443 is \
                 K3s. If `ss -tln` there shows that it listens, a firewall refuses it: {PORTS}"
            ),
        ),
        Reach::Rejected => Check::finding(
            name,
            format!("TCP {ports}: rejected by a firewall, or no machine has this address (host unreachable)"),
            format!(
                "see that the server runs, and let its own firewall take the port (`bowline doctor` there names the \
                 rule; Oracle's Ubuntu images reject all but SSH): {PORTS}"
            ),
        ),
        Reach::Silent => Check::finding(
            name,
            format!("TCP {ports}: no answer within {} s", FAR.as_secs()),
            format!(
                "see that the server runs and that a packet finds its way; what drops it in silence is mostly the \
                 cloud's firewall (security group, security list), else its own (`bowline doctor` there): {PORTS}"
            ),
        ),
        Reach::NoRoute => Check::finding(
            name,
            format!("TCP {ports}: this machine has no route to it"),
            format!("attach this machine to the servers' network, or correct `servers` (`ip route get {host}`)"),
        ),
        Reach::Untried(error) => Check::blind(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;
    use bowline_host::real::reach::reach;
    use bowline_ports::{ErrorKind, PortError};
    use std::net::TcpListener;

    fn server(enroll: Reach, api: Reach) -> Server {
        Server { host: "10.0.1.10".into(), enroll: (7470, enroll), api: (6443, api) }
    }

    fn findings(servers: Vec<Server>) -> Vec<(String, String)> {
        let checks = diagnose(&Facts { metadata: Reach::Silent, servers, agent: true });
        let all = checks.into_iter().filter_map(|check| match check.verdict {
            Verdict::Finding { found, remedy, .. } => Some((found, remedy)),
            _ => None,
        });
        all.collect()
    }

    #[test]
    fn each_way_to_fail_has_its_own_words_and_its_remedy() {
        let untried = Reach::Untried(PortError::new(ErrorKind::Unreachable, "resolving control: no").hint("look"));
        for (reach, found, remedy) in [
            (Reach::Closed, "TCP 7470: nothing listens", "bowline status"),
            (Reach::Rejected, "TCP 7470: rejected by a firewall", "Oracle's Ubuntu images reject all but SSH"),
            (
                Reach::Silent,
                "TCP 7470: no answer within 3 s",
                "UDP 8472 (WireGuard: 51820 and 51821) between all nodes",
            ),
            (Reach::NoRoute, "TCP 7470: this machine has no route", "ip route get 10.0.1.10"),
            (untried, "resolving control: no", "look"),
        ] {
            let all = findings(vec![server(reach.clone(), Reach::Open)]);
            assert_eq!(all.len(), 1, "{reach:?}: {all:?}");
            assert!(all[0].0.starts_with(found) && all[0].1.contains(remedy), "{all:?}");
        }
    }

    #[test]
    fn ports_that_stand_alike_are_one_finding_and_others_two() {
        let found = |enroll, api| findings(vec![server(enroll, api)]).into_iter().map(|one| one.0).collect::<Vec<_>>();
        assert_eq!(found(Reach::Open, Reach::Open), Vec::<String>::new());
        assert_eq!(found(Reach::Silent, Reach::Silent), ["TCP 6443 and 7470: no answer within 3 s"]);
        assert_eq!(found(Reach::Closed, Reach::Silent).len(), 2);
        let one = "TCP 6443 and 7470: rejected by a firewall, or no machine has this address (host unreachable)";
        assert_eq!(found(Reach::Silent, Reach::Rejected), [one]);
    }

    #[test]
    fn only_who_reaches_no_server_has_the_reason_why_it_does_not_join_or_is_cut_off() {
        let explains = |servers, item: (&'static str, &str)| {
            let checks = diagnose(&Facts { metadata: Reach::Silent, servers, agent: true });
            super::super::check::explained(&checks, &Subject::Item(item.0, item.1.into()))
        };
        let silent = || server(Reach::Silent, Reach::Silent);
        for item in [("join", "join"), ("join", "join/node"), ("cluster", "node"), ("labels", "labels/zone")] {
            assert!(explains(vec![silent()], item), "{item:?}");
            assert!(!explains(vec![silent(), server(Reach::Open, Reach::Open)], item), "{item:?}");
        }
        assert!(explains(vec![server(Reach::Silent, Reach::Open)], ("join", "join")));
        assert!(!explains(vec![server(Reach::Silent, Reach::Open)], ("cluster", "node")));
    }

    #[test]
    fn the_metadata_address_is_a_note_when_it_answers() {
        assert!(matches!(metadata(&Reach::Open).verdict, Verdict::Note { text } if text.contains("user-data")));
        for reach in [Reach::Closed, Reach::Rejected, Reach::NoRoute, Reach::Silent] {
            assert!(matches!(metadata(&reach).verdict, Verdict::Ok { .. }));
        }
    }

    #[tokio::test]
    async fn over_loopback() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = open.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Other machines are played by this one; 10.0.1.10 is its own address, and not asked for.
        let local = async |_: &str, port: u16, deadline: Duration| match port {
            7470 | 80 => reach("127.0.0.1", there, deadline).await,
            _ => reach("127.0.0.1", closed, deadline).await,
        };
        let text = format!(
            "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\", \"10.0.1.99\"]\nticket = \"{}\"\n",
            "a".repeat(64)
        );
        let file = bowline_settings::SourceFile { path: "/x/50.toml".into(), text, mode: 0o600, uid: 0 };
        let settings = bowline_settings::load(&[file]).unwrap().settings;
        let host = bowline_host::sim::SimHost::new(&bowline_host::sim::World::default());
        let checks = diagnose(&gather(&host, &settings, &local).await.unwrap());
        let results: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.is_finding())).collect();
        assert_eq!(results, [("metadata address", false), ("server 10.0.1.99", false), ("server 10.0.1.99", true)]);
        assert!(matches!(checks[0].verdict, Verdict::Note { .. }), "{checks:#?}");
        assert!(gather(&host, &Settings::default(), &local).await.is_none(), "nobody to ask, and no pods");
    }
}
