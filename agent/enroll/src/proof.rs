//! Proofs, both ways, bound to the TLS connection by its RFC 9266 channel binding.

use crate::key::{ClusterKeys, MachineKey, PublicKey, Ticket};
use crate::{NodeName, Role};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The channel binding `X` of one TLS connection.
pub type Binding = [u8; 32];

/// What a request is for: its path, and the label that keeps its proofs from counting anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Coming in.
    Enroll,
    /// What a node asks for itself afterwards.
    Node,
    /// Giving the name back.
    Leave,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enroll, Self::Node, Self::Leave];

    /// The path that is posted to.
    pub fn path(self) -> &'static str {
        match self {
            Self::Enroll => "/v1/enroll",
            Self::Node => "/v1/node",
            Self::Leave => "/v1/leave",
        }
    }

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Node => "node",
            Self::Leave => "leave",
        }
    }

    /// The purpose of a path, compared as it is.
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.path() == path)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Enroll => "bowline-enroll-v1",
            Self::Node => "bowline-node-v1",
            Self::Leave => "bowline-leave-v1",
        }
    }
}

/// The two headers of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// `Bowline-Proof`: 64 lower-case hexadecimal digits.
    pub proof: String,
    /// `Bowline-Signature`: 128 lower-case hexadecimal digits.
    pub signature: String,
}

/// Who a request was proven to be from. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Proven {
    ticket: Ticket,
    key_id: String,
    role: Role,
    name: NodeName,
    message: Vec<u8>,
    signature: Option<[u8; 64]>,
}

impl Proven {
    /// The ticket that the proof was made with: the answer is proven with the same.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The name of the cluster key that the ticket follows from ([`crate::key::ClusterKey::id`]).
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The role that was proven.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The name that was proven.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Whether the request was signed by this machine key. For `Enroll` that of the body; for all others that of the
    /// claim ([`crate::decide`] compares the two).
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        self.signature.is_some_and(|signature| key.signed(&self.message, &signature))
    }
}

/// What a joiner proves and signs.
fn request_message(purpose: Purpose, binding: &Binding, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{} client\n", purpose.label()).into_bytes();
    message.extend_from_slice(binding);
    message.extend_from_slice(&Sha256::digest(body));
    message
}

fn answer_message(purpose: Purpose, binding: &Binding, status: u16, request: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut message = format!("{} server\n", purpose.label()).into_bytes();
    message.extend_from_slice(binding);
    message.extend_from_slice(format!("{status:03}").as_bytes());
    message.extend_from_slice(&Sha256::digest(request));
    message.extend_from_slice(&Sha256::digest(answer));
    message
}

fn mac(ticket: &Ticket, message: &[u8]) -> [u8; 32] {
    // A whole block, as HMAC itself fills up a shorter key: this way in cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(ticket.bytes()) {
        *to = *from;
    }
    <Hmac<Sha256> as KeyInit>::new((&*block).into()).chain_update(message).finalize().into_bytes().into()
}

/// The joiner's half: the headers of a request.
pub fn request(purpose: Purpose, binding: &Binding, body: &[u8], ticket: &Ticket, key: &MachineKey) -> Headers {
    let message = request_message(purpose, binding, body);
    Headers { proof: hex::encode(mac(ticket, &message)), signature: hex::encode(key.sign(&message)) }
}

/// The issuer's half: who a request is from, or None for a wrong proof.
///
/// There is one path: the proof is compared with that of every key of the file, all of each and in constant time,
/// whether the name is known or not. Nothing is looked up for it. A signature that is missing or no hexadecimal digits
/// is found out by [`Proven::signed_by`], after the proof.
pub fn verify(
    keys: &ClusterKeys,
    purpose: Purpose,
    binding: &Binding,
    body: &[u8],
    (role, name): (Role, &NodeName),
    headers: &Headers,
) -> Option<Proven> {
    let message = request_message(purpose, binding, body);
    let (given, whole) = match crate::key::from_hex(&headers.proof) {
        Some(given) => (given, Choice::from(1)),
        None => ([0; 32], Choice::from(0)),
    };
    let tickets: Vec<Ticket> = keys.iter().map(|key| Ticket::derive(role, name, key)).collect();
    let mut found = Choice::from(0);
    let mut which = 0u8;
    for (number, ticket) in (0u8..).zip(&tickets) {
        let equal = mac(ticket, &message).as_slice().ct_eq(given.as_slice());
        which.conditional_assign(&number, equal);
        found |= equal;
    }
    if !bool::from(found & whole) {
        return None;
    }
    let ticket = tickets.into_iter().nth(which.into())?;
    let key_id = keys.iter().nth(which.into())?.id();
    let signature = signature(&headers.signature);
    Some(Proven { ticket, key_id, role, name: name.clone(), message, signature })
}

fn signature(text: &str) -> Option<[u8; 64]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; 64];
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// The issuer's half: `Bowline-Proof` of an answer, refusals included.
pub fn answer(
    purpose: Purpose,
    binding: &Binding,
    status: u16,
    request: &[u8],
    answer: &[u8],
    ticket: &Ticket,
) -> String {
    hex::encode(mac(ticket, &answer_message(purpose, binding, status, request, answer)))
}

/// The joiner's half: whether an answer is one. What is none is used for nothing, and nothing is concluded from it.
pub fn is_answer(
    purpose: Purpose,
    binding: &Binding,
    status: u16,
    (request, answer): (&[u8], &[u8]),
    ticket: &Ticket,
    proof: &str,
) -> bool {
    let Some(given) = crate::key::from_hex(proof) else { return false };
    let wanted = mac(ticket, &answer_message(purpose, binding, status, request, answer));
    wanted.as_slice().ct_eq(given.as_slice()).into()
}
