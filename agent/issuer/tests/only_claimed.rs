//! `only-claimed`: the policy by which only names that were let in lose the startup taint.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use crate::common::{Machine, NOW, Store, issuer_with, keys, name};
use bowline_enroll::Role;
use bowline_issuer::Issuer;
use bowline_settings::Enroll;
use serde_json::{Value, json};

const API: &str = "/apis/admissionregistration.k8s.io/v1/";
const POLICY: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/bowline-only-claimed";
const BINDING: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/bowline-only-claimed";

fn only_claimed(store: &Store, only_claimed: bool) -> Issuer<Store> {
    issuer_with(store, |settings| Enroll { only_claimed, ..settings })
}

async fn sweep(issuer: &Issuer<Store>) -> Result<(), bowline_ports::PortError> {
    issuer.sweep(&Machine::of(Role::Server, "control", 9).key.public(), NOW).await.map(drop)
}

/// A cluster with its first server in it.
fn cluster() -> Store {
    let store = Store::new();
    store.kubelet("control", "10.0.1.10");
    store
}

fn condition(store: &Store) -> String {
    let policy = store.at(POLICY).unwrap();
    policy["spec"]["validations"][0]["expression"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn it_comes_with_the_setting_and_goes_with_it() {
    let store = cluster();
    sweep(&only_claimed(&store, false)).await.unwrap();
    assert!(store.paths(API).is_empty(), "not by default");

    let on = only_claimed(&store, true);
    sweep(&on).await.unwrap();
    assert_eq!(store.paths(API), [POLICY, BINDING]);
    let policy = store.at(POLICY).unwrap();
    assert_eq!(policy["metadata"]["labels"]["app.kubernetes.io/managed-by"], "bowline");
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    assert_eq!(
        condition(&store),
        "request.userInfo.username in ['system:node:control'] || (has(object.spec) && has(object.spec.taints) && \
         object.spec.taints.exists(taint, taint.key == 'bowline/initializing' && taint.effect == 'NoSchedule'))"
    );
    assert_eq!(store.at(BINDING).unwrap()["spec"]["policyName"], "bowline-only-claimed");

    // The API has added defaults of its own.
    store.change(POLICY, |policy| {
        policy["spec"]["matchConstraints"]["matchPolicy"] = json!("Equivalent");
        policy["spec"]["matchConstraints"]["resourceRules"][0]["scope"] = json!("*");
    });
    store.writes();
    sweep(&on).await.unwrap();
    assert_eq!(store.writes(), [""; 0], "what is in force is not written again");

    sweep(&only_claimed(&store, false)).await.unwrap();
    assert!(store.paths(API).is_empty());
    let writes: Vec<String> = store.writes().into_iter().filter(|write| write.starts_with("DELETE")).collect();
    assert_eq!(writes, [format!("DELETE {BINDING}"), format!("DELETE {POLICY}")], "out of force first");
}

#[tokio::test]
async fn a_server_that_was_let_in_is_exempt_and_a_revoked_one_is_not() {
    let store = cluster();
    let on = only_claimed(&store, true);
    sweep(&on).await.unwrap();
    store.put("/api/v1/namespaces/bowline/configmaps/claim.control-2", claim_of_a_server(&store));
    sweep(&on).await.unwrap();
    assert!(
        condition(&store).starts_with("request.userInfo.username in ['system:node:control', 'system:node:control-2']")
    );

    Machine::agent("kafka-0", 1).enroll(&on).await.unwrap();
    sweep(&on).await.unwrap();
    assert!(!condition(&store).contains("kafka-0"), "agents have the taint");

    let all: Vec<String> = keys().iter().map(|key| key.id()).collect();
    bowline_issuer::nodes::revoke(&store, &name("control-2"), NOW, &all, None).await.unwrap();
    sweep(&on).await.unwrap();
    assert!(!condition(&store).contains("control-2"), "{}", condition(&store));
}

/// The claim of the first server under another name.
fn claim_of_a_server(store: &Store) -> Value {
    let mut claim = store.at("/api/v1/namespaces/bowline/configmaps/claim.control").unwrap();
    claim["metadata"]["name"] = json!("claim.control-2");
    claim["metadata"].as_object_mut().unwrap().remove("uid");
    claim["data"]["name"] = json!("control-2");
    claim
}

#[tokio::test]
async fn what_somebody_changed_is_put_back_and_what_is_somebody_elses_is_left() {
    let store = cluster();
    let on = only_claimed(&store, true);
    sweep(&on).await.unwrap();
    let wanted = condition(&store);
    store.change(POLICY, |policy| policy["spec"]["validations"][0]["expression"] = json!("true"));
    store.change(BINDING, |binding| binding["spec"]["validationActions"] = json!(["Audit"]));
    sweep(&on).await.unwrap();
    assert_eq!(condition(&store), wanted);
    assert_eq!(store.at(BINDING).unwrap()["spec"]["validationActions"], json!(["Deny"]));

    store.change(POLICY, |policy| policy["metadata"]["labels"] = json!({}));
    let error = sweep(&on).await.unwrap_err();
    assert!(error.message.contains("not Bowline's") && error.hint.is_some(), "{error:?}");
    assert!(!bowline_issuer::policy::withdraw(&cluster()).await.unwrap(), "nothing to take away");
    assert!(bowline_issuer::policy::withdraw(&store).await.unwrap());
    assert_eq!(store.paths(API), [POLICY], "somebody else's stays");
}

/// A newer server and this one would rewrite the policy in turn.
#[tokio::test]
async fn a_server_that_a_newer_one_noted_something_about_stays_exempt() {
    let store = cluster();
    let on = only_claimed(&store, true);
    sweep(&on).await.unwrap();
    let mut claim = claim_of_a_server(&store);
    let refused = json!([{ "at": NOW, "from": "10.0.1.9", "code": "in-quarantine", "machine": "0", "why": "new" }]);
    claim["data"]["refused"] = json!(refused.to_string());
    store.put("/api/v1/namespaces/bowline/configmaps/claim.control-2", claim);
    sweep(&on).await.unwrap();
    assert!(condition(&store).contains("'system:node:control-2'"), "{}", condition(&store));
    store.writes();
    sweep(&on).await.unwrap();
    assert_eq!(store.writes(), [""; 0]);
}

/// One that a newer Bowline wrote, or somebody by hand: the servers that join are exempt all the same.
#[tokio::test]
async fn a_claim_of_this_server_that_can_not_be_read_is_named_and_holds_up_nothing() {
    let store = cluster();
    sweep(&only_claimed(&store, false)).await.unwrap();
    let claim = "/api/v1/namespaces/bowline/configmaps/claim.control";
    store.change(claim, |claim| claim["data"]["role"] = json!("queen"));
    let before = store.at(claim);
    let error = sweep(&only_claimed(&store, true)).await.unwrap_err();
    assert!(error.message.starts_with("the claim of control cannot be read: "), "{error:?}");
    assert!(error.hint.unwrap().ends_with("delete configmap claim.control"));
    assert_eq!((store.at(claim), store.paths(API).len()), (before, 2));
    // One that says who holds the name is not to be deleted.
    store.change(claim, |claim| {
        claim["data"]["role"] = json!("server");
        claim["data"]["since"] = json!("yesterday");
    });
    let hint = sweep(&only_claimed(&store, true)).await.unwrap_err().hint.unwrap();
    assert!(hint.contains("upgrade this one") && !hint.contains("delete"), "{hint}");
}
