//! `bowline status`: how the node stands, as the daemon saw it last.

use super::{WAITING, output, plan};
use crate::{paths, show};
use bowline_engine::{Overall, Report};
use bowline_host::real::control::Lock;
use bowline_ports::Inspect;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(super) async fn run(json: bool, wait_ready: Option<Duration>) -> ExitCode {
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let began = Instant::now();
    let report = loop {
        let report = plan::earlier(&host).await.filter(|_| Lock::is_held(Path::new(paths::LOCK)));
        let ready = report.as_ref().is_some_and(|r| r.overall == Overall::Ready);
        if ready || wait_ready.is_none_or(|wait| began.elapsed() >= wait) {
            break report;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let Some(report) = report else {
        output::complain("bowline does not run on this machine: `systemctl start bowline` starts it,");
        output::complain("`journalctl -u bowline` tells why it ended; `bowline plan` works without it");
        return ExitCode::FAILURE;
    };
    if json {
        output::print_json(&report);
    } else {
        let now = host.clock().await.map_or(report.at, |clock| clock.unix);
        output::print(&show::status(&report, now, output::colour()));
    }
    exit(&report)
}

fn exit(report: &Report) -> ExitCode {
    match report.overall {
        Overall::Ready => ExitCode::SUCCESS,
        Overall::Converging => ExitCode::from(WAITING),
        Overall::Degraded => ExitCode::FAILURE,
    }
}
