//! Whether the machine that had a name is gone.

use crate::facts::{Facts, Node, Ready};
use std::net::IpAddr;
use std::time::Duration;

/// How long the Lease stands still where the joiner speaks from the Node's own address, which the old machine lost.
pub const ADDRESS_GRACE: Duration = Duration::from_secs(15);

/// What is known of the machine behind a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is gone.
    Gone,
    /// It lives, or may: the Lease has to stand still for so much longer.
    Moving(Duration),
    /// Its Lease stood still long enough, and the Node's condition Ready is not `Unknown`: a kubelet said it.
    Speaking,
}

/// Whether the machine is gone: its Lease was watched standing still, by this issuer's own monotonic clock, for 15
/// seconds where `peer` is the Node's own InternalIP, else for `grace`, and Ready is `Unknown` as well.
pub fn life(node: &Node, facts: &Facts, peer: IpAddr, grace: Duration) -> Life {
    let peer = peer.to_canonical();
    let own = node.internal_ips.iter().any(|address| address.to_canonical() == peer);
    let needed = if own { ADDRESS_GRACE } else { grace };
    if facts.lease_still_for < needed {
        return Life::Moving(needed.saturating_sub(facts.lease_still_for));
    }
    if !own && node.ready != Ready::Unknown {
        return Life::Speaking;
    }
    Life::Gone
}
