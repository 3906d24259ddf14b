//! The cluster key, the tickets that follow from it, and the machine's own key.

use crate::{NodeName, Role};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// What is said of anything secret.
const HIDDEN: &str = "(hidden)";

/// 32 bytes from exactly 64 lower-case hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; 32];
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// One cluster key: 64 lower-case hexadecimal digits. `Debug` does not show them.
#[derive(Clone)]
pub struct ClusterKey(Zeroizing<String>);

impl ClusterKey {
    /// A name for the key that tells nothing about it, for the record of what was revoked: the first 16 hexadecimal
    /// digits of a SHA-256 with a label of its own.
    pub fn id(&self) -> String {
        let sum = Sha256::new().chain_update("bowline-key-id-v1:").chain_update(self.0.as_bytes()).finalize();
        hex::encode(sum.get(..8).unwrap_or_default())
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The key file of a server: the key that tickets are made with, and while it is rotated the older one.
#[derive(Clone, Debug)]
pub struct ClusterKeys {
    keys: Vec<ClusterKey>,
}

impl ClusterKeys {
    /// Reads the text of a key file: one line, or two while the key is rotated.
    ///
    /// # Errors
    /// A sentence that says which line is wrong and what to do, and shows nothing of the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let lines: Vec<&str> = text.split('\n').collect();
        if text.is_empty() {
            return Err("the key file is empty: `openssl rand -hex 32` makes a cluster key".to_owned());
        }
        if lines.len() > 2 {
            return Err(format!(
                "the key file has {} lines: the cluster key is one, the older key while it is rotated a second",
                lines.len()
            ));
        }
        for (number, line) in (1..).zip(&lines) {
            if from_hex(line).map(|mut bytes| bytes.zeroize()).is_none() {
                return Err(format!(
                    "line {number} of the key file is no cluster key: exactly 64 hexadecimal digits in lower case, as \
                     `openssl rand -hex 32` prints them"
                ));
            }
        }
        if let [one, other] = lines.as_slice()
            && one == other
        {
            return Err("both lines of the key file are the same key: remove one of them".to_owned());
        }
        let keys = lines.into_iter().map(|line| ClusterKey(Zeroizing::new(line.to_owned()))).collect();
        Ok(Self { keys })
    }

    /// The keys: the first issues, all verify. One or two.
    pub fn iter(&self) -> impl Iterator<Item = &ClusterKey> {
        self.keys.iter()
    }

    /// The ticket that the first key makes for a name. There always is a first key; None cannot be.
    pub fn ticket(&self, role: Role, name: &NodeName) -> Option<Ticket> {
        self.keys.first().map(|key| Ticket::derive(role, name, key))
    }
}

/// A ticket: what lets one name in, in one role. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(Zeroizing<[u8; 32]>);

impl Ticket {
    /// SHA-256 over `bowline-ticket-v1:ROLE:NAME:KEY`.
    pub fn derive(role: Role, name: &NodeName, key: &ClusterKey) -> Self {
        let sum = Sha256::new()
            .chain_update("bowline-ticket-v1:")
            .chain_update(role.as_str())
            .chain_update(":")
            .chain_update(name.as_str())
            .chain_update(":")
            .chain_update(key.0.as_bytes())
            .finalize();
        Self(Zeroizing::new(sum.into()))
    }

    /// Reads a ticket, or a file that has one as its only line.
    ///
    /// # Errors
    /// A sentence that shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = from_hex(text.strip_suffix('\n').unwrap_or(text));
        bytes.map(|bytes| Self(Zeroizing::new(bytes))).ok_or(
            "this is no ticket: exactly 64 hexadecimal digits in lower case, as `bowline ticket` on a server prints them",
        )
    }

    /// The ticket as people carry it: 64 lower-case hexadecimal digits. For `bowline ticket` only.
    pub fn expose(&self) -> String {
        hex::encode(self.0.as_slice())
    }

    /// The raw bytes that proofs are made with.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A machine's own key (Ed25519), which never leaves it. `Debug` does not show it. Only its seed is kept: the rest is
/// worked out where it is needed, and most who read the file only see whether it is right.
#[derive(Clone)]
pub struct MachineKey(Zeroizing<[u8; 32]>);

impl MachineKey {
    /// From 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*seed))
    }

    /// Reads the text of a key file: 64 lower-case hexadecimal digits and a line end.
    ///
    /// # Errors
    /// A sentence that shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut seed = from_hex(text.strip_suffix('\n').unwrap_or(text)).ok_or(
            "this is no machine key: exactly 64 hexadecimal digits in lower case; without the file the machine makes \
             a new one, and counts as another machine",
        )?;
        let key = Self::from_seed(&seed);
        seed.zeroize();
        Ok(key)
    }

    /// The text for the key file (mode 0600).
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", hex::encode(*self.0)))
    }

    /// The half that everybody may know.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.signing().verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing().sign(message).to_bytes()
    }

    fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineKey({})", self.public())
    }
}

/// The public half of a machine key: 64 lower-case hexadecimal digits on the wire and in claims.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads the digits. Bytes that are no point of the curve, or one of small order, for which a signature proves
    /// nothing, are refused.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = from_hex(text).ok_or("a machine key has 64 hexadecimal digits in lower case")?;
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err("this is no public key of Ed25519 that a signature could prove anything with"),
        }
    }

    /// The first 12 digits, enough for people to tell machines apart.
    pub fn short(&self) -> String {
        hex::encode(self.0.get(..6).unwrap_or_default())
    }

    /// Whether this key signed the message, by the strict rules: one signature cannot be turned into another.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
