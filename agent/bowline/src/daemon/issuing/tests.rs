//! When a server answers.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use super::*;
use bowline_settings::SourceFile;

fn settings(key_file: &str) -> Settings {
    let text = format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\nkey-file = \"{key_file}\"\n\
         [enroll]\n[[enroll.allow]]\nname = \"kafka\"\nnodes = \"kafka-*\"\nrole = \"agent\"\nfrom = [\"10.0.1.0/24\"]\n"
    );
    let file = SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 };
    bowline_settings::load(&[file]).unwrap().settings
}

fn conditions(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = [("name", "control"), ("address", "10.0.1.10")].iter().chain(more);
    all.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn a_member_answers_before_its_api_does() {
    let settings = settings("/etc/bowline/cluster.key");
    let is_wanted = |more: &[(&str, &str)], open, member: Option<&str>| {
        wanted(&settings, &conditions(more), open, member.map(Secret::new)).is_some()
    };
    assert!(!is_wanted(&[], false, None), "a machine without anything");
    assert!(is_wanted(&[], false, Some("ab")), "its API is not up, or has no quorum");
    assert!(is_wanted(&[("node", "registered")], false, None));
    assert!(is_wanted(&[("k3s", "active")], true, None) && !is_wanted(&[("k3s", "installed")], true, None));
    assert!(!is_wanted(&[("leaving", "yes")], true, Some("ab")));
}

/// `k3s token rotate`: a token of before lets no server in.
#[test]
fn another_server_token_is_served_anew() {
    let settings = settings("/etc/bowline/cluster.key");
    let served = |token: &str| wanted(&settings, &conditions(&[]), true, Some(Secret::new(token)));
    assert!(served("K10ab::server:one") == served("K10ab::server:one"));
    assert!(served("K10ab::server:one") != served("K10ab::server:two"));
}

/// Nobody watched meanwhile, nor could renew: what was seen before says nothing of who is gone.
#[tokio::test]
async fn what_was_watched_is_forgotten_when_the_doors_close() {
    let host = Arc::new(RealHost::new().unwrap());
    let mut issuing = Issuing::new(enrolments().unwrap());
    let up = conditions(&[("node", "registered")]);
    let served = || wanted(&settings("/etc/bowline/cluster.key"), &up, false, None);
    let before = issuing.watch.clone();
    issuing.served = served();
    issuing.adjust(&Settings::default(), &up, &host).await;
    assert!(!issuing.watch.is(&before), "they are closed");
    let before = issuing.watch.clone();
    issuing.served = served();
    issuing.adjust(&settings("/no/such/cluster.key"), &up, &host).await;
    assert!(issuing.due().is_some() && !issuing.watch.is(&before), "they could not open again");
}

/// The daemon looked without a pause: the next try of what nobody wanted was always due.
#[tokio::test]
async fn what_could_not_open_and_is_not_wanted_any_more_is_not_tried_again() {
    let settings = settings("/no/such/cluster.key");
    let host = Arc::new(RealHost::new().unwrap());
    let mut issuing = Issuing::new(enrolments().unwrap());
    let up = conditions(&[("node", "registered")]);
    issuing.adjust(&settings, &up, &host).await;
    assert!(issuing.due().is_some(), "it has no key");
    issuing.adjust(&settings, &conditions(&[("node", "registered"), ("leaving", "yes")]), &host).await;
    assert_eq!(issuing.due(), None);
    issuing.adjust(&settings, &up, &host).await;
    assert!(issuing.due().is_some());
    issuing.adjust(&Settings::default(), &up, &host).await;
    assert_eq!(issuing.due(), None);
}

/// A server that was not quick enough looks again; one that never is says so, and holds nobody up.
#[test]
fn a_conflict_is_looked_at_again_at_once_and_told_when_it_stays() {
    let conflict = || Err(PortError::new(ErrorKind::Changed, "the claim of n1 has changed"));
    let mut moved = 0;
    let mut rests = |swept| rest(swept, true, &mut moved);
    for _ in 0..4 {
        assert_eq!(rests(conflict()), SWEEP_AWAITED);
    }
    assert_eq!(
        [rests(conflict()), rests(Ok(Rest::Long)), rests(conflict())],
        [SWEEP_PENDING, SWEEP_IDLE, SWEEP_AWAITED]
    );
}
