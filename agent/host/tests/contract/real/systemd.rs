//! What needs systemd: units, and long work as transient units.
//!
//! On a machine without it each case proves that the call fails as unreachable. On a booted one
//! `BOWLINE_CONTRACT_PROGRAM` names the program that transient units run (`examples/internal.rs`, or bowline).

use super::devices::run;
use super::{Real, until};
use crate::suite::{Fixture, contract, order};
use bowline_host::real::events::{Event, Sources, Unfinished};
use bowline_ports::{ActiveState, Change, ErrorKind, Filesystem, Inspect, Job, Progress, ProgressValue};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

pub(super) mod cases {
    use super::Real;

    super::contract! { Real::new(), [super];
        a_unit_is_seen_started_and_enabled,
        a_unit_that_fails_says_its_last_words,
        an_assertion_that_does_not_hold_is_told,
        a_condition_command_that_does_not_hold_leaves_a_service_down,
        a_masked_unit_is_denied,
        a_volume_is_mounted_by_its_unit,
        work_goes_on_without_who_started_it_and_a_killed_one_is_told,
        changes_of_units_and_devices_wake,
    }
}

/// A unit file that goes away with the test.
struct UnitFile(PathBuf);

impl UnitFile {
    async fn new(real: &Real, name: &str, text: &str) -> Self {
        let path = Path::new("/etc/systemd/system").join(name);
        real.host.write(&path, text.as_bytes(), 0o644).await.unwrap();
        real.host.reload_units().await.unwrap();
        Self(path)
    }
}

