//! On a small API in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use super::*;
use crate::object;
use bowline_enroll::Role;
use bowline_enroll::key::MachineKey;
use bowline_enroll::token::BootstrapToken;
use bowline_ports::{Fut, Write};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Objects by their paths, with uids and versions. Lists ignore all of a selector but the value.
#[derive(Default)]
struct Api {
    objects: Mutex<BTreeMap<String, Value>>,
    /// How many writes to refuse as if somebody had been faster.
    races: Mutex<usize>,
    writes: Mutex<usize>,
    down: bool,
}

impl Api {
    fn put(&self, path: &str, mut object: Value) {
        let mut all = self.objects.lock().unwrap();
        let number = all.len() + 1;
        object["metadata"]["uid"] = json!(format!("uid-{number}"));
        object["metadata"]["resourceVersion"] = json!(number.to_string());
        all.insert(path.to_owned(), object);
    }

    fn has(&self, path: &str) -> bool {
        self.objects.lock().unwrap().contains_key(path)
    }

    fn claim(&self, claim: &Claim) {
        self.put(&claim_path(claim.name.as_str()), object::claim(claim, None));
    }

    fn token(&self, name: &str, number: u8) -> String {
        let token = BootstrapToken::from_random(&[number; 24]);
        let path = format!("{SECRETS}/{}", token.object_name());
        self.put(&path, object::token(&token, &NodeName::new(name).unwrap(), 2000).unwrap());
        path
    }

    fn writes(&self) -> usize {
        *self.writes.lock().unwrap()
    }

    fn answers(&self) -> Result<(), PortError> {
        if self.down { Err(PortError::new(ErrorKind::Unreachable, "connection refused")) } else { Ok(()) }
    }

    fn write_now(&self, path: &str, write: Write<'_>) -> Result<(), PortError> {
        self.answers()?;
        *self.writes.lock().unwrap() += 1;
        let mut all = self.objects.lock().unwrap();
        let changed = || Err(PortError::new(ErrorKind::Changed, format!("{path} has changed")));
        let mut races = self.races.lock().unwrap();
        if *races > 0 {
            *races -= 1;
            return changed();
        }
        match write {
            Write::Replace(object) => {
                let there = all.get_mut(path).unwrap();
                if object["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"] {
                    return changed();
                }
                there["data"] = object["data"].clone();
            }
            Write::Create(object) => {
                let name = object["metadata"]["name"].as_str().unwrap();
                let mut object = object.clone();
                object["metadata"]["uid"] = json!("uid-new");
                object["metadata"]["resourceVersion"] = json!("1");
                all.insert(format!("{path}/{name}"), object);
            }
            Write::Delete(uid, None) => {
                let gone = all.remove(path).unwrap();
                assert_eq!(gone["metadata"]["uid"], uid);
            }
            other => panic!("nobody writes this here: {other:?}"),
        }
        Ok(())
    }
}

impl Objects for Api {
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        Box::pin(async move {
            self.answers()?;
            let all = self.objects.lock().unwrap();
            if let Some(object) = all.get(path) {
                return Ok(Some(object.clone()));
            }
            let (folder, query) = path.split_once('?').unwrap_or((path, ""));
            let selector = query.split('&').find_map(|word| word.strip_prefix("labelSelector="));
            let value = selector.and_then(|selector| selector.split_once("%3D")).map(|(_, value)| value);
            let fits = |object: &Value| {
                let labels = object["metadata"]["labels"].as_object();
                value.is_none_or(|value| labels.is_some_and(|labels| labels.values().any(|v| v == value)))
            };
            let under = |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder);
            let items: Vec<_> = all.iter().filter(|(p, o)| under(p) && fits(o)).map(|(_, o)| o.clone()).collect();
            let is_list = folder.ends_with('s') && !folder.contains("/claim.");
            Ok(is_list.then(|| json!({ "items": items })))
        })
    }

    fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        Box::pin(async move { self.write_now(path, write) })
    }
}

fn claim_path(name: &str) -> String {
    format!("/api/v1/namespaces/bowline/configmaps/claim.{name}")
}

fn claim(name: &str) -> Claim {
    let key = MachineKey::from_seed(&[0x42; 32]).public();
    Claim::new(NodeName::new(name).unwrap(), Role::Agent, key, "10.0.1.7".parse().unwrap(), 1000)
}

