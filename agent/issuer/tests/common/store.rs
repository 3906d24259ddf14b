//! The Kubernetes API as far as an issuer sees it, in memory: versions, preconditions, field managers, and faults.

use super::patch::{apply, merge};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bowline_ports::{ErrorKind, Fut, Objects, PortError, Write};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What it gives at a time, whatever is asked for: collections of tests are small.
const PAGE: usize = 3;

/// What goes wrong, at which call of all, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Every call, in this way.
    Away(ErrorKind),
    /// The call is not carried out.
    Refused(usize),
    /// It is carried out, and nobody hears of it.
    AnswerLost(usize),
    /// A read of a collection is answered by something else.
    NoList(usize),
    /// A read of a collection is answered as if there were no such collection.
    NoCollection(usize),
}

/// What somebody else does before the call of this number, to the object of this path.
type Before = (usize, String, fn(&mut Value), Arc<AtomicBool>);

/// One store; a clone is another client of the same.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    version: u64,
    calls: usize,
    fault: Option<Fault>,
    before: Option<Before>,
    /// What the API has in its own memory, where that is older.
    memory: Option<BTreeMap<String, Value>>,
    reads: usize,
    writes: Vec<String>,
    under_way: usize,
    most: usize,
}

fn error(kind: ErrorKind, path: &str) -> PortError {
    PortError::new(kind, format!("{path}: {kind:?}"))
}

impl Store {
    /// A cluster that has been started, with nothing of Bowline's in it.
    pub(crate) fn new() -> Self {
        let store = Self::default();
        for namespace in ["kube-system", "kube-node-lease"] {
            store.put(&format!("/api/v1/namespaces/{namespace}"), json!({ "metadata": { "name": namespace } }));
        }
        store
    }

