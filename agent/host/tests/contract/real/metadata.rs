//! A metadata service on this machine's loopback, where nothing listens until it has something to say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

type Answers = Arc<Mutex<Option<BTreeMap<String, String>>>>;

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    answers: Answers,
}

impl Service {
    /// An address of its own, that nobody else in this process has.
    pub(crate) fn nowhere_yet() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let address = SocketAddr::from(([127, 0, 7, NEXT.fetch_add(1, Ordering::Relaxed)], 16_925));
        Self { address, answers: Answers::default() }
    }

    /// Listens from the first time on.
    pub(crate) fn answer(&self, answers: &[(&str, &str)]) {
        let answers = answers.iter().map(|(path, body)| (path.to_string(), body.to_string())).collect();
        if self.answers.lock().unwrap().replace(answers).is_none() {
            let listener = TcpListener::bind(self.address).unwrap();
            let answers = Arc::clone(&self.answers);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(&stream).lines();
                    let first = lines.next().unwrap().unwrap();
                    lines.take_while(|line| !line.as_ref().unwrap().is_empty()).for_each(drop);
                    let path = first.split(' ').nth(1).unwrap();
                    let body = answers.lock().unwrap().as_ref().unwrap().get(path).cloned();
                    let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                    let body = body.unwrap_or_default();
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                }
            });
        }
    }
}
