//! The alert on a filesystem that will be full before its judges (`tests/forecast`): every series is played through the rule's
//! own condition, with the numbers of `rules.yml`. It fires on what fills, also in bursts, and not on what never does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may end so, shows its table, and reads the rules"
)]

use bowline_forecast::{EVERY, Series, generated};
use bowline_pressure::file::Store;
use bowline_pressure::forecast::{Forecast, MIN_HISTORY, Outlook};
use bowline_pressure::history::Sample;

/// The rule's expression; `@` stands for a number or a duration.
const SHAPE: &str = "min_over_time(bowline_filesystem_full_seconds[@]) < @ * 3600 \
    and count_over_time((last_over_time(bowline_filesystem_full_seconds[5m]) < @ * 3600 \
    and last_over_time(bowline_filesystem_full_confidence[5m]) >= @)[@:@]) >= @ \
    and count_over_time((last_over_time(bowline_filesystem_full_seconds[5m]) < @ * 3600 \
    and last_over_time(bowline_filesystem_full_confidence[5m]) >= @)[@:@]) >= @ for: @ labels: severity: @ ";
/// Minutes before the end that are played at most: the longest threshold, and what it looks back for.
const PLAYED: usize = 80 * 60;

/// So many answers in so long are as near and as sure as this. Times in minutes, what is left in seconds.
#[derive(Debug)]
struct Often {
    near: f64,
    sure: f64,
    window: usize,
    step: usize,
    count: usize,
}

impl Often {
    fn of(words: &[String]) -> Self {
        let [near, sure, window, step, count] = words else { panic!("{words:?}") };
        Self {
            near: near.parse::<f64>().unwrap() * 3600.0,
            sure: sure.parse().unwrap(),
            window: minutes(window),
            step: minutes(step),
            count: count.parse().unwrap(),
        }
    }

    fn holds(&self, forecasts: &[Forecast], now: usize) -> bool {
        let asked = ((now + 1).saturating_sub(self.window)..=now).filter(|minute| minute % self.step == 0);
        let found = asked.map(|minute| &forecasts[minute]);
        found.filter(|it| it.seconds < self.near && it.confidence >= self.sure).count() >= self.count
    }
}

/// Times in minutes.
#[derive(Debug)]
struct Rule {
    hold: usize,
    away: f64,
    trusted: Often,
    near: Often,
    lasts: usize,
    severity: String,
}

fn minutes(text: &str) -> usize {
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<usize>().unwrap() * if unit == "h" { 60 } else { 1 }
}

impl Rule {
    /// Both rules, as they are shipped.
    fn all() -> Vec<Self> {
        let text = std::fs::read_to_string("../../packaging/prometheus/rules.yml").unwrap();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
        let rules = text.split("- alert: BowlineFilesystemFilling").skip(1);
        rules
            .map(|rule| {
                let rule = words(rule);
                let (_, mut rest) = rule.split_once("expr: >- ").unwrap();
                let mut found = Vec::new();
                let mut parts = SHAPE.split('@');
                rest = rest.strip_prefix(parts.next().unwrap()).unwrap_or_else(|| panic!("another rule: {rest}"));
                for part in parts {
                    let (value, after) = rest.split_once(part).unwrap_or_else(|| panic!("another rule: {rest}"));
                    found.push(value.to_string());
                    rest = after;
                }
                assert_eq!(found.len(), 14, "{found:?}");
                Self {
                    hold: minutes(&found[0]),
                    away: found[1].parse::<f64>().unwrap() * 3600.0,
                    trusted: Often::of(&found[2..7]),
                    near: Often::of(&found[7..12]),
                    lasts: minutes(&found[12]),
                    severity: found[13].clone(),
                }
            })
            .collect()
    }

