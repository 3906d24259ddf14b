//! What `kubectl describe node` tells of grants and refusals: Events on the Node of the name.
//!
//! A request only queues its Event; [`Issuer::tell`](crate::Issuer::tell) writes it afterwards. So none makes a
//! request fail or wait, and what cannot be written is lost: the journal has it too.

use crate::Own;
use bowline_enroll::facts::{Node, Read};
use bowline_enroll::key::PublicKey;
use bowline_enroll::proof::{Proven, Purpose};
use bowline_enroll::{NodeName, Refusal};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Events about things outside of all namespaces are here.
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
/// For so long nothing is said twice: the same reason of the same name.
const EVERY: Duration = Duration::from_secs(60);
/// More names and reasons than these within that time are not told of.
const MOST: usize = 1024;
/// More that wait to be written are not either.
const WAITING: usize = 64;
/// What the API takes as a note, in bytes.
const NOTE: usize = 1024;
/// What it takes as the name of who reports.
const INSTANCE: usize = 128;

/// What there is to tell of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// It got its credential.
    LetIn,
    /// Labels or taints of its Node were changed.
    Adjusted,
    /// It gave its name back.
    Left,
    /// Another machine takes the name over, and this Node goes.
    Replaced,
    /// It was refused.
    Refused,
}

impl Reason {
    /// Why something was done for who is not refused.
    pub(crate) fn of(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Enroll => Self::LetIn,
            Purpose::Node => Self::Adjusted,
            Purpose::Leave => Self::Left,
        }
    }

    /// Why a Node is removed before the request is granted.
    pub(crate) fn of_removal(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Leave => Self::Left,
            Purpose::Enroll | Purpose::Node => Self::Replaced,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::LetIn => "LetIn",
            Self::Adjusted => "Adjusted",
            Self::Left => "Left",
            Self::Replaced => "Replaced",
            Self::Refused => "Refused",
        }
    }
}

/// Who asked for what, from where, and when: seconds since 1970.
pub(crate) struct About<'a> {
    pub(crate) proven: &'a Proven,
    pub(crate) purpose: Purpose,
    /// The machine key in the request.
    pub(crate) key: PublicKey,
    pub(crate) peer: IpAddr,
    pub(crate) unix: u64,
}

impl About<'_> {
    /// The sentence. Nothing of it is a secret: a refusal never holds one.
    fn note(&self, reason: Reason, refusal: Option<&Refusal>) -> String {
        let (role, peer) = (self.proven.role(), self.peer.to_canonical());
        let what = match reason {
            Reason::LetIn => "was let in again",
            Reason::Adjusted => "got the labels and taints that the rules give it",
            Reason::Left => "left the cluster",
            Reason::Replaced => "takes this name over, and this Node is removed",
            Reason::Refused => "was refused",
        };
        let why = refusal.filter(|_| reason == Reason::Refused).map(|it| format!(" ({}): {it}", self.purpose.path()));
        format!("the {role} at {peer} {what}{}", why.unwrap_or_default())
    }
}

/// What was told lately, and what is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Events {
    told: HashMap<(NodeName, Reason), Instant>,
    waiting: VecDeque<Value>,
}

impl Events {
    /// Queues an Event, unless there were enough of them.
    pub(crate) fn add(
        &mut self,
        own: &Own,
        about: &About<'_>,
        node: &Read<Node>,
        (reason, refusal): (Reason, Option<&Refusal>),
        now: Instant,
    ) {
        self.told.retain(|_, at| now.saturating_duration_since(*at) < EVERY);
        let key = (about.proven.name().clone(), reason);
        if self.told.contains_key(&key) || self.told.len() >= MOST || self.waiting.len() >= WAITING {
            return;
        }
        if let Some(event) = event(own, about, node, reason, about.note(reason, refusal)) {
            self.told.insert(key, now);
            self.waiting.push_back(event);
        }
    }

    /// The next to be written.
    pub(crate) fn next(&mut self) -> Option<Value> {
        self.waiting.pop_front()
    }
}

/// `None` for a time that is none.
fn event(own: &Own, about: &About<'_>, node: &Read<Node>, reason: Reason, mut note: String) -> Option<Value> {
    let (name, word) = (about.proven.name().as_str(), reason.as_str());
    let at = jiff::Timestamp::from_second(i64::try_from(about.unix).ok()?).ok()?;
    note.truncate(note.floor_char_boundary(NOTE));
    let instance: String = own.name.as_str().chars().take(INSTANCE).collect();
    Some(json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            // Two servers that tell the same in one second tell it once.
            "name": format!("bowline.{}.{}.{:x}", node.uid, word.to_lowercase(), about.unix),
            "namespace": "default",
        },
        // The API demands six digits.
        "eventTime": format!("{at:.6}"),
        "type": if reason == Reason::Refused { "Warning" } else { "Normal" },
        "reason": word,
        "action": about.purpose.as_str(),
        "note": note,
        "reportingController": "bowline",
        "reportingInstance": instance,
        // By its name, as kubelets do: `kubectl describe node` shows those of the name too, and this Node may be on its way out.
        "regarding": { "apiVersion": "v1", "kind": "Node", "name": name, "uid": name },
    }))
}
