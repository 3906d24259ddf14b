//! The certificate of a door: self-signed, made in memory at each start. Nobody trusts it; TLS wants one.
//!
//! With Ed25519 every length is fixed, so that a few lines do what a crate for certificates would.

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const SEQUENCE: u8 = 0x30;
/// The algorithm Ed25519 (RFC 8410), as DER.
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// The name `CN=bowline`, as DER.
const NAME: &[u8] = b"\x30\x12\x31\x10\x30\x0e\x06\x03\x55\x04\x03\x0c\x07bowline";
/// All time there is: clocks play no part here.
const VALIDITY: &[u8] = b"\x30\x20\x17\x0d000101000000Z\x18\x0f99991231235959Z";

/// A new key with its certificate; `None` when there is no randomness to be had.
pub(super) fn fresh(provider: &CryptoProvider) -> Option<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let mut seed = [0; 32];
    provider.secure_random.fill(&mut seed).ok()?;
    let key = PrivatePkcs8KeyDer::from(der(SEQUENCE, &[b"\x02\x01\x00", ED25519, b"\x04\x22\x04\x20", &seed]));
    let signing = any_eddsa_type(&key).ok()?;
    let public = signing.public_key()?;
    let content = der(
        SEQUENCE,
        &[
            b"\xa0\x03\x02\x01\x02", // X.509 version 3
            b"\x02\x01\x01",         // serial number 1
            ED25519,
            NAME,
            VALIDITY,
            NAME,
            public.as_ref(),
        ],
    );
    let signature = signing.choose_scheme(&[SignatureScheme::ED25519])?.sign(&content).ok()?;
    let certificate = der(SEQUENCE, &[&content, ED25519, &der(0x03, &[&[0], &signature])]);
    Some((CertificateDer::from(certificate), PrivateKeyDer::Pkcs8(key)))
}

/// A DER value of less than 256 bytes.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    let mut whole = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    whole.extend(content);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_its_own() {
        let provider = rustls::crypto::ring::default_provider();
        let (one, _) = fresh(&provider).unwrap();
        let (two, _) = fresh(&provider).unwrap();
        assert_ne!(one, two);
        // Read by somebody else's parser; that key and certificate fit together is looked at by rustls at each start.
        let trusted = rustls::RootCertStore::empty().add(one);
        assert_eq!(trusted, Ok(()));
    }
}
