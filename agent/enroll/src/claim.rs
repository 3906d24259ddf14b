//! The claim: which machine key holds a name. One ConfigMap a name, in the namespace [`NAMESPACE`].

use crate::code::Code;
use crate::keep::{record, recorded};
use crate::key::PublicKey;
use crate::persistent::Wish;
use crate::rules::Wished;
use crate::{NodeName, Role};
use bowline_settings::Taint;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The namespace of everything of Bowline's own.
pub const NAMESPACE: &str = "bowline";
/// The label, key and value, of everything of Bowline's own.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "bowline");
/// The label, key and value, that tells claims from other ConfigMaps.
pub const COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "claim");

/// After how long an agent's claim ends that never became a Node: three times what a token lives, and then some.
const AGENT_EXPIRY: Duration = Duration::from_secs(600);
/// The same for a server, which joins etcd first.
const SERVER_EXPIRY: Duration = Duration::from_secs(1800);
/// How many refused attempts a claim remembers.
const MOST_REFUSED: usize = 8;
/// How often the same refused attempt is written down.
const REFUSED_EVERY: Duration = Duration::from_secs(60);

/// An attempt that was refused because of this claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refused {
    /// The last time, seconds since 1970.
    pub at: u64,
    /// From where.
    pub from: IpAddr,
    /// Why.
    pub code: Code,
    /// By which machine, shortened ([`PublicKey::short`]).
    pub machine: String,
}

/// One of them as it is read. Who was refused only informs: what a newer Bowline notes otherwise is left out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Noted {
    Known(Refused),
    Other(IgnoredAny),
}

/// A wish as it is read here. What a newer Bowline adds to it is left out, which no request may send.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Wish")]
struct Kept {
    name: String,
    volume: String,
    path: PathBuf,
    claim: String,
    class: String,
    #[serde(default)]
    capacity: Option<u64>,
}

#[derive(Deserialize)]
struct KeptWish(#[serde(with = "Kept")] Wish);

/// That a name was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Revoked {
    /// When, seconds since 1970.
    pub at: u64,
    /// The cluster keys of that moment ([`crate::key::ClusterKey::id`]): tickets by these are refused.
    pub keys: Vec<String>,
}

/// A claim. All times are seconds since 1970, by the clock of the server that wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose name.
    pub name: NodeName,
    /// In which role.
    pub role: Role,
    /// Who holds it.
    pub machine_key: PublicKey,
    /// Since when this key holds it.
    pub since: u64,
    /// When it got its last credential.
    pub issued: u64,
    /// From where it asked.
    pub from: IpAddr,
    /// The addresses that it named.
    pub addresses: Vec<IpAddr>,
    /// The uid of its Node, once there was one.
    pub node_uid: Option<String>,
    /// The uid of its predecessor's Node, which has to go before this machine joins.
    pub replaces: Option<String>,
    /// Revoked: nobody holds the name, and tickets of that time are refused.
    pub revoked: Option<Revoked>,
    /// The cluster keys of an earlier such time: who came in since by another key does not make their tickets good again.
    pub barred: Vec<String>,
    /// What its node asked for last; `None` where it did before this was kept.
    pub wished: Option<Wished>,
    /// The taints that the issuers gave its Node, or are about to; `None` where they did before this was kept.
    pub given: Option<Vec<Taint>>,
    /// What was refused because of it, the oldest first; at most 8.
    pub refused: Vec<Refused>,
    /// The persistent volumes that its node asked for last, permitted or not.
    pub persistent: Vec<Wish>,
    /// Names of those that it asks for no more and that were still there: they go once no claim is bound to them.
    pub forgotten: Vec<String>,
    /// The uid of its Node, when that was removed for its silence: the name is to go as well, once that has been watched.
    pub removed: Option<String>,
}

impl Claim {
    /// The name of the ConfigMap. No node's name gives one that Kubernetes itself has in every namespace.
    pub fn object_name(name: &NodeName) -> String {
        format!("claim.{name}")
    }

    /// Whether this key holds the name in this role.
    pub fn is_held_by(&self, key: &PublicKey, role: Role) -> bool {
        self.revoked.is_none() && self.machine_key == *key && self.role == role
    }