impl Drop for UnitFile {
    fn drop(&mut self) {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        for words in [["stop", name], ["disable", name], ["reset-failed", name]] {
            let _ = std::process::Command::new("systemctl").args(words).output();
        }
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether systemd runs; elsewhere there is only a look at how its absence is told.
async fn booted(real: &Real) -> bool {
    if real.systemd() {
        return true;
    }
    for error in [
        real.host.reload_units().await.unwrap_err(),
        real.host.start("x.service").await.unwrap_err(),
        real.host.start_no_block("x.service").await.unwrap_err(),
        real.host.restart("x.service").await.unwrap_err(),
        real.host.restart_no_block("x.service").await.unwrap_err(),
        real.host.stop_no_block("x.service").await.unwrap_err(),
        real.host.enable("x.service").await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    }
    false
}

async fn a_unit_is_seen_started_and_enabled(real: &Real) {
    if !booted(real).await {
        return;
    }
    let name = "bowline-contract-good.service";
    let text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\
                [Install]\nWantedBy=multi-user.target\n";
    let file = UnitFile::new(real, name, text).await;
    let unit = real.host.unit(name).await.unwrap();
    assert_eq!(
        (unit.load.as_str(), unit.file_state.as_str(), unit.active),
        ("loaded", "disabled", ActiveState::Inactive)
    );
    assert_eq!((unit.fragment.as_deref(), unit.started), (Some(file.0.as_path()), false));
    real.host.start(name).await.unwrap();
    real.host.start(name).await.unwrap();
    let unit = real.host.unit(name).await.unwrap();
    assert_eq!((unit.active, unit.sub.as_str(), unit.result.as_str()), (ActiveState::Active, "exited", "success"));
    assert!(unit.started && !unit.needs_reload);
    let began = unit.began;
    real.host.restart(name).await.unwrap();
    let unit = real.host.unit(name).await.unwrap();
    assert!(unit.active == ActiveState::Active && unit.began > began, "{unit:?}");
    real.host.enable(name).await.unwrap();
    real.host.enable(name).await.unwrap();
    assert_eq!(real.host.unit(name).await.unwrap().file_state, "enabled");
    real.host.stop_no_block(name).await.unwrap();
    while real.host.unit(name).await.unwrap().active != ActiveState::Inactive {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    real.host.start(name).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    real.host.write(&file.0, format!("{text}\n#\n").as_bytes(), 0o644).await.unwrap();
    assert!(real.host.unit(name).await.unwrap().needs_reload);
    real.host.reload_units().await.unwrap();
    assert!(!real.host.unit(name).await.unwrap().needs_reload);
}

async fn a_unit_that_fails_says_its_last_words(real: &Real) {
    if !booted(real).await {
        return;
    }
    let name = "bowline-contract-bad.service";
    let text = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo these are the last words; exit 3'\n";
    let _file = UnitFile::new(real, name, text).await;
    let error = real.host.start(name).await.unwrap_err();
    assert!(error.message.contains("exit-code") && error.message.contains("these are the last words"), "{error}");
    let unit = real.host.unit(name).await.unwrap();
    assert_eq!((unit.active, unit.exit_status, unit.started), (ActiveState::Failed, 3, true));
    assert!(real.host.journal_tail(name, 5).await.unwrap().iter().any(|l| l == "these are the last words"));
    let error = real.host.enable(name).await.unwrap_err();
    assert!(error.message.contains("[Install]"), "{error}");
}

async fn an_assertion_that_does_not_hold_is_told(real: &Real) {
    if !booted(real).await {
        return;
    }
    let name = "bowline-contract-assert.service";
    let text = "[Unit]\nAssertPathExists=/no/such/path\n[Service]\nExecStart=/bin/true\n\
                [Install]\nWantedBy=multi-user.target\n";
    let _file = UnitFile::new(real, name, text).await;
    // systemd forgets a unit that nothing wants as soon as it is down.
    real.host.enable(name).await.unwrap();
    let error = real.host.start(name).await.unwrap_err();
    assert!(error.message.contains("an assertion in its unit file does not hold"), "{error}");
    let unit = real.host.unit(name).await.unwrap();
    assert_eq!((unit.active, unit.result.as_str(), unit.started), (ActiveState::Inactive, "assert", false));
}

/// As the gate of a server that was taken out of etcd does: nothing runs, and systemd does not try again.
async fn a_condition_command_that_does_not_hold_leaves_a_service_down(real: &Real) {
    if !booted(real).await {
        return;
    }
    let name = "bowline-contract-condition.service";
    let text = "[Service]\nRestart=always\nRestartSec=100ms\nExecCondition=/bin/false\nExecStart=/bin/sleep 60\n\
                [Install]\nWantedBy=multi-user.target\n";
    let _file = UnitFile::new(real, name, text).await;
    real.host.enable(name).await.unwrap();
    real.host.start_no_block(name).await.unwrap();
    until("its condition to be asked", async || real.host.unit(name).await.unwrap().result == "exec-condition").await;
    // Longer than it takes to try again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let unit = real.host.unit(name).await.unwrap();
    assert_eq!((unit.active, unit.result.as_str(), unit.started), (ActiveState::Inactive, "exec-condition", false));
    assert_eq!(unit.restarts, 0);
}

async fn a_masked_unit_is_denied(real: &Real) {
    if !booted(real).await {
        return;
    }
    let name = "bowline-contract-masked.service";
    let path = Path::new("/etc/systemd/system").join(name);
    real.host.link(Path::new("/dev/null"), &path).await.unwrap();
    let _file = UnitFile(path);
    real.host.reload_units().await.unwrap();
    assert_eq!(real.host.unit(name).await.unwrap().load, "masked");
    let error = real.host.start(name).await.unwrap_err();
    assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Denied, true), "{error}");
}

async fn a_volume_is_mounted_by_its_unit(real: &Real) {
    if !booted(real).await {
        return;
    }
    let device = real.make_disk(64 << 20);
    let order = order(real, &device, Filesystem::Ext4).await;
    real.host.format(&order, &Progress::default()).await.unwrap();
    let text = format!("[Mount]\nWhat={}\nWhere=/mnt/contract\nType=ext4\n", device.display());
    let file = UnitFile::new(real, "mnt-contract.mount", &text).await;
    real.host.start("mnt-contract.mount").await.unwrap();
    let unit = real.host.unit("mnt-contract.mount").await.unwrap();
    assert_eq!((unit.active, unit.sub.as_str()), (ActiveState::Active, "mounted"));
    assert!(real.host.mounts().await.unwrap().iter().any(|m| m.target == Path::new("/mnt/contract")));
    drop(file);
    let wrong = format!("[Mount]\nWhat={}\nWhere=/mnt/contract\nType=xfs\n", device.display());
    let _file = UnitFile::new(real, "mnt-contract.mount", &wrong).await;
    let error = real.host.start("mnt-contract.mount").await.unwrap_err();
    assert!(error.message.starts_with("mnt-contract.mount did not start: ") && error.hint.is_some(), "{error}");
}

async fn work_goes_on_without_who_started_it_and_a_killed_one_is_told(real: &Real) {
    if !booted(real).await {
        return;
    }
    let device = real.make_disk(64 << 20);
    let order = order(real, &device, Filesystem::Ext4).await;
    let job = format!("mkfs-{}", order.volume);
    let held = std::fs::File::open(&device).unwrap();
    held.lock().unwrap();
    let progress = Progress::default();
    let running = async || matches!(real.host.job(&job).await.unwrap(), Some(Job::Running(_)));
    let killed = loop {
        tokio::select! {
            biased;
            () = until("it to wait for the lock", async || progress.get().text == "waiting for the lock") => {}
            ended = real.host.format(&order, &progress) => panic!("{ended:?}"),
        }
        let goes_on = running().await;
        let kill = ["kill", "--signal=KILL", &format!("bowline-{job}.service")];
        let _ = std::process::Command::new("systemctl").args(kill).status();
        until("it to be killed", async || !running().await).await;
        match real.host.job(&job).await.unwrap() {
            // A busy machine was too slow to kill it while it waited.
            Some(Job::Failed(error)) if error.message.contains("keeps it locked") => {
                progress.set(ProgressValue::default())
            }
            Some(Job::Failed(error)) => break (goes_on, error),
            other => panic!("{other:?}"),
        }
    };
    let (goes_on, error) = killed;
    assert!(goes_on && error.message.contains("was cut off before it had a result"), "{error}");
    let (result, ()) = tokio::join!(real.host.format(&order, &progress), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        held.unlock().unwrap();
    });
    result.unwrap();
    assert_eq!(real.host.job(&job).await.unwrap(), Some(Job::Done));
}

async fn changes_of_units_and_devices_wake(real: &Real) {
    if !booted(real).await {
        return;
    }
    let name = "bowline-contract-event.service";
    let text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
    let _file = UnitFile::new(real, name, text).await;
    let (_names, units) = watch::channel(vec![name.to_owned()]);
    let mut events = real.host.events(Sources {
        settings: real.directory().to_path_buf(),
        units,
        unfinished: Unfinished::default(),
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    while events.try_recv().is_ok() {}
    let (mut of_units, mut of_devices) = (false, false);
    let disk = format!("--name-match={}", real.make_disk(64 << 20).display());
    // Until it watches nothing is heard: another of the same is.
    for _ in 0..20 {
        real.host.restart_no_block(name).await.unwrap();
        run(&["udevadm", "trigger", "--action=change", &disk]);
        let both = async {
            while !(of_units && of_devices) {
                match events.recv().await.unwrap() {
                    Event::Units => of_units = true,
                    Event::Devices => of_devices = true,
                    Event::Settings | Event::Network | Event::HostName | Event::Node => {}
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(3), both).await.is_ok() {
            return;
        }
    }
    panic!("units {of_units}, devices {of_devices}");
}
