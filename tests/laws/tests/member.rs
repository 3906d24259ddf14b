//! A member of etcd whose K3s complains of the token asks again, and says that it has the data of a member.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_host::sim::{SimHost, World};
use bowline_laws::{member_case, run_for, simulate};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(75);

/// The bodies of what was asked to be let in.
fn enrolls(host: &SimHost) -> Vec<serde_json::Value> {
    let asked = host.asked().into_iter().filter(|ask| ask.path == "/v1/enroll");
    asked.map(|ask| serde_json::from_slice(&ask.body).unwrap()).collect()
}

/// As one that is new its member would be taken out of etcd for it.
#[test]
fn a_member_does_not_ask_as_one_that_is_new() {
    let case = member_case();
    simulate(async {
        let host = SimHost::new(&case.world);
        run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
        let first = enrolls(&host);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0]["fresh"], true, "{first:?}");

        // The same machine at its next boot, after `k3s token rotate` elsewhere.
        let mut world = World { answers: case.world.answers.clone(), ..World::default() };
        for (path, text, mode) in host.files_with_modes() {
            if !path.starts_with("/run") && !path.starts_with("/proc") {
                if mode == 0o600 { &mut world.secrets } else { &mut world.files }.insert(path, text);
            }
        }
        world.k3s.dies_with = Some("bootstrap data already found and encrypted with different token".into());
        world.clock += 3600;
        let host = SimHost::new(&world);
        host.reboot();
        run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
        let again = enrolls(&host);
        assert!(!again.is_empty(), "it has not asked");
        assert!(again.iter().all(|asked| asked["fresh"] == false), "{again:?}");
    });
}
