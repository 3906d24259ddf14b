//! The scrypt hash of a node password, in the form that K3s itself writes and reads.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// `$1:SALT:15:8:1:HASH`: version 1; a salt of 8 bytes in lower-case hexadecimal; scrypt's N as 2^15, r and p, which
/// are the only ones accepted, since K3s would compute whatever is written there; 64 bytes in base64 without padding.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PasswordHash(String);

/// The whole form has as many characters.
const LENGTH: usize = "$1:".len() + 16 + ":15:8:1:".len() + 86;

impl PasswordHash {
    /// Checks the form, exactly.
    ///
    /// # Errors
    /// A sentence that shows nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() == LENGTH && is_form(text) {
            return Ok(Self(text.to_owned()));
        }
        Err("this is no node password hash of K3s: `$1:`, 16 hexadecimal digits, `:15:8:1:`, and 64 bytes in base64 \
             without padding")
    }

    /// The hash, for the Secret `NODE.node-password.k3s`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_form(text: &str) -> bool {
    let Some((salt, hash)) = text.strip_prefix("$1:").and_then(|rest| rest.split_once(":15:8:1:")) else {
        return false;
    };
    let salt_is = salt.len() == 16 && salt.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // 86 digits of 6 bits are 516: the last four bits are none of the 64 bytes', and zero.
    let hash_is = hash.len() == 86
        && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
        && hash.ends_with(['A', 'Q', 'g', 'w']);
    salt_is && hash_is
}

impl TryFrom<String> for PasswordHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl fmt::Debug for PasswordHash {
    /// Not the hash: a weak password could be guessed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
