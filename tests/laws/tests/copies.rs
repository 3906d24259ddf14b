//! What a machine has on its disk of another one, of whose disk its own is a copy: the firmware tells the two apart.

use bowline_engine::Outcome;
use bowline_host::sim::{SimHost, World, WorldAnswer, WorldCloud};
use bowline_join::files::{ENROLLED, GAVE_WAY_SPARE, LEAVING, MACHINE_KEY, MACHINE_KEY_OF, PASSWORD};
use bowline_laws::{Case, agent_case, member_case, run_for, simulate};
use bowline_ports::{Inspect, NODE_NAME};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(75);
const OWN: &str = "bbbbbbbb-0b2f-4f0e-9d3c-1f4b7c6a8d90";
const OTHER: &str = "aaaaaaaa-0b2f-4f0e-9d3c-1f4b7c6a8d90";

const ANOTHERS: &str = r#"{"version": 1, "code": "claimed-elsewhere", "message": "the name n1 is another machine's",
    "retry-after": null, "now": 1800000000}"#;

/// A machine whose firmware says so: its UUID.
fn on(case: &Case, firmware: Option<&str>) -> SimHost {
    SimHost::new(&World { cloud: said(firmware, None), ..case.world.clone() })
}

/// What the firmware says.
fn said(uuid: Option<&str>, serial: Option<&str>) -> Option<WorldCloud> {
    let all = [("product_uuid", uuid), ("product_serial", serial)];
    let dmi = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_uppercase())));
    Some(WorldCloud { dmi: dmi.collect(), ..WorldCloud::default() })
}

fn key(host: &SimHost) -> (Option<String>, Option<String>) {
    (host.text(MACHINE_KEY), host.text(MACHINE_KEY_OF))
}

/// A machine key that is on the disk, and of whom that was noted.
fn with_key(firmware: Option<&str>, of: Option<&str>) -> (bool, Option<String>) {
    let case = agent_case();
    let there = format!("{}\n", "12".repeat(32));
    simulate(async {
        let host = on(&case, firmware);
        host.put_secret(MACHINE_KEY, &there);
        if let Some(of) = of {
            host.put_secret(MACHINE_KEY_OF, &format!("{of}\n"));
        }
        assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
        let (key, of) = key(&host);
        (key == Some(there.clone()), of)
    })
}

/// What is noted of a machine whose firmware says only this.
fn note(uuid: &str) -> String {
    format!("uuid {uuid}\n")
}

#[test]
fn the_key_of_another_machine_is_replaced_and_no_other() {
    let own = Some(note(OWN));
    assert_eq!(with_key(Some(OWN), Some(OTHER)), (false, own.clone()));
    assert_eq!(with_key(Some(OWN), Some(note(OTHER).trim())), (false, own.clone()));
    assert_eq!(with_key(Some(OWN), Some(OWN)), (true, Some(format!("{OWN}\n"))));
    assert_eq!(with_key(Some(OWN), None), (true, own), "an earlier build noted nothing");
    // Where the firmware tells nothing, a copy is the same machine.
    assert_eq!(with_key(None, None), (true, None));
    assert_eq!(with_key(None, Some(OTHER)), (true, Some(format!("{OTHER}\n"))));
}

