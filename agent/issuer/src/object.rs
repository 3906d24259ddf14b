//! Claims, tokens and the like as API objects, both ways.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bowline_enroll::claim::{COMPONENT, Claim, MANAGED_BY, NAMESPACE};
use bowline_enroll::facts::{Node, Read, Ready, Token};
use bowline_enroll::keep::TAINTS_ANNOTATION;
use bowline_enroll::token::{BootstrapToken, GROUP};
use bowline_enroll::wire::PasswordHash;
use bowline_enroll::{NodeName, Taint};
use bowline_ports::{ErrorKind, Objects, PortError, Write};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label of a token: whose it is.
pub(crate) use bowline_enroll::persistent::NODE_LABEL;

pub(crate) fn managed() -> Value {
    json!({ MANAGED_BY.0: MANAGED_BY.1 })
}

pub(crate) fn is_managed(object: &Value) -> bool {
    object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": managed() } })
}

/// Makes an object in Bowline's own namespace, which is made with the first of all.
pub(crate) async fn create_in_namespace(objects: &dyn Objects, path: &str, object: &Value) -> Result<(), PortError> {
    match objects.write(path, Write::Create(object)).await {
        // Nobody made the namespace yet, or somebody does at this moment.
        Err(error) if error.kind == ErrorKind::NotFound => {
            let made = objects.write("/api/v1/namespaces", Write::Create(&namespace())).await;
            made.or_else(|error| if error.kind == ErrorKind::Changed { Ok(()) } else { Err(error) })?;
            objects.write(path, Write::Create(object)).await
        }
        other => other,
    }
}

pub(crate) fn claim(claim: &Claim, resource_version: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": Claim::object_name(&claim.name),
            "namespace": NAMESPACE,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, COMPONENT.0: COMPONENT.1 },
        },
        "data": claim.to_data(),
    });
    if let Some(version) = resource_version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    object
}

pub(crate) fn password_name(name: &NodeName) -> String {
    format!("{name}.node-password.k3s")
}

/// As K3s makes it itself (contract: pkg/nodepassword): immutable, so that nobody exchanges it silently.
pub(crate) fn password(name: &NodeName, hash: &PasswordHash) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": password_name(name), "namespace": "kube-system" },
        "type": "k3s.cattle.io/node-password",
        "immutable": true,
        "stringData": { "hash": hash.as_str() },
    })
}

pub(crate) fn token(token: &BootstrapToken, name: &NodeName, expires: u64) -> Result<Value, PortError> {
    let bad = || PortError::new(ErrorKind::Invalid, format!("{expires} is no time that a token could expire at"));
    let at = i64::try_from(expires).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).ok_or_else(bad)?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": token.object_name(),
            "namespace": "kube-system",
            "labels": { MANAGED_BY.0: MANAGED_BY.1, NODE_LABEL: name.as_str() },
        },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": token.id,
            "token-secret": token.secret.expose(),
            "description": name.as_str(),
            "expiration": at.to_string(),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": GROUP,
        },
    }))
}

/// An object of the API with its uid and version.
pub(crate) fn read<T>(object: &Value, value: T) -> Read<T> {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    Read { value, uid: text("uid"), resource_version: text("resourceVersion") }
}

pub(crate) fn read_claim(object: &Value) -> Result<Read<Claim>, PortError> {
    let data = strings(&object["data"]);
    let claim = Claim::from_data(&data).map_err(|why| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        PortError::new(ErrorKind::Invalid, format!("ConfigMap {NAMESPACE}/{name}: {why}"))
    })?;
    Ok(read(object, claim))
}

/// When a Lease was renewed last, in seconds since 1970, by its holder's clock.
pub(crate) fn renewed(lease: &Value) -> Option<u64> {
    let at: jiff::Timestamp = lease["spec"]["renewTime"].as_str()?.parse().ok()?;
    at.as_second().try_into().ok()
}

pub(crate) fn read_node(object: &Value) -> Read<Node> {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let condition = conditions.find(|c| c["type"] == "Ready" && c["status"].is_string());
    let ready = match condition.and_then(|condition| condition["status"].as_str()) {
        Some("True") => Ready::True,
        Some("False") => Ready::False,
        _ => Ready::Unknown,
    };
    let since = condition.and_then(|c| c["lastTransitionTime"].as_str()?.parse::<jiff::Timestamp>().ok());
    let since = since.and_then(|at| u64::try_from(at.as_second()).ok());
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    let mut managers = BTreeMap::<String, Vec<String>>::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let labels = entry.pointer("/fieldsV1/f:metadata/f:labels").and_then(Value::as_object);
        let Some(manager) = entry["manager"].as_str() else { continue };
        for key in labels.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("f:")) {
            managers.entry(key.to_owned()).or_default().push(manager.to_owned());
        }
    }
    let taints = object["spec"]["taints"].as_array().into_iter().flatten();
    let node = Node {
        internal_ips: addresses
            .filter(|a| a["type"] == "InternalIP")
            .filter_map(|a| a["address"].as_str()?.parse().ok())
            .collect(),
        ready,
        unknown_since: since.filter(|_| ready == Ready::Unknown),
        labels: strings(&object["metadata"]["labels"]),
        managers,
        taints: taints.filter_map(read_taint).collect(),
        owned_taints: object["metadata"]["annotations"][TAINTS_ANNOTATION].as_str().map(String::from),
        deleting: !object["metadata"]["deletionTimestamp"].is_null(),
    };
    read(object, node)
}

fn read_taint(taint: &Value) -> Option<Taint> {
    let value = taint["value"].as_str().unwrap_or_default();
    let text = format!("{}={value}:{}", taint["key"].as_str()?, taint["effect"].as_str()?);
    text.parse().ok()
}

pub(crate) fn taint(taint: &Taint) -> Value {
    json!({ "key": taint.key, "value": taint.value, "effect": taint.effect.as_str() })
}

/// `None` for what is no token of Bowline's.
pub(crate) fn read_token(object: &Value) -> Option<Token> {
    let data = |key: &str| decoded(&object["data"][key]);
    let expires: jiff::Timestamp = data("expiration")?.parse().ok()?;
    Some(Token {
        object: object["metadata"]["name"].as_str()?.to_owned(),
        uid: object["metadata"]["uid"].as_str()?.to_owned(),
        node: data("description")?,
        expires: u64::try_from(expires.as_second()).ok()?,
    })
}

/// A value of a Secret's `data`.
pub(crate) fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}

pub(crate) fn strings(object: &Value) -> BTreeMap<String, String> {
    let all = object.as_object().into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
