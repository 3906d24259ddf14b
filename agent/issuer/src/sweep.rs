//! What an issuer does without being asked: it looks at all names at once, and at each that needs something alone.

use crate::acts::SECRETS;
use crate::leases::Still;
use crate::object::{NODE_LABEL, read_claim, read_node, read_token, renewed};
use crate::read::{self, JOIN_LEASE, LEASES, each, is_claim, own_path};
use crate::{Issuer, LOOKS, policy, volumes};
use bowline_enroll::claim::{Claim, MANAGED_BY};
use bowline_enroll::facts::{Cluster, Facts, JoinLease, Node, Read, Ready, Token};
use bowline_enroll::key::PublicKey;
use bowline_enroll::persistent::Found;
use bowline_enroll::{Act, NodeName, Role, sweep};
use bowline_ports::{ErrorKind, NODES, Objects, PortError};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// When to sweep again, as long as nobody asks for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// In a moment: this server has the turn to join, and is no healthy member yet; other servers wait for their turn.
    Moment,
    /// Soon: a machine that was let in is no Node yet, or not Ready, or one is silent that is to be removed.
    Soon,
    /// After long: all who were let in are Nodes, and well.
    Long,
}

/// Between two sweeps when nobody asks anything, while time alone brings something to clean up, or somebody is missing.
pub const SWEEP_PENDING: Duration = Duration::from_secs(300);
/// And when there is nothing: each sweep is eight reads.
pub const SWEEP_IDLE: Duration = Duration::from_secs(1800);
/// A sweep takes its time, and may have to be tried again.
const LATE: Duration = Duration::from_secs(120);

/// How many nodes the cluster is to have, and how many of them it has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Names that somebody holds.
    pub expected: usize,
    /// Those of them that are no Node, or one that is not Ready.
    pub missing: usize,
}

/// All names, in as many reads as there are kinds of objects (of large clusters a few more).
struct Overview {
    claims: BTreeMap<NodeName, Read<Claim>>,
    /// Why this server's own claim cannot be read, which is there.
    own_unreadable: Option<PortError>,
    nodes: BTreeMap<String, Read<Node>>,
    tokens: BTreeMap<String, Vec<Token>>,
    still: BTreeMap<String, Still>,
    join: Option<Read<JoinLease>>,
    cluster: Cluster,
    persistent: Found,
    /// What servers noted of those whom they refused.
    refusals: Vec<Value>,
    unix: u64,
    synchronised: bool,
    up: Duration,
}

impl Overview {
    /// What a decision about a name is made from, but for its node password: that is in none of the lists.
    fn facts(&self, name: &NodeName) -> Facts {
        let text = name.as_str();
        let still = self.still.get(text).copied().unwrap_or_default();
        Facts {
            claim: self.claims.get(name).cloned(),
            node: self.nodes.get(text).cloned(),
            lease_still_for: still.since,
            lease_watched_for: still.watched,
            up: self.up,
            password: None,
            tokens: self.tokens.get(text).cloned().unwrap_or_default(),
            join: self.join.clone(),
            cluster: self.cluster.clone(),
            persistent: self.persistent.clone(),
            now: self.unix,
            synchronised: self.synchronised,
        }
    }

    fn members(&self) -> Members {
        let held = || self.claims.values().filter(|claim| claim.value.revoked.is_none());
        let well = |name: &NodeName| self.nodes.get(name.as_str()).is_some_and(|node| node.value.ready == Ready::True);
        let missing = held().filter(|claim| !well(&claim.value.name)).count();
        Members { expected: held().count(), missing }
    }

    /// Whoever has a claim, or a token or a persistent volume that outlived it.
    fn names(&self) -> BTreeSet<NodeName> {
        let volumes = self.persistent.volumes.iter().filter_map(|volume| volume.value.node.as_ref());
        let others = self.tokens.keys().chain(volumes).filter_map(|name| NodeName::new(name).ok());
        self.claims.keys().cloned().chain(others).collect()
    }
}

/// How long a Node of this server is awaited by looking again and again.
const STARTING: Duration = Duration::from_secs(300);

