//! The method before its judges (`tests/forecast`), beside `predict_linear` over six hours on the same series: the table
//! of BENCHMARKS.md. `-- --nocapture` prints it; `KIND="saw-tooth"` every answer of a kind as well.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may end so, shows its table, and reads the one that is written down"
)]

use bowline_forecast::score::{Asked, Forecaster, Row, play, rows, table};
use bowline_forecast::{Series, generated, recorded};
use bowline_pressure::file::Store;
use bowline_pressure::forecast::{Forecast, MIN_HISTORY, Outlook};
use bowline_pressure::history::Sample;

const KEY: &str = "uuid:judged";

/// Ours, as the daemon has it: samples go into the store, the history comes out of it.
#[derive(Default)]
struct Ours {
    store: Store,
    room: f64,
}

impl Ours {
    fn forecast(&self) -> Option<Forecast> {
        Some(Outlook::of(&self.store.history(KEY)?.bytes(), MIN_HISTORY)?.until(self.room))
    }
}

impl Forecaster for Ours {
    fn sample(&mut self, at: i64, used: u64, total: u64) {
        self.store.add(KEY, Sample { at, boot: 1, uptime: at as u64, bytes: used, inodes: 0 });
        self.room = (total - used) as f64;
    }

    fn remaining(&mut self) -> Option<f64> {
        Some(self.forecast()?.seconds).filter(|seconds| seconds.is_finite())
    }
}

fn show(asked: &[Asked]) {
    let Ok(kind) = std::env::var("KIND") else { return };
    let hours = |moment: Option<f64>| moment.map_or("never".into(), |seconds| format!("{:.1}", seconds / 3600.0));
    for one in asked.iter().filter(|one| one.kind == kind) {
        let [after, truth, ours, peer] = [Some(one.after), one.truth, one.ours, one.peer].map(hours);
        let (our, their) = (one.our_error(), one.peer_error());
        println!(
            "{} after {after:>6} h: truth {truth:>6}, ours {ours:>7}, peer {peer:>7}; {our:.2} {their:.2}",
            one.seed
        );
    }
}

/// The rows of the table in BENCHMARKS.md: the kind, ours and the peer's median in percent.
fn written() -> Vec<(String, f64, f64)> {
    let text = std::fs::read_to_string("../../BENCHMARKS.md").unwrap();
    let percent = |cell: &str| cell.trim().trim_end_matches(" %").parse::<f64>().ok();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (cells.len() == 7).then(|| Some((cells[0].trim().to_string(), percent(cells[3])?, percent(cells[4])?)))?
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn better_than_predict_linear_on_every_kind() {
    let mut asked = play(&recorded::all().unwrap(), Ours::default);
    let number = |kind: &str| recorded::RECORDINGS.iter().position(|(name, _)| *name == kind).unwrap() as u64;
    let together = |one: &Asked| Asked { kind: "recorded, all", seed: number(one.kind), ..*one };
    let mut all: Vec<Asked> = asked.iter().map(together).collect();
    asked.extend(play(&generated::all(), Ours::default));
    show(&asked);
    all.extend(asked);
    let rows = rows(&all);
    println!("{}", table(&rows));

    for Row { kind, ours, peer, .. } in &rows {
        match *kind {
            "steady" => assert!(ours <= peer, "{kind}: {ours} and {peer}"),
            // One series each: they are shown, and count together.
            alone if alone.starts_with("recorded: ") => {}
            _ => assert!(ours < peer, "{kind}: {ours} and {peer}"),
        }
    }
    let written = written();
    assert_eq!(written.len(), rows.len(), "BENCHMARKS.md has the table");
    for (row, (kind, ours, peer)) in rows.iter().zip(&written) {
        let near = |a: f64, b: f64| (a * 100.0 - b).abs() < 1.0;
        assert!(
            row.kind == kind && near(row.ours, *ours) && near(row.peer, *peer),
            "{row:?} is written as {ours}, {peer}"
        );
    }
}

/// Confidence means something: those of whom more is said to be trusted are nearer to the truth.
#[test]
fn who_is_trusted_more_is_nearer_to_the_truth() {
    let (mut much, mut little) = (Vec::new(), Vec::new());
    let series: Vec<Series> = generated::all().into_iter().filter(|series| series.seed <= 10).collect();
    for one in &series {
        let mut ours = Ours::default();
        for (index, used) in one.used.iter().enumerate() {
            ours.sample(one.at(index), *used, one.total);
            if one.moments.contains(&index) {
                let Some(forecast) = ours.forecast().filter(|forecast| forecast.seconds.is_finite()) else { continue };
                let error = bowline_forecast::score::error(Some(forecast.seconds), one.remaining(index));
                if forecast.confidence >= 0.8 { &mut much } else { &mut little }.push(error);
            }
        }
    }
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
    println!(
        "trusted: {} of mean error {:.3}; less so: {} of {:.3}",
        much.len(),
        mean(&much),
        little.len(),
        mean(&little)
    );
    assert!(much.len() > 100 && little.len() > 100);
    assert!(mean(&much) * 1.5 < mean(&little));
}

/// A disk that filled within the history of a reboot, a set clock and a hole of a day is forecast all the same.
#[test]
fn what_a_machine_goes_through_does_not_confuse_it() {
    let mut ours = Ours::default();
    let mut add = |at: i64, boot: u32, uptime: i64, minute: i64| {
        let bytes = 10_000_000_000 + minute as u64 * 1_000_000;
        ours.store.add(KEY, Sample { at, boot, uptime: uptime as u64, bytes, inodes: 0 });
    };
    let start = 1_760_000_000;
    (0..3000).for_each(|minute| add(start + minute * 60, 1, minute * 60, minute));
    // A reboot of three minutes, then the clock is set by a year.
    (0..600).for_each(|minute| add(start + (3003 + minute) * 60, 2, 60 + minute * 60, 3000 + minute));
    let year = 31_536_000;
    (600..900).for_each(|minute| add(start + (3003 + minute) * 60 - year, 2, 60 + minute * 60, 3000 + minute));
    ours.room = 1_000_000.0 * 600.0;
    let hours = ours.forecast().unwrap().seconds / 3600.0;
    assert!((9.7..10.3).contains(&hours), "{hours}");
}
