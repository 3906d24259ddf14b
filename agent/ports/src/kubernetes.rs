//! The parts of a Node that Bowline looks at, and what it changes of them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The field manager under which a node's Bowline owns labels of its own Node.
pub const FIELD_MANAGER: &str = "bowline";

/// The annotation of a Node with the taints that its own Bowline set, with commas between them.
pub const OWN_TAINTS: &str = "bowline/own-taints";

/// The status of a Node's `Ready` condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// The kubelet says yes.
    True,
    /// The kubelet says no.
    False,
    /// Nobody has heard from the kubelet, or it has not spoken yet.
    Unknown,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObject {
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Label key -> the field managers that own it.
    pub managers: BTreeMap<String, Vec<String>>,
    /// The Ready condition.
    pub ready: Ready,
    /// The Ready condition's own message.
    pub ready_message: String,
    /// `InternalIP` addresses.
    pub internal_ips: Vec<IpAddr>,
    /// `spec.taints`, each as [`taint_text`] writes it.
    pub taints: Vec<String>,
    /// The annotation [`OWN_TAINTS`].
    pub own_taints: Option<String>,
    /// `spec.unschedulable`: it takes no new pods.
    pub unschedulable: bool,
    /// The annotation [`crate::CORDONED`] is there: it was Bowline that told it so.
    pub cordoned: bool,
    /// `status.nodeInfo.kubeletVersion` (`v1.34.1+k3s1`).
    pub kubelet_version: String,
}

/// What is to become of a Node's taints. Those that are not named stay, whoever set them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TaintChange {
    /// The uid of the Node that was looked at.
    pub uid: String,
    /// Taints that go, as [`NodeObject::taints`] has them.
    pub remove: Vec<String>,
    /// Taints that come, in the same form. None has key and effect of one that stays.
    pub add: Vec<String>,
    /// The annotation [`OWN_TAINTS`] as it was looked at.
    pub before: Option<String>,
    /// The annotation afterwards; an empty one is none.
    pub after: String,
}

impl TaintChange {
    /// The taints afterwards of those that are `there` now. None: they are not those that were looked at.
    ///
    /// `text` gives a taint's text, `taint` makes one of it: what stays is kept with everything that it has.
    pub fn of<T>(
        &self,
        there: Vec<T>,
        own: Option<&str>,
        text: impl Fn(&T) -> String,
        taint: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (goes, mut all): (Vec<T>, Vec<T>) = there.into_iter().partition(|one| self.remove.contains(&text(one)));
        let doubled = self.add.iter().any(|new| all.iter().any(|old| slot(&text(old)) == slot(new)));
        if goes.len() != self.remove.len() || doubled || own != self.before.as_deref() {
            return None;
        }
        for new in &self.add {
            all.push(taint(new)?);
        }
        Some(all)
    }
}

/// A taint as [`NodeObject::taints`] has it: with `=` also where there is no value.
pub fn taint_text(key: &str, value: &str, effect: &str) -> String {
    format!("{key}={value}:{effect}")
}

/// Key and effect of a taint: no two of a Node have both in common.
fn slot(taint: &str) -> (&str, &str) {
    let (rest, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
    (rest.split('=').next().unwrap_or(rest), effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(remove: &[&str], add: &[&str]) -> TaintChange {
        let all = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        TaintChange { uid: "u".into(), remove: all(remove), add: all(add), before: Some("a".into()), after: "b".into() }
    }

    fn of(change: &TaintChange, there: &[&str], own: &str) -> Option<Vec<String>> {
        let there = there.iter().map(ToString::to_string).collect();
        change.of(there, Some(own), String::clone, |text| Some(text.into()))
    }

    #[test]
    fn what_is_not_named_stays() {
        let change = change(&["a=1:NoSchedule"], &["a=2:NoSchedule", "a=2:NoExecute"]);
        let all = of(&change, &["x=:NoSchedule", "a=1:NoSchedule"], "a").unwrap();
        assert_eq!(all, ["x=:NoSchedule", "a=2:NoSchedule", "a=2:NoExecute"]);
    }

    #[test]
    fn what_moved_since_the_look_is_left_alone() {
        let change = change(&["a=1:NoSchedule"], &["b=1:NoSchedule"]);
        assert_eq!(of(&change, &["a=1:NoSchedule"], "another record"), None);
        assert_eq!(of(&change, &["a=9:NoSchedule"], "a"), None, "it has another value by now");
        assert_eq!(of(&change, &["a=1:NoSchedule", "b=9:NoSchedule"], "a"), None, "somebody was faster");
    }
}
