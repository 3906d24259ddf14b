//! Names of nodes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a node: an RFC 1123 subdomain of at most 63 characters, since it is also the value of the label
/// `kubernetes.io/hostname`. It has no `:`, which parts the fields of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name.
    ///
    /// # Errors
    /// A sentence, when the text is none.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if bowline_settings::is_node_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err("a node's name has at most 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both \
             ends of each part")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
