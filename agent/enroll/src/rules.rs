//! Who may come in, and with which labels and taints: `[[enroll.allow]]`.

use crate::code::{Code, Refusal};
use crate::wire::{Cut, Reason};
use crate::{NodeName, Role};
use bowline_settings::{CONTROL_PLANE_LABEL, ETCD_LABEL, EnrollRule, STARTUP_TAINT, Taint};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Roles that only K3s gives, and only to servers.
const OF_SERVERS: [&str; 3] = [CONTROL_PLANE_LABEL, "node-role.kubernetes.io/master", ETCD_LABEL];

/// Labels in Kubernetes's own namespaces that a kubelet may set nevertheless (`IsKubeletLabel` of Kubernetes 1.34).
const OF_KUBELETS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
];

/// What a node asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wished {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
}

/// What a node is let in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The rule that let it in.
    pub rule: String,
    /// Labels that the servers see to: what the rule grants, and wishes that it permits.
    pub labels: BTreeMap<String, String>,
    /// Taints, the same way. No two have key and effect in common.
    pub taints: Vec<Taint>,
    /// Wishes that need nobody's permission, since a kubelet can set such labels by itself: for the node to see to.
    pub own: BTreeMap<String, String>,
    /// Wishes that were cut out, sorted.
    pub cut: Vec<Cut>,
}

/// Whether a kubelet cannot set a label of this key itself (the admission plugin `NodeRestriction`), so that a rule
/// about it protects something.
pub fn is_reserved(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else { return false };
    let within = |domain: &str| namespace == domain || namespace.strip_suffix(domain).is_some_and(|n| n.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    let kubelets = OF_KUBELETS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io");
    kubernetes && !kubelets
}

/// Whether a label gives a role that no agent has.
pub fn is_servers_role(key: &str) -> bool {
    OF_SERVERS.contains(&key)
}

/// Whether a rule takes this name, role and address.
fn takes(rule: &EnrollRule, role: Role, name: &NodeName, peer: IpAddr) -> bool {
    // The settings refuse such rules already; a server's token is worth asking twice.
    let exact = rule.role == Role::Agent || (rule.nodes.is_exact() && rule.from.iter().all(|from| from.is_single()));
    exact && rule.role == role && rule.nodes.matches(name.as_str()) && rule.from.iter().any(|from| from.contains(peer))
}

/// The rule that lets a node in: the first that takes its name, its role and its address.
///
/// # Errors
/// A refusal that tells which of the three no rule has: the ticket was good, so its holder may know.
pub fn rule<'a>(rules: &'a [EnrollRule], role: Role, name: &NodeName, peer: IpAddr) -> Result<&'a EnrollRule, Refusal> {
    if let Some(rule) = rules.iter().find(|rule| takes(rule, role, name, peer)) {
        return Ok(rule);
    }
    let named = rules.iter().find(|rule| rule.role == role && rule.nodes.matches(name.as_str()));
    Err(Refusal::new(
        Code::OutsideRules,
        match named {
            Some(rule) => format!(
                "the rule \"{}\" lets in {name} as {role}, and not from {}: see `from` in [[enroll.allow]] on the \
                 servers",
                rule.name,
                peer.to_canonical()
            ),
            None => format!("no rule lets in {name} as {role}: add an [[enroll.allow]] on the servers"),
        },
    ))
}

/// Whether a node comes in, and with what. No rule, no entry.
///
/// # Errors
/// As [`rule`].
pub fn admit(
    rules: &[EnrollRule],
    role: Role,
    name: &NodeName,
    peer: IpAddr,
    wished: &Wished,
) -> Result<Admission, Refusal> {
    let rule = rule(rules, role, name, peer)?;
    let mut admission = Admission {
        rule: rule.name.clone(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        own: BTreeMap::new(),
        cut: Vec::new(),
    };
    let mut cut = BTreeSet::new();
    let mut out = |what: String, why: String, reason: Reason| {
        cut.insert(Cut { what, why, reason });
    };
    for (key, value) in &rule.grant {
        match no_agents_role(role, key) {
            Some(why) => out(format!("{key}={value}"), why, Reason::Never),
            None => drop(admission.labels.insert(key.clone(), value.clone())),
        }
    }
    for (key, value) in &wished.labels {
        let what = format!("{key}={value}");
        if let Some(why) = no_agents_role(role, key) {
            out(what, why, Reason::Never);
        } else if let Some(given) = rule.grant.get(key) {
            if given != value {
                out(what, format!("the rule \"{}\" gives {key}={given}", rule.name), Reason::Given);
            }
        } else if !is_reserved(key) {
            admission.own.insert(key.clone(), value.clone());
        } else if rule.permit.iter().any(|pattern| pattern.matches(key)) {
            admission.labels.insert(key.clone(), value.clone());
        } else {
            out(what, format!("the rule \"{}\" does not permit {key}", rule.name), Reason::NotPermitted);
        }
    }
    for taint in &rule.taints {
        if taint.key != STARTUP_TAINT {
            admission.taints.push(taint.clone());
        }
    }
    for taint in &wished.taints {
        let given = rule.taints.iter().find(|other| other.key == taint.key && other.effect == taint.effect);
        if taint.key == STARTUP_TAINT {
            out(taint.to_string(), "Bowline sets and removes it by itself".to_owned(), Reason::Never);
        } else if let Some(given) = given {
            if given != taint {
                out(taint.to_string(), format!("the rule \"{}\" gives {given}", rule.name), Reason::Given);
            }
        } else if rule.permit_taints.iter().any(|pattern| pattern.matches(&taint.key)) {
            admission.taints.push(taint.clone());
        } else {
            let why = format!("the rule \"{}\" does not permit taints of {}", rule.name, taint.key);
            out(taint.to_string(), why, Reason::NotPermitted);
        }
    }
    admission.cut = cut.into_iter().collect();
    Ok(admission)
}

fn no_agents_role(role: Role, key: &str) -> Option<String> {
    is_servers_role(key).then(|| match role {
        Role::Agent => "no agent has this role".to_owned(),
        Role::Server => "K3s gives servers this role by itself".to_owned(),
    })
}