/// The whole disk of a machine that is in, on another one: an agent comes in anew, a server is the member that its data are.
#[test]
fn a_copy_of_a_whole_machine_has_a_key_of_its_own_unless_it_is_a_member_of_etcd() {
    for (case, member) in [(agent_case(), false), (member_case(), true)] {
        simulate(async {
            let first = on(&case, Some(OTHER));
            assert_eq!(run_for(&case, &first, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
            assert_eq!(key(&first).1, Some(note(OTHER)));
            let copy = on(&case, Some(OWN));
            for (path, text, mode) in first.files_with_modes() {
                if !path.starts_with("/sys") && !path.starts_with("/run") && !path.starts_with("/proc") {
                    if mode == 0o600 { copy.put_secret(path, &text) } else { copy.put(path, &text) }
                }
            }
            // The simulated machines make the same ones.
            let (there, password) = (format!("{}\n", "12".repeat(32)), "00112233445566778899aabbccddeeff\n");
            copy.put_secret(MACHINE_KEY, &there);
            copy.put_secret(PASSWORD, password);
            copy.reboot();
            assert_eq!(run_for(&case, &copy, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
            let (after, of) = key(&copy);
            assert_eq!((after == Some(there), of), (member, Some(note(OWN))));
            assert_eq!(copy.text(PASSWORD).as_deref() == Some(password), member);
            let enrolls = copy.asked().iter().filter(|ask| ask.path == "/v1/enroll").count();
            assert_eq!(enrolls, usize::from(!member), "by its own key it asks to be let in");
            assert!(
                copy.text(ENROLLED).is_some() && copy.text(NODE_NAME).is_some_and(|name| name.ends_with(&note(OWN)))
            );
        });
    }
}

/// An update of the firmware hides what it said, or says something else: the machine is the same as long as something is.
#[test]
fn a_machine_whose_firmware_says_less_or_something_else_stays_the_one_that_it_was() {
    let case = agent_case();
    for (uuid, serial, stays) in [
        (None, Some("s-1"), true),
        (Some(OTHER), Some("s-1"), true),
        (Some(OWN), Some("s-2"), true),
        (None, None, true),
        (Some(OTHER), Some("s-2"), false),
    ] {
        simulate(async {
            let host = SimHost::new(&World { cloud: said(Some(OWN), Some("s-1")), ..case.world.clone() });
            assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
            let there = format!("{}\n", "12".repeat(32));
            host.put_secret(MACHINE_KEY, &there);
            let (enrolled, asked) = (host.text(ENROLLED), host.asked().len());
            for (file, value) in [("product_uuid", uuid), ("product_serial", serial)] {
                let file = Path::new("/sys/class/dmi/id").join(file);
                match value {
                    Some(value) => host.put(file, value),
                    None => host.delete(file),
                }
            }
            host.reboot();
            assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
            let (key, of) = key(&host);
            assert_eq!(key == Some(there), stays, "{uuid:?} {serial:?}");
            let enrolls = host.asked().iter().skip(asked).filter(|ask| ask.path == "/v1/enroll").count();
            assert_eq!(enrolls == 0 && host.text(ENROLLED) == enrolled, stays, "{uuid:?} {serial:?}");
            let noted = if stays { OWN } else { OTHER };
            assert!(of.is_some_and(|of| of.starts_with(&note(noted))), "{uuid:?} {serial:?}");
        });
    }
}

/// One whose K3s runs, as an earlier build left it, and whose name the servers say is another machine's by now.
async fn gives_way(full_disk: bool) -> SimHost {
    let case = agent_case();
    let host = on(&case, Some(OWN));
    assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
    host.delete(MACHINE_KEY_OF);
    host.answers("10.0.1.9:7470", vec![WorldAnswer::Says { status: 409, body: ANOTHERS.into() }]);
    host.reboot();
    host.refuse_writes(full_disk);
    run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
    host
}

/// systemd remembers what it read: else K3s would not be enabled again for one that is let in later.
#[test]
fn a_k3s_that_gave_way_is_told_as_disabled() {
    simulate(async {
        let unit = gives_way(false).await.unit("k3s-agent.service").await.unwrap();
        assert!(unit.active.is_down() && unit.file_state == "disabled", "{unit:?}");
    });
}

/// Whose key it is can be noted on no full disk: that stands in the way of nothing else.
#[test]
fn on_a_full_disk_k3s_stops_for_another_machine_before_the_key_is_noted() {
    simulate(async {
        let host = gives_way(true).await;
        assert!(host.unit("k3s-agent.service").await.is_ok_and(|unit| unit.active.is_down()));
        assert!(host.text(GAVE_WAY_SPARE).is_some() && key(&host).1.is_none());
    });
}

/// A note of an earlier build has no machine in it, and is this one's.
#[test]
fn who_was_told_to_leave_is_told_apart_from_its_copies() {
    let case = member_case();
    for (machine, leaves) in [(Some(OTHER), false), (Some(OWN), true), (None, true)] {
        simulate(async {
            let host = on(&case, Some(OWN));
            let machine = machine.map(|machine| format!(", \"machine\": \"{machine}\"")).unwrap_or_default();
            host.put_secret(LEAVING, &format!("{{\"since\": 1800000000, \"given-back\": 1800000000{machine}}}"));
            let outcome = run_for(&case, &host, &mut Vec::new(), PATIENCE).await;
            assert_eq!(outcome, Some(if leaves { Outcome::Waiting } else { Outcome::Converged }));
            let there = host.files().iter().any(|(path, _)| path == Path::new(LEAVING));
            assert_eq!(there, leaves);
        });
    }
}
