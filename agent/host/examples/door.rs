//! How many machines a door lets in, and what it holds in memory: `cargo run --release --example door`.
//!
//! The door is a process of its own on one thread, as in the daemon, so that its memory is its own. Prints seconds for
//! 500 machines at once, and the door's memory at rest, after them, and with 1,000 idle connections.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bowline_host::real::RealHost;
use bowline_host::real::door::{Answerer, Asked, Limits, Reply, listen};
use bowline_host::real::job::Launch;
use bowline_ports::ask::PROOF;
use bowline_ports::{Ask, Change, Proofs};
use futures::future::{BoxFuture, join_all};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Proves nothing: what is measured is the transport.
struct Open;

impl Proofs for Open {
    fn request(&self, _: &[u8; 32], _: &[u8]) -> Vec<(&'static str, String)> {
        vec![(PROOF, "0".repeat(64))]
    }
    fn answer(&self, _: &[u8; 32], _: u16, _: &[u8], _: &[u8], _: &str) -> bool {
        true
    }
}

impl Answerer for Open {
    fn serves(&self, _: &str) -> bool {
        true
    }
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Reply> {
        Box::pin(async move { Reply { status: 200, proof: asked.proof, body: asked.body, wrong: false } })
    }
}

fn kilobytes(process: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if std::env::args().nth(1).as_deref() == Some("serve") {
        runtime.block_on(async {
            // All come from a few addresses here, and are to be held.
            let limits = Limits { each: 1024, ..Limits::default() };
            let door = listen("127.0.0.1:0".parse().unwrap(), Arc::new(Open), limits).await.unwrap();
            println!("{}", door.address());
            tokio::time::sleep(Duration::from_secs(120)).await;
        });
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap()).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
    let mut server = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut server).unwrap();
    let server = server.trim().to_owned();
    let memory = |what: &str| {
        println!("{what}: {} (highest {})", kilobytes(child.id(), "VmRSS:"), kilobytes(child.id(), "VmHWM:"));
    };
    memory("door at rest");
    let host = RealHost::with(std::path::Path::new("/nowhere"), Launch::Here);
    runtime.block_on(async {
        for _ in 0..3 {
            let begun = Instant::now();
            let ask = Ask { server: server.clone(), path: "/v1/enroll".into(), body: vec![b'x'; 1000], from: None };
            let answers = join_all((0..500).map(|_| host.ask(&ask, &Open))).await;
            let good = answers.iter().filter(|answer| answer.is_ok()).count();
            println!("{good} of 500 at once in {:.2} s, both ends on this machine", begun.elapsed().as_secs_f32());
        }
        memory("door after 1,500 exchanges");
        let idle = join_all((0..1000).map(|_| tokio::net::TcpStream::connect(&server))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory("door with 1,000 idle connections");
        drop(idle);
    });
    child.kill().unwrap();
    child.wait().unwrap();
}
