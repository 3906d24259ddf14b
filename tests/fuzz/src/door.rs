//! The bytes of a request at the issuer's door, as they come out of TLS.

use crate::{is_hex, runtime};
use bowline_enroll::proof::Purpose;
use bowline_host::real::door::{head, reader};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::time::timeout;

/// Whether there is a request that somebody would be asked about.
pub fn check(data: &[u8]) -> bool {
    let (asked, whole) = (Cell::new(0), Cell::new(false));
    let answer = |request: Request<Incoming>| {
        asked.set(asked.get() + 1);
        let whole = &whole;
        async move {
            let mut response = Response::new(Empty::<Bytes>::new());
            match head(&request, |path| Purpose::of_path(path).is_some()) {
                Ok(head) => whole.set(body(request, &head).await),
                Err(status) => {
                    assert!(status.is_client_error() || status.is_server_error());
                    *response.status_mut() = status;
                }
            }
            Ok::<_, Infallible>(response)
        }
    };
    runtime().block_on(async {
        let (mut there, here) = duplex(1 << 17);
        there.write_all(data).await.unwrap();
        let serving = reader(Duration::from_secs(5)).serve_connection(TokioIo::new(here), service_fn(answer));
        // The door has deadlines, and what is made of nonsense is the other end's affair.
        let _ = timeout(Duration::from_secs(20), serving).await;
    });
    assert!(asked.get() <= 1, "one request a connection");
    whole.get()
}

/// Whether all of the body of a request came that is taken for one.
async fn body(request: Request<Incoming>, head: &bowline_host::real::door::Head) -> bool {
    assert!(
        Purpose::of_path(&head.path).is_some() && *request.uri() == *head.path && *request.method() == Method::POST
    );
    assert!(head.proof.as_ref().is_none_or(|proof| is_hex(proof, 64)));
    assert!(head.signature.as_ref().is_none_or(|signature| is_hex(signature, 128)));
    let length: usize = request.headers()[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
    assert!(length <= 16 << 10, "{length} bytes are too many");
    let came = request.into_body().collect().await;
    came.is_ok_and(|body| {
        assert_eq!(body.to_bytes().len(), length);
        true
    })
}
