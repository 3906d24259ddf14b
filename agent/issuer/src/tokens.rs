//! Tokens that were given out: each goes as soon as its Node is there. A machine that asks for its Node's labels has its own
//! deleted by that; the Nodes of those that do not ask are looked for, and only while their tokens live.

use crate::Issuer;
use crate::read::each;
use bowline_enroll::facts::Facts;
use bowline_enroll::token::LIFETIME;
use bowline_enroll::{Act, NodeName, Role};
use bowline_ports::{NODES, Objects, PortError, node_path};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A Node is looked for from then on: most machines have asked by themselves until then.
const FIRST: Duration = Duration::from_secs(10);
/// And so often, one by one, while they are few,
const EVERY: Duration = Duration::from_secs(5);
const FEW: usize = 16;
/// or by one list of all Nodes.
const MANY_EVERY: Duration = Duration::from_secs(20);
/// More than these are left to the sweep.
const MOST: usize = 4096;

/// Since when a token lives, and when its Node is looked for.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Instant,
    look: Instant,
}

/// Names with a token that has not served.
#[derive(Debug, Default)]
pub(crate) struct Tokens(BTreeMap<NodeName, Given>);

impl<O: Objects> Issuer<O> {
    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the tokens among acts that were done. A name that has a Node already came back with its machine: its token is
    /// for a K3s that has it to start with, and ends by itself.
    pub(crate) fn given(&self, acts: &[Act], facts: &Facts) {
        for act in acts.iter().filter(|_| facts.node.is_none()) {
            if let Act::MintToken { name, .. } = act {
                self.wait_for_node(name, true);
            }
        }
    }

    /// Looks for the Node of a name from now on; `anew`: also when it did before.
    pub(crate) fn wait_for_node(&self, name: &NodeName, anew: bool) {
        let now = Instant::now();
        let mut tokens = self.tokens();
        if tokens.0.len() >= MOST || (!anew && tokens.0.contains_key(name)) {
            return;
        }
        tokens.0.insert(name.clone(), Given { at: now, look: now + FIRST });
        self.minted.notify_one();
    }

    /// Its token has served.
    pub(crate) fn served(&self, name: &NodeName) {
        self.tokens().0.remove(name);
    }

    /// Returns when a token was given out.
    pub async fn minted(&self) {
        self.minted.notified().await;
    }

    /// After how long to [`look_for_nodes`](Self::look_for_nodes); `None`: there is none to look for.
    pub fn nodes_due(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut tokens = self.tokens();
        tokens.0.retain(|_, given| now.saturating_duration_since(given.at) < LIFETIME);
        tokens.0.values().map(|given| given.look.saturating_duration_since(now)).min()
    }

    /// Looks for the Nodes of those whose tokens live, and deletes the tokens of those that are there.
    ///
    /// # Errors
    /// The first that went wrong; the next look does what is left.
    pub async fn look_for_nodes(&self, unix: u64) -> Result<(), PortError> {
        let now = Instant::now();
        let names: Vec<NodeName> = {
            let mut tokens = self.tokens();
            let many = tokens.0.len() > FEW;
            let due = tokens.0.iter_mut().filter(|(_, given)| many || given.look <= now);
            due.map(|(name, given)| {
                given.look = now + if many { MANY_EVERY } else { EVERY };
                name.clone()
            })
            .collect()
        };
        let there = self.there(&names).await?;
        let mut first = Ok(());
        for name in names.into_iter().filter(|name| there.contains(name.as_str())) {
            let done = self.sweep_one((Role::Agent, &name), unix).await;
            if done.is_ok() {
                self.served(&name);
            }
            first = first.and(done);
        }
        first
    }

    /// Which of them are Nodes.
    async fn there(&self, names: &[NodeName]) -> Result<BTreeSet<String>, PortError> {
        let mut there = BTreeSet::new();
        if names.len() > FEW {
            each(&self.objects, NODES, |node| there.extend(node["metadata"]["name"].as_str().map(String::from)))
                .await?;
            return Ok(there);
        }
        for name in names {
            if self.objects.get(&node_path(name.as_str())).await?.is_some() {
                there.insert(name.to_string());
            }
        }
        Ok(there)
    }
}
