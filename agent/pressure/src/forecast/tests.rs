//! Forecasts of histories that show one thing each.

use super::*;
use proptest::prelude::*;

const MB: f64 = 1e6;

/// One point a minute.
fn minutes(count: usize, used: impl Fn(f64) -> f64) -> Vec<Point> {
    (0..count).map(|i| Point { at: i as f64 * 60.0 - (count - 1) as f64 * 60.0, used: used(i as f64) }).collect()
}

fn outlook(points: &[Point]) -> Outlook {
    Outlook::of(points, MIN_HISTORY).unwrap()
}

#[test]
fn a_line_is_followed() {
    let steady = outlook(&minutes(600, |minute| 5e9 + minute * 6.0 * MB));
    assert!((steady.rate() - 1e5).abs() < 1.0);
    let forecast = steady.until(3.6e9);
    assert!((forecast.seconds - 36_000.0).abs() < 1.0, "{forecast:?}");
    assert!(forecast.confidence > 0.95, "{forecast:?}");
    // What is foreseen for longer than it was seen is worth less.
    assert!(steady.until(360e9).confidence < 0.11);
}

#[test]
fn what_shrinks_or_stays_is_never_full() {
    for rate in [0.0, -6.0 * MB] {
        let outlook = outlook(&minutes(600, |minute| 50e9 + minute * rate));
        assert!(outlook.rate() <= 0.0);
        let forecast = outlook.until(1e9);
        assert_eq!(forecast.seconds, f64::INFINITY);
        assert!(forecast.confidence > 0.25 && forecast.confidence < 0.35, "{forecast:?}");
    }
}

#[test]
fn what_is_full_is_full() {
    let outlook = outlook(&minutes(60, |minute| minute));
    for room in [0.0, -5.0] {
        assert_eq!(outlook.until(room), Forecast { seconds: 0.0, confidence: 1.0 });
    }
}

#[test]
fn nothing_is_said_too_early() {
    let points = minutes(15, |minute| minute * MB);
    assert!(Outlook::of(&points, MIN_HISTORY).is_none());
    assert!(Outlook::of(&points, 840.0).is_some());
    assert!(Outlook::of(&points[..11], 0.0).is_none());
    assert!(Outlook::of(&[], 0.0).is_none());
    let twice = [points[0]; 20];
    assert!(Outlook::of(&twice, 0.0).is_none());
}

/// 8 GB in three minutes, at the beginning, in the middle, and just now.
#[test]
fn one_download_is_no_growth() {
    for at in [3.0, 100.0, 197.0] {
        let points = minutes(200, |minute| 3e9 + 8e9 * ((minute - at) / 3.0).clamp(0.0, 1.0) + minute % 3.0 * MB);
        assert_eq!(outlook(&points).until(20e9).seconds, f64::INFINITY, "{at}");
    }
}

/// But one that does not end is an alarm, after twenty minutes.
#[test]
fn what_goes_on_is_told() {
    let run = |minutes_ago: f64| {
        let points =
            minutes(1000, |minute| 3e9 + 200.0 * MB * (minute - 999.0 + minutes_ago).max(0.0) + minute % 3.0 * MB);
        outlook(&points).until(12e9).seconds
    };
    assert_eq!(run(15.0), f64::INFINITY);
    assert!((run(25.0) - 3600.0).abs() < 200.0, "{}", run(25.0));
}

/// Every four hours 4 GB are collected: bounded, though it rises nearly always.
#[test]
fn a_collection_is_foreseen() {
    let tooth = |minute: f64| minute % 240.0 / 240.0 * 4e9;
    let bounded = outlook(&minutes(1500, |minute| 30e9 + tooth(minute)));
    assert_eq!(bounded.until(5e9).seconds, f64::INFINITY);
    // 1500 = 6 teeth and an hour; 0.1 GB an hour beneath: 5 GB above the next peak are reached days later.
    let growing = outlook(&minutes(1500, |minute| 30e9 + tooth(minute) + minute / 60.0 * 0.1e9));
    let hours = growing.until(8e9).seconds / 3600.0;
    assert!((45.0..60.0).contains(&hours), "{hours}");
    assert!((growing.rate() * 3600.0 - 0.1e9).abs() < 0.02e9, "{}", growing.rate() * 3600.0);
}

/// Bursts that come again and again are how it grows.
#[test]
fn bursts_that_recur_are_growth() {
    let outlook = outlook(&minutes(2000, |minute| 10e9 + (minute / 97.0).floor() * 0.5e9));
    let days = outlook.until(74e9).seconds / 86_400.0;
    assert!((9.0..11.0).contains(&days), "{days}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the history is: an answer that is a number, and no sooner for more room where it is one line.
    #[test]
    fn every_history_has_an_answer(
        steps in prop::collection::vec((1u32..5000, prop_oneof![Just(0i64), -1000i64..1000, -5_000_000_000i64..9_000_000_000]), 12..400),
        room in 1u64..1_000_000_000_000,
    ) {
        let (mut at, mut used) = (0.0, 40e9);
        let points: Vec<Point> = steps.iter().map(|(time, by)| {
            at += f64::from(*time);
            used = f64::max(used + *by as f64, 0.0);
            Point { at, used }
        }).collect();
        if let Some(outlook) = Outlook::of(&points, 0.0) {
            prop_assert!(outlook.rate().is_finite());
            let (less, more) = (outlook.until(room as f64 / 2.0), outlook.until(room as f64));
            for forecast in [less, more] {
                prop_assert!(forecast.seconds >= 0.0 && (0.0..=1.0).contains(&forecast.confidence), "{:?}", forecast);
            }
            prop_assert!(outlook.paths.len() > 1 || less.seconds <= more.seconds);
        }
    }
}
