//! The test vectors of the contract, and that nothing else is a proof.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_enroll::key::{ClusterKeys, MachineKey, PublicKey, Ticket};
use bowline_enroll::proof::{self, Binding, Headers, Purpose};
use bowline_enroll::{NodeName, Role};
use proptest::prelude::*;

const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";
const AGENT: &str = "bafdb87168aa0ef8680e58f2ba7126918b636d540226b2d365caeef8c9fbcd7e";
const SERVER: &str = "9a976010ef92b4467a3294ff8ad101e9fc049b614e4bbc3684c9e50b4892e65d";
const PUBLIC: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
const CLIENT_PROOF: &str = "f24ac75c30744e316a78d0f4874b55af083ea69939f890c11f0c4f8198173aba";
const SERVER_PROOF: &str = "d283213b809cae06a2a4da976255f8442b0d5ecb8a33dabbfba573e1a55e3b21";
const SIGNATURE: &str = "8343087a8a8eef4e5063c8e63eac1ee865238b14692f8bc4d4f09aee614ea6acdc8960f101a1579526f4630173fc4e41d9afaec9925865423a0237570ce67b00";
const BODY: &[u8] = br#"{"v":1}"#;
const ANSWER: &[u8] = br#"{"v":1,"ok":true}"#;

fn binding() -> Binding {
    std::array::from_fn(|byte| u8::try_from(byte).unwrap())
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn kafka() -> NodeName {
    name("k3s-trading-dev-kafka-0")
}

fn keys() -> ClusterKeys {
    ClusterKeys::parse(KEY).unwrap()
}

fn good() -> Headers {
    Headers { proof: CLIENT_PROOF.into(), signature: SIGNATURE.into() }
}

#[test]
fn tickets() {
    let ticket = |role, text| keys().ticket(role, &name(text)).unwrap().expose();
    assert_eq!(ticket(Role::Agent, "k3s-trading-dev-kafka-0"), AGENT);
    assert_eq!(ticket(Role::Server, "k3s-trading-dev-control"), SERVER);
}

#[test]
fn proofs() {
    let (ticket, machine) = (Ticket::parse(AGENT).unwrap(), MachineKey::from_seed(&[0x42; 32]));
    assert_eq!(machine.public().to_string(), PUBLIC);
    assert_eq!(proof::request(Purpose::Enroll, &binding(), BODY, &ticket, &machine), good());
    assert_eq!(proof::answer(Purpose::Enroll, &binding(), 200, BODY, ANSWER, &ticket), SERVER_PROOF);
    assert!(proof::is_answer(Purpose::Enroll, &binding(), 200, (BODY, ANSWER), &ticket, SERVER_PROOF));
    let proven = proof::verify(&keys(), Purpose::Enroll, &binding(), BODY, (Role::Agent, &kafka()), &good()).unwrap();
    assert!(proven.signed_by(&PublicKey::parse(PUBLIC).unwrap()));
    assert!(!proven.signed_by(&MachineKey::from_seed(&[0x43; 32]).public()));
    assert_eq!(proven.ticket().expose(), AGENT);
}

#[test]
fn a_proof_is_for_one_purpose_name_role_and_connection() {
    let check = |purpose, binding: &Binding, body: &[u8], role, name: &NodeName| {
        proof::verify(&keys(), purpose, binding, body, (role, name), &good()).is_some()
    };
    let (x, agent) = (binding(), Role::Agent);
    assert!(check(Purpose::Enroll, &x, BODY, agent, &kafka()));
    assert!(!check(Purpose::Node, &x, BODY, agent, &kafka()));
    assert!(!check(Purpose::Leave, &x, BODY, agent, &kafka()));
    assert!(!check(Purpose::Enroll, &x, BODY, Role::Server, &kafka()));
    assert!(!check(Purpose::Enroll, &x, BODY, agent, &name("k3s-trading-dev-kafka-1")));
    assert!(!check(Purpose::Enroll, &[0; 32], BODY, agent, &kafka()), "a relay has another connection");
    let ticket = Ticket::parse(AGENT).unwrap();
    let answer = |status, request, answer| {
        proof::is_answer(Purpose::Enroll, &x, status, (request, answer), &ticket, SERVER_PROOF)
    };
    assert!(!answer(403, BODY, ANSWER) && !answer(200, ANSWER, ANSWER) && !answer(200, BODY, BODY));
    assert!(!proof::is_answer(Purpose::Node, &x, 200, (BODY, ANSWER), &ticket, SERVER_PROOF));
}

#[test]
fn while_a_key_is_rotated_both_count_and_the_first_issues() {
    let new = "0".repeat(64);
    let both = ClusterKeys::parse(&format!("{new}\n{KEY}\n")).unwrap();
    let verify =
        |keys: &ClusterKeys| proof::verify(keys, Purpose::Enroll, &binding(), BODY, (Role::Agent, &kafka()), &good());
    let proven = verify(&both).unwrap();
    assert_eq!(proven.ticket().expose(), AGENT, "the answer is proven with the ticket that asked");
    assert_eq!(proven.key_id(), both.iter().nth(1).unwrap().id());
    assert_ne!(both.ticket(Role::Agent, &kafka()).unwrap().expose(), AGENT);
    assert!(verify(&ClusterKeys::parse(&new).unwrap()).is_none());
}

#[test]
fn keys_are_exactly_64_digits_and_never_shown() {
    let upper = KEY.to_uppercase();
    let long = format!("{KEY}0");
    for text in [
        "",
        "\n",
        "hunter2",
        &upper,
        &long,
        &KEY[1..],
        &format!(" {KEY}"),
        &format!("{KEY} "),
        &format!("{KEY}\r\n"),
        &format!("{KEY}\n\n"),
        &format!("{KEY}\n{KEY}"),
        &format!("{KEY}\nhunter2\n"),
        &format!("\u{feff}{KEY}"),
        &format!("{KEY}\n{AGENT}\n{SERVER}\n"),
        "７８４０ｅ４ｅ００８ｃｂ２ｅ１ｂｃ１０９ｆｆｆ２",
    ] {
        let error = ClusterKeys::parse(text).unwrap_err();
        assert!(!error.contains("hunter2") && !error.to_lowercase().contains(&KEY[1..20]), "{error}");
        assert!(Ticket::parse(text).is_err(), "{text}");
        assert!(MachineKey::parse(text).is_err(), "{text}");
    }
    let (keys, ticket, machine) = (keys(), Ticket::parse(AGENT).unwrap(), MachineKey::from_seed(&[0x42; 32]));
    let shown = format!("{keys:?} {ticket:?} {machine:?}");
    assert!(!shown.contains("7840e4") && !shown.contains("bafdb8") && !shown.contains("424242"), "{shown}");
    assert_eq!(MachineKey::parse(&machine.expose()).unwrap().public(), machine.public());
    assert!(!KEY.contains(&keys.iter().next().unwrap().id()));
}

#[test]
fn public_keys_that_prove_nothing_are_none() {
    let identity = format!("01{}", "0".repeat(62));
    for text in [&"0".repeat(64), &identity, &PUBLIC.to_uppercase(), &PUBLIC[2..].to_owned()] {
        assert!(PublicKey::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_found(bit in 0usize..8 * (32 + 64 + 32 + 7), ) {
        let (mut proof, mut signature) = (hex::decode(CLIENT_PROOF).unwrap(), hex::decode(SIGNATURE).unwrap());
        let (mut x, mut body) = (binding(), BODY.to_vec());
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        match byte {
            0..32 => proof[byte] ^= mask,
            32..96 => signature[byte - 32] ^= mask,
            96..128 => x[byte - 96] ^= mask,
            _ => body[byte - 128] ^= mask,
        }
        let headers = Headers { proof: hex::encode(proof), signature: hex::encode(signature) };
        let proven = proof::verify(&keys(), Purpose::Enroll, &x, &body, (Role::Agent, &kafka()), &headers);
        let signed = proven.is_some_and(|proven| proven.signed_by(&PublicKey::parse(PUBLIC).unwrap()));
        prop_assert!(!signed);
    }

    #[test]
    fn any_flipped_bit_of_an_answer_is_found(bit in 0usize..8 * (32 + 17), status in 100u16..1000) {
        let (mut proof, mut answer) = (hex::decode(SERVER_PROOF).unwrap(), ANSWER.to_vec());
        let ticket = Ticket::parse(AGENT).unwrap();
        let whole = (BODY, ANSWER);
        prop_assert_eq!(
            proof::is_answer(Purpose::Enroll, &binding(), status, whole, &ticket, SERVER_PROOF), status == 200
        );
        match bit / 8 {
            byte @ 0..32 => proof[byte] ^= 1 << (bit % 8),
            byte => answer[byte - 32] ^= 1 << (bit % 8),
        }
        let proof = hex::encode(proof);
        prop_assert!(!proof::is_answer(Purpose::Enroll, &binding(), 200, (BODY, &answer), &ticket, &proof));
    }

    #[test]
    fn headers_of_any_text_are_no_panic(proof in ".{0,200}", signature in ".{0,300}") {
        let headers = Headers { proof, signature };
        let agent = (Role::Agent, &kafka());
        prop_assert!(proof::verify(&keys(), Purpose::Enroll, &binding(), BODY, agent, &headers).is_none());
        let unsigned = Headers { proof: CLIENT_PROOF.into(), ..headers };
        let proven = proof::verify(&keys(), Purpose::Enroll, &binding(), BODY, agent, &unsigned).unwrap();
        prop_assert!(!proven.signed_by(&PublicKey::parse(PUBLIC).unwrap()));
    }
}
