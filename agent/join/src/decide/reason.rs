//! Why a machine that was let in, or was not yet, asks the servers to be.

use super::clock::is_off;
use crate::facts::Facts;
use crate::files::Enrolled;
use bowline_enroll::Code;
use bowline_ports::K3S_SAYS_OF_ITSELF;
use std::time::Duration;

/// A token that ends so soon is asked for again: K3s has to get through with it.
const NEARLY_OVER: Duration = Duration::from_secs(20);
/// How long K3s has to come in once it was let in, before it is asked again.
const COMES_IN: Duration = Duration::from_secs(30);

/// Whether K3s of a server that is a member complains of itself: what its API server says of the credentials of others is no reason.
pub(super) fn is_of_itself(words: &str) -> bool {
    K3S_SAYS_OF_ITSELF.iter().any(|sign| words.contains(sign))
}

/// Why to ask the servers to be let in; `None` when there is no reason.
pub(super) fn to_ask(facts: &Facts, enrolled: Option<&Enrolled>, doubt: Option<&str>) -> Option<String> {
    let Some(enrolled) = enrolled else {
        return Some(match &facts.enrolled {
            None => "it gets a credential for this one name and role".into(),
            Some(_) => "its name, role or ticket is another one now".into(),
        });
    };
    if facts.gave_way {
        return Some("it gave its name away, was let in again, and may not have been started since".into());
    }
    // Just let in, K3s needs a moment.
    let lately = (0..COMES_IN.as_secs().cast_signed()).contains(&(facts.unix - enrolled.at));
    // Once for each time that it was taken out: until it begins to join, K3s has to be restarted and to come that far, and others
    // want their turn. One that was not restarted for it is up still.
    let restarts = facts.owed || facts.foreign || !facts.up || lately;
    if facts.removed.is_some() && !(facts.removed == enrolled.after && restarts) {
        return Some("its Node was deleted, and its member taken out of etcd with it: it joins anew".into());
    }
    let refused = facts.said.as_ref().and_then(|said| said.refused.as_ref());
    if refused.is_some_and(|(code, _)| *code == Code::NotClaimed) {
        return Some("nobody holds its name any more".into());
    }
    let left = enrolled.expires.map(|end| end - facts.unix);
    // While the clock keeps K3s down, another one would end as this one has.
    if !facts.joined && !is_off(facts) && left.is_some_and(|left| left < NEARLY_OVER.as_secs().cast_signed()) {
        return Some("the token that it was given has ended before K3s came up".into());
    }
    doubt.filter(|_| !lately).map(|doubt| format!("the cluster does not take K3s: {doubt}"))
}