    /// The next calls, counted from now, go wrong in this way.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        let mut inner = self.0.lock().unwrap();
        (inner.calls, inner.fault) = (0, fault);
    }

    /// Before the call of this number, counted from now, somebody else changes an object that is there. Whether they did is told then.
    pub(crate) fn before(&self, call: usize, path: &str, with: fn(&mut Value)) -> Arc<AtomicBool> {
        let done = Arc::new(AtomicBool::new(false));
        let mut inner = self.0.lock().unwrap();
        (inner.calls, inner.before) = (0, Some((call, path.to_owned(), with, Arc::clone(&done))));
        done
    }

    /// From now on the API's own memory stands still: what is asked of it with `resourceVersion=0` is as it is now.
    pub(crate) fn remember(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.memory = Some(inner.objects.clone());
    }

    /// How many calls there were since [`Self::fail`] or the beginning.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// The writes since the last time that this was asked, as `VERB PATH`.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }

    /// How many reads there were since the last time that this was asked.
    pub(crate) fn reads(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().reads)
    }

    /// How many calls were under way at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most
    }

    pub(crate) fn at(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// The paths of all objects that begin so.
    pub(crate) fn paths(&self, prefix: &str) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        inner.objects.keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// Everything that is there.
    pub(crate) fn all(&self) -> BTreeMap<String, Value> {
        self.0.lock().unwrap().objects.clone()
    }

    /// Somebody else writes an object.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    /// Somebody else changes one.
    pub(crate) fn change(&self, path: &str, with: impl FnOnce(&mut Value)) {
        let mut object = self.at(path).unwrap();
        with(&mut object);
        self.put(path, object);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// A kubelet comes up under this name, as K3s's agent starts it: with the startup taint, and Ready.
    pub(crate) fn kubelet(&self, name: &str, address: &str) {
        let node = json!({
            "metadata": {
                "name": name,
                "labels": { "kubernetes.io/hostname": name },
                "managedFields": [{
                    "manager": "k3s",
                    "operation": "Update",
                    "fieldsV1": { "f:metadata": { "f:labels": { "f:kubernetes.io/hostname": {} } } },
                }],
            },
            "spec": { "taints": [{ "key": bowline_settings::STARTUP_TAINT, "effect": "NoSchedule" }] },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": address }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        self.put(&format!("/api/v1/nodes/{name}"), node);
        self.renew(name);
    }

    /// The kubelet says that it lives.
    pub(crate) fn renew(&self, name: &str) {
        let path = lease_of(name);
        let beat = self.0.lock().unwrap().version;
        let mut lease = self.at(&path).unwrap_or_else(|| json!({ "metadata": { "name": name } }));
        lease["spec"]["renewTime"] = json!(beat);
        self.put(&path, lease);
    }

    /// A kubelet renews its Lease at this time of its own clock.
    pub(crate) fn renew_at(&self, name: &str, at: &str) {
        self.renew(name);
        self.change(&lease_of(name), |lease| lease["spec"]["renewTime"] = json!(at));
    }

    /// The control plane has heard nothing for long.
    pub(crate) fn silent(&self, name: &str) {
        self.change(&format!("/api/v1/nodes/{name}"), |node| {
            node["status"]["conditions"][0]["status"] = json!("Unknown");
        });
    }

    /// The same, and since when, as the API writes it.
    pub(crate) fn silent_since(&self, name: &str, since: &str) {
        self.silent(name);
        self.change(&format!("/api/v1/nodes/{name}"), |node| {
            node["status"]["conditions"][0]["lastTransitionTime"] = json!(since);
        });
    }

    /// One call, which may go wrong.
    async fn call<T>(&self, act: impl FnOnce(&mut Inner) -> Result<T, PortError>) -> Result<T, PortError> {
        {
            let mut inner = self.0.lock().unwrap();
            inner.under_way += 1;
            inner.most = inner.most.max(inner.under_way);
        }
        // Others get their turn between any two calls, as on the network.
        tokio::task::yield_now().await;
        let mut inner = self.0.lock().unwrap();
        inner.under_way -= 1;
        inner.calls += 1;
        let calls = inner.calls;
        if let Some((_, path, with, done)) = inner.before.take_if(|(at, ..)| *at == calls)
            && let Some(mut object) = inner.objects.get(&path).cloned()
        {
            with(&mut object);
            inner.store(&path, object);
            done.store(true, Ordering::Relaxed);
        }
        match inner.fault {
            Some(Fault::Away(kind)) => Err(error(kind, "the API")),
            Some(Fault::Refused(at)) if at == calls => Err(error(ErrorKind::Unreachable, "the API is away")),
            Some(Fault::AnswerLost(at)) if at == calls => {
                act(&mut inner)?;
                Err(error(ErrorKind::Timeout, "no answer"))
            }
            _ => act(&mut inner),
        }
    }
}

impl Objects for Store {
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>> {
        Box::pin(self.call(|inner| {
            inner.reads += 1;
            let found = inner.get(path);
            let is_list = found.as_ref().is_some_and(|found| found["items"].is_array());
            Ok(match inner.fault {
                Some(Fault::NoList(at)) if is_list && at == inner.calls => Some(json!({ "kind": "Status" })),
                Some(Fault::NoCollection(at)) if is_list && at == inner.calls => None,
                _ => found,
            })
        }))
    }

    fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        Box::pin(self.call(move |inner| inner.write(path, write)))
    }
}

impl Inner {
    fn get(&self, path: &str) -> Option<Value> {
        let Some((collection, query)) = path.split_once('?') else {
            return self.objects.get(path).cloned();
        };
        let words: BTreeMap<&str, &str> = query.split('&').filter_map(|word| word.split_once('=')).collect();
        let selector = words.get("labelSelector").map(|selector| selector.replace("%2F", "/").replace("%3D", "="));
        let fits = |object: &Value| {
            let terms = selector.as_deref()?.split(',').filter_map(|term| term.split_once('='));
            Some(terms.into_iter().all(|(key, value)| object["metadata"]["labels"][key] == value))
        };
        let within = format!("{collection}/");
        let of = |path: &str| path.strip_prefix(&within).is_some_and(|name| !name.contains('/'));
        let memory = self.memory.as_ref().filter(|_| words.get("resourceVersion") == Some(&"0"));
        let here =
            memory.unwrap_or(&self.objects).iter().filter(|(path, object)| of(path) && fits(object).unwrap_or(true));
        // From where the page before ended, as many as are asked for.
        let begin: usize = words.get("continue").map_or(0, |token| token.parse().unwrap());
        let most = words.get("limit").map_or(usize::MAX, |limit| limit.parse::<usize>().unwrap().min(PAGE));
        let all: Vec<&Value> = here.map(|(_, object)| object).collect();
        let page: Vec<&Value> = all.iter().skip(begin).take(most).copied().collect();
        let end = begin + page.len();
        let next = if end < all.len() { end.to_string() } else { String::new() };
        Some(json!({ "metadata": { "continue": next }, "items": page }))
    }

    /// Keeps an object; a write that changes nothing has no version of its own.
    fn store(&mut self, path: &str, mut object: Value) {
        let before = self.objects.get(path);
        let metadata = |key: &str| before.map(|before| before["metadata"][key].clone());
        let next = self.version + 1;
        object["metadata"]["uid"] = metadata("uid").unwrap_or_else(|| json!(format!("uid-{next}")));
        object["metadata"]["resourceVersion"] = metadata("resourceVersion").unwrap_or_default();
        if let Some(strings) = object["stringData"].as_object().cloned() {
            for (key, value) in strings {
                object["data"][key] = json!(STANDARD.encode(value.as_str().unwrap()));
            }
        }
        object.as_object_mut().unwrap().remove("stringData");
        if before != Some(&object) {
            self.version = next;
            object["metadata"]["resourceVersion"] = json!(next.to_string());
            self.objects.insert(path.into(), object);
        }
    }

    /// The object, if it still is the one that is meant.
    fn meant(&self, path: &str, uid: &Value, version: &Value) -> Result<Value, PortError> {
        let there = self.objects.get(path).ok_or_else(|| error(ErrorKind::NotFound, path))?;
        let same = |key: &str, wanted: &Value| wanted.is_null() || there["metadata"][key] == *wanted;
        if same("uid", uid) && same("resourceVersion", version) {
            return Ok(there.clone());
        }
        Err(error(ErrorKind::Changed, path))
    }

    fn write(&mut self, path: &str, write: Write<'_>) -> Result<(), PortError> {
        let verb = match write {
            Write::Create(_) => "POST",
            Write::Replace(_) => "PUT",
            Write::Merge(_) | Write::Apply(..) => "PATCH",
            Write::Delete(..) => "DELETE",
        };
        let note = |name: &str| format!("{verb} {path}{name}");
        match write {
            Write::Create(object) => {
                let name = object["metadata"]["name"].as_str().unwrap();
                self.writes.push(note(&format!("/{name}")));
                let namespace = object["metadata"]["namespace"].as_str();
                if namespace.is_some_and(|it| !self.objects.contains_key(&format!("/api/v1/namespaces/{it}"))) {
                    return Err(error(ErrorKind::NotFound, path));
                }
                let path = format!("{path}/{name}");
                if self.objects.contains_key(&path) {
                    return Err(error(ErrorKind::Changed, &path));
                }
                self.store(&path, object.clone());
            }
            Write::Replace(object) => {
                self.writes.push(note(""));
                self.meant(path, &Value::Null, &object["metadata"]["resourceVersion"])?;
                self.store(path, object.clone());
            }
            Write::Merge(patch) => {
                self.writes.push(note(""));
                let mut object = self.meant(path, &patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"])?;
                merge(&mut object, patch);
                self.store(path, object);
            }
            Write::Apply(manager, patch) => {
                self.writes.push(note(""));
                let mut object = match self.meant(path, &patch["metadata"]["uid"], &Value::Null) {
                    // What names a uid cannot be created.
                    Err(missing) if missing.kind == ErrorKind::NotFound => Err(error(ErrorKind::Changed, path)),
                    other => other,
                }?;
                apply(&mut object, manager, patch).map_err(|()| error(ErrorKind::Changed, path))?;
                self.store(path, object);
            }
            Write::Delete(uid, version) => {
                self.writes.push(note(""));
                match self.meant(path, &json!(uid), &version.map_or(Value::Null, |version| json!(version))) {
                    Ok(_) => {
                        self.objects.remove(path);
                        // Of what the Node owns, as the garbage collection of a cluster does.
                        if let Some(name) = path.strip_prefix("/api/v1/nodes/") {
                            self.objects.remove(&lease_of(name));
                        }
                    }
                    // Gone already is fine.
                    Err(missing) if missing.kind == ErrorKind::NotFound => {}
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }
}

fn lease_of(node: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")
}