    /// When it ends if it never becomes a Node, seconds since 1970; None when it did, or was revoked.
    pub fn expires(&self) -> Option<u64> {
        let expiry = match self.role {
            Role::Agent => AGENT_EXPIRY,
            Role::Server => SERVER_EXPIRY,
        };
        let pending = self.node_uid.is_none() && self.revoked.is_none();
        pending.then(|| self.issued.saturating_add(expiry.as_secs()))
    }

    /// Whether it never became a Node and its time is over. By a clock that is synchronised, one from a time to come is: it was
    /// written before the servers' clock was set back. Two servers' clocks may differ by as much as it lasts.
    pub fn is_expired(&self, now: u64, synchronised: bool) -> bool {
        let lasts = |end: u64| end.saturating_sub(self.issued);
        let to_come = |end: u64| synchronised && end > now.saturating_add(2 * lasts(end));
        self.expires().is_some_and(|end| end <= now || to_come(end))
    }

    /// The claim with one more refused attempt; None when the same one was written down within the minute, so that
    /// nobody can make the servers write by asking often.
    pub fn with_refused(&self, attempt: Refused) -> Option<Self> {
        let same =
            |old: &Refused| old.from == attempt.from && old.code == attempt.code && old.machine == attempt.machine;
        // Another server's clock may be ahead, or this one's was.
        let recent = |old: &&Refused| attempt.at.abs_diff(old.at) < REFUSED_EVERY.as_secs();
        if self.refused.iter().filter(recent).any(same) {
            return None;
        }
        // One who comes from ever new addresses or with ever new keys does not get more writes than that either.
        if self.refused.iter().filter(recent).count() >= MOST_REFUSED {
            return None;
        }
        let mut claim = self.clone();
        claim.refused.retain(|old| !same(old));
        claim.refused.push(attempt);
        let over = claim.refused.len().saturating_sub(MOST_REFUSED);
        claim.refused.drain(..over);
        Some(claim)
    }

    /// Whether tickets by this cluster key ([`crate::key::ClusterKey::id`]) are refused for this name.
    pub fn refuses(&self, key: &str) -> bool {
        self.revoked.iter().flat_map(|revoked| &revoked.keys).chain(&self.barred).any(|one| one == key)
    }

