//! Keeps pods from the ports where issuers answer: they are closed before K3s starts for the first time, and by the unit
//! `bowline-guard.service` at every boot. What this capability does is to say what is closed, and that it stays so.
//!
//! Packets are told by the interface that they come in by: machines come by that of the node's own address, that of the
//! default route, and those of the addresses where the issuer listens; all else is of pods. So an interface that nobody
//! thought of is closed, and not open. What never passes netfilter is not seen: a network plugin may carry pods' packets
//! from one interface to another in eBPF (Cilium), which the report says where there is one.
//!
//! - `decide`: the plan.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod decide;

use bowline_engine::{Capability, Conditions, Plan};
use bowline_ports::{
    ActiveState, Address, Change, GUARD_CLOSED, GUARD_ORDER, GUARD_SERVICE, GuardOrder, Inspect, PortError, Progress,
    Unit,
};
use bowline_settings::{Listen, ServerAddress};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Whom pods are kept from.
pub struct Guard {
    /// Where this machine's own issuer answers; empty when it has none.
    pub listen: Vec<Listen>,
    /// The other servers of the settings.
    pub servers: Vec<ServerAddress>,
    /// The networks of the pods, with commas, as a server's own settings have them: on a node with an address of IPv4, and on one
    /// of IPv6. `None` on agents, who are told.
    pub pods: Option<[String; 2]>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The text of the order.
    pub order: Option<String>,
    /// The text of what is closed.
    pub closed: Option<String>,
    /// The unit that closes it.
    pub unit: Unit,
    /// Its last words, read only while it does not come up.
    pub last_lines: Vec<String>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The interface of the default route.
    pub default_route: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Write down what is to be closed.
    Order(GuardOrder),
    /// Close it at every boot.
    Enable,
    /// Close it.
    Close(GuardOrder),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(order) => {
                write!(f, "write {GUARD_ORDER} ({} for all but {})", ports(order), order.machines.join(", "))
            }
            Self::Enable => write!(f, "enable {GUARD_SERVICE} for every boot"),
            Self::Close(order) => write!(f, "close {} to pods", ports(order)),
        }
    }
}

/// `TCP 7470`.
fn ports(order: &GuardOrder) -> String {
    let mut all: Vec<u16> = order.here.iter().chain(&order.elsewhere).copied().collect();
    all.sort_unstable();
    all.dedup();
    let all: Vec<String> = all.iter().map(u16::to_string).collect();
    format!("TCP {}", all.join(", "))
}

impl Capability for Guard {
    const NAME: &'static str = "guard";
    // The kernel tells of addresses and of the default route, and systemd of the unit.
    const EVERY: Duration = Duration::from_secs(300);
    type Facts = Facts;
    type Action = Action;

    async fn observe(&self, host: &dyn Inspect) -> Result<Facts, PortError> {
        let text = async |path| Ok::<_, PortError>(host.read(Path::new(path)).await?.map(|file| file.text()));
        let (order, closed) = (text(GUARD_ORDER).await?, text(GUARD_CLOSED).await?);
        let unit = host.unit(GUARD_SERVICE).await?;
        let troubled = closed.is_none() && matches!(unit.active, ActiveState::Activating | ActiveState::Failed);
        Ok(Facts {
            order,
            closed,
            last_lines: if troubled {
                host.journal_tail(GUARD_SERVICE, 2).await.unwrap_or_default()
            } else {
                Vec::new()
            },
            unit,
            addresses: host.addresses().await?,
            default_route: host.default_route().await?,
        })
    }

    fn plan(&self, facts: &Facts, now: &Conditions) -> Plan<Action> {
        decide::plan(self, facts, now)
    }

    async fn apply(&self, action: &Action, host: &dyn Change, _: &Progress) -> Result<(), PortError> {
        match action {
            Action::Order(order) => host.write(Path::new(GUARD_ORDER), order.text().as_bytes(), 0o600).await,
            Action::Enable => host.enable(GUARD_SERVICE).await,
            Action::Close(_) => host.restart(GUARD_SERVICE).await,
        }
    }
}
