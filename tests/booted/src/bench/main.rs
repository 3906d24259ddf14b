//! `make bench`: the figures of BENCHMARKS.md, measured on booted machines, beside those of others where there are any.
//!
//! They land in `target/bench/results.json`, and as a table on standard output. Names of figures as arguments choose
//! some of them.

mod api;
mod client;
mod cluster;
mod cpu;
mod enroll;
mod figure;
mod forecast;
mod goals;
mod idle;
mod install;
mod join;
mod node_exporter;
mod scrapes;
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
use std::time::Instant;

/// What measures some figures, which they are, and what it does.
struct Part {
    names: &'static [&'static str],
    what: &'static str,
    measure: fn() -> Result<Vec<Figure>>,
}

const PARTS: [Part; 14] = [
    Part {
        names: &["install_to_ready_overhead"],
        what: "pairs of new machines, Bowline on one, the script on the other",
        measure: install::overhead,
    },
    Part {
        names: &["settled_look_cpu", "settled_look_writes", "idle_rss"],
        what: "a settled node",
        measure: settled::figures,
    },
    Part { names: &["package_size"], what: "the .deb", measure: package_size },
    Part {
        names: &["five_machines_ready", "recreated_agent_overhead"],
        what: "the cluster of the demo",
        measure: cluster::figures,
    },
    Part {
        names: &["agent_join_overhead"],
        what: "pairs of new agents, Bowline on one, a script with a token on the other",
        measure: join::figure,
    },
    Part {
        names: &["settled_api_writes", "settled_api_reads", "settled_cpu_day", "settled_writes_hour"],
        what: "a settled server and agent, for ten minutes",
        measure: api::figures,
    },
    Part {
        names: &["enroll_500_one_issuer", "enroll_500_issuer_rss", "enroll_50_one_issuer"],
        what: "machines that come in at once, by one issuer",
        measure: enroll::one_issuer,
    },
    Part { names: &["enroll_500_three_issuers"], what: "and by three", measure: enroll::three_issuers },
    Part {
        names: &["blank_to_mounted", "adopt_to_mounted", "proof_1tib_sparse"],
        what: "a disk, by Bowline and by hand",
        measure: volumes::one,
    },
    Part { names: &["volumes_64", "settled_look_64_volumes_cpu"], what: "many disks", measure: volumes::many },
    Part {
        names: &["scrape_cpu_100_mounts", "scrape_p99_100_mounts", "rss_growth_20000_scrapes"],
        what: "a hundred mounts, scraped by turns with node_exporter",
        measure: scrapes::figures,
    },
    Part {
        names: &["scan_500k_warm_1t", "scan_500k_warm_2t", "scan_500k_warm_2t_vs_diskus", "scan_500k_cold_2t"],
        what: "directories with half a million files, beside du and diskus",
        measure: usage::half_a_million,
    },
    Part { names: &["scan_5m_rss"], what: "and with five million", measure: usage::five_million },
    Part { names: &["forecast_error"], what: "predictions of full disks", measure: forecast::figure },
];

/// All figures, in their order.
fn names() -> Vec<&'static str> {
    PARTS.iter().flat_map(|part| part.names).copied().collect()
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn main() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let names = names();
    if let Some(unknown) = chosen.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no figure {unknown}; there are: {}", names.join(" "));
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let missing = Bed::check_host();
    if !missing.is_empty() {
        let list: String = missing.iter().map(|one| format!("\n  - {one}")).collect();
        bail!("the figures are measured on booted machines, and this host cannot boot them yet:{list}");
    }
    let package = deb()?;
    tell(&format!("package: {}", package.display()));
    if std::env::var("BOWLINE_PROFILE").is_ok_and(|profile| profile != "release") {
        tell("BOWLINE_PROFILE is set: sizes and CPU times are not those of a release");
    }
    tell(&format!("load of this host before: {}", std::fs::read_to_string("/proc/loadavg")?.trim()));

    let begun = Instant::now();
    // What one part has measured is not lost by another's failure.
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for part in PARTS.iter().filter(|part| part.names.iter().any(|name| wanted(name))) {
        tell(&format!("{}: {}", part.names.join(", "), part.what));
        let since = Instant::now();
        match (part.measure)() {
            Ok(measured) => figures.extend(measured.into_iter().filter(|figure| wanted(figure.name))),
            Err(error) => {
                tell(&format!("    failed: {error:#}"));
                failed.push(part.names.join(", "));
            }
        }
        tell(&format!("    measured within {} s", since.elapsed().as_secs()));
        figures.sort_by_key(|figure| names.iter().position(|name| *name == figure.name));
        figure::write(Path::new("target/bench"), &figures)?;
    }
    tell(&format!("\n{}\n{}", figure::table(&figures), figure::sum(&figures)));
    tell(&format!("measured within {} minutes", begun.elapsed().as_secs().div_ceil(60)));
    tell("with everything that they are made of: target/bench/results.json");
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

fn package_size() -> Result<Vec<Figure>> {
    let size = std::fs::metadata(deb()?)?.len() as f64 / 1e6;
    Ok(vec![Figure::new("package_size", size, "MB")])
}