impl<O: Objects> Issuer<O> {
    /// Writes the claim of this server itself, and cleans up what is over. `key` is this machine's public key.
    ///
    /// # Errors
    /// The first that went wrong; the next sweep does what is left.
    pub async fn sweep(&self, key: &PublicKey, unix: u64) -> Result<Rest, PortError> {
        let own = &self.own.name;
        let overview = self.overview(unix).await?;
        let members = overview.members();
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = Some((members, Instant::now()));
        let facts = overview.facts(own);
        let turn = sweep::turn(own, &facts);
        let joins = turn.is_none() && facts.join.as_ref().is_some_and(|join| join.value.holder.as_ref() == Some(own));
        // Right after its start the API has no Node of this server yet, whose claim is to be written as soon as it has.
        let starts = facts.node.is_none() && self.clock.since_begun() < STARTING;
        // None of these holds up the others: a server that joins is waiting for its turn, or its exemption.
        let mut first = match &overview.own_unreadable {
            Some(error) => Err(error.clone()),
            None => self.in_order(sweep::own(own, key, self.own.address, &facts)).await,
        };
        first = first.and(self.in_order(turn).await);
        // Whoever is missing may be back at any time.
        let mut rest = if members.missing > 0 || facts.node.is_none() { Rest::Soon } else { Rest::Long };
        let policy = self.policy(&overview).await;
        let names = overview.names();
        let is_there = |name: &str| NodeName::new(name).is_ok_and(|name| names.contains(&name));
        self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).keep_due(is_there);
        for name in names {
            let facts = overview.facts(&name);
            if sweep::is_under_way(&facts, self.settings.remove_gone_after.is_some()) {
                rest = Rest::Soon;
            }
            if facts.node.is_none() && facts.tokens.iter().any(|token| token.expires > unix) {
                self.wait_for_node(&name, false);
            }
            if !self.wanted(&name, &facts).is_empty() {
                let role = facts.claim.as_ref().map_or(Role::Agent, |claim| claim.value.role);
                // One that cannot be done holds up no other.
                let done = self.sweep_one((role, &name), unix).await;
                first = first
                    .and(done.map_err(|error| PortError { message: format!("{name}: {}", error.message), ..error }));
            }
        }
        let forgotten = self.forget_refusals(&overview.refusals, unix).await;
        first.and(policy).and(forgotten).map(|()| if joins || starts { Rest::Moment } else { rest })
    }

    async fn in_order(&self, acts: impl IntoIterator<Item = Act>) -> Result<(), PortError> {
        for act in acts {
            self.act(&act).await?;
        }
        Ok(())
    }

    /// Who is of the cluster, as the last sweep saw it; `None` before the first, and when the next one is overdue: a server that
    /// cannot look any more says nothing of who came back since.
    pub fn members(&self) -> Option<Members> {
        let (members, at) = (*self.members.lock().unwrap_or_else(PoisonError::into_inner))?;
        let next = if members.missing > 0 { SWEEP_PENDING } else { SWEEP_IDLE };
        (at.elapsed() < next + LATE).then_some(members)
    }

    /// Looks after the policy of `only-claimed`.
    async fn policy(&self, overview: &Overview) -> Result<(), PortError> {
        let claims = overview.claims.values().map(|claim| &claim.value);
        let servers = self.settings.only_claimed.then(|| policy::servers(&self.own.name, claims));
        if policy::keep(&self.objects, servers.as_ref()).await? {
            tracing::info!("{} is {}", policy::NAME, if servers.is_some() { "in force" } else { "no longer in force" });
        }
        Ok(())
    }

    async fn overview(&self, unix: u64) -> Result<Overview, PortError> {
        let own_path = own_path();
        let tokens_path = format!("{SECRETS}?labelSelector={}%3D{}", MANAGED_BY.0, MANAGED_BY.1);
        let (mut claims, mut nodes, mut servers) = (BTreeMap::new(), BTreeMap::new(), read::Servers::new(&self.own));
        let (mut tokens, mut leases) = (BTreeMap::<String, Vec<Token>>::new(), BTreeMap::new());
        let (mut refusals, mut own_unreadable, mut renewals) = (Vec::new(), None, BTreeMap::new());
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let read = tokio::try_join!(
            each(&self.objects, &own_path, |object| {
                // One that somebody wrote by hand, or a newer Bowline did, is left alone.
                if !is_claim(object) {
                    return refusals.push(object.clone());
                }
                match read_claim(object) {
                    Ok(claim) => _ = claims.insert(claim.value.name.clone(), claim),
                    Err(error) if name(object) == Claim::object_name(&self.own.name) => {
                        own_unreadable = Some(read::unreadable(&self.own.name, object, &error));
                    }
                    Err(_) => {}
                }
            }),
            each(&self.objects, NODES, |object| {
                servers.see(object);
                nodes.insert(name(object), read_node(object));
            }),
            each(&self.objects, &tokens_path, |object| {
                let Some(node) = object["metadata"]["labels"][NODE_LABEL].as_str() else { return };
                tokens.entry(node.to_owned()).or_default().extend(read_token(object));
            }),
            each(&self.objects, LEASES, |object| {
                renewals.extend(renewed(object).map(|at| (name(object), at)));
                leases.insert(name(object), read::version(object));
            }),
            self.objects.get(JOIN_LEASE),
            volumes::managed(&self.objects),
        );
        let (.., join, persistent) = read.inspect_err(|_| read::forget(&self.leases.0))?;
        let now = Instant::now().into_std();
        self.remember(claims.values().map(|claim| &claim.value));
        let mut watched = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = |node: &str| node != self.own.name.as_str() && nodes.get(node).is_some_and(read::is_server);
        let others = renewals.iter().filter(|(node, _)| other(node)).map(|(_, at)| *at);
        watched.renewed(renewals.values().max().copied(), others.collect());
        let past = watched.is_past(unix);
        match watched.news_of_being_behind(unix) {
            Some(0) => tracing::info!("the clock of this server is with those of the others again"),
            Some(by) => tracing::warn!(
                "the clock of this server is {by} s behind those of most other servers, whatever its time service says: by it no \
                 claim and no token is over. Look with: timedatectl; then restart the time service (systemd-timesyncd, chrony)"
            ),
            None => {}
        }
        let mut look = |name: &str, what| watched.look(name, what, now);
        let still = claims.keys().map(|name| (name.to_string(), look(name.as_str(), leases.remove(name.as_str()))));
        let still = still.collect();
        let join = join.map(|join| read::read_join(&join, look(read::JOIN, Some(read::version(&join))).since));
        Ok(Overview {
            claims,
            own_unreadable,
            nodes,
            tokens,
            still,
            join,
            cluster: servers.cluster(),
            persistent,
            refusals,
            unix,
            synchronised: self.clock.is_synchronised() && !past,
            up: self.clock.up(unix),
        })
    }

    /// What is to be done about a name. What it asked for itself is answered when it asks.
    fn wanted(&self, name: &NodeName, facts: &Facts) -> Vec<Act> {
        let acts = sweep::name(name, facts, self.removes_after(name, facts));
        if !acts.is_empty() {
            return acts;
        }
        let mut acts = sweep::granted(name, facts, &self.settings.allow);
        acts.extend(sweep::persistent_volumes(facts, &self.settings.allow));
        acts.extend(sweep::left_volumes(name, facts));
        acts
    }

    /// After how long silence the Node of this name is removed; `None`: not now. It has to be due at two looks, between which
    /// a machine that lives has the time to renew its Lease.
    fn removes_after(&self, name: &NodeName, facts: &Facts) -> Option<Duration> {
        let after = self.settings.remove_gone_after?.duration();
        let mut leases = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = sweep::is_due(name, &Facts { now: leases.no_later(facts.now), ..facts.clone() }, after);
        let since = leases.due(name.as_str(), due, Instant::now().into_std());
        (due && since >= self.settings.grace.duration()).then_some(after)
    }

    /// Cleans up about one name, from a look of its own; again when something moved in between, be it by its own acts.
    pub(crate) async fn sweep_one(&self, who: (Role, &NodeName), unix: u64) -> Result<(), PortError> {
        let mut result = Ok(());
        for _ in 0..LOOKS {
            let facts = read::facts(&self.objects, &self.own, &self.leases.0, who, unix, volumes::Of::Anybody).await?;
            let facts = Facts { up: self.clock.up(unix), synchronised: self.is_synchronised(unix), ..facts };
            result = self.all(&self.wanted(who.1, &facts)).await;
            if !result.as_ref().is_err_and(|error| error.kind == ErrorKind::Changed) {
                break;
            }
        }
        result
    }
}
