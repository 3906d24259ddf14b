//! `make bench`: the figures of BENCHMARKS.md, measured on booted machines, beside those of others where there are any.
//!
//! They land in `target/bench/results.json`, and as a table on standard output. Names of figures as arguments choose
//! some of them.

mod api;
mod cluster;
mod enroll;
mod figure;
mod forecast;
mod install;
mod join;
mod node_exporter;
mod settled;
mod trace;
mod usage;
mod volumes;

use anyhow::{Result, bail};
use bowline_booted::deb;
use bowline_testbed::Bed;
use figure::Figure;
use std::io::Write;
use std::path::Path;

const NAMES: [&str; 25] = [
    "install_to_ready_overhead",
    "settled_look_cpu",
    "settled_look_writes",
    "idle_rss",
    "package_size",
    "five_machines_ready",
    "recreated_agent_overhead",
    "agent_join_overhead",
    "settled_api_writes",
    "settled_api_reads",
    "enroll_500_one_issuer",
    "enroll_500_issuer_rss",
    "enroll_50_one_issuer",
    "enroll_500_three_issuers",
    "blank_to_mounted",
    "adopt_to_mounted",
    "proof_1tib_sparse",
    "volumes_64",
    "settled_look_64_volumes_cpu",
    "scan_500k_warm_1t",
    "scan_500k_warm_2t",
    "scan_500k_warm_2t_vs_diskus",
    "scan_500k_cold_2t",
    "scan_5m_rss",
    "forecast_error",
];

fn tell(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = chosen.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no figure {unknown}; there are: {}", NAMES.join(" "));
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let missing = Bed::check_host();
    if !missing.is_empty() {
        let list: String = missing.iter().map(|one| format!("\n  - {one}")).collect();
        bail!("the figures are measured on booted machines, and this host can not boot them yet:{list}");
    }
    let package = deb()?;
    tell(&format!("package: {}", package.display()));
    if std::env::var("BOWLINE_PROFILE").is_ok_and(|profile| profile != "release") {
        tell("BOWLINE_PROFILE is set: sizes and CPU times are not those of a release");
    }
    tell(&format!("load of this host before: {}", std::fs::read_to_string("/proc/loadavg")?.trim()));

    type Some = fn() -> Result<Vec<Figure>>;
    let parts: [(&[&str], &str, Some); 13] = [
        (&NAMES[..1], "pairs of new machines, Bowline on one, the script on the other", install::overhead),
        (&NAMES[1..4], "a settled node", settled::figures),
        (&NAMES[4..5], "the .deb", package_size),
        (&NAMES[5..7], "the cluster of the demo", cluster::figures),
        (&NAMES[7..8], "pairs of new agents, Bowline on one, a script with a token on the other", join::figure),
        (&NAMES[8..10], "a settled server and agent, by their API's audit log", api::figures),
        (&NAMES[10..13], "machines that come in at once, by one issuer", enroll::one_issuer),
        (&NAMES[13..14], "and by three", enroll::three_issuers),
        (&NAMES[14..17], "a disk, by Bowline and by hand", volumes::one),
        (&NAMES[17..19], "many disks", volumes::many),
        (&NAMES[19..23], "directories with half a million files, beside du and diskus", usage::half_a_million),
        (&NAMES[23..24], "and with five million", usage::five_million),
        (&NAMES[24..], "predictions of full disks", forecast::figure),
    ];
    // What one part has measured is not lost by another's failure.
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for (names, what, measure) in parts.into_iter().filter(|(names, ..)| names.iter().any(|name| wanted(name))) {
        tell(&format!("{}: {what}", names.join(", ")));
        match measure() {
            Ok(measured) => figures.extend(measured.into_iter().filter(|figure| wanted(figure.name))),
            Err(error) => {
                tell(&format!("    failed: {error:#}"));
                failed.push(names.join(", "));
            }
        }
        figures.sort_by_key(|figure| NAMES.iter().position(|name| *name == figure.name));
        figure::write(Path::new("target/bench"), &figures)?;
    }
    tell(&format!("\n{}", figure::table(&figures)));
    tell("with everything that they are made of: target/bench/results.json");
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

fn package_size() -> Result<Vec<Figure>> {
    let size = std::fs::metadata(deb()?)?.len() as f64 / 1e6;
    Ok(vec![Figure::new(NAMES[4], size, "MB", 4.0)])
}
