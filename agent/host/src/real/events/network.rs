//! Addresses and default routes that come and go, by what the kernel broadcasts on netlink (man 7 rtnetlink).

use super::super::net;
use super::Broadcasts;
use nix::sys::socket::SockProtocol;
use std::time::Duration;
use tokio::sync::Notify;

/// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE`.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
/// `RTM_NEWADDR`, `RTM_DELADDR`, `RTM_NEWROUTE` and `RTM_DELROUTE`.
const ADDRESSES: [u16; 2] = [20, 21];
const ROUTES: [u16; 2] = [24, 25];
const HEADER: usize = 16;
const AGAIN: Duration = Duration::from_secs(60);

/// Notifies of every change; never ends. A route that goes with its link is not told: now and then it is looked at.
pub(super) async fn watch(signal: &Notify) {
    let (protocol, again) = (SockProtocol::NetlinkRoute, AGAIN);
    let told = Broadcasts { what: "addresses", protocol, groups: GROUPS, concerns, again };
    let looks = async {
        let mut route = net::default_route().ok();
        loop {
            tokio::time::sleep(AGAIN).await;
            let now = net::default_route().ok();
            if now != route {
                signal.notify_one();
                route = now;
            }
        }
    };
    tokio::select! {
        () = told.follow(signal) => {}
        () = looks => {}
    }
}

/// Whether one of the messages is of an address that others can reach, or of a default route: pods come and go with addresses of
/// their links and routes of their own.
fn concerns(mut messages: &[u8]) -> bool {
    while let Some((header, rest)) = messages.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = length.checked_sub(HEADER).and_then(|length| rest.get(..length)) else { return true };
        match body {
            // family, prefix length, flags, scope: 0 is everywhere
            [_, _, _, scope, ..] if ADDRESSES.contains(&kind) && *scope == 0 => return true,
            // family, length of the destination: that of all is none
            [_, 0, ..] if ROUTES.contains(&kind) => return true,
            _ => {}
        }
        messages = rest.get(body.len().next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::tests::alone;
    use super::*;
    use nix::sched::CloneFlags;

    fn message(kind: u16, body: [u8; 8]) -> Vec<u8> {
        let mut all = Vec::from(24_u32.to_ne_bytes());
        all.extend(kind.to_ne_bytes());
        all.extend([0; 10]);
        all.extend(body);
        all
    }

    #[test]
    fn pods_concern_nobody() {
        let address = |scope| message(20, [2, 24, 0, scope, 0, 0, 0, 0]);
        let route = |kind, length| message(kind, [2, length, 0, 0, 254, 3, 0, 1]);
        let link = address(253);
        assert!(!concerns(&link) && !concerns(&route(24, 32)) && !concerns(&message(16, [0; 8])) && !concerns(&[]));
        assert!(concerns(&address(0)) && concerns(&route(24, 0)) && concerns(&route(25, 0)));
        assert!(concerns(&[link.clone(), route(25, 0)].concat()), "all messages of one datagram are read");
        assert!(concerns(&link[..20]), "what was cut off is not passed over");
    }

    #[test]
    fn the_kernel_tells_of_an_address() {
        alone(CloneFlags::CLONE_NEWNET, async || {
            let signal = Notify::new();
            let told = async {
                let added =
                    std::process::Command::new("ip").args(["address", "add", "10.9.8.7/32", "dev", "lo"]).status();
                assert!(added.unwrap().success());
                tokio::time::timeout(Duration::from_secs(10), signal.notified()).await.expect("nobody told of it");
            };
            tokio::select! {
                biased;
                () = watch(&signal) => {}
                () = told => {}
            }
        });
    }
}
