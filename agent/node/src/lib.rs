//! Facts of the node that other capabilities rely on: its name, its address, a default route, a clock that may be
//! trusted, what the cloud says of it, and the facts that its labels are made of. Each is waited for by name.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod address;
mod cloud;
mod fact;
mod name;

pub use cloud::{Asked, CloudFacts, Kept, Network, Said};

use bowline_engine::{Capability, Conditions, Plan, Wait};
use bowline_ports::text::about;
use bowline_ports::{
    Address, Change, Clock, Inspect, PortError, Progress, boot_id, condition, configured, machine_id, read_json,
    seen_name, write_json,
};
use bowline_settings::{Fact, Node as Spec};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// Where cloud-init puts what the cloud says, without secrets, for everybody to read.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";
/// What Bowline keeps of it and of what the metadata service says: they answer best at the first boot.
const CACHE: &str = "/var/lib/bowline/cloud.json";
/// After this much uptime an unsynchronised clock no longer holds anything back.
const PATIENCE_WITH_CLOCK: Duration = Duration::from_secs(90);

/// The node's settings.
pub struct Node {
    /// `[node]`.
    pub spec: Spec,
    /// Whether Kubernetes is to be started here: it takes a name, a default route and a clock.
    pub kubernetes: bool,
    /// Seconds since 1970 when this program was built: an earlier clock is wrong.
    pub built: i64,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The kernel's host name.
    pub host_name: String,
    /// The name under which its Node was seen, or with which K3s has run.
    pub seen: Option<String>,
    /// The stage of cloud-init in which it may still set the host name; read only where that is to be a Node's.
    pub naming: Option<&'static str>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The interface of the default route.
    pub default_route: Option<String>,
    /// The address that this machine speaks from by it.
    pub default_source: Option<Ipv4Addr>,
    /// The address that K3s was configured with.
    pub configured: Option<IpAddr>,
    /// The clock.
    pub clock: Clock,
    /// What tells this machine from every other one, its clones too, by its firmware.
    pub machine: Option<String>,
    /// What the kernel calls this boot.
    pub boot: String,
    /// What cloud-init knows of this boot.
    pub cloud: Option<CloudFacts>,
    /// What was kept at an earlier look, of whichever machine.
    pub kept: Option<Kept>,
    /// What came of asking the metadata service; nothing where there is none, or nothing to ask.
    pub asked: Option<Asked>,
    /// MAC -> interface, where the cloud says that one is to have an address.
    pub interfaces: BTreeMap<String, String>,
    /// The graphics card, where a label is made of it.
    pub gpu: Option<String>,
}

impl Facts {
    /// What the metadata service said at this look.
    fn said(&self) -> Option<&Said> {
        self.asked.as_ref()?.said.as_ref().ok()?.as_ref()
    }

    /// What was kept, where it is of this very machine.
    fn kept(&self) -> Option<&Kept> {
        let now = self.cloud.as_ref().or_else(|| self.said().map(|said| &said.facts));
        let same = |kept: &&Kept| {
            kept.machine == self.machine && now.is_none_or(|now| now.instance_id == kept.facts.instance_id)
        };
        self.kept.as_ref().filter(same)
    }

    /// What the metadata service said last, as far as that may change: cloud-init may go on with what it was told at the first
    /// boot.
    fn told_last(&self) -> Option<&CloudFacts> {
        let kept = || self.kept().filter(|kept| kept.boot.is_some()).map(|kept| &kept.facts);
        self.said().map(|said| &said.facts).or_else(kept)
    }

    /// Whether it has said so since this boot.
    fn told_now(&self) -> bool {
        self.said().is_some() || self.kept().is_some_and(|kept| kept.boot.as_ref() == Some(&self.boot))
    }

    /// What is known of the cloud: by cloud-init, else by the metadata service, else as it was kept of this very machine.
    fn known(&self) -> Option<CloudFacts> {
        let said = self.said().map(|said| &said.facts);
        let now = self.cloud.clone().map(|now| now.or(said)).or_else(|| said.cloned());
        let kept = self.kept().map(|kept| &kept.facts);
        let mut known = match now {
            Some(now) => now.or(kept),
            None => kept.cloned()?,
        };
        if let Some(last) = self.told_last() {
            for fact in fact::MOVING.into_iter().filter(|fact| !cloud::never_tells(&last.cloud, *fact)) {
                match fact {
                    Fact::PublicIpv4 => known.public_ipv4 = last.public_ipv4,
                    _ => known.instance_type.clone_from(&last.instance_type),
                }
            }
        }
        Some(known)
    }

    /// What is to be kept of it; at which boot it was told, where what may change from one to the next is needed.
    fn to_keep(&self, moving: bool) -> Option<Kept> {
        let facts = self.known()?;
        let told = self.said().filter(|_| moving).map(|_| self.boot.clone());
        let boot = told.or_else(|| self.kept().and_then(|kept| kept.boot.clone()));
        Some(Kept { machine: self.machine.clone(), boot, facts })
    }
}

/// The one change this capability makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Keep what the cloud says.
    Keep(#[serde(serialize_with = "facts_only")] Kept),
}

