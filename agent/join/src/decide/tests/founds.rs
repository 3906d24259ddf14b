//! A server that may found a cluster, and asks first.

use super::*;
use crate::files::AnsweredBy;

#[test]
fn with_init_it_founds_only_when_nobody_answered_for_so_long() {
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let at = |last: Option<Last>, uptime, at| {
        last.map(|last| Last { at, again: 5, ..last }).map_or(facts(), |last| Facts {
            last: Some(last),
            uptime,
            down: true,
            ..facts()
        })
    };
    let told = |last, uptime| plan(&spec, &at(last, uptime, uptime - 1), &now());
    assert_eq!(steps(&told(None, 100)), ["enroll"], "it asks first");
    let waits = plan(&spec, &at(silent(60), 99, 99), &now());
    assert!(waits.waits[0].why.contains("it founds a cluster if nobody answers for 21 s more"), "{:?}", waits.waits);
    assert!(!told(silent(60), 119).conditions.contains_key("k3s-founds"));
    let founds = told(silent(60), 120);
    assert!(founds.conditions["k3s-founds"] == "yes" && steps(&founds).is_empty(), "{founds:?}");
    // It asks on until K3s has data, and is not started while a server may be about to answer.
    let asks = plan(&spec, &at(silent(60), 125, 120), &now());
    assert!(steps(&asks) == ["enroll"] && !asks.conditions.contains_key("k3s-founds"), "{asks:?}");
    let blocked = plan(&spec, &at(silent(60), 120, 120), &now());
    assert!(blocked.waits[0].why.ends_with("if nobody answers before its K3s has data"), "{:?}", blocked.waits);
    // What was so a while ago need not be so any more; and others were asked then.
    let old = plan(&spec, &at(silent(60), 10_000, 9_984), &now());
    assert!(steps(&old) == ["enroll"] && !old.conditions.contains_key("k3s-founds"), "{old:?}");
    let others = Last { asked: vec!["10.9.9.9:7470".into()], ..silent(60).unwrap() };
    assert!(!told(Some(others), 120).conditions.contains_key("k3s-founds"));
    let started = Facts { down: false, founding: true, ..at(silent(60), 10_000, 120) };
    let crashes = plan(&spec, &started, &now());
    assert!(steps(&crashes) == ["enroll"] && crashes.conditions["k3s-founds"] == "yes", "it goes on: {crashes:?}");
    let has = plan(&spec, &Facts { joined: true, ..started.clone() }, &now());
    assert!(steps(&has) == ["forget"] && has.conditions["k3s-founds"] == "yes", "it has founded: {has:?}");
    let joins = plan(&spec, &Facts { founding: false, ..started }, &now());
    assert!(
        !joins.conditions.contains_key("k3s-founds"),
        "K3s would be made to found while somebody may answer: {joins:?}"
    );
    for heard in [Unanswered::NotProven, Unanswered::Late, Unanswered::Nameless, Unanswered::NoWay] {
        let unproven = Last { code: Why::Unanswered(heard), ..silent(60).unwrap() };
        assert!(!told(Some(unproven), 10_000).conditions.contains_key("k3s-founds"), "{heard:?} is no silence");
    }
    // Somebody has answered, if only to say no: there is a cluster.
    let busy = Last { code: Why::Refused(Code::Busy), silent_since: None, ..silent(0).unwrap() };
    assert!(!told(Some(busy.clone()), 10_000).conditions.contains_key("k3s-founds"));
    let silent_since_then = Last { code: Why::NO_ANSWER, ..busy };
    assert!(!told(Some(silent_since_then), 10_000).conditions.contains_key("k3s-founds"));
}

/// A cluster without a quorum, or one that boots, says so; and a reboot of the first server makes it forget nothing.
#[test]
fn a_server_that_was_answered_once_founds_nothing_however_silent_it_is_since() {
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let stands = Facts { last: silent(0), uptime: 10_000, down: true, ..facts() };
    let fresh = Facts { uptime: 99, ..stands.clone() };
    assert!(plan(&spec, &fresh, &now()).conditions.contains_key("k3s-founds"));
    let of = |servers: &[String]| Some(AnsweredBy { by: "10.0.1.10:7470".into(), servers: servers.to_vec() });
    let asked = spec.asked();
    // What cannot be read counts as well.
    for by in [of(&asked), Some(AnsweredBy::default())] {
        let answered = Facts { answered: by, ..stands.clone() };
        assert_eq!(steps(&plan(&spec, &answered, &now())), ["enroll"]);
        let waits = plan(&spec, &Facts { uptime: 99, ..answered.clone() }, &now());
        let why = &waits.waits[0].why;
        assert!(why.ends_with("answered before, so it founds none: if that cluster is gone for good, `rm /var/lib/bowline/answered` lets it found another"), "{why}");
        // It is in by its data, or was let in and the daemon killed: that was then.
        let member = Facts { joined: true, down: false, ..answered };
        for member in [Facts { last: None, ..member.clone() }, let_in(Facts { last: None, ..member.clone() }), member] {
            assert_eq!(steps(&plan(&spec, &member, &now()))[0], "forget");
        }
    }
    // The settings are about another cluster by now.
    let other = Facts { answered: of(&["10.9.9.9".into()]), uptime: 99, last: silent(0), ..stands };
    assert!(plan(&spec, &other, &now()).conditions.contains_key("k3s-founds"));
}

/// Its K3s ends before it has data: by a wrong flag, or since it joins a server that has another token by now.
#[test]
fn a_k3s_without_data_is_stopped_when_somebody_answers_and_joins_then() {
    let spec = spec("init = true\ninit-wait = \"60s\"\n");
    let answered = Some(AnsweredBy { by: "10.0.1.10:7470".into(), servers: spec.asked() });
    let runs = Facts { answered, founding: true, last: silent(0), uptime: 10_000, ..facts() };
    let stops = plan(&spec, &runs, &now());
    assert!(steps(&stops) == ["stop to join"] && !stops.conditions.contains_key("k3s-founds"), "{stops:?}");
    let stopping = plan(&spec, &Facts { stopping: true, ..runs.clone() }, &now());
    assert!(steps(&stopping).is_empty() && stopping.waits[0].what == "K3s to have stopped", "{stopping:?}");
    assert_eq!(steps(&plan(&spec, &Facts { down: true, ..runs.clone() }, &now())), ["enroll"]);
    // It has founded; it was let in; or its owner says when it runs.
    assert_eq!(steps(&plan(&spec, &Facts { joined: true, ..runs.clone() }, &now())), ["forget"]);
    assert!(!steps(&plan(&spec, &let_in(runs.clone()), &now())).contains(&"stop to join"));
    let foreign = plan(&spec, &Facts { foreign: true, ..runs.clone() }, &now());
    assert!(steps(&foreign).is_empty() && foreign.waits[0].why.contains("somebody else installed"), "{foreign:?}");
    // Up, it has data, wherever its owner has put them.
    let up = Facts { up: true, founding: false, last: None, ..runs };
    for up in [up.clone(), Facts { foreign: true, ..up.clone() }] {
        let has = plan(&spec, &up, &now());
        assert!(steps(&has) == ["forget"] && has.conditions["k3s-founds"] == "yes", "{has:?}");
    }
    assert_ne!(steps(&plan(&spec, &Facts { removed: Some(7), ..up }, &now())), ["forget"]);
}
