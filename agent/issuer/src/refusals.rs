//! Who was refused without a claim that could remember it: told in the journal, and noted for `bowline nodes`. The requests
//! wait for none of that, and nobody makes a server write more than once a minute, or more than so much.

use crate::object::{self, strings};
use crate::{Issuer, NOT_PROVEN};
use bowline_enroll::claim::{COMPONENT, MANAGED_BY, NAMESPACE};
use bowline_enroll::key::PublicKey;
use bowline_enroll::proof::Proven;
use bowline_enroll::refusals::{self, Refusals};
use bowline_enroll::{Code, NodeName, Refusal, Role};
use bowline_ports::{ErrorKind, Objects, PortError, Write};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// Where they are.
pub(crate) const PATH: &str = "/api/v1/namespaces/bowline/configmaps";
/// A wrong proof is told once in so many seconds of each address, and of so many addresses at most.
const UNPROVEN_EVERY: Duration = Duration::from_secs(60);
const UNPROVEN_MOST: usize = 32;
/// What does not pass by itself. The others are answered otherwise in a moment.
const LASTING: [Code; 4] = [Code::OutsideRules, Code::BadRequest, Code::NodeIsAlive, Code::NoQuorum];

/// What this server refused.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    all: Refusals,
    /// What it had noted before it was started is in it.
    whole: bool,
    /// Something of it is worth a write.
    untold: bool,
    /// Of whom a wrong proof was told in the journal, and when.
    told: BTreeMap<IpAddr, u64>,
}

/// Whether an object is one of these, and what it says.
pub(crate) fn read(object: &Value) -> Option<Refusals> {
    (object["metadata"]["labels"][COMPONENT.0] == refusals::COMPONENT).then_some(())?;
    Refusals::from_data(&strings(&object["data"]))
}

impl<O: Objects> Issuer<O> {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whose proof was wrong, and says so in the journal, as far as the request says who that is.
    pub(crate) fn without_ticket(&self, peer: IpAddr, (role, name): (Role, &NodeName), unix: u64) {
        let mut noted = self.noted();
        if noted.all.without_ticket(peer.to_canonical(), (role, name), unix) {
            noted.untold = true;
            self.unnoted.notify_one();
        }
        noted.told.retain(|_, at| unix.abs_diff(*at) < UNPROVEN_EVERY.as_secs());
        if noted.told.len() >= UNPROVEN_MOST || noted.told.contains_key(&peer) {
            return;
        }
        noted.told.insert(peer, unix);
        tracing::info!(
            message_id = NOT_PROVEN,
            node = %name,
            "refused: somebody at {peer} has no ticket for {role} {name}, or one of another cluster key"
        );
    }

    /// Notes a machine with a good ticket that was refused a name that nobody holds.
    pub(crate) fn refused(&self, proven: &Proven, peer: IpAddr, refusal: &Refusal, key: Option<&PublicKey>, unix: u64) {
        if !LASTING.contains(&refusal.code) {
            return;
        }
        let one = refusals::Proven {
            name: proven.name().clone(),
            role: proven.role(),
            at: unix,
            from: peer.to_canonical(),
            code: refusal.code,
            machine: key.map(PublicKey::short).unwrap_or_default(),
        };
        let mut noted = self.noted();
        if noted.all.refused(one) {
            noted.untold = true;
            self.unnoted.notify_one();
        }
    }

    /// Returns when there is something to [`note`](Self::note).
    pub async fn unnoted(&self) {
        self.unnoted.notified().await;
    }

    /// Writes down who was refused, where that is worth it. To be asked for once a minute at most.
    ///
    /// # Errors
    /// The API does not answer, or says no; the next refusal is another try.
    pub async fn note(&self, unix: u64) -> Result<(), PortError> {
        let (untold, whole) = {
            let noted = self.noted();
            (noted.untold, noted.whole)
        };
        if !untold {
            return Ok(());
        }
        let path = format!("{PATH}/{}", Refusals::object_name(&self.own.name));
        if !whole {
            let before = self.objects.get(&path).await?.as_ref().and_then(read);
            let mut noted = self.noted();
            noted.all.add(before.unwrap_or_default());
            noted.whole = true;
        }
        let data = {
            let mut noted = self.noted();
            noted.untold = false;
            noted.all.forget(unix);
            noted.all.to_data()
        };
        let written = self.write_note(&path, &data).await;
        if written.is_err() {
            self.noted().untold = true;
        }
        written
    }

    /// Nobody else writes this server's.
    async fn write_note(&self, path: &str, data: &BTreeMap<String, String>) -> Result<(), PortError> {
        match self.objects.write(path, Write::Merge(&json!({ "data": data }))).await {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            other => return other,
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": Refusals::object_name(&self.own.name),
                "namespace": NAMESPACE,
                "labels": { MANAGED_BY.0: MANAGED_BY.1, COMPONENT.0: refusals::COMPONENT },
            },
            "data": data,
        });
        object::create_in_namespace(&self.objects, PATH, &object).await
    }

    /// Deletes what is over, also of servers that are no more.
    pub(crate) async fn forget_refusals(&self, objects: &[Value], unix: u64) -> Result<(), PortError> {
        for object in objects.iter().filter(|object| read(object).is_some_and(|all| all.is_over(unix))) {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
            let path = format!("{PATH}/{}", text("name"));
            self.objects.write(&path, Write::Delete(text("uid"), Some(text("resourceVersion")))).await?;
        }
        Ok(())
    }
}
