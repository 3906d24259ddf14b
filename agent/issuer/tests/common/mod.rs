//! A cluster small enough to hold in a hand, and machines that come to it.

#![allow(clippy::unwrap_used, dead_code, unused_imports, reason = "a test may end so, and uses a part of it")]

mod patch;
mod store;

pub(crate) use store::{Fault, Store};

use bowline_enroll::key::{ClusterKeys, MachineKey, Ticket};
use bowline_enroll::persistent::Wish;
use bowline_enroll::proof::{self, Headers, Purpose};
use bowline_enroll::wire::{
    Agreed, EnrollAnswer, EnrollRequest, Grant, Labels, LeaveRequest, NodeAnswer, NodeRequest, PasswordHash, Phase,
    RefusalBody, VERSION, Versions, parse_enroll_answer, parse_node_answer,
};
use bowline_enroll::{EnrollRule, NodeName, Role, Secret};
use bowline_issuer::{Answer, Asked, Issuer, Own};
use bowline_settings::Enroll;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";
pub(crate) const ROLE: &str = "node-role.kubernetes.io/kafka";
pub(crate) const TEAM: &str = "node-restriction.kubernetes.io/team";

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub(crate) fn keys() -> ClusterKeys {
    ClusterKeys::parse(KEY).unwrap()
}

fn rules() -> Vec<EnrollRule> {
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
            grant: BTreeMap::from([(ROLE.into(), "yes".into())]),
            permit: vec![TEAM.parse().unwrap()],
            permit_claims: vec!["kafka/*".parse().unwrap()],
            taints: vec!["dedicated=kafka:NoSchedule".parse().unwrap()],
            ..rule("kafka", "kafka-*", Role::Agent, "10.0.1.0/24")
        },
        rule("control-2", "control-2", Role::Server, "10.0.1.11"),
    ]
}

/// A server of the cluster that is in the store.
pub(crate) fn issuer(store: &Store) -> Issuer<Store> {
    issuer_with(store, |settings| settings)
}

/// One with other settings.
pub(crate) fn issuer_with(store: &Store, with: impl FnOnce(Enroll) -> Enroll) -> Issuer<Store> {
    let settings = Enroll { allow: rules(), ..Enroll::default() };
    Issuer::new(with(settings), keys(), own(false), store.clone())
}

/// One of a cluster whose data is in etcd, with other members than itself.
pub(crate) fn issuer_with_etcd(store: &Store) -> Issuer<Store> {
    let settings = Enroll { allow: rules(), ..Enroll::default() };
    Issuer::new(settings, keys(), own(true), store.clone())
}

fn own(etcd: bool) -> Own {
    Own {
        name: name("control"),
        address: ip("10.0.1.10"),
        port: 7470,
        api_port: 6443,
        etcd,
        ca_hash: "c".repeat(64),
        server_token: Secret::new(format!("K10{}::server:hunter2", "c".repeat(64))),
        agreed: Agreed::default(),
        kubernetes: "v1.34.1+k3s1".into(),
    }
}

/// A machine with a key and a ticket of its own.
pub(crate) struct Machine {
    pub(crate) name: NodeName,
    pub(crate) role: Role,
    pub(crate) key: MachineKey,
    pub(crate) ticket: Ticket,
    pub(crate) address: IpAddr,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) persistent: Vec<Wish>,
    seed: u8,
}

/// One request as it comes out of the connection; an attack changes a part of it.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) peer: IpAddr,
    pub(crate) binding: [u8; 32],
    pub(crate) path: &'static str,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    pub(crate) async fn to(&self, issuer: &Issuer<Store>) -> Answer {
        self.with_random(issuer, 9).await
    }

    pub(crate) async fn with_random(&self, issuer: &Issuer<Store>, random: u8) -> Answer {
        let Self { peer, binding, path, headers, body } = self;
        let asked = Asked { peer: *peer, binding: *binding, path, headers: headers.clone(), body };
        let answer = issuer.answer(asked, NOW, &[random; 24]).await;
        if let Some(purpose) = Purpose::of_path(path) {
            let counted = (purpose.as_str(), answer.result);
            assert!(bowline_issuer::results().any(|one| one == counted), "{counted:?} is no series");
        }
        answer
    }
}

