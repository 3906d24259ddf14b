//! TLS with nothing left to choose: 1.3, one protocol, no session that outlives its connection.

use super::certificate;
pub(super) use bowline_ports::ask::ALPN;
use bowline_ports::ask::CHANNEL_BINDING;
use bowline_ports::{ErrorKind, PortError};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ConnectionCommon, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedCipherSuite,
};
use std::sync::Arc;

fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
    // Who may choose a costlier one makes the door work more than itself.
    provider.kx_groups = vec![ring::kx_group::X25519];
    Arc::new(provider)
}

fn setup(error: impl std::fmt::Display) -> PortError {
    PortError::new(ErrorKind::Other, format!("setting TLS up: {error}"))
}

/// The listening end, with a new certificate.
pub(super) fn server() -> Result<Arc<ServerConfig>, PortError> {
    let provider = provider();
    let (certificate, key) =
        certificate::fresh().ok_or_else(|| setup("no certificate could be made (is there randomness?)"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(setup)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The asking end: any certificate will do, since the proofs take its place.
pub(super) fn client() -> Result<Arc<ClientConfig>, PortError> {
    let provider = provider();
    let anyone = Anyone(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The channel binding of RFC 9266; `None` before the handshake is done.
pub(super) fn binding<T>(connection: &ConnectionCommon<T>) -> Option<[u8; 32]> {
    connection.export_keying_material([0; 32], CHANNEL_BINDING, None).ok()
}

/// Takes every certificate; that the other end has its key is still looked at, as TLS's own proof of its handshake.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
