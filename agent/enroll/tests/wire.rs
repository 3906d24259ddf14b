//! Bodies: what is read, and what is not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use bowline_enroll::wire::{
    Agreed, EnrollAnswer, EnrollRequest, Grant, Labels, LeaveRequest, MAX_BODY, NodeRequest, PasswordHash, RefusalBody,
    parse_enroll_answer, parse_leave_answer, parse_node_answer, peek,
};
use bowline_enroll::{Code, Refusal, Role, Secret};
use proptest::prelude::*;
use std::time::Duration;

const PUBLIC: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";

fn hash() -> String {
    format!("$1:0011223344556677:15:8:1:{}A", "b".repeat(85))
}

fn body() -> String {
    format!(
        r#"{{"version":1,"role":"agent","name":"kafka-0","machine-key":"{PUBLIC}","addresses":["10.0.1.20","fd00::20"],"fresh":true,"labels":{{"node-role.kubernetes.io/kafka":"true","role":"kafka"}},"taints":["a=b:NoSchedule"],"versions":{{"bowline":"0.1.0","kubernetes":"v1.34.1+k3s1"}},"node-password-hash":"{}"}}"#,
        hash()
    )
}

fn grant() -> Grant {
    Grant {
        version: 1,
        token: Secret::new(format!("K10{}::abcdef.0123456789abcdef", "a".repeat(64))),
        token_lasts: Some(180),
        issuers: vec!["10.0.1.10:7470".into()],
        servers: vec!["https://10.0.1.10:6443".into()],
        agreed: Agreed { cluster_cidr: "10.42.0.0/16".into(), ..Agreed::default() },
        kubernetes: "v1.34.1+k3s1".into(),
        labels: Labels::default(),
        taints: vec!["a=b:NoSchedule".parse().unwrap()],
        cut: Vec::new(),
        join: None,
        now: 1_800_000_000,
    }
}

#[test]
fn a_request_goes_there_and_back() {
    let request = EnrollRequest::parse(body().as_bytes()).unwrap();
    assert_eq!(request.to_body(), body().as_bytes());
    assert_eq!((request.role, request.name.as_str()), (Role::Agent, "kafka-0"));
    let peek = peek(body().as_bytes()).unwrap();
    assert_eq!((peek.role, peek.name.as_str()), (Role::Agent, "kafka-0"));
}

#[test]
fn an_answer_goes_there_and_back_and_hides_its_token() {
    let sent = grant();
    let EnrollAnswer::Granted(got) = parse_enroll_answer(200, &sent.to_body()).unwrap() else { panic!("refused") };
    assert_eq!(*got, sent);
    assert_eq!(got.ca_hash(), Some("a".repeat(64).as_str()));
    assert!(!format!("{got:?}").contains("0123456789abcdef"));
    let cut = String::from_utf8(sent.to_body()).unwrap().replace("\"now\"", "\"then\"");
    let error = parse_enroll_answer(200, cut.as_bytes()).unwrap_err();
    assert!(!error.to_string().contains("abcdef"), "{error}");
    let bare = Grant { token: Secret::new("abcdef.0123456789abcdef"), ..grant() };
    assert!(parse_enroll_answer(200, &bare.to_body()).is_err(), "a token that pins no CA");
    let refusal = Refusal::new(Code::NodeIsAlive, "it lives").retry(Duration::from_millis(1500));
    let (status, body) = RefusalBody::of(&refusal, 7);
    let EnrollAnswer::Refused(got) = parse_enroll_answer(status, &body).unwrap() else { panic!("granted") };
    assert_eq!((got.code, got.retry_after, got.now), (Code::NodeIsAlive, Some(2), 7));
    assert_eq!(parse_node_answer(status, &body).unwrap().unwrap_err(), got);
    assert!(parse_enroll_answer(200, &body).is_err() && parse_enroll_answer(403, &grant().to_body()).is_err());
}

#[test]
fn an_option_to_agree_on_is_told_once() {
    let mut told = grant();
    told.agreed.options.insert("secrets-encryption".into(), "true".into());
    let body = String::from_utf8(told.to_body()).unwrap();
    assert!(matches!(parse_enroll_answer(200, body.as_bytes()), Ok(EnrollAnswer::Granted(got)) if *got == told));
    let once = "\"secrets-encryption\":\"true\"";
    let twice = body.replace(once, &format!("{once},\"secrets-encryption\":\"false\""));
    assert!(twice.len() > body.len() && parse_enroll_answer(200, twice.as_bytes()).is_err());
}

#[test]
fn codes_keep_their_words() {
    for code in Code::ALL {
        assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
        assert!((400..600).contains(&code.status()));
    }
}