/// Everybody can read a report, and what the firmware says of a machine only root.
fn facts_only<S: Serializer>(kept: &Kept, serializer: S) -> Result<S::Ok, S::Error> {
    kept.facts.serialize(serializer)
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
    // The kernel tells of addresses and of the default route; the host name and what the cloud says seldom change.
    const EVERY: Duration = Duration::from_secs(300);
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        let mut facts = Facts {
            host_name: host.host_name().await?,
            seen: if self.kubernetes { seen_name(host).await? } else { None },
            naming: None,
            addresses: host.addresses().await?,
            default_route: host.default_route().await?,
            default_source: host.default_source().await?,
            configured: match self.kubernetes {
                true => configured(host, "node-ip").await?.and_then(|address| address.parse().ok()),
                false => None,
            },
            clock: host.clock().await?,
            machine: machine_id(host).await?,
            boot: boot_id(host).await?,
            cloud: host.read(Path::new(INSTANCE_DATA)).await?.and_then(|f| CloudFacts::from_cloud_init(&f.content)),
            kept: read_json(host, CACHE).await?,
            asked: None,
            interfaces: BTreeMap::new(),
            gpu: if self.uses(Fact::Gpu) { fact::gpu(host).await? } else { None },
        };
        if self.kubernetes && self.spec.name.is_none() && facts.seen.is_none() {
            facts.naming = host.read(Path::new(name::STATUS)).await?.and_then(|file| name::stage(&file.content));
        }
        facts.asked = self.ask(host, &facts).await?;
        if self.awaited_network(&facts).is_some() && facts.said().is_some() {
            facts.interfaces = address::interfaces(host).await?;
        }
        Ok(facts)
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        let mut plan = Plan::default();
        if let Some(known) = facts.to_keep(self.needs_moving()).filter(|known| facts.kept.as_ref() != Some(known)) {
            plan.step("cloud", Action::Keep(known), "metadata is not relied on after the first boot");
        }
        self.name(facts, now, &mut plan);
        self.address(facts, now, &mut plan);
        self.external_address(facts, &mut plan);
        if self.kubernetes {
            self.default_route(facts, &mut plan);
            self.clock(facts, &mut plan);
        }
        self.facts(facts, &mut plan);
        plan.again = self.asks_again(facts);
        plan
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        match action {
            Action::Keep(kept) => write_json(host, CACHE, kept, 0o600).await,
        }
    }
}

impl Node {
    fn name(&self, facts: &Facts, now: &Conditions, plan: &mut Plan<Action>) {
        if let Some((wait, in_time)) = self.awaited_name(facts, now) {
            plan.waits.push(wait);
            if in_time {
                return;
            }
        }
        let host_name = facts.host_name.to_lowercase();
        let seen = facts.seen.as_ref().filter(|_| self.spec.name.is_none());
        if let Some(seen) = seen.filter(|seen| **seen != host_name) {
            let text = format!(
                "the host is now called {host_name}, and its Node stays {seen}: `name = \"{seen}\"` in [node] says so for \
                 good. To rename the Node: `bowline leave`; then see that the servers' rules ([[enroll.allow]]) let {host_name} \
                 in, and on an agent set `ticket` to the one of this name (`bowline ticket {host_name}` on a server); then \
                 `bowline leave --undo`. Of a single server: `name = \"{host_name}\"` in [node], then \
                 `kubectl delete node {seen}`"
            );
            plan.note("name", text);
        }
        let name = self.spec.name.clone().or_else(|| seen.cloned()).unwrap_or(host_name);
        let fits = !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && !name.starts_with(['-', '.'])
            && !name.ends_with(['-', '.'])
            && name != "localhost";
        if fits {
            plan.state(condition::NAME, name);
        } else if self.kubernetes {
            plan.refuse(
                "name",
                "use the host name as the node's name",
                format!("the host name “{name}” cannot be a Node's name"),
                "set `[node] name`, or the machine's host name (`hostnamectl hostname NAME`)",
            );
        }
    }

    fn default_route(&self, facts: &Facts, plan: &mut Plan<Action>) {
        match &facts.default_route {
            Some(_) => plan.state(condition::DEFAULT_ROUTE, "ok"),
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
            let behind = about((self.built - clock.unix) as f64);
            plan.waits.push(
                Wait::new(
                    "clock",
                    "a clock that is right",
                    format!("it is at least {behind} behind: K3s's certificates would not be valid"),
                )
                .deadline(Duration::from_secs(120), "set the clock (`timedatectl set-ntp true`, or `date`)")
                .poll(Duration::from_secs(2)),
            );
        } else if clock.synchronised {
            plan.state(condition::CLOCK, "ok");
        } else if clock.uptime < PATIENCE_WITH_CLOCK.as_secs() {
            plan.waits.push(
                Wait::new(
                    "clock",
                    "a synchronised clock",
                    format!(
                        "K3s makes its certificates at its first start; after {} s of uptime it starts anyway",
                        PATIENCE_WITH_CLOCK.as_secs()
                    ),
                )
                .poll(Duration::from_secs(2)),
            );
        } else {
            plan.note(
                "clock",
                "nothing says that the clock is synchronised; continuing, since it is not plainly wrong",
            );
            plan.state(condition::CLOCK, "ok");
        }
    }
}

#[cfg(test)]
mod tests;
