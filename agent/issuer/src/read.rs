//! What the Kubernetes API knows of a name.

use crate::Own;
use crate::acts::SECRETS;
use crate::leases::{Leases, Still};
use crate::object::{NODE_LABEL, decoded, password_name, read, read_claim, read_node, read_token, strings};
use crate::{refusals, volumes};
use bowline_enroll::claim::{COMPONENT, Claim, MANAGED_BY, NAMESPACE};
use bowline_enroll::facts::{Cluster, Facts, JoinLease, Member, Node, Read, Ready};
use bowline_enroll::refusals::Refusals;
use bowline_enroll::{NodeName, Role};
use bowline_ports::{ErrorKind, NODES, Objects, PortError, items, node_path};
use bowline_settings::{CONTROL_PLANE_LABEL, ETCD_LABEL};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The Lease under which one server joins at a time.
pub(crate) const JOIN_LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/bowline/leases/server-join";

/// Its key among the Leases that are watched: no name of a node.
pub(crate) const JOIN: &str = "(join)";
/// The Leases that kubelets renew.
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Everything that a decision about a name in a role is made from.
pub(crate) async fn facts(
    objects: &dyn Objects,
    own: &Own,
    leases: &Mutex<Leases>,
    (role, name): (Role, &NodeName),
    unix: u64,
    whose: volumes::Of<'_>,
) -> Result<Facts, PortError> {
    let claim_path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{}", Claim::object_name(name));
    let node_path = node_path(name.as_str());
    let lease_path = format!("{LEASES}/{name}");
    let password_path = format!("{SECRETS}/{}", password_name(name));
    let tokens_path = format!("{SECRETS}?labelSelector={NODE_LABEL}%3D{name}");
    // Of the servers an agent is only told where they are: there the API's own memory will do, which answers at once.
    // Who joins them, and whether they are a quorum, is asked of etcd.
    let any = if role == Role::Agent { "&resourceVersion=0" } else { "" };
    let servers_path = format!("{NODES}?labelSelector=node-role.kubernetes.io%2Fcontrol-plane%3Dtrue{any}");
    let join = async {
        match role {
            Role::Server => objects.get(JOIN_LEASE).await,
            Role::Agent => Ok(None),
        }
    };
    let all = tokio::try_join!(
        objects.get(&claim_path),
        objects.get(&node_path),
        objects.get(&lease_path),
        objects.get(&password_path),
        objects.get(&tokens_path),
        objects.get(&servers_path),
        join,
    );
    let (claim, node, lease, password, tokens, servers, join) = all.inspect_err(|_| forget(leases))?;
    // Whose Node is a server's may be a member of etcd, whatever its machine comes in as: then it counts whether they are a quorum.
    let member = node.as_ref().is_some_and(|node| node["metadata"]["labels"][ETCD_LABEL] == "true");
    let servers = match role == Role::Agent && member {
        true => objects.get(&servers_path.replace(any, "")).await.inspect_err(|_| forget(leases))?,
        false => servers,
    };
    let lists = items(&tokens_path, tokens.as_ref()).and_then(|t| Ok((t, items(&servers_path, servers.as_ref())?)));
    let (tokens, servers) = lists.inspect_err(|_| forget(leases))?;
    // Monotonic, and in tests as fast as they like.
    let now = Instant::now().into_std();
    let look = |key: &str, lease: Option<&Value>| {
        leases.lock().unwrap_or_else(PoisonError::into_inner).look(key, lease.map(version), now)
    };
    let Still { since, watched } = look(name.as_str(), lease.as_ref());
    let mut cluster = Servers::new(own);
    servers.iter().for_each(|server| cluster.see(server));
    let claim =
        claim.as_ref().map(|claim| read_claim(claim).map_err(|error| unreadable(name, claim, &error))).transpose()?;
    let persistent = volumes::of(objects, claim.as_ref().map(|claim| &claim.value), whose).await;
    let persistent = persistent.inspect_err(|_| forget(leases))?;
    Ok(Facts {
        claim,
        persistent,
        node: node.as_ref().map(read_node),
        lease_still_for: since,
        lease_watched_for: watched,
        up: std::time::Duration::ZERO,
        password: password.as_ref().map(|p| read(p, decoded(&p["data"]["hash"]).unwrap_or_default())),
        tokens: tokens.iter().filter_map(read_token).collect(),
        join: join.as_ref().map(|lease| read_join(lease, look(JOIN, Some(lease)).since)),
        cluster: cluster.cluster(),
        now: unix,
        synchronised: false,
    })
}

