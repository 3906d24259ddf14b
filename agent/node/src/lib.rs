//! Facts of the node that other capabilities rely on: its name, its address, a default route, a clock that may be
//! trusted, what the cloud says of it, and the facts that its labels are made of. Each is waited for by name.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod cloud;
mod fact;

pub use cloud::CloudFacts;

use bowline_engine::{Capability, Conditions, Plan, Wait};
use bowline_ports::{Address, Change, Clock, Inspect, PortError, Progress};
use bowline_settings::{Cidr, ExternalAddress, Fact, Node as Spec};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Where cloud-init puts what the cloud says, without secrets, for everybody to read.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";
/// What Bowline keeps of it: metadata services answer best at the first boot.
const CACHE: &str = "/var/lib/bowline/cloud.json";
/// After this much uptime an unsynchronised clock no longer holds anything back.
const PATIENCE_WITH_CLOCK: u64 = 90;

/// The node's settings.
pub struct Node {
    /// `[node]`.
    pub spec: Spec,
    /// Seconds since 1970 when this program was built: an earlier clock is wrong.
    pub built: i64,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The kernel's host name.
    pub host_name: String,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The interface of the default route.
    pub default_route: Option<String>,
    /// The clock.
    pub clock: Clock,
    /// What cloud-init knows of this boot.
    pub cloud: Option<CloudFacts>,
    /// What was kept of it at an earlier boot.
    pub cached: Option<CloudFacts>,
    /// The graphics card, where a label is made of it.
    pub gpu: Option<String>,
}

impl Facts {
    /// What is known of the cloud: what it says now, and what was kept.
    fn known(&self) -> Option<CloudFacts> {
        let now = self.cloud.clone().map(|now| now.with_kept(self.cached.as_ref()));
        now.or_else(|| self.cached.clone())
    }
}

/// The one change this capability makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Keep what the cloud says.
    Keep(CloudFacts),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(_) => f.write_str("keep what the cloud says of this machine"),
        }
    }
}

impl Capability for Node {
    const NAME: &'static str = "node";
    // No event tells that addresses or routes changed.
    const EVERY: Duration = Duration::from_secs(60);
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        Ok(Facts {
            host_name: host.host_name().await?,
            addresses: host.addresses().await?,
            default_route: host.default_route().await?,
            clock: host.clock().await?,
            cloud: host.read(Path::new(INSTANCE_DATA)).await?.and_then(|f| CloudFacts::from_cloud_init(&f.content)),
            cached: host.read(Path::new(CACHE)).await?.and_then(|f| serde_json::from_slice(&f.content).ok()),
            gpu: if self.uses(Fact::Gpu) { fact::gpu(host).await? } else { None },
        })
    }

    fn plan(&self, facts: &Facts, _: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        if let Some(cloud) = facts.known().filter(|cloud| facts.cached.as_ref() != Some(cloud)) {
            plan.step("cloud", Action::Keep(cloud), "metadata is not relied on after the first boot");
        }
        self.name(facts, &mut plan);
        self.address(facts, &mut plan);
        self.external_address(facts, &mut plan);
        self.default_route(facts, &mut plan);
        self.clock(facts, &mut plan);
        self.facts(facts, &mut plan);
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        match action {
            Action::Keep(cloud) => {
                host.write(Path::new(CACHE), &serde_json::to_vec_pretty(cloud).unwrap_or_default(), 0o600).await
            }
        }
    }
}

impl Node {
    fn name(&self, facts: &Facts, plan: &mut Plan<Action>) {
        let name = self.spec.name.clone().unwrap_or_else(|| facts.host_name.to_lowercase());
        let fits = !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && !name.starts_with(['-', '.'])
            && !name.ends_with(['-', '.'])
            && name != "localhost";
        if fits {
            plan.state("name", name);
        } else {
            plan.refuse(
                "name",
                "use the host name as the node's name",
                format!("the host name “{name}” can not be a Node's name"),
                "set `[node] name`, or the machine's host name (`hostnamectl hostname NAME`)",
            );
        }
    }

