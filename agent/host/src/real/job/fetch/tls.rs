//! Whom to trust, and what a failed handshake means.

use super::clock_says;
use bowline_ports::{ErrorKind, PortError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The configuration that trusts only the authorities of a PEM file, or the system's.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, PortError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| {
                    PortError::new(ErrorKind::Invalid, format!("{}: not a certificate authority: {e}", path.display()))
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(PortError::new(ErrorKind::NotFound, "this machine trusts no certificate authority at all")
                    .hint("apt install ca-certificates, or name a CA file in the settings"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| PortError::new(ErrorKind::Other, format!("setting TLS up: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PortError> {
    let text =
        std::fs::read(path).map_err(|e| PortError::io(format_args!("reading the CA file {}", path.display()), &e))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => {
            Err(PortError::new(ErrorKind::Invalid, format!("the CA file {} has no certificate in it", path.display()))
                .hint("it has to be PEM: -----BEGIN CERTIFICATE-----"))
        }
        Err(error) => {
            Err(PortError::new(ErrorKind::Invalid, format!("the CA file {} is not PEM: {error}", path.display())))
        }
    }
}

/// What a failed handshake with a host means.
pub(crate) fn failed(host: &str, error: &std::io::Error) -> PortError {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return PortError::new(ErrorKind::Unreachable, format!("TLS with {host}: {error}"));
    };
    let rustls::Error::InvalidCertificate(reason) = tls else {
        return PortError::new(ErrorKind::Invalid, format!("TLS with {host}: {tls}"));
    };
    let invalid = |text: String| PortError::new(ErrorKind::Invalid, text);
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            invalid(format!("the certificate of {host} has expired; this machine's clock says {}", clock_says()))
                .hint("is the clock right? Look with: timedatectl")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            invalid(format!("the certificate of {host} is not valid yet; this machine's clock says {}", clock_says()))
                .hint("the clock is probably wrong. Look with: timedatectl")
        }
        // A CA that was made anew under its old name gives a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            invalid(format!("the certificate of {host} is signed by an authority that is not trusted here"))
                .hint("for a mirror with its own CA name the CA file in the settings")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            invalid(format!("the certificate is not one for {host}")).hint("is the host of the URL right?")
        }
        other => invalid(format!("the certificate of {host} cannot be used: {other}")),
    }
}
