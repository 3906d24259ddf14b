//! `[enroll] only-claimed`: an admission policy by which a Node that a kubelet makes has to carry the startup taint, which
//! only machines that were let in lose (enrolment contract, "What is handed out"). It takes Kubernetes 1.30.
//!
//! The names of servers that were let in are exempt: whoever has one of those has the whole cluster already, and a server
//! must come back also when its own settings know nothing of this one.

use crate::object::{is_managed, managed};
use bowline_enroll::claim::Claim;
use bowline_enroll::{NodeName, Role, STARTUP_TAINT};
use bowline_ports::{ErrorKind, Objects, PortError, Write};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the policy and its binding are called.
pub const NAME: &str = "bowline-only-claimed";
/// The policy, and what puts it in force.
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// The servers that may make their Node without the taint.
pub(crate) fn servers<'a>(own: &NodeName, claims: impl Iterator<Item = &'a Claim>) -> BTreeSet<NodeName> {
    let held = claims.filter(|claim| claim.role == Role::Server && claim.revoked.is_none());
    held.map(|claim| claim.name.clone()).chain([own.clone()]).collect()
}

/// Takes the policy away; whether there was one. Issuers whose settings have it put it back.
///
/// # Errors
/// The API does not answer, or says no.
pub async fn withdraw(objects: &dyn Objects) -> Result<bool, PortError> {
    keep(objects, None).await
}

/// Puts the policy in force as it is to be, or takes it away (`None`); whether anything had to be written.
pub(crate) async fn keep(objects: &dyn Objects, servers: Option<&BTreeSet<NodeName>>) -> Result<bool, PortError> {
    // In force last, and out of force first.
    let all = match servers {
        Some(servers) => [(POLICIES, Some(policy(servers))), (BINDINGS, Some(binding()))],
        None => [(BINDINGS, None), (POLICIES, None)],
    };
    let mut written = false;
    for (collection, wanted) in all {
        let path = format!("{collection}/{NAME}");
        let there = objects.get(&path).await?;
        if there.as_ref().is_some_and(|there| !is_managed(there)) {
            // Nobody asked for one: somebody else's is nothing to look at.
            let Some(_) = wanted else { continue };
            let message = format!("{path} is there already, and not Bowline's: `only-claimed` is not in force");
            return Err(PortError::new(ErrorKind::Invalid, message).hint("rename it"));
        }
        match (there, wanted) {
            (None, None) => continue,
            (Some(there), Some(wanted)) if covers(&there, &wanted) => continue,
            (None, Some(wanted)) => objects.write(collection, Write::Create(&wanted)).await?,
            (Some(there), Some(mut wanted)) => {
                wanted["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
                objects.write(&path, Write::Replace(&wanted)).await?;
            }
            (Some(there), None) => {
                let uid = there["metadata"]["uid"].as_str().unwrap_or_default();
                objects.write(&path, Write::Delete(uid, None)).await?;
            }
        }
        written = true;
    }
    Ok(written)
}

/// Whether an object has all that is wanted; the API adds defaults of its own.
fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| there.get(key).is_some_and(|there| covers(there, value)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| covers(there, wanted))
        }
        (there, wanted) => there == wanted,
    }
}

fn policy(servers: &BTreeSet<NodeName>) -> Value {
    // A name is of lower-case letters, digits, `-` and `.`.
    let users: Vec<String> = servers.iter().map(|name| format!("'system:node:{name}'")).collect();
    let users = users.join(", ");
    let tainted =
        format!("object.spec.taints.exists(taint, taint.key == '{STARTUP_TAINT}' && taint.effect == 'NoSchedule')");
    let message = format!(
        "a Node that a kubelet makes has to carry the taint {STARTUP_TAINT}:NoSchedule, which Bowline takes from machines that it \
         let in ([enroll] only-claimed): leave `startup-taint = false` out of [cluster] there"
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": NAME, "labels": managed() },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["nodes"], "operations": ["CREATE"],
            }] },
            "matchConditions": [{ "name": "a-kubelet", "expression": "'system:nodes' in request.userInfo.groups" }],
            "validations": [{
                "expression": format!(
                    "request.userInfo.username in [{users}] || \
                     (has(object.spec) && has(object.spec.taints) && {tainted})"
                ),
                "message": message,
                "reason": "Forbidden",
            }],
        },
    })
}

fn binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": NAME, "labels": managed() },
        "spec": { "policyName": NAME, "validationActions": ["Deny"] },
    })
}
