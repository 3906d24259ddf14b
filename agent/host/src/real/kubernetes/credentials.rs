//! A kubeconfig file as K3s, kubeadm and kubectl write it: server, its authority, and who asks.
//!
//! `kube` reads such files too, but brings login programs, proxies and JSON paths along: 1.4 of 9.9 MB at rest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bowline_ports::{ErrorKind, PortError};
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::http::Request;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower::ServiceBuilder;

use super::CONNECT;

/// Who asks, for people who read the API's audit log.
const AGENT: &str = concat!("bowline/", env!("CARGO_PKG_VERSION"));

/// What tells that a file is another one.
type Stamp = (u64, i64, i64, u64);

/// A kubeconfig with the files that it names, as they were when it was read.
pub(super) struct Credentials {
    server: Uri,
    authority: Vec<u8>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
    token: Option<String>,
    files: Files,
}

/// The files that credentials come from: K3s gives itself new certificates without touching the kubeconfig.
#[derive(Clone, Default)]
pub(super) struct Files(Vec<(PathBuf, Stamp)>);

impl Files {
    /// Whether all of them are still what they were.
    pub(super) fn same(&self) -> bool {
        self.0.iter().all(|(path, then)| stamp(path).is_ok_and(|now| now == *then))
    }

    fn read(&mut self, path: PathBuf) -> Result<Vec<u8>, PortError> {
        let failed = |e: std::io::Error| PortError::io(format!("reading {}", path.display()), &e);
        // The stamp first: what is written in between is seen the next time.
        let stamp = stamp(&path).map_err(failed)?;
        let bytes = std::fs::read(&path).map_err(failed)?;
        self.0.push((path, stamp));
        Ok(bytes)
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    std::fs::metadata(path).map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

impl Credentials {
    /// Reads a kubeconfig's current context. No error shows a piece of a file.
    pub(super) fn read(path: &Path) -> Result<Self, PortError> {
        let mut files = Files::default();
        let text = files.read(path.to_path_buf())?;
        let file: Value = serde_saphyr::from_slice(&text).map_err(|_| unusable(path, "it cannot be read as one"))?;
        let misfit = || unusable(path, "cluster, user or context do not fit together");
        let context = named(&file, "contexts", "context", &file["current-context"]).ok_or_else(misfit)?;
        let cluster = named(&file, "clusters", "cluster", &context["cluster"]).ok_or_else(misfit)?;
        let user = named(&file, "users", "user", &context["user"]).ok_or_else(misfit)?;
        let server = cluster["server"].as_str().and_then(|text| text.parse().ok()).ok_or_else(misfit)?;
        let mut bytes = |of: &Value, key: &str| match (of[format!("{key}-data")].as_str(), of[key].as_str()) {
            (Some(text), _) => STANDARD.decode(text).map(Some).map_err(|_| unusable(path, "its base64 is broken")),
            (None, Some(name)) => files.read(path.parent().unwrap_or(Path::new("/")).join(name)).map(Some),
            (None, None) => Ok(None),
        };
        let authority = bytes(cluster, "certificate-authority")?.unwrap_or_default();
        let certificate = bytes(user, "client-certificate")?.zip(bytes(user, "client-key")?);
        let token = user["token"].as_str().map(str::to_owned);
        Ok(Self { server, authority, certificate, token, files })
    }

    /// A client that asks with them, over HTTP/1.1, and the files to watch for its successor.
    pub(super) fn client(self, path: &Path) -> Result<(Files, Client), PortError> {
        let tls = self.tls().map_err(|why| unusable(path, &why))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let http = Http::builder(TokioExecutor::new()).build::<_, Body>(connector.wrap_connector(tcp));
        let bearer = self.token.map(|token| {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            value.map_err(|_| unusable(path, "its token is no header"))
        });
        let mut bearer = bearer.transpose()?;
        if let Some(value) = &mut bearer {
            value.set_sensitive(true);
        }
        let service = ServiceBuilder::new()
            .layer(Config::new(self.server).base_uri_layer())
            .map_request(move |mut request: Request<Body>| {
                request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
                if let Some(value) = &bearer {
                    request.headers_mut().insert(AUTHORIZATION, value.clone());
                }
                request
            })
            .service(http);
        Ok((self.files, Client::new(service, "default")))
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&self.authority) {
            let authority = authority.map_err(|_| "its certificate authority is no PEM".to_string())?;
            roots.add(authority).map_err(|e| format!("its certificate authority: {e}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let Some((chain, key)) = &self.certificate else { return Ok(builder.with_no_client_auth()) };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| "its client certificate is no PEM".to_string())?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "its client key is no PEM".to_string())?;
        builder.with_client_auth_cert(chain, key).map_err(|e| format!("its client certificate: {e}"))
    }
}

fn unusable(path: &Path, why: &str) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{} is not a usable kubeconfig: {why}", path.display()))
}

/// The entry of a list that has this name.
fn named<'a>(file: &'a Value, list: &str, kind: &str, name: &Value) -> Option<&'a Value> {
    let name = name.as_str()?;
    file[list].as_array()?.iter().find(|entry| entry["name"] == name)?.get(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters:
- {name: other, cluster: {server: https://192.0.2.1:6443}}
- cluster:
    server: https://127.0.0.1:6444
    certificate-authority: ca.crt
  name: local
contexts:
- context: {cluster: local, namespace: default, user: user}
  name: Default
current-context: Default
users:
- name: user
  user:
    client-certificate: /no/such/client.crt
    client-key-data: a2V5
";

    /// K3s's kubelet has its certificates in files of their own, and gives itself new ones.
    #[test]
    fn files_beside_it_are_read_and_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubelet.kubeconfig");
        let (ca, certificate) = (folder.path().join("ca.crt"), folder.path().join("client.crt"));
        std::fs::write(&path, KUBECONFIG.replace("/no/such", folder.path().to_str().unwrap())).unwrap();
        std::fs::write(&ca, "ca").unwrap();
        let error = Credentials::read(&path).err().unwrap();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.message.contains("client.crt"), "{error}");

        std::fs::write(&certificate, "certificate").unwrap();
        let read = Credentials::read(&path).unwrap();
        assert_eq!(read.server.to_string(), "https://127.0.0.1:6444/");
        assert_eq!(read.authority, b"ca");
        assert_eq!(read.certificate, Some((b"certificate".to_vec(), b"key".to_vec())));
        assert!(read.files.same());
        std::fs::write(&certificate, "a new certificate").unwrap();
        assert!(!read.files.same());
    }

    #[test]
    fn what_does_not_fit_together_is_told_without_a_piece_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        for (from, to) in [
            ("current-context: Default", "current-context: another"),
            ("user: user}", "user: secret}"),
            ("server: https://127.0.0.1:6444", "port: 6444"),
            ("client-key-data: a2V5", "client-key-data: secret"),
            ("clusters:", "clusters: secret"),
        ] {
            let text = KUBECONFIG.replace(from, to).replace("ca.crt", "/dev/null").replace("/no/such", "/dev/null/..");
            let text = text.replace("/dev/null/../client.crt", "/dev/null");
            std::fs::write(&path, text).unwrap();
            let error = Credentials::read(&path).err().unwrap_or_else(|| panic!("{to} is taken"));
            assert_eq!(error.kind, ErrorKind::Invalid, "{to}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
