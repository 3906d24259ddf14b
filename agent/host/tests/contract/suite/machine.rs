//! The machine, its units, and downloads.

use super::Fixture;
use bowline_ports::{ActiveState, Digest, ErrorKind, FetchOrder, Job, Progress};
use std::path::Path;

pub(crate) async fn the_machine_tells_about_itself(fixture: &impl Fixture) {
    let host = fixture.host();
    assert!(!host.host_name().await.unwrap().is_empty());
    let clock = host.clock().await.unwrap();
    assert!(clock.unix > 1_700_000_000 && clock.awake <= clock.uptime, "{clock:?}");
    let boot = bowline_ports::boot_id(host).await.unwrap();
    let parts: Vec<_> = boot.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{boot}");
    let loopback: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    assert!(host.addresses().await.unwrap().iter().any(|a| a.interface == "lo" && a.address == loopback));
    let route = host.default_route().await.unwrap();
    if let Some(source) = host.default_source().await.unwrap() {
        let own = host.addresses().await.unwrap();
        assert!(route.is_some() && own.iter().any(|a| a.address == source), "{route:?} {source} {own:?}");
    }
    assert_eq!(host.listener(1).await.unwrap(), None);
    assert!(host.mounts().await.unwrap().iter().any(|m| m.target == Path::new("/")));
    let space = host.space(Path::new("/")).await.unwrap();
    assert!(space.size > 0 && space.available <= space.free && space.free <= space.size, "{space:?}");
}

pub(crate) async fn a_unit_that_is_not_there(fixture: &impl Fixture) {
    let unit = fixture.host().unit("no-such-unit.service").await;
    if fixture.systemd() {
        let unit = unit.unwrap();
        assert_eq!((unit.load.as_str(), unit.active, unit.started), ("not-found", ActiveState::Inactive, false));
        let error = fixture.host().start("no-such-unit.service").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    } else {
        let error = unit.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains("D-Bus") && error.hint.is_some(), "{error:?}");
    }
}

pub(crate) async fn a_job_that_nobody_started(fixture: &impl Fixture) {
    assert_eq!(fixture.host().job("mkfs-nothing").await.unwrap(), None);
}

pub(crate) async fn a_release_is_fetched_verified(fixture: &impl Fixture) {
    let host = fixture.host();
    let (url, content) = fixture.release();
    let twin = fixture.directory().join("twin");
    host.write(&twin, &content, 0o644).await.unwrap();
    let digest = host.sha256(&twin).await.unwrap().unwrap();
    let mut order = FetchOrder {
        name: "contract".into(),
        url,
        ca_file: None,
        digest: Digest::Pinned(digest),
        to: fixture.directory().join("bin/k3s"),
    };
    host.fetch(&order, &Progress::default()).await.unwrap();
    let file = host.read(&order.to).await.unwrap().unwrap();
    assert_eq!((file.content == content, file.mode), (true, 0o755));
    assert_eq!(host.job("fetch-contract").await.unwrap(), Some(Job::Done));

    order.digest = Digest::Pinned("0".repeat(64));
    order.to = fixture.directory().join("bin/other");
    let error = host.fetch(&order, &Progress::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert_eq!(host.meta(&order.to).await.unwrap(), None, "what is wrong never comes into being");
    assert_eq!(host.job("fetch-contract").await.unwrap(), Some(Job::Failed(error)));
}
