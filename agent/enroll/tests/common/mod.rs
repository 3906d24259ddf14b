//! A cluster to decide about, small enough to write down.

#![allow(clippy::unwrap_used, dead_code, reason = "a test may end so, and uses a part of it")]

use bowline_enroll::decide::{Decision, Order};
use bowline_enroll::facts::{Cluster, Facts, JoinLease, Member, Node, Read, Ready, Token};
use bowline_enroll::key::{ClusterKeys, MachineKey};
use bowline_enroll::proof::{self, Proven, Purpose};
use bowline_enroll::rules::Wished;
use bowline_enroll::wire::{Agreed, EnrollRequest, Labels, NodeRequest, PasswordHash, Phase, VERSION, Versions};
use bowline_enroll::{Act, Claim, EnrollRule, NodeName, Role, Secret};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const GRACE: Duration = Duration::from_secs(60);
pub(crate) const NOW: u64 = 1_800_000_000;
const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub(crate) fn machine(seed: u8) -> MachineKey {
    MachineKey::from_seed(&[seed; 32])
}

pub(crate) fn rules() -> Vec<EnrollRule> {
    let rule = |rule: &str, nodes: &str, role, from: &str| EnrollRule {
        name: rule.into(),
        nodes: nodes.parse().unwrap(),
        role,
        from: vec![from.parse().unwrap()],
        grant: BTreeMap::new(),
        permit: Vec::new(),
        taints: Vec::new(),
        permit_taints: Vec::new(),
        permit_claims: Vec::new(),
    };
    vec![
        EnrollRule {
            grant: BTreeMap::from([
                ("role".into(), "kafka".into()),
                ("node-role.kubernetes.io/etcd".into(), "".into()),
            ]),
            permit: vec!["node-role.kubernetes.io/*".parse().unwrap()],
            taints: vec!["dedicated=kafka:NoSchedule".parse().unwrap()],
            permit_taints: vec!["example.com/*".parse().unwrap()],
            ..rule("kafka", "kafka-*", Role::Agent, "10.0.1.0/24")
        },
        rule("control-2", "control-2", Role::Server, "10.0.1.11"),
    ]
}

pub(crate) fn keys() -> ClusterKeys {
    ClusterKeys::parse(KEY).unwrap()
}

/// Who a body is proven and signed to be from.
pub(crate) fn proven(purpose: Purpose, role: Role, of: &NodeName, body: &[u8], machine: &MachineKey) -> Proven {
    let ticket = keys().ticket(role, of).unwrap();
    let headers = proof::request(purpose, &[7; 32], body, &ticket, machine);
    proof::verify(&keys(), purpose, &[7; 32], body, (role, of), &headers).unwrap()
}

pub(crate) fn hash(letter: &str) -> PasswordHash {
    PasswordHash::parse(&format!("$1:0011223344556677:15:8:1:{}A", letter.repeat(85))).unwrap()
}

pub(crate) fn request(role: Role, of: &str, machine: &MachineKey) -> EnrollRequest {
    EnrollRequest {
        version: VERSION,
        role,
        name: name(of),
        machine_key: machine.public(),
        addresses: vec![ip("10.0.1.20")],
        fresh: true,
        labels: Labels::default(),
        taints: Vec::new(),
        versions: Versions { bowline: "0.1.0".into(), kubernetes: None },
        node_password_hash: Some(hash("b")),
    }
}

/// What an agent or a server asks for its Node, when it is settled and wants nothing of its own.
pub(crate) fn node_request(role: Role, of: &str, machine: &MachineKey) -> NodeRequest {
    NodeRequest {
        version: VERSION,
        role,
        name: name(of),
        machine_key: machine.public(),
        phase: Phase::Settled,
        labels: Labels::default(),
        taints: Vec::new(),
        persistent_volumes: Vec::new(),
        versions: Versions { bowline: "0.1.0".into(), kubernetes: None },
    }
}