/// A claim that somebody wrote by hand, or a newer Bowline did.
pub(crate) fn unreadable(name: &NodeName, claim: &Value, error: &PortError) -> PortError {
    let object = Claim::object_name(name);
    // One that says who holds the name is not to be deleted for what a newer Bowline added.
    let hint = match Claim::says_whose(&strings(&claim["data"])) {
        true => format!(
            "if another server runs a newer Bowline, upgrade this one; if not: kubectl -n {NAMESPACE} edit configmap {object}"
        ),
        false => format!("if {name} is to come in anew: kubectl -n {NAMESPACE} delete configmap {object}"),
    };
    PortError::new(ErrorKind::Invalid, format!("the claim of {name} cannot be read: {}", error.message)).hint(hint)
}

/// While the API did not answer, nobody could renew a Lease.
pub(crate) fn forget(leases: &Mutex<Leases>) {
    leases.lock().unwrap_or_else(PoisonError::into_inner).forget();
}

/// What tells that a Lease has moved. The uid too: one that was deleted and made anew has.
pub(crate) fn version(lease: &Value) -> String {
    format!("{} {}", lease["metadata"]["uid"], lease["metadata"]["resourceVersion"])
}

/// The cluster as this server knows it and as its servers' Nodes tell it. This server comes first: it answers, and the
/// others may not.
pub(crate) struct Servers<'a> {
    own: &'a Own,
    addresses: Vec<IpAddr>,
    members: Vec<Member>,
}

impl<'a> Servers<'a> {
    pub(crate) fn new(own: &'a Own) -> Self {
        Self { own, addresses: vec![own.address], members: Vec::new() }
    }

    /// Sees a Node, which may be no server's.
    pub(crate) fn see(&mut self, server: &Value) {
        if server["metadata"]["labels"][CONTROL_PLANE_LABEL] != "true" {
            return;
        }
        let node = read_node(server).value;
        if self.own.etcd && node.labels.get(ETCD_LABEL).is_some_and(|is| is == "true") {
            let name = server["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            self.members.push(Member { node: name, healthy: node.ready == Ready::True && !is_learner(server) });
        }
        let address = node.internal_ips.first().filter(|it| !node.deleting && !self.addresses.contains(it));
        self.addresses.extend(address);
    }

    pub(crate) fn cluster(self) -> Cluster {
        let Self { own, addresses, members } = self;
        let issuers = addresses.iter().map(|address| SocketAddr::new(*address, own.port).to_string());
        let servers = addresses.iter().map(|address| format!("https://{}", SocketAddr::new(*address, own.api_port)));
        Cluster {
            ca_hash: own.ca_hash.clone(),
            server_token: own.server_token.clone(),
            etcd: own.etcd,
            members,
            issuers: issuers.collect(),
            servers: servers.collect(),
            agreed: own.agreed.clone(),
            kubernetes: own.kubernetes.clone(),
        }
    }
}

/// Whether the Node is a server's.
pub(crate) fn is_server(node: &Read<Node>) -> bool {
    node.value.labels.get(CONTROL_PLANE_LABEL).is_some_and(|is| is == "true")
}

/// K3s says so by a condition of the Node; one without is a member as soon as it is Ready.
fn is_learner(server: &Value) -> bool {
    let mut conditions = server["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "EtcdIsVoter" && condition["status"] != "True")
}

pub(crate) fn read_join(join: &Value, still_for: std::time::Duration) -> Read<JoinLease> {
    let holder = join["spec"]["holderIdentity"].as_str().and_then(|name| NodeName::new(name).ok());
    read(join, JoinLease { holder, still_for })
}

/// The path of all claims, and of what servers noted of those whom they refused.
pub(crate) fn own_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector={}%3D{}", MANAGED_BY.0, MANAGED_BY.1)
}

/// Whether an object of these is a claim.
pub(crate) fn is_claim(object: &Value) -> bool {
    object["metadata"]["labels"][COMPONENT.0] == COMPONENT.1
}

/// All claims, those that cannot be read with why; and whom the servers refused a name that nobody holds.
pub(crate) async fn claims(
    objects: &dyn Objects,
) -> Result<(Vec<Result<Read<Claim>, PortError>>, Refusals), PortError> {
    let (mut claims, mut refused) = (Vec::new(), Refusals::default());
    each(objects, &own_path(), |object| {
        if is_claim(object) {
            claims.push(read_claim(object));
        } else if let Some(of_one) = refusals::read(object) {
            refused.add(of_one);
        }
    })
    .await?;
    Ok((claims, refused))
}

/// Shows every object of a collection, which may have a selector.
pub(crate) async fn each(objects: &dyn Objects, path: &str, show: impl FnMut(&Value)) -> Result<(), PortError> {
    bowline_ports::each(|path| async move { objects.get(&path).await }, path, show).await
}
