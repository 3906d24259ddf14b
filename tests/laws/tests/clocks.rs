//! Of servers whose clocks differ, one that agrees with this machine's is believed; else what was given last.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end so")]

use bowline_engine::Outcome;
use bowline_host::sim::{SimHost, WorldAnswer};
use bowline_join::files::TOKEN;
use bowline_laws::{Case, SECRET, agent_case, run_for, simulate};
use std::time::Duration;

const FIRST: &str = "10.0.1.8:7470";
const SECOND: &str = "10.0.1.9:7470";
const PATIENCE: Duration = Duration::from_secs(45);
const REFUSES: &str =
    r#"{"version": 1, "code": "busy", "message": "another server joins", "retry-after": 5, "now": 1800000000}"#;

/// The same answer by another clock, with a token of its own.
fn behind(answer: &WorldAnswer, seconds: u64, secret: &str) -> WorldAnswer {
    let WorldAnswer::LetsIn { enroll, node } = answer else { panic!("{answer:?}") };
    let time = |body: &str| body.replace("\"now\":1800000000", &format!("\"now\":{}", 1_800_000_000 - seconds));
    WorldAnswer::LetsIn { enroll: time(enroll).replace(SECRET, secret), node: time(node) }
}

/// What comes of asking two servers, and whose token it has.
fn comes(
    first: impl Fn(&WorldAnswer) -> WorldAnswer,
    second: impl Fn(&WorldAnswer) -> WorldAnswer,
) -> (Outcome, String) {
    comes_in(|granted| [vec![first(granted)], vec![second(granted)]])
}

/// The machine, and what the two answer it one after the other.
fn asks_two(answers: impl Fn(&WorldAnswer) -> [Vec<WorldAnswer>; 2]) -> Case {
    let mut case = agent_case();
    case.settings = case.settings.replace("[\"10.0.1.9\"]", "[\"10.0.1.8\", \"10.0.1.9\"]");
    let [first, second] = answers(&case.world.answers[SECOND][0]);
    case.world.answers.insert(FIRST.into(), first);
    case.world.answers.insert(SECOND.into(), second);
    case
}

fn comes_in(answers: impl Fn(&WorldAnswer) -> [Vec<WorldAnswer>; 2]) -> (Outcome, String) {
    let case = asks_two(answers);
    simulate(async {
        let host = SimHost::new(&case.world);
        let outcome = run_for(&case, &host, &mut Vec::new(), PATIENCE).await.unwrap();
        let token = host.text(TOKEN).unwrap_or_default();
        (outcome, token.trim().rsplit("::").next().unwrap_or_default().to_owned())
    })
}

#[test]
fn a_server_with_another_clock_is_believed_only_where_no_other_one_answers() {
    let theirs = |seconds, secret: &'static str| move |answer: &WorldAnswer| behind(answer, seconds, secret);
    let refuses = |_: &WorldAnswer| WorldAnswer::Says { status: 503, body: REFUSES.into() };
    let away = |_: &WorldAnswer| WorldAnswer::Unreachable;
    assert_eq!(comes(theirs(600, "first"), theirs(0, "second")), (Outcome::Converged, "second".into()));
    assert_eq!(comes(theirs(120, "first"), theirs(0, "second")), (Outcome::Converged, "first".into()));
    // All are against it: the token that was made last has ended those before it.
    assert_eq!(comes(theirs(600, "first"), theirs(590, "second")), (Outcome::Waiting, "second".into()));
    // What was given counts, whoever refuses it or is away.
    assert_eq!(comes(theirs(600, "first"), refuses), (Outcome::Waiting, "first".into()));
    assert_eq!(comes(theirs(600, "first"), away), (Outcome::Waiting, "first".into()));
}

/// On its way to a token of its own it has ended the first one's.
#[test]
fn a_token_that_the_next_server_may_have_ended_is_asked_for_again() {
    let not_yet = |retry: u64| {
        let body = format!(
            r#"{{"version": 1, "code": "not-ready", "message": "ask again", "retry-after": {retry}, "now": 1800000000}}"#
        );
        WorldAnswer::Says { status: 503, body }
    };
    let after = |retry: u64, seconds| {
        comes_in(move |granted| {
            let second = vec![not_yet(retry), behind(granted, seconds, "second")];
            [vec![behind(granted, 600, "first"), behind(granted, 600, "again")], second]
        })
    };
    assert_eq!(after(1, 0), (Outcome::Converged, "second".into()));
    assert_eq!(after(1, 590), (Outcome::Waiting, "second".into()));
    // One that reads nothing of the cluster has ended nothing.
    assert_eq!(after(30, 0), (Outcome::Waiting, "first".into()));
}

/// It is told that its clock is off, and that is not to be heard anew each minute of each server.
#[test]
fn a_machine_whose_clock_is_off_asks_the_servers_ever_more_seldom() {
    let case = asks_two(|granted| [vec![behind(granted, 180, "first")], vec![behind(granted, 180, "second")]]);
    let asked = simulate(async {
        let host = SimHost::new(&case.world);
        let outcome = run_for(&case, &host, &mut Vec::new(), Duration::from_secs(3_600)).await;
        assert_eq!(outcome, Some(Outcome::Waiting));
        host.asked().len()
    });
    assert!((16..=24).contains(&asked), "{asked} exchanges with two servers in an hour");
}