pub(crate) fn facts() -> Facts {
    Facts {
        claim: None,
        node: None,
        lease_still_for: Duration::ZERO,
        lease_watched_for: Duration::ZERO,
        up: Duration::ZERO,
        password: None,
        tokens: Vec::new(),
        join: None,
        cluster: Cluster {
            ca_hash: "c".repeat(64),
            server_token: Secret::new(format!("K10{}::server:hunter2", "c".repeat(64))),
            etcd: true,
            members: vec![Member { node: "control".into(), healthy: true }],
            issuers: vec!["10.0.1.10:7470".into()],
            servers: vec!["https://10.0.1.10:6443".into()],
            agreed: Agreed::default(),
            kubernetes: "v1.34.1+k3s1".into(),
        },
        persistent: Default::default(),
        now: NOW,
        synchronised: true,
    }
}

pub(crate) fn read<T>(value: T, uid: &str) -> Read<T> {
    Read { value, uid: uid.into(), resource_version: "5".into() }
}

pub(crate) fn a_node(address: &str, ready: Ready) -> Node {
    Node {
        internal_ips: vec![ip(address)],
        ready,
        unknown_since: None,
        labels: BTreeMap::new(),
        managers: BTreeMap::new(),
        taints: Vec::new(),
        owned_taints: None,
        deleting: false,
    }
}

pub(crate) fn a_claim(of: &str, role: Role, machine: &MachineKey, node_uid: Option<&str>) -> Claim {
    Claim {
        addresses: vec![ip("10.0.1.20")],
        node_uid: node_uid.map(Into::into),
        wished: Some(Wished::default()),
        ..Claim::new(name(of), role, machine.public(), ip("10.0.1.20"), NOW - 500)
    }
}

pub(crate) fn join(holder: &str, still: u64) -> Read<JoinLease> {
    read(JoinLease { holder: Some(name(holder)), still_for: Duration::from_secs(still) }, "j")
}

pub(crate) fn enroll(
    request: &EnrollRequest,
    by: &MachineKey,
    from: &str,
    facts: &Facts,
) -> Decision<bowline_enroll::wire::Grant> {
    let rules = rules();
    let proven = proven(Purpose::Enroll, request.role, &request.name, &request.to_body(), by);
    let order = Order { rules: &rules, grace: GRACE, proven: &proven, peer: ip(from) };
    bowline_enroll::decide::enroll(&order, request, facts, &[9; 24])
}

/// The acts in a word each.
pub(crate) fn words(acts: &[Act]) -> Vec<&'static str> {
    acts.iter()
        .map(|act| match act {
            Act::CreateClaim(_) => "claim",
            Act::UpdateClaim { .. } => "reclaim",
            Act::DeleteClaim { .. } => "unclaim",
            Act::TakeJoin { .. } => "join",
            Act::ReleaseJoin { .. } => "joined",
            Act::DeleteNode { .. } => "-node",
            Act::DeletePassword { .. } => "-password",
            Act::StorePassword { .. } => "password",
            Act::DeleteToken { .. } => "-token",
            Act::MintToken { .. } => "token",
            Act::SetLabels { .. } => "labels",
            Act::SetTaints { .. } => "taints",
            Act::Persistent(_) => "persistent",
        })
        .collect()
}

/// An agent's Node that has just come in.
pub(crate) fn settled() -> Facts {
    let mut node = a_node("10.0.1.20", Ready::True);
    node.taints = ["bowline/initializing:NoSchedule"].map(|taint| taint.parse().unwrap()).to_vec();
    let token = Token { object: "bootstrap-token-a".into(), uid: "t".into(), node: "kafka-0".into(), expires: 1 };
    Facts {
        claim: Some(read(a_claim("kafka-0", Role::Agent, &machine(1), None), "c")),
        node: Some(read(node, "u1")),
        tokens: vec![token],
        ..facts()
    }
}
