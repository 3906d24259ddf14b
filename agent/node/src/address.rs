//! The node's own address and the one that others know it by: found, or waited for with what the cloud says of it.

use crate::{Action, Facts, INSTANCE_DATA, Node, fact};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_ports::{Address, Inspect, PortError, condition};
use bowline_settings::{Cidr, ExternalAddress, Fact};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// All interfaces, by their names.
const INTERFACES: &str = "/sys/class/net";
/// How long an address is waited for before a person hears of it; and before K3s gets another one than it had.
const PATIENCE: Duration = Duration::from_secs(300);
/// What to do about a network that the machine is not in.
const CORRECT: &str = "attach the machine to that network, or correct `[node] address`";
/// Where it has one all the same.
const TAKEN: &str = "`ip address` says `dadfailed` of one that another machine there has";

impl Node {
    /// The addresses that the settings mean.
    fn fitting<'a>(&self, facts: &'a Facts) -> Vec<&'a Address> {
        let usable = facts.addresses.iter().filter(|a| own_interface(&a.interface) && !link_local(a.address));
        match &self.spec.address {
            Some(network) => {
                let all: Vec<_> = usable.filter(|a| network.contains(a.address)).collect();
                // The address of a cluster's API that a server also answers at comes once K3s runs, and takes nothing from it.
                let known = all.iter().find(|a| Some(a.address) == facts.configured).copied();
                known.map_or(all, |known| vec![known])
            }
            None => {
                let usable: Vec<_> = usable.filter(|a| a.address.is_ipv4()).collect();
                let of_the_route = |a: &&&Address| Some(a.interface.as_str()) == facts.default_route.as_deref();
                let mut on_it = usable.iter().filter(of_the_route);
                // A floating address or a VPN's route, which come and go, make no other machine of it.
                let known = usable.iter().find(|a| Some(a.address) == facts.configured);
                let spoken = on_it.clone().find(|a| Some(a.address) == facts.default_source.map(IpAddr::V4));
                known.or(spoken).or_else(|| on_it.next()).copied().into_iter().collect()
            }
        }
    }

    /// The network of the settings, while no interface has an address in it and the cloud may say why.
    pub(crate) fn awaited_network(&self, facts: &Facts) -> Option<&Cidr> {
        // Private networks of clouds are known by their IPv4 addresses.
        self.spec.address.as_ref().filter(|network| network.address().is_ipv4() && self.fitting(facts).is_empty())
    }

    pub(crate) fn address(&self, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
        // Its interface may be late, and the next one would be K3s's for good.
        if let Some((gone, next)) = self.gone(facts) {
            let what = format!("{gone}, the address that K3s was configured with");
            let over = now.waited("address", &what) >= PATIENCE;
            plan.waits.push(
                Wait::new("address", what, format!("no interface has it; there are: {}", list(facts)))
                    .deadline(PATIENCE, next)
                    .poll(Duration::from_secs(1)),
            );
            if !over {
                return;
            }
        }
        match self.fitting(facts).as_slice() {
            [] => plan.waits.push(self.wait_for_address(facts)),
            [one] => {
                plan.state(condition::ADDRESS, one.address.to_string());
                plan.state(condition::INTERFACE, one.interface.clone());
            }
            several => {
                let list: Vec<_> = several.iter().map(|a| format!("{} on {}", a.address, a.interface)).collect();
                let network = self.spec.address.map_or_else(|| "the default network".into(), |cidr| cidr.to_string());
                plan.refuse(
                    "address",
                    "choose the node's address",
                    format!("several addresses are in {network}: {}", list.join(", ")),
                    "write the one address into `[node] address`",
                );
            }
        }
    }

    /// The address that K3s was configured with, where no interface has it and another one would be the node's: a floating address
    /// in the same network, say, while DHCP asks anew; and what happens when it stays away. On a copy of a machine it is the
    /// original's, and nothing to wait for: no Node was seen of this one.
    fn gone(&self, facts: &Facts) -> Option<(IpAddr, String)> {
        let there = |address: &IpAddr| facts.addresses.iter().any(|one| one.address == *address);
        let gone = facts.configured.filter(|address| facts.seen.is_some() && !there(address))?;
        let next = match (&self.spec.address, self.fitting(facts).as_slice()) {
            (None, _) => {
                "the one that the default route speaks from is taken in its place; name the network in `[node] address`"
            }
            (Some(network), [one]) if network.contains(gone) => {
                return Some((
                    gone,
                    format!("{} is taken in its place; write the node's address into `[node] address`", one.address),
                ));
            }
            (Some(_), _) => return None,
        };
        Some((gone, next.into()))
    }

    fn wait_for_address(&self, facts: &Facts) -> Wait {
        let mut why = format!("no interface has one yet; there are: {}", list(facts));
        let (wanted, overdue) = match &self.spec.address {
            Some(network) => {
                let says = self.awaited_network(facts).and_then(|network| cloud_says(facts, network));
                let (more, overdue) = says.unwrap_or_default();
                if !more.is_empty() {
                    why = format!("{why}; {more}");
                }
                let correct = if network.address().is_ipv4() { CORRECT.into() } else { format!("{CORRECT}; {TAKEN}") };
                (format!("an address in {network}"), overdue.unwrap_or(correct))
            }
            // Which of several IPv6 addresses stays is not to be guessed.
            None => (
                "an IPv4 address on the interface of the default route".into(),
                "name the network in `[node] address`; an IPv6 network too is only looked for when it is named there \
                 (`address = \"fd00:1::/64\"`)"
                    .into(),
            ),
        };
        Wait::new("address", wanted, why).deadline(PATIENCE, overdue).poll(Duration::from_secs(1))
    }

    pub(crate) fn external_address(&self, facts: &Facts, plan: &mut Plan<Action>) {
        match self.spec.external_address {
            None => {}
            Some(ExternalAddress::Ip(address)) => plan.state(condition::EXTERNAL_ADDRESS, address.to_string()),
            Some(ExternalAddress::PublicIpv4) => match fact::public_ipv4(facts) {
                Some(address) => plan.state(condition::EXTERNAL_ADDRESS, address.to_string()),
                None => {
                    let silent =
                        fact::silence(facts).unwrap_or_else(|| format!("{INSTANCE_DATA} does not tell it (yet)"));
                    // Of a cloud that never tells it, it is said at once what to do.
                    let soon = if fact::never_told(facts, Fact::PublicIpv4) { 0 } else { 300 };
                    plan.waits.push(
                        Wait::new(
                            "external-address",
                            "the cloud's {public-ipv4}",
                            format!("{silent}, and no interface has one"),
                        )
                        .deadline(
                            Duration::from_secs(soon),
                            "write the address itself into `[node] external-address`, or remove that line",
                        )
                        .poll(Duration::from_secs(2)),
                    );
                }
            },
        }
    }
}

