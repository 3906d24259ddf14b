//! What the Kubernetes API says, to an issuer that has a good request before it, or sweeps. The first byte says which,
//! the rest is one object with what is read: `claim`, `node`, `lease`, `password`, `tokens`, `join`, `servers`.

use crate::{KEY, binding, choice, keys, machine, runtime};
use bowline_enroll::key::Ticket;
use bowline_enroll::proof::{self, Purpose};
use bowline_enroll::wire::{
    Agreed, EnrollRequest, Labels, LeaveRequest, MAX_BODY, NodeRequest, PasswordHash, Phase, VERSION, Versions,
    parse_enroll_answer, parse_leave_answer, parse_node_answer,
};
use bowline_enroll::{NodeName, Role, Secret};
use bowline_issuer::{Asked, Issuer, Own};
use bowline_ports::{Fut, Objects, Write};
use bowline_settings::{Enroll, EnrollRule};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

const NOW: u64 = 1_800_000_000;

/// Says what the input says, takes every write, and remembers them.
#[derive(Clone)]
struct Api {
    says: Arc<Value>,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Objects for Api {
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        let said = |key: &str| Some(self.says[key].clone()).filter(|value| !value.is_null());
        let all = |keys: [&str; 2]| {
            let one = said(keys[0]).into_iter();
            let many = said(keys[1]).and_then(|list| list["items"].as_array().cloned()).unwrap_or_default();
            Some(json!({ "items": one.chain(many).collect::<Vec<_>>() }))
        };
        let (folder, query) = path.split_once('?').unwrap_or((path, ""));
        let value = match folder.rsplit('/').next().unwrap_or_default() {
            "server-join" => said("join"),
            "configmaps" => all(["claim", ""]),
            // A list that nobody speaks of is an empty one: without any, the issuer would conclude nothing.
            "nodes" if query.contains("labelSelector") => said("servers").or_else(|| all(["", ""])),
            "nodes" => all(["node", "servers"]),
            "leases" => all(["lease", ""]),
            "secrets" => said("tokens").or_else(|| all(["", ""])),
            "persistentvolumes" => all(["", ""]),
            _ if folder.contains("/configmaps/") => said("claim"),
            _ if folder.contains("/nodes/") => said("node"),
            _ if folder.contains("/leases/") => said("lease"),
            _ => said("password"),
        };
        Box::pin(std::future::ready(Ok(value)))
    }

    fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        let verb = match write {
            Write::Create(object) => format!("POST {}", object["metadata"]["name"].as_str().unwrap_or_default()),
            Write::Replace(_) => "PUT".into(),
            Write::Merge(_) | Write::Apply(..) => "PATCH".into(),
            Write::Delete(..) => "DELETE".into(),
        };
        self.writes.lock().unwrap().push(format!("{verb} {path}"));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Whether the request was granted, or the sweep came to its end.
pub fn check(data: &[u8]) -> bool {
    let Some((kind, said)) = choice(data, 5) else { return false };
    let Ok(says @ Value::Object(_)) = serde_json::from_slice(said) else { return false };
    let api = Api { says: Arc::new(says), writes: Arc::default() };
    let issuer = issuer(&api);
    let (role, name, peer) = match kind {
        4 => (Role::Server, "control-2", "10.0.1.11"),
        _ => (Role::Agent, "k3s-trading-dev-kafka-0", "10.0.1.20"),
    };
    let name = NodeName::new(name).unwrap();
    let ticket = keys().ticket(role, &name).unwrap();
    let purpose = match kind {
        0 | 4 => Purpose::Enroll,
        1 => Purpose::Node,
        2 => Purpose::Leave,
        _ => return runtime().block_on(issuer.sweep(&machine().public(), NOW)).is_ok(),
    };
    let body = body(purpose, role, name);
    let binding = binding();
    let headers = proof::request(purpose, &binding, &body, &ticket, &machine());
    let peer: IpAddr = peer.parse().unwrap();
    let asked = Asked { peer, binding, path: purpose.path(), headers, body: &body };
    let answer = runtime().block_on(issuer.answer(asked, NOW, &[7; 24]));
    let writes = std::mem::take(&mut *api.writes.lock().unwrap());

    proven(purpose, &ticket, &body, &answer);
    in_order(purpose, role, answer.status, &writes);
    answer.status == 200
}

/// Every answer is proven, of a size that is read, and what a joiner understands.
fn proven(purpose: Purpose, ticket: &Ticket, body: &[u8], answer: &bowline_issuer::Answer) {
    assert!([200, 400, 403, 409, 503].contains(&answer.status), "{}", answer.status);
    assert!(!answer.wrong && answer.body.len() <= MAX_BODY);
    let given = answer.proof.as_deref().unwrap_or_default();
    assert!(proof::is_answer(purpose, &binding(), answer.status, (body, &answer.body), ticket, given));
    match purpose {
        Purpose::Enroll => drop(parse_enroll_answer(answer.status, &answer.body).unwrap()),
        Purpose::Node => drop(parse_node_answer(answer.status, &answer.body).unwrap()),
        Purpose::Leave => drop(parse_leave_answer(answer.status, &answer.body).unwrap()),
    }
    assert!(!String::from_utf8_lossy(&answer.body).contains(KEY), "the cluster key stays here");
}

/// First the claim, then what is deleted, then the password, then the token; and none without a grant.
fn in_order(purpose: Purpose, role: Role, status: u16, writes: &[String]) {
    let at = |piece: &str| writes.iter().position(|write| write.contains(piece));
    let token = at("POST bootstrap-token-");
    let minted = purpose == Purpose::Enroll && role == Role::Agent && status == 200;
    assert_eq!(token.is_some(), minted, "{status}: {writes:?}");
    if let Some(token) = token {
        assert_eq!(token, writes.len() - 1, "the token comes last: {writes:?}");
        assert!(at("/configmaps").is_some_and(|claim| claim == 0), "the claim comes first: {writes:?}");
    }
    if purpose == Purpose::Enroll
        && let Some(deletion) = at("DELETE ")
    {
        assert!(at("/configmaps").is_some_and(|claim| claim < deletion), "the claim comes first: {writes:?}");
    }
}

fn issuer(api: &Api) -> Issuer<Api> {
    let own = Own {
        name: NodeName::new("control").unwrap(),
        address: "10.0.1.10".parse().unwrap(),
        port: 7470,
        api_port: 6443,
        etcd: true,
        ca_hash: "c".repeat(64),
        server_token: Secret::new(format!("K10{}::server:hunter2", "c".repeat(64))),
        agreed: Agreed::default(),
        kubernetes: "v1.34.1+k3s1".into(),
    };
    let rule = |nodes: &str, role, from: &str| EnrollRule {
        name: nodes.into(),
        nodes: nodes.parse().unwrap(),
        role,
        from: vec![from.parse().unwrap()],
        grant: BTreeMap::from([("node-restriction.kubernetes.io/team".into(), "red".into())]),
        permit: vec!["topology.kubernetes.io/*".parse().unwrap()],
        taints: vec!["dedicated=kafka:NoSchedule".parse().unwrap()],
        permit_taints: Vec::new(),
        permit_claims: Vec::new(),
    };
    let allow =
        vec![rule("k3s-trading-dev-kafka-*", Role::Agent, "10.0.1.0/24"), rule("control-2", Role::Server, "10.0.1.11")];
    Issuer::new(Enroll { allow, ..Enroll::default() }, keys(), own, api.clone())
}

fn body(purpose: Purpose, role: Role, name: NodeName) -> Vec<u8> {
    let (version, machine_key) = (VERSION, machine().public());
    let versions = Versions { bowline: "0.1.0".into(), kubernetes: None };
    let wished = [("node-restriction.kubernetes.io/team", "blue"), ("topology.kubernetes.io/zone", "a")];
    let labels = Labels(wished.map(|(key, value)| (key.into(), value.into())).into());
    match purpose {
        Purpose::Enroll => EnrollRequest {
            version,
            role,
            name,
            machine_key,
            addresses: vec!["10.0.1.20".parse().unwrap()],
            fresh: true,
            labels,
            taints: Vec::new(),
            versions,
            node_password_hash: PasswordHash::parse(&format!("$1:{:016x}:15:8:1:{}A", 7, "b".repeat(85))).ok(),
        }
        .to_body(),
        Purpose::Node => NodeRequest {
            version,
            role,
            name,
            machine_key,
            phase: Phase::Settled,
            labels,
            taints: Vec::new(),
            persistent_volumes: Vec::new(),
            versions,
        }
        .to_body(),
        Purpose::Leave => LeaveRequest { version, role, name, machine_key }.to_body(),
    }
}
