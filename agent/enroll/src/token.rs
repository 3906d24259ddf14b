//! K3s's tokens: bootstrap tokens made from random bytes, and the full form that pins the cluster's CA.

use bowline_settings::Secret;
use std::fmt;
use std::time::Duration;

/// How long a bootstrap token lives.
pub const LIFETIME: Duration = Duration::from_secs(180);
/// The group that its holder is in.
pub const GROUP: &str = "system:bootstrappers:k3s:default-node-token";

const DIGITS: [char; 36] = [
    'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w',
    'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
];

/// A bootstrap token: an id that may be shown, and a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// 6 of `a-z0-9`; the Secret is `kube-system/bootstrap-token-ID`.
    pub id: String,
    /// 16 of `a-z0-9`.
    pub secret: Secret,
}

impl BootstrapToken {
    /// From 24 random bytes: 8 for the id, 16 for the secret. What is left over after whole powers of 36 makes some
    /// digits likelier by less than one in a billion.
    pub fn from_random(random: &[u8; 24]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
        let (id, secret) = random.split_at(8);
        Self { id: digits(number(id), 6), secret: Secret::new(digits(number(secret), 16)) }
    }

    /// The full token that a joiner gets: with the CA that it may trust.
    pub fn full(&self, ca_hash: &str) -> Secret {
        Secret::new(format!("K10{ca_hash}::{}.{}", self.id, self.secret.expose()))
    }

    /// The name of the Secret in `kube-system`.
    pub fn object_name(&self) -> String {
        format!("bootstrap-token-{}", self.id)
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:?}", self.id, self.secret)
    }
}

fn digits(mut number: u128, count: usize) -> String {
    let mut text = String::with_capacity(count);
    for _ in 0..count {
        let digit = usize::try_from(number % 36).unwrap_or_default();
        text.extend(DIGITS.get(digit));
        number /= 36;
    }
    text
}

/// The hash of the CA in a full token: `K10`, 64 lower-case hexadecimal digits, `::`, and something behind it.
pub fn ca_hash(token: &str) -> Option<&str> {
    let (hash, rest) = token.strip_prefix("K10")?.split_once("::")?;
    let digits = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits && !rest.is_empty()).then_some(hash)
}
