//! Objects of the Kubernetes API, kept by their paths.

use super::SimHost;
use super::state::State;
use bowline_ports::{ErrorKind, Fut, PortError, Write, node_path};
use serde_json::{Value, json};

/// What every selector here is written with.
const SELECTOR: &str = "?labelSelector=";

impl SimHost {
    pub(super) fn get_object<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        self.look("object", move |state| {
            state.api()?;
            Ok(match path.split_once(SELECTOR) {
                Some(_) if state.no_lists => Some(json!({})),
                Some((collection, rest)) => {
                    // All is one page.
                    let selector = rest.split('&').next().unwrap_or(rest);
                    Some(json!({ "items": list(state, collection, selector) }))
                }
                None => state.objects.get(path).cloned().or_else(|| node(state, path)),
            })
        })
    }

    pub(super) fn change_object<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        self.change("write_object", |_| {}, move |state| written(state, path, write))
    }
}

/// The Node, as long as nobody has written to it as an object.
fn node(state: &State, path: &str) -> Option<Value> {
    let node = state.node.as_ref().filter(|node| path == node_path(&node.name))?;
    Some(json!({ "metadata": { "name": node.name, "uid": node.uid } }))
}

fn list(state: &State, collection: &str, selector: &str) -> Vec<Value> {
    let selector = selector.replace("%3D", "=");
    let wanted: Vec<(&str, &str)> = selector.split(',').filter_map(|term| term.split_once('=')).collect();
    let below = |path: &str| {
        path.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| !name.contains('/'))
    };
    let fits = |object: &Value| wanted.iter().all(|(key, value)| object["metadata"]["labels"][*key] == *value);
    state
        .objects
        .iter()
        .filter(|(path, object)| below(path) && fits(object))
        .map(|(_, object)| object.clone())
        .collect()
}

fn written(state: &mut State, path: &str, write: Write<'_>) -> Result<(), PortError> {
    state.api()?;
    let changed = || PortError::new(ErrorKind::Changed, format!("{path} is not what it was read as"));
    let missing = || PortError::new(ErrorKind::NotFound, format!("{path} is not there"));
    state.versions += 1;
    let version = json!(state.versions.to_string());
    match write {
        Write::Create(object) => {
            let at = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
            if state.objects.contains_key(&at) {
                return Err(changed());
            }
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("uid-{}", state.versions));
            object["metadata"]["resourceVersion"] = version;
            state.objects.insert(at, object);
        }
        Write::Delete(uid, wanted) => {
            if let Some(there) = state.objects.get(path) {
                if there["metadata"]["uid"] != uid
                    || wanted.is_some_and(|wanted| there["metadata"]["resourceVersion"] != wanted)
                {
                    return Err(changed());
                }
                state.objects.remove(path);
            }
        }
        Write::Replace(new) | Write::Merge(new) | Write::Apply(_, new) => {
            if let Some(node) = node(state, path).filter(|_| !state.objects.contains_key(path)) {
                state.objects.insert(path.to_owned(), node);
            }
            let there = state.objects.get_mut(path).ok_or_else(missing)?;
            let wanted = &new["metadata"]["resourceVersion"];
            if !wanted.is_null() && there["metadata"]["resourceVersion"] != *wanted {
                return Err(changed());
            }
            merge(there, new);
            there["metadata"]["resourceVersion"] = version;
        }
    }
    Ok(())
}

/// A JSON merge patch (RFC 7386).
fn merge(there: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *there = patch.clone();
        return;
    };
    if !there.is_object() {
        *there = json!({});
    }
    let Some(there) = there.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            there.remove(key);
        } else {
            merge(there.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
