//! What happened once: a download, an unpacked image, a clean-up. It says nothing about tomorrow, and is taken out.
//!
//! A stretch in which far more (or less) came than usual is an event. Where there are three alike, bursts are how this disk
//! fills; of falls two are enough, since garbage collection shows itself by them. Those are left in.

use super::robust::{median, spread};
use super::{HOUR, MINUTE, Point};

/// So many deviations above what is usual begin an event.
const WILD: f64 = 8.0;
/// What goes on for longer is no event but how things are now.
const LONGEST: f64 = 3.0 * HOUR;
/// As is what goes on for longer than this and has not ended.
pub(super) const SUSTAINED: f64 = 20.0 * MINUTE;
/// Events alike: the smaller has at least this part of the larger one's size.
const ALIKE: f64 = 1.0 / 5.0;

/// A stretch from one point to a later one, and how much came in it beyond the usual.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Event {
    from: usize,
    to: usize,
    size: f64,
}

/// The points without what happened once.
pub(super) fn without(points: &[Point]) -> Vec<Point> {
    let mut kept = points.to_vec();
    let events = events(points);
    for event in &events {
        let alike = events.iter().filter(|e| e.size * event.size > 0.0 && e.size.abs() >= event.size.abs() * ALIKE);
        let usual = if event.size > 0.0 { 3 } else { 2 };
        let open = event.to + 1 == points.len() && points[event.to].at - points[event.from].at >= SUSTAINED;
        if alike.count() < usual && !open {
            remove(&mut kept, event);
        }
    }
    kept
}

/// Spreads the removal over the event's own stretch, so that time in it keeps going.
fn remove(points: &mut [Point], event: &Event) {
    let length = points[event.to].at - points[event.from].at;
    let from = points[event.from].at;
    for point in &mut points[event.from + 1..=event.to] {
        point.used -= event.size * (point.at - from) / length;
    }
    for point in &mut points[event.to + 1..] {
        point.used -= event.size;
    }
}

fn events(points: &[Point]) -> Vec<Event> {
    let steps = || points.windows(2).map(|pair| (pair[1].at - pair[0].at, pair[1].used - pair[0].used));
    let usual = median(steps().map(|(time, by)| by / time).collect());
    let scaled: Vec<f64> = steps().map(|(time, by)| (by - usual * time) / time.sqrt()).collect();
    let wild = WILD * spread(&scaled).max(f64::MIN_POSITIVE);
    let mut events: Vec<Event> = Vec::new();
    for (index, scaled) in scaled.iter().enumerate().filter(|(_, scaled)| scaled.abs() > wild) {
        let time = points[index + 1].at - points[index].at;
        let size = scaled * time.sqrt();
        match events.last_mut() {
            // A pause of one sample does not end it.
            Some(last) if index <= last.to + 1 && last.size * size > 0.0 => {
                last.to = index + 1;
                last.size += size;
            }
            _ => events.push(Event { from: index, to: index + 1, size }),
        }
    }
    let short = |event: &Event| {
        let (length, whole) = (points[event.to].at - points[event.from].at, points[points.len() - 1].at - points[0].at);
        length <= LONGEST.max(2.0 * (points[event.from + 1].at - points[event.from].at)) && length <= whole / 3.0
    };
    events.retain(short);
    events
}
