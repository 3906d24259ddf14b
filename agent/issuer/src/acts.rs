//! One act of a decision, as a change of the API.

use crate::object;
use crate::read::JOIN_LEASE;
use bowline_enroll::Act;
use bowline_enroll::claim::{Claim, NAMESPACE};
use bowline_enroll::keep::{MANAGER, TAINTS_ANNOTATION};
use bowline_enroll::persistent::{self, Sent};
use bowline_ports::{Objects, PortError, Write, node_path};
use serde_json::json;

/// Where K3s has its Secrets.
pub(crate) const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

pub(crate) async fn act(objects: &dyn Objects, act: &Act) -> Result<(), PortError> {
    let claims = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let claim_of = |name| format!("{claims}/{}", Claim::object_name(name));
    match act {
        Act::CreateClaim(claim) => object::create_in_namespace(objects, &claims, &object::claim(claim, None)).await,
        Act::UpdateClaim { claim, resource_version } => {
            let object = object::claim(claim, Some(resource_version));
            objects.write(&claim_of(&claim.name), Write::Replace(&object)).await
        }
        Act::DeleteClaim { name, uid, resource_version } => {
            objects.write(&claim_of(name), Write::Delete(uid, Some(resource_version))).await
        }
        Act::DeleteNode { name, uid, resource_version } => {
            objects.write(&node_path(name.as_str()), Write::Delete(uid, Some(resource_version))).await
        }
        Act::DeletePassword { name, uid, resource_version } => {
            let path = format!("{SECRETS}/{}", object::password_name(name));
            objects.write(&path, Write::Delete(uid, Some(resource_version))).await
        }
        Act::StorePassword { name, hash } => objects.write(SECRETS, Write::Create(&object::password(name, hash))).await,
        Act::DeleteToken { object, uid } => {
            objects.write(&format!("{SECRETS}/{object}"), Write::Delete(uid, None)).await
        }
        Act::MintToken { token, name, expires } => {
            objects.write(SECRETS, Write::Create(&object::token(token, name, *expires)?)).await
        }
        Act::SetLabels { name, uid, labels } => {
            let patch = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": name.as_str(), "uid": uid, "labels": labels },
            });
            objects.write(&node_path(name.as_str()), Write::Apply(MANAGER, &patch)).await
        }
        Act::SetTaints { name, uid, resource_version, taints, owned } => {
            let taints: Vec<_> = taints.iter().map(object::taint).collect();
            // An empty record is none.
            let record = if owned.is_empty() { json!(null) } else { json!(owned) };
            let patch = json!({
                "metadata": {
                    "uid": uid,
                    "resourceVersion": resource_version,
                    "annotations": { TAINTS_ANNOTATION: record },
                },
                "spec": { "taints": taints },
            });
            objects.write(&node_path(name.as_str()), Write::Merge(&patch)).await
        }
        Act::TakeJoin { holder, lasts, at, resource_version } => {
            let at = i64::try_from(*at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok()).unwrap_or_default();
            let mut lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": { "name": "server-join", "namespace": NAMESPACE, "labels": object::managed() },
                "spec": {
                    "holderIdentity": holder.as_str(),
                    "leaseDurationSeconds": lasts.as_secs(),
                    // The API demands six digits.
                    "renewTime": format!("{at:.6}"),
                },
            });
            match resource_version {
                Some(version) => {
                    lease["metadata"]["resourceVersion"] = json!(version);
                    objects.write(JOIN_LEASE, Write::Replace(&lease)).await
                }
                None => {
                    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
                    objects.write(&leases, Write::Create(&lease)).await
                }
            }
        }
        Act::Persistent(change) => {
            let (path, sent) = persistent::sent(change);
            match &sent {
                Sent::Create(object) => objects.write(&path, Write::Create(object)).await,
                Sent::Merge(patch) => objects.write(&path, Write::Merge(patch)).await,
                Sent::Delete(uid, version) => objects.write(&path, Write::Delete(uid, Some(version))).await,
            }
        }
        Act::ReleaseJoin { resource_version } => {
            let patch = json!({
                "metadata": { "resourceVersion": resource_version },
                "spec": { "holderIdentity": null },
            });
            objects.write(JOIN_LEASE, Write::Merge(&patch)).await
        }
    }
}