    /// Minutes at which it fires, out of the forecasts of each.
    fn fires(&self, forecasts: &[Forecast]) -> Vec<bool> {
        let mut true_since = None;
        (0..forecasts.len())
            .map(|now| {
                let held = &forecasts[(now + 1).saturating_sub(self.hold)..=now];
                let holds = held.iter().any(|forecast| forecast.seconds < self.away)
                    && self.trusted.holds(forecasts, now)
                    && self.near.holds(forecasts, now);
                true_since = holds.then(|| true_since.unwrap_or(now));
                true_since.is_some_and(|since| now - since >= self.lasts)
            })
            .collect()
    }
}

/// What is foretold each minute: of one that fills in its last days, before it is full; of one that never does from the moment
/// on at which its judges ask first.
fn forecasts(series: &Series) -> Vec<Forecast> {
    assert_eq!(EVERY, 60);
    let mut store = Store::default();
    let last = series.full.unwrap_or(series.used.len());
    let from = match series.full {
        Some(full) => full.saturating_sub(PLAYED),
        None => series.moments[0].max(last.saturating_sub(2 * PLAYED)),
    };
    let mut all = Vec::new();
    for (index, used) in series.used[..last].iter().enumerate() {
        let at = series.at(index);
        store.add("uuid:alerted", Sample { at, boot: 1, uptime: at as u64, bytes: *used, inodes: 0 });
        if index >= from {
            let outlook = Outlook::of(&store.history("uuid:alerted").unwrap().bytes(), MIN_HISTORY);
            let unknown = Forecast { seconds: f64::INFINITY, confidence: 0.0 };
            all.push(outlook.map_or(unknown, |outlook| outlook.until((series.total - used) as f64)));
        }
    }
    all
}

/// Of the series of a kind.
#[derive(Debug, Default)]
struct Judged {
    /// So many had it firing.
    fired: usize,
    /// So many had it firing at the end.
    stood: usize,
    /// So often it ended before the end.
    ended: usize,
}

/// What both rules do on the first series of a kind: critical and warning.
fn judged(kind: &str, seeds: u64) -> [Judged; 2] {
    let rules = Rule::all();
    let mut all = [Judged::default(), Judged::default()];
    for seed in 1..=seeds {
        let forecasts = forecasts(&generated::series(kind, seed));
        for rule in &rules {
            let fires = rule.fires(&forecasts);
            let judged = &mut all[usize::from(rule.severity == "warning")];
            judged.fired += usize::from(fires.contains(&true));
            judged.stood += usize::from(fires.last() == Some(&true));
            judged.ended += fires.windows(2).filter(|pair| pair[0] && !pair[1]).count();
        }
    }
    println!("{kind}, {seeds}: critical {:?}, warning {:?}", all[0], all[1]);
    all
}

#[test]
fn what_fills_in_bursts_is_told_before_it_is_full() {
    let [critical, warning] = judged("bursts", 30);
    assert!(critical.fired >= 28 && critical.stood >= 14 && critical.ended <= 70, "{critical:?}");
    assert!(warning.fired == 30 && warning.stood >= 23 && warning.ended <= 60, "{warning:?}");
}

#[test]
fn what_fills_otherwise_is_told_and_stays_told() {
    for kind in ["steady", "runaway", "a step, then on", "faster", "daily rhythm", "saw-tooth"] {
        for judged in judged(kind, 10) {
            assert!(judged.fired == 10 && judged.stood == 10 && judged.ended <= 4, "{kind}: {judged:?}");
        }
    }
}

/// One saw-tooth has the forecast itself wrong for hours, which is the method's and no rule's.
#[test]
fn what_never_fills_is_not_told() {
    let all = [
        ("first boot's images", 30, 0),
        ("a step, then flat", 30, 0),
        ("saw-tooth, bounded", 10, 1),
        ("log rotation, bounded", 10, 0),
    ];
    for (kind, seeds, warned) in all {
        let [critical, warning] = judged(kind, seeds);
        assert!(critical.fired == 0 && warning.fired <= warned, "{kind}: {critical:?}, {warning:?}");
    }
}
