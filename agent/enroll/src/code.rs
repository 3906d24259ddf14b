//! Why a machine is not let in, in a word that never changes and a sentence.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A server that can do nothing just now, whoever asks, says to ask it again after so long, or after longer where a person has to
/// mend something: whoever joins asks the others first. One that is at work on what was asked says so for seconds.
pub(crate) const ELSEWHERE: Duration = Duration::from_secs(30);

/// Why a request was refused. The words are part of the wire format, of metrics and of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Code {
    /// No such name, or the wrong ticket: the same answer for both.
    NotLetIn,
    /// The body is not what the contract says.
    BadRequest,
    /// The ticket is good, and no rule takes this name, in this role, from this address.
    OutsideRules,
    /// The node of this name lives, or may live.
    NodeIsAlive,
    /// Another machine key holds the name.
    ClaimedElsewhere,
    /// Nobody holds the name: enrol first.
    NotClaimed,
    /// Another server is joining.
    Busy,
    /// The name was revoked, and the cluster key is still the same.
    Revoked,
    /// Removing the old server or adding one would leave etcd without a quorum.
    NoQuorum,
    /// The cluster cannot serve the request yet, such as while an old etcd member goes.
    NotReady,
    /// What only a newer Bowline says. Its message tells people why; another server may answer otherwise.
    Other(Word),
}

/// The word of a code that is not known here: 1 to 32 lower-case letters, digits and `-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word([u8; 32]);

impl Word {
    fn new(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let mut word = [0; 32];
        word.get_mut(..text.len())
            .filter(|_| !text.is_empty() && text.bytes().all(good))?
            .copy_from_slice(text.as_bytes());
        Some(Self(word))
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default().trim_end_matches('\0')
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Code {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = Self::ALL.into_iter().find(|code| code.as_str() == text);
        known
            .or_else(|| Word::new(&text).map(Self::Other))
            .ok_or("a code has 1 to 32 lower-case letters, digits and `-`")
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.to_string()
    }
}

impl Code {
    /// All that are known here.
    pub const ALL: [Self; 10] = [
        Self::NotLetIn,
        Self::BadRequest,
        Self::OutsideRules,
        Self::NodeIsAlive,
        Self::ClaimedElsewhere,
        Self::NotClaimed,
        Self::Busy,
        Self::Revoked,
        Self::NoQuorum,
        Self::NotReady,
    ];

    /// The word; one for all that are not known here.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLetIn => "not-let-in",
            Self::BadRequest => "bad-request",
            Self::OutsideRules => "outside-rules",
            Self::NodeIsAlive => "node-is-alive",
            Self::ClaimedElsewhere => "claimed-elsewhere",
            Self::NotClaimed => "not-claimed",
            Self::Busy => "busy",
            Self::Revoked => "revoked",
            Self::NoQuorum => "no-quorum",
            Self::NotReady => "not-ready",
            Self::Other(_) => "other",
        }
    }

    /// The HTTP status that goes with it. Nobody here sends one that is not known.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotLetIn | Self::OutsideRules | Self::Revoked => 403,
            Self::NodeIsAlive | Self::ClaimedElsewhere | Self::NotClaimed => 409,
            Self::Busy | Self::NoQuorum | Self::NotReady | Self::Other(_) => 503,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other(word) => word.as_str(),
            known => known.as_str(),
        })
    }
}

/// A refusal, as the joiner is told and as it is logged. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs.
    pub code: Code,
    /// Why and what to do, for people.
    pub message: String,
    /// After how long to ask again; None: not before something was changed.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that stands until something is changed.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// The same, with when to ask again.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The one answer for unknown names and wrong tickets.
    pub fn not_let_in() -> Self {
        Self::new(Code::NotLetIn, "not let in: no such name, or the wrong ticket")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
