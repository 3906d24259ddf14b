//! The certificate of a door: self-signed, made in memory at each start. Nobody trusts it; TLS wants one. It is valid for
//! all time: clocks play no part here.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A new key with its certificate; `None` when there is no randomness to be had.
pub(super) fn fresh() -> Option<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let key = KeyPair::generate_for(&PKCS_ED25519).ok()?;
    let certificate = CertificateParams::default().self_signed(&key).ok()?;
    Some((certificate.der().clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_its_own() {
        let ((one, _), (two, _)) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, two);
        // That key and certificate fit together is looked at by rustls at each start.
        assert_eq!(rustls::RootCertStore::empty().add(one), Ok(()));
    }
}
