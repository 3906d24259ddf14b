//! Whether the machine that had a name is gone.

use crate::facts::{Facts, Node, Ready};
use std::net::IpAddr;
use std::time::Duration;

/// How long the Lease stands still where the joiner speaks from the Node's own address, which the old machine lost.
pub const ADDRESS_GRACE: Duration = Duration::from_secs(15);

/// How soon who has the old machine's address asks again, so that its Lease is watched closely.
const CLOSELY: Duration = Duration::from_secs(4);

/// What is known of the machine behind a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is gone.
    Gone,
    /// It lives, or may: after so long another look may tell.
    Moving(Duration),
    /// Its Lease stood still long enough, and the Node's condition Ready is not `Unknown`: a kubelet said it.
    Speaking,
}

/// For how much longer the Lease has to stand still; None: for long enough. Where the joiner has the old machine's own
/// address, that is so short that it has to be watched closely.
pub(super) fn left(facts: &Facts, own: bool, grace: Duration) -> Option<Duration> {
    let (needed, still) = match own {
        true => (ADDRESS_GRACE, facts.lease_watched_for),
        false => (grace, facts.lease_still_for),
    };
    Some(needed.saturating_sub(still))
        .filter(|left| !left.is_zero())
        .map(|left| if own { left.min(CLOSELY) } else { left })
}

/// Whether the machine is gone: its Lease was watched standing still, by this issuer's own monotonic clock, for 15
/// seconds where `peer` is the Node's own InternalIP, else for `grace`, and Ready is `Unknown` as well.
pub fn life(node: &Node, facts: &Facts, peer: IpAddr, grace: Duration) -> Life {
    let peer = peer.to_canonical();
    let own = node.internal_ips.iter().any(|address| address.to_canonical() == peer);
    if let Some(left) = left(facts, own, grace) {
        return Life::Moving(left);
    }
    if !own && node.ready != Ready::Unknown {
        return Life::Speaking;
    }
    Life::Gone
}
