//! What every input has to hold, for everything that reads bytes from the network. One module a target; `check` says
//! whether the input was taken for what it should be, so that the seeds named `good-…` can be held to it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a broken promise ends the program here")]

/// Holds an input to its promise; whether it is taken for what it should be.
pub type Check = fn(&[u8]) -> bool;

macro_rules! targets {
    ($($target:ident),*) => {
        $(pub mod $target;)*

        /// All of them, by their names.
        pub const TARGETS: &[(&str, Check)] = &[$((stringify!($target), $target::check)),*];
    };
}

targets!(agreed, answer, api, claim, cloud, door, download, joiner, pages, proof, request, words);

/// The one of this name.
pub fn target(name: &str) -> Option<Check> {
    TARGETS.iter().find(|(one, _)| *one == name).map(|(_, check)| *check)
}

/// What they are called.
pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}

use bowline_enroll::key::{ClusterKeys, MachineKey};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::runtime::{Builder, Runtime};

/// The cluster key of the contract's test vector.
pub const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";

/// The channel binding of the contract's test vector: bytes 00 to 1f.
pub fn binding() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

pub(crate) fn keys() -> ClusterKeys {
    ClusterKeys::parse(KEY).unwrap()
}

/// The machine key of the contract's test vector.
pub(crate) fn machine() -> MachineKey {
    MachineKey::from_seed(&[0x42; 32])
}

/// With a clock that goes on as soon as everybody waits, so that no deadline takes its time.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// The first byte as a choice of so many (seeds have digits there), and the rest.
pub(crate) fn choice(data: &[u8], of: u8) -> Option<(u8, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((first.wrapping_sub(b'0') % of, rest))
}

/// Whether any 16 bytes of the input stand in a text that is not to repeat it. Those with a digit among them: secrets have
/// some, and the sentences of a parser, which may well name a header that was sent, have none. By their hashes: of what is
/// compared as it is, the fuzzer learns our own sentences.
pub(crate) fn echoes(text: &str, input: &[u8]) -> bool {
    let sum = |piece: &[u8]| {
        let mut hasher = DefaultHasher::new();
        piece.hash(&mut hasher);
        hasher.finish()
    };
    let pieces: HashSet<u64> =
        input.windows(16).filter(|piece| piece.iter().any(u8::is_ascii_digit)).map(sum).collect();
    text.as_bytes().windows(16).any(|piece| pieces.contains(&sum(piece)))
}

/// A sentence without its numbers.
pub(crate) fn shape(sentence: &str) -> String {
    sentence.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether JSON has no key twice, in any of its objects: by a judge of its own, since `bowline-enroll` is what is judged.
pub(crate) fn has_each_key_once(json: &[u8]) -> bool {
    serde_json::from_slice::<EachOnce>(json).is_ok()
}

struct EachOnce;

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for EachOnce {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((key, _)) = all.next_entry::<String, Self>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(Self)
    }
}
