//! `bowline metrics`: the exposition, once. What the daemon alone counts is not in it.

use super::{INVALID, load, output, plan};
use bowline_host::real::filesystems::Sampler;
use bowline_metrics::{FilesystemSample, Form, Sample, real_mounts};
use bowline_ports::Inspect;
use std::path::Path;
use std::process::ExitCode;

pub(super) async fn run(folder: &Path) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let report = plan::look(&loaded, &host).await;
    let (table, clock) = (host.mounts().await, host.clock().await);
    let unread = table.is_err();
    let mounts = real_mounts(&table.unwrap_or_default());
    let spaces = Sampler::default().sample(&mounts).await;
    let filesystems: Vec<_> =
        mounts.into_iter().zip(spaces).map(|(mount, space)| FilesystemSample { mount, space: space.ok() }).collect();
    let volumes: Vec<_> = loaded.settings.volumes.iter().map(|v| v.name.clone()).collect();
    let k3s = match crate::wiring::k3s(&loaded.settings) {
        Some(service) => host.unit(service).await.ok().filter(|u| u.load == "loaded"),
        None => None,
    };
    let sample = Sample {
        report: &report,
        now: clock.as_ref().map_or(report.at, |clock| clock.unix),
        arch: host.arch(),
        volumes: &volumes,
        role: crate::wiring::role(&loaded.settings),
        filesystems: &filesystems,
        mounts_unread: unread,
        phases: &[],
        k3s_restarts: k3s.map(|u| u64::from(u.restarts)),
        process: None,
        counters: None,
        enrolments: None,
        exhaustion: None,
        clock_synchronised: clock.is_ok_and(|clock| clock.synchronised),
        clock_offset: None,
    };
    output::print_as_is(&sample.render(Form::Text));
    ExitCode::SUCCESS
}