/// All addresses with their interfaces, for people.
fn list(facts: &Facts) -> String {
    let list: Vec<_> = facts.addresses.iter().map(|a| format!("{} {}", a.interface, a.address)).collect();
    list.join(", ")
}

/// What the cloud says of the network that is waited for, and what to do when it stays so.
fn cloud_says(facts: &Facts, network: &Cidr) -> Option<(String, Option<String>)> {
    let said = match &facts.asked.as_ref()?.said {
        Ok(said) => said.as_ref()?,
        Err(error) => return Some((format!("whether the cloud gives it one is not known: {error}"), None)),
    };
    let named = |one: &crate::Network| {
        let name = one.name.as_ref().map(|name| format!(" in network {name}")).unwrap_or_default();
        let mac = one.mac.as_ref().map(|mac| format!(" (mac {mac})")).unwrap_or_default();
        format!("{}{name}{mac}", one.address)
    };
    let Some(there) = said.networks.iter().find(|one| network.contains(one.address)) else {
        let all: Vec<_> = said.networks.iter().map(named).collect();
        return Some(match all.is_empty() {
            true => ("the cloud says that this machine is in no private network (yet): attach it".into(), None),
            false => (format!("the cloud says that this machine has {}, and none in {network}", all.join(", ")), None),
        });
    };
    let has = format!("the cloud says that this machine has {}", named(there));
    let configure = |interface: &str| format!("configure {interface} (by DHCP), or correct `[node] address`");
    Some(match (there.mac.as_ref(), there.mac.as_ref().and_then(|mac| facts.interfaces.get(mac))) {
        (_, Some(interface)) => (
            format!(
                "{has}, which its interface {interface} does not have yet: DHCP has not answered yet, or it is not configured"
            ),
            Some(configure(interface)),
        ),
        (Some(_), None) => (
            format!("{has}, and no interface with that mac is there yet"),
            Some("detach the machine from that network and attach it again, or reboot it".into()),
        ),
        (None, None) => (
            format!("{has}, which no interface has yet: DHCP has not answered yet, or the interface is not configured"),
            Some(configure("its interface")),
        ),
    })
}

/// MAC -> interface, of all interfaces but those of Kubernetes.
pub(crate) async fn interfaces(host: &dyn Inspect) -> Result<BTreeMap<String, String>, PortError> {
    let mut all = BTreeMap::new();
    for name in host.list(Path::new(INTERFACES)).await?.unwrap_or_default() {
        if !own_interface(&name) {
            continue;
        }
        // One that goes meanwhile, or has no MAC, only makes the reason less exact.
        if let Ok(Some(file)) = host.read(&Path::new(INTERFACES).join(&name).join("address")).await {
            all.insert(file.text().trim().to_lowercase(), name);
        }
    }
    Ok(all)
}

/// How interfaces begin that network plugins and Docker make: several of them have an address of the pods' network.
const OF_PODS: [&str; 15] = [
    "cni",
    "flannel",
    "veth",
    "kube-",
    "docker",
    "cali",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
    "tunl0",
    "cilium",
    "antrea-",
    "weave",
    "ovn-k8s-",
];

/// Not loopback, and none of the interfaces that Kubernetes itself makes.
fn own_interface(name: &str) -> bool {
    // Docker calls its networks by twelve digits of their numbers; other bridges may well be a node's own.
    let of_docker = |name: &str| {
        let number = name.strip_prefix("br-");
        number.is_some_and(|number| number.len() == 12 && number.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    name != "lo" && !OF_PODS.iter().any(|prefix| name.starts_with(prefix)) && !of_docker(name)
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local() || a.is_loopback(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.is_loopback(),
    }
}
