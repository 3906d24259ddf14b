//! `forecast_error`: predictions of when a disk is full, ours and `predict_linear`'s over six hours, on the same series.

use crate::figure::{Figure, rounded};
use anyhow::{Result, anyhow};
use bowline_forecast::score::{Asked, Forecaster, Row, play, rows};
use bowline_forecast::{generated, recorded};
use bowline_pressure::file::Store;
use bowline_pressure::forecast::{MIN_HISTORY, Outlook};
use bowline_pressure::history::Sample;
use serde_json::{Value, json};

const KEY: &str = "uuid:bench";

/// Ours: samples go into the store, the history comes out of it.
#[derive(Default)]
struct Ours {
    store: Store,
    room: f64,
}

impl Forecaster for Ours {
    fn sample(&mut self, at: i64, used: u64, total: u64) {
        let uptime = at.unsigned_abs();
        self.store.add(KEY, Sample { at, boot: 1, uptime, bytes: used, inodes: 0 });
        self.room = total.saturating_sub(used) as f64;
    }

    fn remaining(&mut self) -> Option<f64> {
        let outlook = Outlook::of(&self.store.history(KEY)?.bytes(), MIN_HISTORY)?;
        Some(outlook.until(self.room).seconds).filter(|seconds| seconds.is_finite())
    }
}

pub(crate) fn figure() -> Result<Vec<Figure>> {
    let alone = play(&recorded::all().map_err(|why| anyhow!(why))?, Ours::default);
    let mut asked: Vec<Asked> = alone.iter().map(|one| Asked { kind: "recorded, all", ..*one }).collect();
    asked.extend(play(&generated::all(), Ours::default));
    let judged = rows(&asked);
    let worse = |row: &&Row| if row.kind == "steady" { row.ours > row.peer } else { row.ours >= row.peer };
    let mean = |of: fn(&Row) -> f64| judged.iter().map(of).sum::<f64>() / judged.len() as f64 * 100.0;
    let measured = |rows: &[Row]| -> Value { rows.iter().map(|row| (row.kind.to_string(), told(row))).collect() };
    let figure = Figure::new("forecast_error", mean(|row| row.ours), "%")
        .beside(mean(|row| row.peer), "predict_linear over 6 h")
        .failed(judged.iter().filter(worse).count())
        .runs(asked.len())
        .measured(json!({ "kinds": measured(&judged), "recordings": measured(&rows(&alone)) }));
    Ok(vec![figure])
}

/// Errors in percent.
fn told(row: &Row) -> Value {
    let [ours, peer, our_mean, peer_mean] =
        [row.ours, row.peer, row.means.0, row.means.1].map(|error| rounded(error * 100.0));
    json!({ "asked": row.asked, "median": { "ours": ours, "peer": peer }, "mean": { "ours": our_mean, "peer": peer_mean } })
}

#[cfg(test)]
mod tests {
    #[test]
    fn smaller_on_every_kind() {
        let figure = &super::figure().unwrap()[0];
        assert_eq!(figure.failed, 0, "{}", figure.measured);
        assert!(figure.ratio.unwrap() < 0.2, "{figure:?}");
        let kinds = figure.measured["kinds"].as_object().unwrap();
        assert_eq!(kinds.len(), 14, "{kinds:?}");
    }
}