fn node(api: &Api, name: &str) -> String {
    let path = format!("/api/v1/nodes/{name}");
    api.put(&path, json!({ "metadata": { "name": name } }));
    let all = api.objects.lock().unwrap();
    all[&path]["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_became_of_every_claim() {
    let api = Api::default();
    let uid = node(&api, "registered");
    api.claim(&Claim { node_uid: Some(uid), ..claim("registered") });
    node(&api, "not-noted-yet");
    api.claim(&claim("not-noted-yet"));
    let old = node(&api, "replaces");
    api.claim(&Claim { replaces: Some(old), ..claim("replaces") });
    api.claim(&claim("coming"));
    api.claim(&Claim { node_uid: Some("gone".into()), ..claim("gone") });
    api.claim(&claim("ended").revoke(1100, keys(&["k"])));
    let mut newer = object::claim(&claim("newer"), None);
    newer["data"]["version"] = json!("2");
    api.put(&claim_path("newer"), newer);
    api.put("/api/v1/namespaces/bowline/configmaps/kube-root-ca.crt", json!({ "metadata": {} }));

    let holders = holders(&api).await.unwrap();
    let all: Vec<_> = holders.all.iter().map(|holder| (holder.claim.name.as_str(), holder.standing.as_str())).collect();
    assert_eq!(
        all,
        [
            ("coming", "pending"),
            ("ended", "revoked"),
            ("gone", "missing"),
            ("not-noted-yet", "registered"),
            ("registered", "registered"),
            ("replaces", "pending"),
        ]
    );
    assert_eq!(holders.unreadable.len(), 1);
    assert!(holders.unreadable[0].contains("claim.newer") && holders.unreadable[0].contains("upgrade"));
    assert_eq!(api.writes(), 0);
}

#[tokio::test]
async fn without_a_claim_there_is_an_empty_list_and_without_an_api_an_error() {
    assert_eq!(holders(&Api::default()).await.unwrap(), Holders::default());
    let down = Api { down: true, ..Api::default() };
    assert_eq!(holders(&down).await.unwrap_err().kind, ErrorKind::Unreachable);
    let name = NodeName::new("a").unwrap();
    assert_eq!(revoke(&down, &name, 1, &keys(&["k"]), None).await.unwrap_err().kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_revoked_name_has_no_tokens_and_its_tickets_of_all_keys_are_refused() {
    let api = Api::default();
    api.claim(&claim("kafka-0"));
    api.claim(&claim("kafka-1"));
    let (one, two, other) = (api.token("kafka-0", 1), api.token("kafka-0", 2), api.token("kafka-1", 3));
    // A Secret that somebody else labelled is no token.
    let kept = format!("{SECRETS}/kept");
    api.put(&kept, json!({ "metadata": { "name": "kept", "labels": { NODE_LABEL: "kafka-0" } }, "type": "Opaque" }));
    // An expiry that nobody can read does not save one.
    api.objects.lock().unwrap().get_mut(&two).unwrap()["stringData"]["expiration"] = json!("never");

    let name = NodeName::new("kafka-0").unwrap();
    let done = revoke(&api, &name, 1100, &keys(&["new", "old"]), None).await.unwrap();
    let Revocation::Done { claim: after, already: false, tokens: 2 } = done else { panic!("{done:?}") };
    assert_eq!(*after, claim("kafka-0").revoke(1100, keys(&["new", "old"])));
    assert!(!api.has(&one) && !api.has(&two) && api.has(&other) && api.has(&kept));
    let listed = holders(&api).await.unwrap();
    assert_eq!(listed.all[0], Holder { claim: *after.clone(), standing: Standing::Revoked });
    assert_eq!(listed.all[1].standing, Standing::Pending);

    // Again: nothing to write, but a token that was minted meanwhile goes.
    let (late, before) = (api.token("kafka-0", 4), api.writes());
    let done = revoke(&api, &name, 1200, &keys(&["new"]), None).await.unwrap();
    assert_eq!(done, Revocation::Done { claim: after, already: true, tokens: 1 });
    assert!(!api.has(&late));
    assert_eq!(api.writes() - before, 1);

    // With a key that is not on record yet: what was there stays.
    let done = revoke(&api, &name, 1300, &keys(&["newer", "new"]), None).await.unwrap();
    let Revocation::Done { claim: after, already: false, tokens: 0 } = done else { panic!("{done:?}") };
    assert_eq!(after.revoked.unwrap().keys, ["new", "old", "newer"]);
}

#[tokio::test]
async fn an_unknown_name_changes_nothing_and_lists_the_known() {
    let api = Api::default();
    api.claim(&claim("kafka-0"));
    api.token("kafka-1", 1);
    let done = revoke(&api, &NodeName::new("kafka-1").unwrap(), 1100, &keys(&["k"]), None).await.unwrap();
    assert_eq!(done, Revocation::Unknown { names: vec![NodeName::new("kafka-0").unwrap()] });
    assert_eq!(api.writes(), 0);
}

#[tokio::test]
async fn the_ticket_of_a_name_that_nobody_holds_is_refused_when_that_is_asked_for() {
    let (api, name) = (Api::default(), NodeName::new("kafka-9").unwrap());
    let nobody = Some(claim("x").machine_key);
    assert_eq!(revoke(&api, &name, 1100, &keys(&["k"]), nobody).await.unwrap(), Revocation::Unheld);
    let listed = holders(&api).await.unwrap();
    assert_eq!(listed.all[0].standing, Standing::Revoked);
    assert!(listed.all[0].claim.refuses("k") && !listed.all[0].claim.refuses("other"));
    // It is one like any other from now on.
    let done = revoke(&api, &name, 1200, &keys(&["k"]), nobody).await.unwrap();
    assert!(matches!(done, Revocation::Done { already: true, tokens: 0, .. }), "{done:?}");
}

#[tokio::test]
async fn who_is_faster_is_looked_at_again_but_not_for_ever() {
    let name = NodeName::new("kafka-0").unwrap();
    for (races, works) in [(1, true), (TRIES, false)] {
        let api = Api { races: Mutex::new(races), ..Api::default() };
        api.claim(&claim("kafka-0"));
        let done = revoke(&api, &name, 1100, &keys(&["k"]), None).await;
        assert_eq!(done.is_ok(), works, "{done:?}");
        assert_eq!(holders(&api).await.unwrap().all[0].standing == Standing::Revoked, works);
    }
}
