//! `scrape_cpu_100_mounts`, `scrape_p99_100_mounts`, `rss_growth_20000_scrapes`: a settled node with a hundred disks is
//! scraped again and again, by turns with node_exporter and its filesystem collector in the same machine.

use crate::client::Client;
use crate::cpu::cpu_ms;
use crate::figure::{Figure, median, rounded};
use crate::settled::{PEER, PEER_PAGE, Rss, Settled};
use crate::{node_exporter, tell};
use anyhow::{Context, Result, ensure};
use bowline_testbed::{Bed, Machine};
use serde_json::{Value, json};
use std::time::Duration;

const MOUNTS: usize = 100;
/// So many rounds of so many scrapes of each.
const ROUNDS: usize = 20;
const SCRAPES: usize = 1000;
/// Before anything is measured, as many as `idle_rss` has.
const WARM_UP: usize = 200;
/// After scrapes, until memory that was in use for them is given back.
const REST: Duration = Duration::from_secs(5);
const OURS: &str = "bowline";

/// All three.
pub(crate) fn figures() -> Result<Vec<Figure>> {
    let bed = Bed::new("bench-scrapes")?;
    measure(&bed).inspect_err(|error| bed.save_evidence(&format!("{error:#}")))
}

/// One of the two programs, in what was measured of it.
#[derive(Default)]
struct Side {
    /// CPU milliseconds by the scrape, of each round.
    cpu: Vec<f64>,
    /// Seconds of each scrape.
    seconds: Vec<f64>,
    bytes: usize,
}

fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let settled = Settled::new(bed)?;
    let machine = &settled.machine;
    mount(bed, machine)?;
    settled.begin_peer()?;
    counted(machine)?;

    let clients = || -> Result<[Client; 2]> {
        Ok([Client::new("127.0.0.1:9787".parse()?), Client::new("127.0.0.1:9100".parse()?)])
    };
    let mut clients = clients()?;
    let mut thrown_away = [Side::default(), Side::default()];
    machine.within(|| round(&mut clients, &mut thrown_away, WARM_UP, 0))?;
    std::thread::sleep(REST);
    let before = [settled.rss(OURS)?, settled.rss(PEER)?];
    let mut sides = [Side::default(), Side::default()];
    for number in 0..ROUNDS {
        let begun = [cpu_ms(machine, OURS)?, cpu_ms(machine, PEER)?];
        machine.within(|| round(&mut clients, &mut sides, SCRAPES, number))?;
        let ended = [cpu_ms(machine, OURS)?, cpu_ms(machine, PEER)?];
        for (side, (begun, ended)) in sides.iter_mut().zip(begun.into_iter().zip(ended)) {
            side.cpu.push((ended - begun) / SCRAPES as f64);
        }
    }
    std::thread::sleep(REST);
    let after = [settled.rss(OURS)?, settled.rss(PEER)?];
    counted(machine)?;

    for side in &mut sides {
        side.seconds.sort_by(f64::total_cmp);
    }
    let [ours, peer] = &sides;
    let grown = |at: usize| after[at].all - before[at].all;
    let told = json!({ "ours": ours.told(&before[0], &after[0]), "peer": peer.told(&before[1], &after[1]) });
    tell(&format!("    {told}"));
    Ok(vec![
        Figure::new("scrape_cpu_100_mounts", median(&ours.cpu), "ms")
            .beside(median(&peer.cpu), node_exporter::NAME)
            .runs(ROUNDS)
            .measured(told.clone()),
        Figure::new("scrape_p99_100_mounts", ours.at(0.99)? * 1000.0, "ms")
            .beside(peer.at(0.99)? * 1000.0, node_exporter::NAME)
            .runs(ours.seconds.len())
            .measured(told.clone()),
        Figure::new("rss_growth_20000_scrapes", grown(0), "MB").beside(grown(1), node_exporter::NAME).measured(told),
    ])
}

/// As many scrapes of each, by turns; who is first alternates.
fn round(clients: &mut [Client; 2], sides: &mut [Side; 2], scrapes: usize, number: usize) -> Result<()> {
    for scrape in 0..scrapes {
        for turn in 0..2 {
            let at = (turn + scrape + number) % 2;
            let scraped = clients[at].scrape()?;
            ensure!(scraped.gzip, "an answer of {} bytes was not compressed", scraped.body.len());
            sides[at].seconds.push(scraped.seconds);
            sides[at].bytes = scraped.body.len();
        }
    }
    Ok(())
}

impl Side {
    fn at(&self, share: f64) -> Result<f64> {
        let place = (share * self.seconds.len() as f64).ceil() as usize;
        self.seconds.get(place.saturating_sub(1)).copied().context("nothing was scraped")
    }

    fn told(&self, before: &Rss, after: &Rss) -> Value {
        let cpu: Vec<_> = self.cpu.iter().copied().map(rounded).collect();
        let at = |share: f64| self.at(share).map(|seconds| rounded(seconds * 1000.0)).ok();
        json!({
            "cpu_ms_by_scrape": cpu,
            "ms": { "median": at(0.5), "p90": at(0.9), "p99": at(0.99), "most": at(1.0) },
            "scrapes": self.seconds.len(),
            "bytes_compressed": self.bytes,
            "rss": { "before": before.told(), "after": after.told() },
        })
    }
}

/// A hundred disks, each with a filesystem of its own that is mounted.
fn mount(bed: &Bed, machine: &Machine) -> Result<()> {
    let disks = (0..MOUNTS).map(|n| bed.disk(&(92_000 + n).to_string(), "8M")).collect::<Result<Vec<_>>>()?;
    for disk in &disks {
        machine.attach(disk)?;
    }
    let lines: String = disks
        .iter()
        .enumerate()
        .map(|(n, disk)| {
            let (link, at) = (disk.link(), format!("/srv/m{n}"));
            format!("mkfs.ext4 -q -F {link} && mkdir -p {at} && mount {link} {at} || exit 1\n")
        })
        .collect();
    let mounted = machine.run_with(&format!("udevadm settle\n{lines}udevadm settle"), b"", Duration::from_secs(300))?;
    ensure!(mounted.success(), "{mounted}");
    // Bowline has heard of all these disks, and looked.
    std::thread::sleep(REST);
    Ok(())
}

/// Both tell of every one of them.
fn counted(machine: &Machine) -> Result<()> {
    for (page, name) in
        [("http://127.0.0.1:9787/metrics", "bowline_filesystem_size_bytes"), (PEER_PAGE, "node_filesystem_size_bytes")]
    {
        let count = machine.ok(&format!("curl -sSf {page} | grep -c '^{name}{{.*mountpoint=\"/srv/m[0-9]*\"'"))?;
        ensure!(count.trim() == MOUNTS.to_string(), "{name}: {} of {MOUNTS} mounts", count.trim());
    }
    Ok(())
}
