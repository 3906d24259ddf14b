//! The bytes of a release page's answer: where its head leads, and a file of checksums in its body.

use crate::{choice, is_hex, runtime};
use bowline_host::real::job::{Url, Web, find_digest, redirected};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::LOCATION;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// Whether it leads on, or has the checksum.
pub fn check(data: &[u8]) -> bool {
    let Some((kind, data)) = choice(data, 2) else { return false };
    let scheme = if kind == 0 { "https" } else { "http" };
    let Ok(Url::Web(web)) = Url::parse(&format!("{scheme}://mirror.example:8443/k3s/sums?signature=of-the-mirror"))
    else {
        panic!("it is an address");
    };
    runtime().block_on(async {
        let (mut there, here) = duplex(1 << 17);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(here)).await.unwrap();
        let answering = async move {
            let _ = there.read(&mut [0; 4096]).await;
            let _ = there.write_all(data).await;
            let _ = there.shutdown().await;
        };
        let request = Request::get(&web.path).body(Empty::<Bytes>::new()).unwrap();
        let asking = async {
            match sender.send_request(request).await {
                Ok(response) => answered(&web, response).await,
                Err(_) => false,
            }
        };
        let (taken, ..) = tokio::join!(asking, answering, connection);
        taken
    })
}

async fn answered(web: &Web, response: Response<Incoming>) -> bool {
    let asked = web.shown();
    match redirected(&asked, web, &response) {
        Ok(Some(further)) => {
            assert!(further.tls || !web.tls, "it leads out of TLS");
            let authority = further.authority();
            assert!(!authority.contains(['@', '/', '?', '#', ' ']), "{authority}");
            let text = format!("{}://{authority}{}", if further.tls { "https" } else { "http" }, further.path);
            assert_eq!(Url::parse(&text).ok(), Some(Url::Web(further)), "{text}");
            true
        }
        Ok(None) => {
            let Ok(body) = response.into_body().collect().await else { return false };
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            let Some(digest) = find_digest(&text, "k3s") else { return false };
            assert!(is_hex(&digest, 64));
            let lines = || text.lines().filter(|line| line.trim_end().ends_with("k3s"));
            assert!(lines().any(|line| line.to_ascii_lowercase().starts_with(&digest)), "it is some other file's");
            true
        }
        Err(error) => {
            assert!(error.message.len() < 1000, "{} bytes of reason", error.message.len());
            let location = response.headers().get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or_default();
            // Ours and theirs, behind a `?`; what they write before it as well is none.
            let before = location.split('?').next().unwrap_or_default();
            for secret in ["of-the-mirror", "hunter2"] {
                assert!(before.contains(secret) || !error.message.contains(secret), "{}", error.message);
            }
            false
        }
    }
}
