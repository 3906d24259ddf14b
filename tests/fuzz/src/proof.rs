//! Proofs: a request or an answer counts for exactly the bytes, the connection, the purpose and the name that it was
//! proven for. 32 bytes of binding, one that says what is changed, one that says where, and the body.

use crate::{choice, keys, machine};
use bowline_enroll::key::{ClusterKeys, Ticket};
use bowline_enroll::proof::{Binding, Headers, Purpose, answer, is_answer, request, verify};
use bowline_enroll::{NodeName, Role};
use std::sync::LazyLock;

struct Known {
    keys: ClusterKeys,
    name: NodeName,
    other: NodeName,
    ticket: Ticket,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let (keys, name) = (keys(), NodeName::new("k3s-trading-dev-kafka-0").unwrap());
    let ticket = keys.ticket(Role::Agent, &name).unwrap();
    Known { keys, name, other: NodeName::new("k3s-trading-dev-kafka-1").unwrap(), ticket }
});

/// Always: the proof of whatever was given is good.
pub fn check(data: &[u8]) -> bool {
    let Some((purpose, data)) = choice(data, 3) else { return false };
    let Some((binding, data)) = data.split_first_chunk::<32>() else { return false };
    let Some((change, data)) = choice(data, 9) else { return false };
    let Some((place, body)) = data.split_first() else { return false };
    let purpose = Purpose::ALL[usize::from(purpose)];
    let Known { keys, name, other, ticket } = &*KNOWN;
    let key = machine();

    let headers = request(purpose, binding, body, ticket, &key);
    let proven = verify(keys, purpose, binding, body, (Role::Agent, name), &headers).expect("it is its own proof");
    assert!(proven.signed_by(&key.public()) && proven.role() == Role::Agent && proven.name() == name);
    let proof = answer(purpose, binding, 200, body, body, ticket);
    let is = |purpose, binding: &Binding, status, bodies, proof: &str| {
        is_answer(purpose, binding, status, bodies, ticket, proof)
    };
    assert!(is(purpose, binding, 200, (body, body), &proof));
    // What proves a request proves no answer.
    assert!(!is(purpose, binding, 200, (body, body), &headers.proof));

    let refused = |purpose, binding: &Binding, body: &[u8], who, headers: &Headers| {
        assert!(verify(keys, purpose, binding, body, who, headers).is_none(), "something else is proven as well");
    };
    let agent = (Role::Agent, name);
    match change {
        0 => {
            let body = bent(body, *place);
            refused(purpose, binding, &body, agent, &headers);
            assert!(!is(purpose, binding, 200, (&body, &body), &proof));
        }
        1 => {
            let body = [body, b" "].concat();
            refused(purpose, binding, &body, agent, &headers);
        }
        2 => {
            let binding: Binding = bent(binding, *place).try_into().unwrap();
            refused(purpose, &binding, body, agent, &headers);
            assert!(!is(purpose, &binding, 200, (body, body), &proof));
        }
        3 => {
            for other in Purpose::ALL.into_iter().filter(|other| *other != purpose) {
                refused(other, binding, body, agent, &headers);
                assert!(!is(other, binding, 200, (body, body), &proof));
            }
        }
        4 => {
            refused(purpose, binding, body, (Role::Server, name), &headers);
            refused(purpose, binding, body, (Role::Agent, other), &headers);
            assert!(!is(purpose, binding, 403, (body, body), &proof));
        }
        5 => {
            let proof = String::from_utf8_lossy(&bent(headers.proof.as_bytes(), *place)).into_owned();
            refused(purpose, binding, body, agent, &Headers { proof, ..headers });
        }
        6 => {
            let signature = String::from_utf8_lossy(&bent(headers.signature.as_bytes(), *place)).into_owned();
            let proven = verify(keys, purpose, binding, body, agent, &Headers { signature, ..headers });
            assert!(!proven.expect("the proof is good").signed_by(&key.public()), "another signature counts as well");
        }
        7 => {
            for proof in [headers.proof.to_uppercase(), format!(" {}", headers.proof), format!("{}0", headers.proof)] {
                let same = proof == headers.proof;
                assert!(
                    same || verify(keys, purpose, binding, body, agent, &Headers { proof, ..headers.clone() })
                        .is_none()
                );
            }
        }
        _ => {
            let proof = String::from_utf8_lossy(body).into_owned();
            if proof != headers.proof {
                refused(purpose, binding, body, agent, &Headers { proof, ..headers });
            }
        }
    }
    true
}

/// The bytes with another one somewhere among them, or one more.
fn bent(bytes: &[u8], place: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = bytes.len().max(1);
    match bytes.get_mut(usize::from(place) % length) {
        Some(byte) => *byte ^= 1 << (place % 7),
        None => bytes.push(place),
    }
    bytes
}
