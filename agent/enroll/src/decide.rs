//! What is done about a request: pure functions of the rules, the proven request, and what was read.
//!
//! The order of acts is the contract's: first the claim, then deletions (unused tokens before the Node that they could
//! make anew), then the node password, then the token. Everything is checked before the first of them, and a refusal
//! creates, deletes and consumes nothing; it may write the attempt down in the claim.
//!
//! Decisions are made again from a new look after every deletion, so that a crash between two acts, or two issuers
//! at once, end the same way: the claim says who is coming ([`Claim::replaces`]) until the old Node is really gone.

mod enroll;
mod leave;
mod life;
mod node;

pub use enroll::{JOIN_LASTS, JOIN_RENEW, enroll};
pub use leave::leave;
use life::left;
pub use life::{ADDRESS_GRACE, Life, life};
pub(crate) use node::becomes_node;
pub use node::node;

use crate::act::Act;
use crate::claim::{Claim, Refused};
use crate::code::{Code, ELSEWHERE, Refusal};
use crate::facts::{Cluster, Facts};
use crate::key::PublicKey;
use crate::proof::Proven;
use crate::{NodeName, Role};
use bowline_settings::EnrollRule;
use std::net::IpAddr;
use std::time::Duration;

/// What a decision is made by, besides the request and what was read.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// `[[enroll.allow]]`.
    pub rules: &'a [EnrollRule],
    /// `enroll.grace`.
    pub grace: Duration,
    /// Who proved to be asking.
    pub proven: &'a Proven,
    /// The address that the request came from.
    pub peer: IpAddr,
}

/// What is to be done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// Nothing but the answer.
    Refuse {
        /// The answer.
        refusal: Refusal,
        /// Whether to go on watching the Lease of this node: time makes the difference.
        watch: bool,
        /// The attempt, to be written into the claim; when that fails, nothing is lost.
        note: Option<Box<Act>>,
    },
    /// Do these, in order; then answer with the refusal: what was begun takes time, and all is looked at again when
    /// the same machine asks again.
    Again {
        /// What to do.
        acts: Vec<Act>,
        /// The answer, also when an act fails.
        refusal: Refusal,
    },
    /// Do these, in order, then answer. When one fails, answer with [`failed`].
    Answer {
        /// What to do; may be nothing.
        acts: Vec<Act>,
        /// The answer.
        answer: Box<T>,
    },
}

impl<T> Decision<T> {
    /// What is to be done, without the note of a refusal.
    pub fn acts(&self) -> &[Act] {
        match self {
            Self::Refuse { .. } => &[],
            Self::Again { acts, .. } | Self::Answer { acts, .. } => acts,
        }
    }

    /// The refusal, when it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refuse { refusal, .. } | Self::Again { refusal, .. } => Some(refusal),
            Self::Answer { .. } => None,
        }
    }
}

/// The answer when an act failed: another issuer was faster, or the API was away.
pub fn failed() -> Refusal {
    Refusal::new(Code::NotReady, "the cluster changed while this was decided, or did not answer: ask again")
        .retry(Duration::from_secs(1))
}

/// The answer of a server that can read nothing of the cluster: its API is starting, has no quorum, or does not take its
/// credentials. Another server may.
pub fn unreadable() -> Refusal {
    let message = "the Kubernetes API of this server does not answer, or not as it should: ask another server";
    Refusal::new(Code::NotReady, message).retry(ELSEWHERE)
}

/// What went wrong while deciding, before it is a decision.
struct No {
    refusal: Refusal,
    watch: bool,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, watch: false }
    }
}

impl No {
    fn watch(refusal: Refusal) -> Self {
        Self { refusal, watch: true }
    }

