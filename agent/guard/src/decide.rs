//! The plan: what is to be closed, and what is missing for that.

use crate::{Action, Facts, Guard, ports};
use bowline_engine::{Conditions, Plan, Wait};
use bowline_ports::{ActiveState, GUARD_SERVICE, GUARD_UNSUPPORTED, GuardOrder, condition};
use bowline_settings::Cidr;
use std::net::IpAddr;
use std::time::Duration;

const ITEM: &str = "guard";
/// Cilium's interface on the host. It may carry packets in eBPF, where no rule of netfilter sees them.
const CILIUM: &str = "cilium_host";

pub(crate) fn plan(spec: &Guard, facts: &Facts, now: &Conditions) -> Plan<Action> {
    let mut plan = Plan::default();
    // Whoever states what is missing here says why; K3s waits meanwhile.
    let Some(order) = wanted(spec, facts, now) else { return plan };
    let (unit, text) = (&facts.unit, order.text());
    let closed = facts.closed.as_ref() == Some(&text);
    if closed {
        plan.state(condition::GUARD, "closed");
        if facts.addresses.iter().any(|address| address.interface == CILIUM) {
            plan.note(
                ITEM,
                format!(
                    "Cilium may carry what pods send past the rules that close {}: let it use the host's routing \
                     (`bpf.hostLegacyRouting`), or deny pods that port by a policy of its own",
                    ports(&order)
                ),
            );
        }
    }
    if unit.load != "loaded" {
        let (why, hint) = match unit.load.as_str() {
            "masked" => ("masked", format!("let it up again: `systemctl unmask {GUARD_SERVICE}`")),
            "not-found" => ("not there", "install the package again: `apt-get install --reinstall bowline`".into()),
            other => (other, format!("fix it: `systemctl status {GUARD_SERVICE}`")),
        };
        plan.refuse(ITEM, format!("close {} to pods", ports(&order)), format!("{GUARD_SERVICE} is {why}"), hint);
        return plan;
    }
    let known = facts.order.as_ref() == Some(&text);
    if !known {
        plan.step(
            ITEM,
            Action::Order(order.clone()),
            format!("{GUARD_SERVICE} reads it at every boot, before K3s starts"),
        );
    }
    if unit.file_state == "disabled" {
        plan.step(ITEM, Action::Enable, "the next boot must close it before K3s starts");
    }
    if !closed {
        close(&order, known, facts, &mut plan);
    }
    plan
}

/// What remains when the order is written down.
fn close(order: &GuardOrder, known: bool, facts: &Facts, plan: &mut Plan<Action>) {
    let unit = &facts.unit;
    let words = || match facts.last_lines.as_slice() {
        [] => "nothing".to_string(),
        lines => lines.join(" | "),
    };
    if known && unit.active == ActiveState::Failed && unit.exit_status == i32::from(GUARD_UNSUPPORTED) {
        // A cluster that does not start would be worse: the proofs guard the door as well.
        plan.state(condition::GUARD, "open");
        let words = words();
        plan.note(ITEM, format!("{} is open to pods, since this kernel cannot close it: {words}", ports(order)));
        return;
    }
    if known && unit.active == ActiveState::Activating {
        let why = format!("{GUARD_SERVICE} is starting; it said: {}", words());
        plan.waits.push(
            Wait::new(ITEM, format!("{} to be closed to pods", ports(order)), why)
                .deadline(Duration::from_secs(30), format!("fix what it names: `journalctl -u {GUARD_SERVICE}`"))
                .poll(Duration::from_millis(500)),
        );
        return;
    }
    let why = match &facts.closed {
        Some(_) => "something else is closed now",
        None => "pods have no business there, and K3s does not start before",
    };
    plan.step(ITEM, Action::Close(order.clone()), why);
}

/// What is to be closed; `None` while it is not known.
fn wanted(spec: &Guard, facts: &Facts, now: &Conditions) -> Option<GuardOrder> {
    // Asked for, so that a route that comes makes a look.
    let _ = now.get(condition::DEFAULT_ROUTE);
    let (address, own) = (now.get(condition::ADDRESS)?.parse::<IpAddr>().ok()?, now.get(condition::INTERFACE)?);
    let pods = match now.get(condition::CLUSTER_CIDR) {
        Some(told) => told,
        None if spec.servers.is_empty() || now.is(condition::K3S_FOUNDS, "yes") => {
            let [v4, v6] = spec.pods.as_ref()?;
            if address.is_ipv6() { v6 } else { v4 }
        }
        None => return None,
    };
    let listens = spec.listen.iter().filter_map(|listen| listen.resolve(Some(address))).map(|socket| socket.ip());
    let holders = listens.flat_map(|ip| facts.addresses.iter().filter(move |a| a.address == ip).map(|a| &a.interface));
    let mut machines: Vec<String> = holders.chain(&facts.default_route).cloned().collect();
    machines.push(own.to_string());
    machines.retain(|name| name != "lo");
    machines.sort();
    machines.dedup();
    let here = sorted(spec.listen.iter().map(|listen| listen.port));
    let elsewhere = sorted(here.iter().copied().chain(spec.servers.iter().map(|server| server.port)));
    let pods = pods.split(',').filter_map(Cidr::masked);
    Some(GuardOrder { machines, here, elsewhere, pods: pods.map(|net| (net.address(), net.prefix())).collect() })
}

fn sorted(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut all: Vec<u16> = ports.collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
