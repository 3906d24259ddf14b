//! What the Kubernetes API knows of a name.

use crate::Own;
use crate::leases::Leases;
use crate::object::{NODE_LABEL, decoded, password_name, read, read_claim, read_node, read_token};
use bowline_enroll::NodeName;
use bowline_enroll::claim::{COMPONENT, Claim, NAMESPACE};
use bowline_enroll::facts::{Cluster, Facts, JoinLease, Member, Read, Ready};
use bowline_ports::{Objects, PortError};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The Lease under which one server joins at a time.
pub(crate) const JOIN_LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/bowline/leases/server-join";

/// The Nodes of the servers.
const SERVERS: &str = "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane%3Dtrue";
/// The label of a member of embedded etcd.
const ETCD: &str = "node-role.kubernetes.io/etcd";

/// Everything that a decision about a name is made from.
pub(crate) async fn facts(
    objects: &dyn Objects,
    own: &Own,
    leases: &Mutex<Leases>,
    name: &NodeName,
    unix: u64,
) -> Result<Facts, PortError> {
    let claim_path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{}", Claim::object_name(name));
    let node_path = format!("/api/v1/nodes/{name}");
    let lease_path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
    let password_path = format!("/api/v1/namespaces/kube-system/secrets/{}", password_name(name));
    let tokens_path = format!("/api/v1/namespaces/kube-system/secrets?labelSelector={NODE_LABEL}%3D{name}");
    let (claim, node, lease, password, tokens, join, servers) = tokio::try_join!(
        objects.get(&claim_path),
        objects.get(&node_path),
        objects.get(&lease_path),
        objects.get(&password_path),
        objects.get(&tokens_path),
        objects.get(JOIN_LEASE),
        objects.get(SERVERS),
    )?;
    // Monotonic, and in tests as fast as they like.
    let now = Instant::now().into_std();
    let look = |key: &str, lease: Option<&Value>| {
        // The version too: a Lease that was deleted and made anew has moved.
        let what = lease.map(|lease| format!("{} {}", lease["metadata"]["uid"], lease["metadata"]["resourceVersion"]));
        leases.lock().unwrap_or_else(PoisonError::into_inner).look(key, what, now)
    };
    Ok(Facts {
        claim: claim.as_ref().map(read_claim).transpose()?,
        node: node.as_ref().map(read_node),
        lease_still_for: look(name.as_str(), lease.as_ref()),
        password: password.as_ref().map(|p| read(p, decoded(&p["data"]["hash"]).unwrap_or_default())),
        tokens: items(tokens.as_ref()).filter_map(read_token).collect(),
        join: join.as_ref().map(|join| {
            let still_for = look("(join)", Some(join));
            read_join(join, still_for)
        }),
        cluster: cluster(own, servers.as_ref()),
        now: unix,
    })
}

/// The cluster as this server knows it and as its servers' Nodes tell it. This server comes first: it answers, and the
/// others may not.
fn cluster(own: &Own, servers: Option<&Value>) -> Cluster {
    let mut addresses = vec![own.address];
    let mut members = Vec::new();
    for server in items(servers) {
        let node = read_node(server).value;
        if own.etcd && node.labels.get(ETCD).is_some_and(|is| is == "true") {
            let name = server["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            members.push(Member { node: name, healthy: node.ready == Ready::True && !is_learner(server) });
        }
        let address = node.internal_ips.first().filter(|address| !node.deleting && !addresses.contains(address));
        addresses.extend(address);
    }
    Cluster {
        ca_hash: own.ca_hash.clone(),
        server_token: own.server_token.clone(),
        etcd: own.etcd,
        members,
        issuers: addresses.iter().map(|address| SocketAddr::new(*address, own.port).to_string()).collect(),
        servers: addresses
            .iter()
            .map(|address| format!("https://{}", SocketAddr::new(*address, own.api_port)))
            .collect(),
        agreed: own.agreed.clone(),
        kubernetes: own.kubernetes.clone(),
    }
}

/// K3s says so by a condition of the Node; one without is a member as soon as it is Ready.
fn is_learner(server: &Value) -> bool {
    let mut conditions = server["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "EtcdIsVoter" && condition["status"] != "True")
}

fn read_join(join: &Value, still_for: std::time::Duration) -> Read<JoinLease> {
    let holder = join["spec"]["holderIdentity"].as_str().and_then(|name| NodeName::new(name).ok());
    read(join, JoinLease { holder, still_for })
}

/// All claims: those that can not be read with why.
pub(crate) async fn claims(objects: &dyn Objects) -> Result<Vec<Result<Read<Claim>, PortError>>, PortError> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector={}%3D{}", COMPONENT.0, COMPONENT.1);
    let list = objects.get(&path).await?;
    Ok(items(list.as_ref()).map(read_claim).collect())
}

pub(crate) fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(|list| list["items"].as_array()).into_iter().flatten()
}