    /// The decision, with the attempt noted in the claim that stood in its way.
    fn decision<T>(self, order: &Order<'_>, key: &PublicKey, facts: &Facts) -> Decision<T> {
        let code = self.refusal.code;
        let noted = [Code::NodeIsAlive, Code::ClaimedElsewhere, Code::OutsideRules, Code::Revoked].contains(&code);
        let attempt = Refused { at: facts.now, from: order.peer.to_canonical(), code, machine: key.short() };
        let note = facts.claim.as_ref().filter(|_| noted).and_then(|claim| {
            let resource_version = claim.resource_version.clone();
            claim.value.with_refused(attempt).map(|claim| Box::new(Act::UpdateClaim { claim, resource_version }))
        });
        Decision::Refuse { refusal: self.refusal, watch: self.watch, note }
    }
}

/// Whether the body speaks of whom the proof is about, and the machine signed it.
fn is_who_it_says(proven: &Proven, role: Role, name: &NodeName, key: &PublicKey) -> Result<(), Refusal> {
    if proven.role() != role || proven.name() != name {
        return Err(Refusal::new(Code::BadRequest, "the body is about another name or role than its proof"));
    }
    if !proven.signed_by(key) {
        return Err(Refusal::new(Code::BadRequest, "the request is not signed by the machine key that it names"));
    }
    Ok(())
}

/// Whether the ticket was revoked.
fn is_not_revoked(proven: &Proven, facts: &Facts) -> Result<(), Refusal> {
    if facts.claim.as_ref().is_some_and(|claim| claim.value.refuses(proven.key_id())) {
        let message = format!("{} was revoked: it comes in again after the cluster key was changed", proven.name());
        return Err(Refusal::new(Code::Revoked, message));
    }
    Ok(())
}

/// The claim, when this machine holds the name.
fn held<'a>(proven: &Proven, key: &PublicKey, facts: &'a Facts) -> Result<&'a crate::facts::Read<Claim>, Refusal> {
    let Some(claim) = &facts.claim else {
        let message = format!("nobody holds the name {}: enrol again", proven.name());
        return Err(Refusal::new(Code::NotClaimed, message));
    };
    if claim.value.refuses(proven.key_id()) {
        let message = format!("{} was revoked", proven.name());
        return Err(Refusal::new(Code::Revoked, message));
    }
    if claim.value.revoked.is_some() {
        let message = format!("nobody holds the name {} since it was revoked: enrol again", proven.name());
        return Err(Refusal::new(Code::NotClaimed, message));
    }
    if !claim.value.is_held_by(key, proven.role()) {
        return Err(Refusal::new(
            Code::ClaimedElsewhere,
            format!(
                "the name {} is held as {} by machine {} from {}, not by this one",
                proven.name(),
                claim.value.role,
                claim.value.machine_key.short(),
                claim.value.from
            ),
        ));
    }
    Ok(claim)
}

/// Whether etcd works, and goes on working, without the member of this name: the healthy ones of the others are a
/// quorum of the others.
pub fn has_quorum_without(cluster: &Cluster, name: &NodeName) -> bool {
    let others = || cluster.members.iter().filter(|member| member.node != name.as_str());
    let healthy = others().filter(|member| member.healthy).count();
    healthy > others().count() / 2
}

/// Whether the Node of this name may be removed, who may be a member of etcd whatever its machine comes in as: K3s takes the member
/// out with it.
pub(crate) fn may_go(role: Role, name: &NodeName, cluster: &Cluster) -> bool {
    let member = cluster.members.iter().any(|member| member.node == name.as_str());
    (role == Role::Agent && !member) || has_quorum_without(cluster, name)
}

fn no_quorum(cluster: &Cluster, name: &NodeName) -> Refusal {
    let others = || cluster.members.iter().filter(|member| member.node != name.as_str());
    let healthy = others().filter(|member| member.healthy).count();
    let message = format!(
        "of the etcd members besides {name} only {healthy} of {} are healthy, which is no quorum: bring the others \
         back first",
        others().count()
    );
    Refusal::new(Code::NoQuorum, message).retry(Duration::from_secs(10))
}
