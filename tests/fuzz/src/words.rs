//! Short texts with a form of their own: names, keys, tickets, tokens, hashes, taints.

use crate::{echoes, is_hex};
use bowline_enroll::key::{ClusterKeys, MachineKey, PublicKey, Ticket};
use bowline_enroll::token::{BootstrapToken, ca_hash};
use bowline_enroll::wire::PasswordHash;
use bowline_enroll::{NodeName, Taint};

/// Whether it is any of them.
pub fn check(data: &[u8]) -> bool {
    if let Some((random, _)) = data.split_first_chunk::<24>() {
        made(random);
    }
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut taken = false;
    if let Ok(name) = NodeName::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(
            text.len() <= 63 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')),
            "{text}"
        );
        taken = true;
    }
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(key.to_string(), text);
        taken = true;
    }
    if let Some(hash) = ca_hash(text) {
        assert!(is_hex(hash, 64) && text.starts_with(&format!("K10{hash}::")));
        taken = true;
    }
    if let Ok(taint) = text.parse::<Taint>() {
        assert_eq!(taint.to_string().parse::<Taint>().as_ref(), Ok(&taint));
        taken = true;
    }
    taken | secret(text)
}

/// Those that nobody may see: no reason repeats them, and no `Debug` shows them.
fn secret(text: &str) -> bool {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let hidden = |shown: String| assert!(!echoes(&shown, text.as_bytes()), "{shown}");
    let mut taken = false;
    match Ticket::parse(text) {
        Ok(ticket) => {
            assert_eq!(ticket.expose(), line);
            hidden(format!("{ticket:?}"));
            taken = true;
        }
        Err(why) => hidden(why.into()),
    }
    match ClusterKeys::parse(text) {
        Ok(keys) => {
            assert!(line.split('\n').all(|key| is_hex(key, 64)) && (1..=2).contains(&keys.iter().count()));
            hidden(format!("{keys:?} {}", keys.iter().map(|key| key.id()).collect::<String>()));
            taken = true;
        }
        Err(why) => hidden(why),
    }
    match MachineKey::parse(text) {
        Ok(key) => {
            assert_eq!(key.expose().trim_end(), line);
            hidden(format!("{key:?}"));
        }
        Err(why) => hidden(why.into()),
    }
    match PasswordHash::parse(text) {
        Ok(hash) => {
            assert_eq!(hash.as_str(), text);
            assert!(text.starts_with("$1:") && text.contains(":15:8:1:"), "K3s would compute whatever stands there");
            hidden(format!("{hash:?}"));
            taken = true;
        }
        Err(why) => hidden(why.into()),
    }
    taken
}

/// A token made of whatever the kernel gave.
fn made(random: &[u8; 24]) {
    let token = BootstrapToken::from_random(random);
    let formed = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    assert!(formed(&token.id, 6) && formed(token.secret.expose(), 16));
    let hash = "c".repeat(64);
    assert_eq!(ca_hash(token.full(&hash).expose()), Some(hash.as_str()));
    assert!(!format!("{token:?}").contains(token.secret.expose()));
}
