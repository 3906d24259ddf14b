//! One exchange with an issuer: the proofs, and what K3s wants to know about its node password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bowline_enroll::key::{MachineKey, Ticket};
use bowline_enroll::proof::{self, Purpose};
use bowline_enroll::wire::{MAX_BODY, PasswordHash};
use bowline_ports::ask::{BODY, PROOF, SIGNATURE};
use bowline_ports::{ErrorKind, PortError, Proofs};

// What is read of a body is what the host carries: `enroll` does not know the ports.
const _: () = assert!(MAX_BODY == BODY);

/// The proofs of one exchange.
pub struct Exchange {
    /// What for.
    pub purpose: Purpose,
    /// The ticket that proves.
    pub ticket: Ticket,
    /// The key that signs.
    pub key: MachineKey,
}

impl Proofs for Exchange {
    fn request(&self, binding: &[u8; 32], body: &[u8]) -> Vec<(&'static str, String)> {
        let headers = proof::request(self.purpose, binding, body, &self.ticket, &self.key);
        vec![(PROOF, headers.proof), (SIGNATURE, headers.signature)]
    }

    fn answer(&self, binding: &[u8; 32], status: u16, request: &[u8], answer: &[u8], given: &str) -> bool {
        proof::is_answer(self.purpose, binding, status, (request, answer), &self.ticket, given)
    }
}

/// K3s's own hash of a node password (`$1:SALT:15:8:1:HASH`): scrypt over the hexadecimal digits of the salt, as K3s
/// computes it (pkg/authenticator/hash/scrypt.go).
pub(crate) fn password_hash(password: &str, salt: [u8; 8]) -> Result<PasswordHash, PortError> {
    let bad = |e: String| PortError::new(ErrorKind::Other, format!("hashing the node password: {e}"));
    let parameters = scrypt::Params::new(15, 8, 1, 64).map_err(|e| bad(e.to_string()))?;
    let salt_text = hex::encode(salt);
    let mut hash = [0; 64];
    scrypt::scrypt(password.as_bytes(), &salt, &parameters, &mut hash).map_err(|e| bad(e.to_string()))?;
    let text = format!("$1:{salt_text}:15:8:1:{}", STANDARD_NO_PAD.encode(hash));
    PasswordHash::parse(&text).map_err(|e| bad(e.into()))
}