#[test]
fn what_is_no_request() {
    let change = |from: &str, to: &str| {
        assert!(body().contains(from), "{from}");
        EnrollRequest::parse(body().replace(from, to).as_bytes()).unwrap_err().to_string()
    };
    for (from, to) in [
        (r#""version":1"#, r#""version":2"#),
        (r#""version":1,"#, ""),
        (r#""role":"agent""#, r#""role":"control-plane""#),
        ("kafka-0", "Kafka-0"),
        ("kafka-0", "kafka:0"),
        ("kafka-0", ""),
        (PUBLIC, &PUBLIC[2..]),
        (PUBLIC, &"0".repeat(64)),
        (r#"["10.0.1.20","fd00::20"]"#, "[]"),
        (r#"["10.0.1.20","fd00::20"]"#, r#"["host"]"#),
        (r#""fresh":true"#, r#""fresh":1"#),
        (r#""fresh":true"#, r#""extra":1"#),
        (r#""role":"kafka""#, r#""role":"kafka","role":"kafka""#),
        (r#""role":"kafka""#, r#""-role":"kafka""#),
        (r#""role":"kafka""#, r#""role":"a b""#),
        (r#""taints":["a=b:NoSchedule"]"#, r#""taints":["a=b:Never"]"#),
        (r#""taints":["a=b:NoSchedule"]"#, r#""taints":["a=b:NoSchedule","a=c:NoSchedule"]"#),
        (r#""bowline":"0.1.0""#, r#""bowline":"0.1.0","bowline":"0.1.0""#),
        (r#""bowline":"0.1.0""#, r#""bowline":"""#),
        (r#""bowline":"0.1.0""#, r#""bowline":"\u001b[31m""#),
        (":15:8:1:", ":31:8:1:"),
        ("\"}", "\"} x"),
    ] {
        let error = change(from, to);
        assert!(error.len() < 400 && !error.chars().any(char::is_control), "{error}");
    }
    let many: Vec<String> = (0..65).map(|number| format!("\"l{number}\":\"\"")).collect();
    change(r#""role":"kafka""#, &many.join(","));
    let large = body().replace("0.1.0", &"x".repeat(MAX_BODY));
    assert!(EnrollRequest::parse(large.as_bytes()).unwrap_err().to_string().contains("at most 16384"));
    assert!(peek(large.as_bytes()).is_err());
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "\"a\"",
        r#"{"role":"agent"}"#,
        "\u{0}",
        r#"["agent","a"]"#,
        r#"{"role":"agent","name":"a"} {}"#,
    ] {
        assert!(peek(text.as_bytes()).is_err(), "{text}");
    }
    assert!(peek(br#"{"role":"agent","name":"a","role":"server"}"#).is_err());
    assert!(peek(br#"{"name":"a","role":"agent","name":"b"}"#).is_err());
    assert!(
        peek(format!(r#"{{"role":"agent","name":"a","x":{}1{}}}"#, "[".repeat(900), "]".repeat(900)).as_bytes())
            .is_ok()
    );
}

#[test]
fn password_hashes_are_k3s_own() {
    assert!(PasswordHash::parse(&hash()).is_ok());
    let good = hash();
    for bad in [
        good.replace("$1", "$2"),
        good.replace("0011", "001"),
        good.replace("0011", "00AA"),
        good.replace(":15:", ":30:"),
        good.replace(":8:", ":9:"),
        good.replace(":1:", ":2:"),
        good.replace("bbA", "bbB"),
        good.replace("bbA", "b=="),
        good.replace("bbA", "b-A"),
        format!("{good}A"),
        format!("{good}\n"),
        good.replace("$1:", "$1::"),
        String::new(),
    ] {
        assert!(PasswordHash::parse(&bad).is_err(), "{bad}");
    }
    assert!(!format!("{:?}", PasswordHash::parse(&good).unwrap()).contains("bbb"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_twice_is_refused_wherever_it_stands(field in 0usize..10, again in 0usize..10) {
        let body = body();
        let fields = [
            r#""version":1"#, r#""role":"agent""#, r#""name":"kafka-0""#, r#""fresh":true"#, r#""role":"kafka""#,
            r#""node-role.kubernetes.io/kafka":"true""#, r#""bowline":"0.1.0""#, r#""taints":["a=b:NoSchedule"]"#,
            r#""kubernetes":"v1.34.1+k3s1""#, r#""addresses":["10.0.1.20","fd00::20"]"#,
        ];
        let twice = body.replacen(fields[field], &format!("{0},{0}", fields[field]), 1);
        prop_assert!(EnrollRequest::parse(twice.as_bytes()).is_err());
        // Another spelling of the same key is the same key.
        let name = fields[again].split("\":").next().unwrap().trim_start_matches('"');
        let first = format!("\\u{:04x}", u32::from(name.chars().next().unwrap()));
        let spelt = format!("\"{first}{}", &fields[again][2..]);
        let twice = body.replacen(fields[again], &format!("{},{spelt}", fields[again]), 1);
        prop_assert!(EnrollRequest::parse(twice.as_bytes()).is_err(), "{twice}");
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..600, cut in 0usize..20) {
        let mut near = body().into_bytes();
        let at = at.min(near.len());
        let end = (at + cut).min(near.len());
        near.splice(at..end, bytes.iter().copied().take(cut));
        let mut answer = grant().to_body();
        let at = at.min(answer.len());
        let end = (at + cut).min(answer.len());
        answer.splice(at..end, bytes.iter().copied().take(cut));
        for body in [&bytes, &near, &answer] {
            let _ = (peek(body), EnrollRequest::parse(body), NodeRequest::parse(body), LeaveRequest::parse(body));
            let _ = (parse_enroll_answer(200, body), parse_enroll_answer(403, body));
            let _ = (parse_node_answer(200, body), parse_leave_answer(200, body));
            let _ = PasswordHash::parse(&String::from_utf8_lossy(body));
        }
        // What parses is what is sent again.
        if let Ok(request) = EnrollRequest::parse(&near) {
            prop_assert_eq!(EnrollRequest::parse(&request.to_body()).unwrap(), request);
        }
    }
}
