//! What issuers send back. The status says which body it is, and is part of the proof. A newer one may say more than is read here:
//! until the version is another one, what it adds can be ignored.

use super::{Labels, VERSION, WireError, read_quietly, version, write};
use crate::code::{Code, ELSEWHERE, Refusal};
use bowline_settings::{Secret, Taint};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was asked for and not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cut {
    /// The label or taint, as it was asked for.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What kind of reason that is.
    #[serde(default, skip_serializing_if = "Reason::is_default")]
    pub reason: Reason,
}

/// Why something was not given, for whoever says what helps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Somebody else keeps it on the Node with another value.
    Kept,
    /// The rule itself gives it another value.
    Given,
    /// It is nobody's to give.
    Never,
    /// No rule permits it; or what `why` says.
    #[default]
    #[serde(other)]
    NotPermitted,
}

impl Reason {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Settings on which all servers of a cluster must agree, and that agents live by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Agreed {
    /// `cluster-cidr`, as K3s writes it: one network, or two with a comma.
    pub cluster_cidr: String,
    /// `service-cidr`, the same way.
    pub service_cidr: String,
    /// `cluster-dns`.
    pub cluster_dns: String,
    /// `cluster-domain`.
    pub cluster_domain: String,
    /// `disable`: components that K3s does not run, sorted.
    pub disable: Vec<String>,
    /// `flannel-backend`.
    pub flannel_backend: String,
    /// Further options that all servers must have alike, as K3s names them; those that are set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::unique::options")]
    pub options: BTreeMap<String, String>,
}

/// How a joining server keeps its place: only one joins at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JoinHint {
    /// Seconds without a word from it, after which another takes its place.
    pub lasts: u64,
    /// Seconds after which to say by `/v1/node` that it is still joining.
    pub renew: u64,
}

/// The answer with a credential in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grant {
    /// [`VERSION`].
    pub version: u32,
    /// The full token, `K10HASH::…`: the hash pins the cluster's CA.
    #[serde(serialize_with = "expose", deserialize_with = "hide")]
    pub token: Secret,
    /// Seconds until the token is worth nothing but its hash. None: it has no end (servers).
    pub token_lasts: Option<u64>,
    /// Where issuers answer, `ADDRESS:PORT`, to be remembered.
    pub issuers: Vec<String>,
    /// Where K3s's own servers are, `https://ADDRESS:6443`.
    pub servers: Vec<String>,
    /// The settings to agree on.
    pub agreed: Agreed,
    /// The release that the servers run.
    pub kubernetes: String,
    /// Labels that the servers see to, granted and wished.
    pub labels: Labels,
    /// Taints, the same.
    pub taints: Vec<Taint>,
    /// What was not given.
    pub cut: Vec<Cut>,
    /// For a joining server.
    pub join: Option<JoinHint>,
    /// The issuer's clock, seconds since 1970, to tell a wrong one by.
    pub now: u64,
}

impl Grant {
    /// The body to send: the one place where a token is written out.
    pub fn to_body(&self) -> Vec<u8> {
        write(self)
    }

    /// The SHA-256 of the cluster's CA in the token, 64 hexadecimal digits; None for a token without.
    pub fn ca_hash(&self) -> Option<&str> {
        crate::token::ca_hash(self.token.expose())
    }
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn hide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// The answer to `POST /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeAnswer {
    /// [`VERSION`].
    pub version: u32,
    /// Labels that the servers see to.
    pub labels: Labels,
    /// Taints that the servers see to.
    pub taints: Vec<Taint>,
    /// What was asked for and not given, or is kept by somebody else.
    pub cut: Vec<Cut>,
    /// Whether the Node of this name is there.
    pub registered: bool,
    /// Where issuers answer, to be remembered.
    pub issuers: Vec<String>,
    /// The issuer's clock, seconds since 1970.
    pub now: u64,
}

impl NodeAnswer {
    /// The body to send.
    pub fn to_body(&self) -> Vec<u8> {
        write(self)
    }
}

/// The answer to `POST /v1/leave`: the name is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeaveAnswer {
    /// [`VERSION`].
    pub version: u32,
}

impl LeaveAnswer {
    /// The body to send.
    pub fn to_body(&self) -> Vec<u8> {
        write(self)
    }
}

/// A refusal as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefusalBody {
    /// [`VERSION`].
    pub version: u32,
    /// Why, for programs.
    pub code: Code,
    /// Why and what to do, for people.
    pub message: String,
    /// Seconds after which to ask again; None: not before something was changed.
    pub retry_after: Option<u64>,
    /// The issuer's clock, seconds since 1970.
    pub now: u64,
}

impl RefusalBody {
    /// Status and body of a refusal.
    pub fn of(refusal: &Refusal, now: u64) -> (u16, Vec<u8>) {
        let body = Self {
            version: VERSION,
            code: refusal.code,
            message: refusal.message.clone(),
            // Rounded up: one who asks too early is only told again.
            retry_after: refusal
                .retry_after
                .map(|after| after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
            now,
        };
        (refusal.code.status(), write(&body))
    }

    /// Whether the server can do nothing just now, whoever asks: another one may.
    pub fn is_elsewhere(&self) -> bool {
        self.code == Code::NotReady && self.retry_after.is_some_and(|after| after >= ELSEWHERE.as_secs())
    }

    /// Whether it only does not read its API just now, and nobody has to mend anything.
    pub fn is_starting(&self) -> bool {
        self.is_elsewhere() && self.retry_after == Some(ELSEWHERE.as_secs())
    }

    /// The refusal that was sent.
    pub fn refusal(&self) -> Refusal {
        let retry_after = self.retry_after.map(Duration::from_secs);
        Refusal { code: self.code, message: self.message.clone(), retry_after }
    }
}

/// What came of asking to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrollAnswer {
    /// Let in.
    Granted(Box<Grant>),
    /// Not let in.
    Refused(RefusalBody),
}

/// Reads a proven answer to `POST /v1/enroll`.
///
/// # Errors
/// A body that is not what the status says; nothing of it is repeated.
pub fn parse_enroll_answer(status: u16, body: &[u8]) -> Result<EnrollAnswer, WireError> {
    if status != 200 {
        return refused(body).map(EnrollAnswer::Refused);
    }
    let grant: Grant = read_quietly(body)?;
    version(grant.version)?;
    if grant.ca_hash().is_none() {
        return Err(WireError("the token that was given does not name the cluster's CA: it is not used".into()));
    }
    Ok(EnrollAnswer::Granted(Box::new(grant)))
}

/// Reads a proven answer to `POST /v1/node`.
///
/// # Errors
/// As [`parse_enroll_answer`].
pub fn parse_node_answer(status: u16, body: &[u8]) -> Result<Result<NodeAnswer, RefusalBody>, WireError> {
    if status != 200 {
        return refused(body).map(Err);
    }
    let answer: NodeAnswer = read_quietly(body)?;
    version(answer.version)?;
    Ok(Ok(answer))
}

/// Reads a proven answer to `POST /v1/leave`.
///
/// # Errors
/// As [`parse_enroll_answer`].
pub fn parse_leave_answer(status: u16, body: &[u8]) -> Result<Result<LeaveAnswer, RefusalBody>, WireError> {
    if status != 200 {
        return refused(body).map(Err);
    }
    let answer: LeaveAnswer = read_quietly(body)?;
    version(answer.version)?;
    Ok(Ok(answer))
}

fn refused(body: &[u8]) -> Result<RefusalBody, WireError> {
    let refusal: RefusalBody = read_quietly(body)?;
    version(refusal.version)?;
    Ok(refusal)
}
