//! How long one rendering takes with 100 mounts: `cargo run --release -p bowline-metrics --example render`.

use bowline_engine::Report;
use bowline_metrics::{Counters, FilesystemSample, Form, Sample};
use bowline_ports::{Arch, Mount, Space};
use std::io::Write;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space =
        Space { size: 21_474_836_480, free: 1_073_741_824, available: 5_368_709, inodes: 1_310_720, inodes_free: 9 };
    let filesystems: Vec<_> = (0..100)
        .map(|n| FilesystemSample {
            mount: Mount {
                target: format!("/var/lib/data/volume-{n}").into(),
                source: format!("/dev/disk{n}"),
                number: format!("8:{n}"),
                fstype: "ext4".into(),
                root: "/".into(),
                read_only: false,
                errors: 0,
                by_user: false,
            },
            space: Some(space),
        })
        .collect();
    let counters = Counters::new(&["node", "volumes", "cluster", "labels"])?;
    let report = Report { version: "0.1.0".into(), ..Report::default() };
    let sample = Sample {
        report: &report,
        now: 0,
        arch: Arch::Amd64,
        volumes: &[],
        role: None,
        filesystems: &filesystems,
        mounts_unread: false,
        phases: &[],
        k3s_restarts: Some(0),
        process: None,
        counters: Some(&counters),
        enrolments: None,
        exhaustion: None,
        clock_synchronised: true,
        clock_offset: None,
    };
    let mut times: Vec<u128> = Vec::new();
    let mut series = 0;
    for _ in 0..500 {
        let begun = Instant::now();
        let text = sample.render(Form::Text);
        times.push(begun.elapsed().as_micros());
        series = text.lines().filter(|l| !l.starts_with('#')).count();
    }
    times.sort_unstable();
    writeln!(std::io::stdout(), "{series} series: median {} us, best {} us", times[times.len() / 2], times[0])?;
    Ok(())
}
