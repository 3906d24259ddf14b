//! The bytes of an answer at a joiner, as they come out of TLS. The request, the binding, the ticket and the key are
//! those of the contract's test vector, so that a seed can have its proof.

use crate::{binding, echoes, keys, machine, runtime};
use bowline_enroll::proof::Purpose;
use bowline_enroll::{NodeName, Role};
use bowline_host::real::door::answer;
use bowline_join::Exchange;
use bowline_ports::{Ask, ErrorKind, Proofs};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// The exchange, and whether it has found an answer to be proven.
struct Watched(Exchange, AtomicBool);

impl Proofs for Watched {
    fn request(&self, binding: &[u8; 32], body: &[u8]) -> Vec<(&'static str, String)> {
        self.0.request(binding, body)
    }

    fn answer(&self, binding: &[u8; 32], status: u16, request: &[u8], answer: &[u8], proof: &str) -> bool {
        let proven = self.0.answer(binding, status, request, answer, proof);
        self.1.store(proven, Ordering::Relaxed);
        proven
    }
}

/// Whether it is a proven answer.
pub fn check(data: &[u8]) -> bool {
    let ticket = keys().ticket(Role::Agent, &NodeName::new("k3s-trading-dev-kafka-0").unwrap()).unwrap();
    let exchange = Exchange { purpose: Purpose::Enroll, ticket, key: machine() };
    let proofs = Watched(exchange, AtomicBool::new(false));
    let ask = Ask { server: "10.0.1.10:7470".into(), path: "/v1/enroll".into(), body: br#"{"v":1}"#.to_vec(), from: None };
    let binding = binding();
    let answered = runtime().block_on(async {
        let (mut there, here) = duplex(1 << 17);
        let serving = async move {
            // Whoever answers has heard the question.
            let (mut heard, mut bytes) = (Vec::new(), [0; 2048]);
            while !heard.ends_with(br#"{"v":1}"#) {
                match there.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(length) => heard.extend_from_slice(&bytes[..length]),
                }
            }
            // It may hang up in the middle.
            let _ = there.write_all(data).await;
            let _ = there.shutdown().await;
        };
        tokio::join!(answer(&ask, &proofs, &binding, here), serving).0
    });
    let proven = proofs.1.load(Ordering::Relaxed);
    match answered {
        Ok(answer) => {
            assert!(proven && answer.body.len() <= 16 << 10);
            true
        }
        Err(error) => {
            assert!(!proven && matches!(error.kind, ErrorKind::Denied | ErrorKind::Unreachable), "{error:?}");
            assert!(error.message.len() < 400 && !echoes(&error.message, data), "{}", error.message);
            false
        }
    }
}
