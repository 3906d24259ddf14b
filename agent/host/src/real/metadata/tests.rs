//! Requests as a cloud gets them, over loopback.

use super::*;
use bowline_ports::MetadataToken;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

/// Answers each connection by `answer`, and tells every request that came.
fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (Service, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Longer than a busy machine makes anybody wait.
    let service = Service { total: Duration::from_secs(60), ..Service::at(listener.local_addr().unwrap()) };
    let (seen, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            // The reader may be gone after a refused answer.
            let _ = stream.write_all(answer(&head).as_bytes());
            if seen.send(head).is_err() {
                return;
            }
        }
    });
    (service, requests)
}

fn says(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn ask(paths: &[&str]) -> MetadataAsk {
    MetadataAsk { header: None, token: None, paths: paths.iter().map(ToString::to_string).collect() }
}

#[tokio::test]
async fn the_header_of_a_cloud_is_sent_and_what_is_not_there_is_an_answer() {
    let (service, requests) = serve(|head| match head.starts_with("GET /zone?full=true ") {
        true => says("200 OK", "fsn1-dc14\n"),
        false => says("404 Not Found", "no"),
    });
    let ask = MetadataAsk { header: Some(("metadata-flavor", "Google")), ..ask(&["/zone?full=true", "/other"]) };
    let answers = service.ask(&ask).await.unwrap();
    assert_eq!((answers[0].status, answers[0].body.as_str()), (200, "fsn1-dc14\n"));
    assert_eq!(answers[1].status, 404);
    for _ in 0..2 {
        let head = requests.recv().unwrap();
        assert!(head.contains("metadata-flavor: Google\r\n") && head.contains("host: 127.0.0.1\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_first_and_sent_with_all_else() {
    let (service, requests) = serve(|head| match head.starts_with("PUT /token ") {
        true => says("200 OK", "secret==\n"),
        false => says("200 OK", "i-0abc"),
    });
    let token = MetadataToken { path: "/token", lifetime: ("x-lifetime", "60"), header: "x-token" };
    let answers = service.ask(&MetadataAsk { token: Some(token), ..ask(&["/id"]) }).await.unwrap();
    assert_eq!(answers[0].body, "i-0abc");
    let first = requests.recv().unwrap();
    assert!(first.contains("x-lifetime: 60\r\n") && first.contains("content-length: 0\r\n"), "{first}");
    assert!(requests.recv().unwrap().contains("x-token: secret==\r\n"));
}

#[tokio::test]
async fn no_token_is_an_error_and_nothing_else_is_asked() {
    let (service, requests) = serve(|_| says("403 Forbidden", ""));
    let token = MetadataToken { path: "/token", lifetime: ("x-lifetime", "60"), header: "x-token" };
    let error = service.ask(&MetadataAsk { token: Some(token), ..ask(&["/id"]) }).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Invalid, "127.0.0.1: HTTP 403 for a token"));
    requests.recv().unwrap();
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn redirections_are_answers_and_floods_are_errors() {
    let (service, requests) = serve(|head| match head.starts_with("GET /there ") {
        true => "HTTP/1.1 301 Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".into(),
        false => says("200 OK", &"x".repeat(BODY + 1)),
    });
    assert_eq!(service.ask(&ask(&["/there"])).await.unwrap()[0].status, 301);
    let error = service.ask(&ask(&["/flood"])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert_eq!(requests.iter().take(2).count(), 2);
}

#[tokio::test]
async fn nobody_there_and_nobody_answering() {
    let closed = Service::at(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let error = closed.ask(&ask(&["/id"])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.starts_with("127.0.0.1: no connection: "), "{error}");
    // Connections are taken by the kernel, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = Service::at(silent.local_addr().unwrap());
    let error = service.ask(&ask(&["/id", "/zone"])).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Timeout, "127.0.0.1: no answer within 2 s"));
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok() && silent.accept().is_ok(), "both were asked for");
    assert!(service.ask(&ask(&["/id"])).await.is_err());
    assert!(silent.accept().is_err(), "remembered, not asked again");
}