impl Machine {
    /// An agent at 10.0.1.20.
    pub(crate) fn agent(of: &str, seed: u8) -> Self {
        Self::of(Role::Agent, of, seed)
    }

    pub(crate) fn of(role: Role, of: &str, seed: u8) -> Self {
        let ticket = keys().ticket(role, &name(of)).unwrap();
        let key = MachineKey::from_seed(&[seed; 32]);
        Self {
            name: name(of),
            role,
            key,
            ticket,
            address: ip("10.0.1.20"),
            labels: BTreeMap::new(),
            persistent: Vec::new(),
            seed,
        }
    }

    pub(crate) fn at(mut self, address: &str) -> Self {
        self.address = ip(address);
        self
    }

    /// The hash of its node password: each machine has its own.
    pub(crate) fn password(&self) -> String {
        format!("$1:{:016x}:15:8:1:{}A", self.seed, "b".repeat(85))
    }

    pub(crate) fn sent(&self, purpose: Purpose, body: Vec<u8>) -> Sent {
        let binding = [7; 32];
        let headers = proof::request(purpose, &binding, &body, &self.ticket, &self.key);
        Sent { peer: self.address, binding, path: purpose.path(), headers, body }
    }

    pub(crate) fn enroll_request(&self) -> EnrollRequest {
        EnrollRequest {
            version: VERSION,
            role: self.role,
            name: self.name.clone(),
            machine_key: self.key.public(),
            addresses: vec![self.address],
            fresh: true,
            labels: Labels(self.labels.clone()),
            taints: Vec::new(),
            versions: Versions { bowline: "0.1.0".into(), kubernetes: None },
            node_password_hash: Some(PasswordHash::parse(&self.password()).unwrap()),
        }
    }

    pub(crate) fn enrolling(&self) -> Sent {
        self.sent(Purpose::Enroll, self.enroll_request().to_body())
    }

    /// Asks to be let in.
    pub(crate) async fn enroll(&self, issuer: &Issuer<Store>) -> Result<Grant, RefusalBody> {
        self.enroll_with(issuer, 9).await
    }

    pub(crate) async fn enroll_with(&self, issuer: &Issuer<Store>, random: u8) -> Result<Grant, RefusalBody> {
        let sent = self.enrolling();
        let answer = sent.with_random(issuer, random).await;
        self.believe(Purpose::Enroll, &sent, &answer);
        match parse_enroll_answer(answer.status, &answer.body).unwrap() {
            EnrollAnswer::Granted(grant) => Ok(*grant),
            EnrollAnswer::Refused(refusal) => Err(refusal),
        }
    }

    /// Asks for its own labels and taints.
    pub(crate) async fn node(&self, issuer: &Issuer<Store>, phase: Phase) -> Result<NodeAnswer, RefusalBody> {
        let request = NodeRequest {
            version: VERSION,
            role: self.role,
            name: self.name.clone(),
            machine_key: self.key.public(),
            phase,
            labels: Labels(self.labels.clone()),
            taints: Vec::new(),
            persistent_volumes: self.persistent.clone(),
            versions: Versions { bowline: "0.1.0".into(), kubernetes: None },
        };
        let sent = self.sent(Purpose::Node, request.to_body());
        let answer = sent.to(issuer).await;
        self.believe(Purpose::Node, &sent, &answer);
        parse_node_answer(answer.status, &answer.body).unwrap()
    }

    pub(crate) fn leaving(&self) -> Sent {
        let request =
            LeaveRequest { version: VERSION, role: self.role, name: self.name.clone(), machine_key: self.key.public() };
        self.sent(Purpose::Leave, request.to_body())
    }

    /// What has no valid proof is not an answer.
    pub(crate) fn believe(&self, purpose: Purpose, sent: &Sent, answer: &Answer) {
        let given = answer.proof.as_deref().unwrap_or_default();
        let bodies = (sent.body.as_slice(), answer.body.as_slice());
        assert!(
            proof::is_answer(purpose, &sent.binding, answer.status, bodies, &self.ticket, given),
            "an answer without a proof: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
}