    /// The same, for whoever comes next.
    pub(crate) fn refused_keys(&self) -> Vec<String> {
        let all = self.barred.iter().chain(self.revoked.iter().flat_map(|revoked| &revoked.keys));
        let mut keys: Vec<String> = all.cloned().collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The claim revoked, for `bowline nodes revoke`: with the names of all cluster keys of this moment.
    pub fn revoke(&self, now: u64, keys: Vec<String>) -> Self {
        Self { revoked: Some(Revoked { at: now, keys }), ..self.clone() }
    }

    /// The claim of a name that nobody had: of now, and without all that comes later.
    pub fn new(name: NodeName, role: Role, machine_key: PublicKey, from: IpAddr, now: u64) -> Self {
        Self {
            name,
            role,
            machine_key,
            since: now,
            issued: now,
            from,
            addresses: Vec::new(),
            node_uid: None,
            replaces: None,
            revoked: None,
            barred: Vec::new(),
            wished: None,
            given: Some(Vec::new()),
            refused: Vec::new(),
            persistent: Vec::new(),
            forgotten: Vec::new(),
            removed: None,
        }
    }

    /// A revoked claim of a name that nobody has held yet, whose ticket strangers may have. `nobody` is a key that no machine
    /// has.
    pub fn of_nobody(name: NodeName, nobody: PublicKey, now: u64, keys: Vec<String>) -> Self {
        Self::new(name, Role::Agent, nobody, IpAddr::from([0; 4]), now).revoke(now, keys)
    }

    /// The `data` of the ConfigMap.
    pub fn to_data(&self) -> BTreeMap<String, String> {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let mut data = BTreeMap::from([
            ("version".to_owned(), "1".to_owned()),
            ("name".to_owned(), self.name.to_string()),
            ("role".to_owned(), self.role.to_string()),
            ("machine-key".to_owned(), self.machine_key.to_string()),
            ("since".to_owned(), self.since.to_string()),
            ("issued".to_owned(), self.issued.to_string()),
            ("from".to_owned(), self.from.to_string()),
            ("addresses".to_owned(), addresses.join(",")),
        ]);
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                data.insert(key.to_owned(), value);
            }
        };
        put("node-uid", self.node_uid.clone());
        put("replaces", self.replaces.clone());
        put("removed", self.removed.clone());
        put("taints", self.given.as_deref().map(record));
        put("barred-keys", (!self.barred.is_empty()).then(|| self.barred.join(",")));
        put("wished", self.wished.as_ref().and_then(|wished| serde_json::to_string(wished).ok()));
        put("revoked", self.revoked.as_ref().and_then(|revoked| serde_json::to_string(revoked).ok()));
        let list = |wishes: &Vec<Wish>| (!wishes.is_empty()).then(|| serde_json::to_string(wishes).ok()).flatten();
        put("persistent-volumes", list(&self.persistent));
        put("persistent-volumes-forgotten", (!self.forgotten.is_empty()).then(|| self.forgotten.join(",")));
        put("refused", (!self.refused.is_empty()).then(|| serde_json::to_string(&self.refused).ok()).flatten());
        data
    }

    /// Whether the `data` of a ConfigMap says whose claim it is: then it is sound, whatever else of it cannot be read here.
    pub fn says_whose(data: &BTreeMap<String, String>) -> bool {
        let text = |key: &str| data.get(key).map_or("", String::as_str);
        let role = ["server", "agent"].contains(&text("role"));
        role && NodeName::new(text("name")).is_ok() && PublicKey::parse(text("machine-key")).is_ok()
    }

    /// Reads the `data` of a ConfigMap.
    ///
    /// # Errors
    /// A sentence that names the field: somebody wrote the object by hand, or a newer Bowline did.
    pub fn from_data(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| data.get(key).map(String::as_str).ok_or_else(|| format!("the claim has no `{key}`"));
        let bad = |key: &str| format!("the claim's `{key}` cannot be read");
        let number = |key: &str| text(key)?.parse::<u64>().map_err(|_| bad(key));
        if text("version")? != "1" {
            return Err("the claim is of a newer Bowline: upgrade this server".to_owned());
        }
        let role = match text("role")? {
            "server" => Role::Server,
            "agent" => Role::Agent,
            _ => return Err(bad("role")),
        };
        let addresses = text("addresses")?.split(',').filter(|address| !address.is_empty());
        let addresses: Result<Vec<IpAddr>, _> = addresses.map(str::parse).collect();
        let refused = data.get("refused").map_or("[]", String::as_str);
        let revoked = data.get("revoked").map_or("null", String::as_str);
        let wished = data.get("wished").map_or("null", String::as_str);
        let persistent = data.get("persistent-volumes").map_or("[]", String::as_str);
        let refused: Vec<Noted> = serde_json::from_str(refused).unwrap_or_default();
        let persistent: Result<Vec<KeptWish>, _> = serde_json::from_str(persistent);
        let persistent = persistent.map_err(|_| bad("persistent-volumes"))?;
        let list =
            |key: &str| data.get(key).map(|names| names.split(',').map(String::from).collect()).unwrap_or_default();
        Ok(Self {
            name: NodeName::new(text("name")?).map_err(|_| bad("name"))?,
            role,
            machine_key: PublicKey::parse(text("machine-key")?).map_err(|_| bad("machine-key"))?,
            since: number("since")?,
            issued: number("issued")?,
            from: text("from")?.parse().map_err(|_| bad("from"))?,
            addresses: addresses.map_err(|_| bad("addresses"))?,
            node_uid: data.get("node-uid").cloned(),
            replaces: data.get("replaces").cloned(),
            revoked: serde_json::from_str(revoked).map_err(|_| bad("revoked"))?,
            barred: list("barred-keys"),
            wished: serde_json::from_str(wished).map_err(|_| bad("wished"))?,
            given: data.get("taints").map(|taints| recorded(Some(&record(&recorded(Some(taints)))))),
            refused: refused
                .into_iter()
                .filter_map(|noted| match noted {
                    Noted::Known(refused) => Some(refused),
                    Noted::Other(_) => None,
                })
                .collect(),
            // No request brings another one: somebody else wrote it.
            persistent: persistent.into_iter().map(|KeptWish(wish)| wish).filter(|wish| wish.check().is_ok()).collect(),
            forgotten: list("persistent-volumes-forgotten"),
            removed: data.get("removed").cloned(),
        })
    }
}