    fn address(&self, facts: &Facts, plan: &mut Plan<Action>) {
        let usable = facts.addresses.iter().filter(|a| own_interface(&a.interface) && !link_local(a.address));
        let correct = "attach the machine to that network, or correct `[node] address`";
        let (fitting, wanted, overdue): (Vec<_>, String, &str) = match &self.spec.address {
            Some(cidr) => {
                (usable.filter(|a| cidr.contains(a.address)).collect(), format!("an address in {cidr}"), correct)
            }
            None => {
                let interface = facts.default_route.as_deref();
                let first = usable.filter(|a| Some(a.interface.as_str()) == interface && a.address.is_ipv4()).take(1);
                // Which of several IPv6 addresses stays is not to be guessed.
                let name = "name the network in `[node] address`; an IPv6 network too is only looked for when it is named \
                            there (`address = \"fd00:1::/64\"`)";
                (first.collect(), "an IPv4 address on the interface of the default route".into(), name)
            }
        };
        match fitting.as_slice() {
            [] => {
                let list: Vec<_> = facts.addresses.iter().map(|a| format!("{} {}", a.interface, a.address)).collect();
                let list = list.join(", ");
                plan.waits.push(
                    Wait::new("address", wanted, format!("no interface has one yet; there are: {list}"))
                        .deadline(Duration::from_secs(300), overdue)
                        .poll(Duration::from_secs(1)),
                );
            }
            [one] => {
                plan.state("address", one.address.to_string());
                plan.state("interface", one.interface.clone());
            }
            several => {
                let list: Vec<_> = several.iter().map(|a| format!("{} on {}", a.address, a.interface)).collect();
                plan.refuse(
                    "address",
                    "choose the node's address",
                    format!("several addresses are in {}: {}", cidr_text(self.spec.address.as_ref()), list.join(", ")),
                    "write the one address into `[node] address`",
                );
            }
        }
    }

    fn external_address(&self, facts: &Facts, plan: &mut Plan<Action>) {
        match self.spec.external_address {
            None => {}
            Some(ExternalAddress::Ip(address)) => plan.state("external-address", address.to_string()),
            Some(ExternalAddress::PublicIpv4) => match fact::public_ipv4(facts) {
                Some(address) => plan.state("external-address", address.to_string()),
                None => plan.waits.push(
                    Wait::new(
                        "external-address",
                        "the cloud's {public-ipv4}",
                        format!("{INSTANCE_DATA} does not tell it (yet), and no interface has one"),
                    )
                    .deadline(
                        Duration::from_secs(300),
                        "write the address itself into `[node] external-address`, or remove that line",
                    )
                    .poll(Duration::from_secs(2)),
                ),
            },
        }
    }

    fn default_route(&self, facts: &Facts, plan: &mut Plan<Action>) {
        match &facts.default_route {
            Some(_) => plan.state("default-route", "ok"),
            None => plan.waits.push(
                Wait::new("default-route", "a default route", "K3s does not start without one")
                    .deadline(
                        Duration::from_secs(120),
                        "give the machine a default route; a dummy one is enough (`ip route add default dev …`)",
                    )
                    .poll(Duration::from_secs(1)),
            ),
        }
    }

    fn clock(&self, facts: &Facts, plan: &mut Plan<Action>) {
        let clock = &facts.clock;
        if clock.unix < self.built - 86_400 {
            let days = (self.built - clock.unix) / 86_400;
            plan.waits.push(
                Wait::new(
                    "clock",
                    "a clock that is right",
                    format!("it is at least {days} days behind: K3s's certificates would not be valid"),
                )
                .deadline(Duration::from_secs(120), "set the clock (`timedatectl set-ntp true`, or `date`)")
                .poll(Duration::from_secs(2)),
            );
        } else if clock.synchronised {
            plan.state("clock", "ok");
        } else if clock.uptime < PATIENCE_WITH_CLOCK {
            plan.waits.push(
                Wait::new(
                    "clock",
                    "a synchronised clock",
                    format!("K3s makes its certificates at its first start; after {PATIENCE_WITH_CLOCK} s of uptime it goes on without"),
                )
                .poll(Duration::from_secs(2)),
            );
        } else {
            plan.note("clock", "nothing says that the clock is synchronised; going on, since it is not plainly wrong");
            plan.state("clock", "ok");
        }
    }
}

fn cidr_text(cidr: Option<&Cidr>) -> String {
    cidr.map_or_else(|| "the default network".into(), ToString::to_string)
}

/// Not loopback, and none of the interfaces that Kubernetes itself makes.
fn own_interface(name: &str) -> bool {
    name != "lo"
        && !["cni", "flannel", "veth", "kube-", "docker", "cali", "cilium"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_link_local() || a.is_loopback(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.is_loopback(),
    }
}

#[cfg(test)]
mod tests;
