//! What is foretold of one filesystem, and how much of that is told.

use bowline_ports::Space;
use bowline_pressure::forecast::{Forecast, Outlook};
use bowline_pressure::history::History;
use bowline_settings::Pressure;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Less sure than this, nobody is woken.
const SURE: f64 = 0.5;
const NOW: Forecast = Forecast { seconds: 0.0, confidence: 1.0 };
/// It was not watched for long enough.
const UNKNOWN: Forecast = Forecast { seconds: f64::INFINITY, confidence: 0.0 };
const NEVER: Forecast = Forecast { seconds: f64::INFINITY, confidence: 1.0 };

/// Each by itself, with its own confidence: that inodes are sure to last says nothing of bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Foretold {
    /// Bytes a second.
    pub(crate) growth: f64,
    /// No byte left that an ordinary user may write.
    pub(crate) full: Forecast,
    /// No inode left.
    pub(crate) inodes: Forecast,
    /// Pods evicted, by the kubelet's name of the signal.
    pub(crate) evicts: BTreeMap<&'static str, Forecast>,
}

/// What a filesystem comes to when it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// No byte is left.
    Full,
    /// No inode is left.
    NoInodes,
    /// Pods are evicted.
    Evicts,
}

impl End {
    /// What happens to it then.
    pub(crate) fn text(self) -> &'static str {
        match self {
            End::Full => "to be full",
            End::NoInodes => "to have no inode left",
            End::Evicts => "to have pods evicted",
        }
    }

    /// For programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            End::Full => "full",
            End::NoInodes => "inodes",
            End::Evicts => "eviction",
        }
    }
}

/// How soon a filesystem is full, runs out of inodes, or has the kubelet evict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grave {
    /// Within `pressure.warn`.
    Warn,
    /// Within `pressure.critical`.
    Critical,
    /// Pods are evicted by now.
    Evicts,
    /// No inode is left.
    NoInodes,
    /// No byte is left.
    Full,
}

impl Grave {
    /// What is said of the filesystem.
    pub(crate) fn text(self, rules: &Pressure) -> String {
        let what = match self {
            Grave::Warn => expected(rules.warn, "warn"),
            Grave::Critical => expected(rules.critical, "critical"),
            Grave::Evicts => "is so full that the kubelet evicts pods".into(),
            Grave::NoInodes => "has no inode left: no file can be made there".into(),
            Grave::Full => "is full: nobody but root can write there".into(),
        };
        format!("{what}; `bowline usage` shows what takes the room")
    }
}

fn expected(within: impl std::fmt::Display, key: &str) -> String {
    format!("is expected to be full, or to have pods evicted, within {within} (pressure.{key})")
}

/// What is left of something, in bytes or inodes; `None` where its number is not fixed, or it has none at all.
fn room(all: u64, left: u64, kept: u64) -> Option<f64> {
    (all > 0).then_some(left as f64 - kept as f64)
}

fn room_of(signal: &str, kept: u64, space: &Space) -> Option<f64> {
    match signal.ends_with("inodesFree") {
        true => room(space.inodes, space.inodes_free, kept),
        false => room(space.size, space.available, kept),
    }
}

/// Whether it has come to the end already, which is a fact and not a forecast; `kept` is what the kubelet wants to have
/// free.
pub(crate) fn spent(space: &Space, kept: &[(&'static str, u64)]) -> Option<Grave> {
    let none = |room: Option<f64>| room.is_some_and(|room| room <= 0.0);
    if none(room(space.size, space.available, 0)) {
        Some(Grave::Full)
    } else if none(room(space.inodes, space.inodes_free, 0)) {
        Some(Grave::NoInodes)
    } else {
        kept.iter().any(|(signal, kept)| none(room_of(signal, *kept, space))).then_some(Grave::Evicts)
    }
}

/// Whether something is expected, and trusted enough to be told.
pub(crate) fn sure(forecast: &Forecast) -> bool {
    forecast.seconds.is_finite() && forecast.confidence >= SURE
}

/// What is sure comes before what is not, and then what is sooner.
fn sooner(one: &Forecast, other: &Forecast) -> Ordering {
    sure(other).cmp(&sure(one)).then(one.seconds.total_cmp(&other.seconds))
}

impl Foretold {
    /// From what was, and what is now. `None` where it was watched for less than `least` seconds, unless it is [`spent`]:
    /// how that came about does not matter then.
    pub(crate) fn of(
        past: Option<&History>,
        space: &Space,
        kept: &[(&'static str, u64)],
        least: f64,
    ) -> Option<Foretold> {
        let bytes = past.and_then(|past| Outlook::of(&past.bytes(), least));
        let inodes = past.and_then(|past| Outlook::of(&past.inodes(), least));
        if bytes.is_none() && spent(space, kept).is_none() {
            return None;
        }
        let comes = |outlook: &Option<Outlook>, room: Option<f64>| match (outlook, room) {
            (_, Some(room)) if room <= 0.0 => NOW,
            (Some(outlook), Some(room)) => outlook.until(room),
            (None, Some(_)) => UNKNOWN,
            (_, None) => NEVER,
        };
        let full = comes(&bytes, room(space.size, space.available, 0));
        let no_inodes = comes(&inodes, room(space.inodes, space.inodes_free, 0));
        let evicts = kept.iter().map(|(signal, kept)| {
            let outlook = if signal.ends_with("inodesFree") { &inodes } else { &bytes };
            (*signal, comes(outlook, room_of(signal, *kept, space)))
        });
        let evicts = evicts.collect();
        Some(Foretold { growth: bytes.map_or(0.0, |bytes| bytes.rate()), full, inodes: no_inodes, evicts })
    }

    /// When the kubelet evicts first, of the signals that are sure to come; else of all. `None` where it never does because
    /// of this filesystem.
    pub(crate) fn evicts_first(&self) -> Option<Forecast> {
        self.evicts.values().copied().min_by(sooner)
    }

    /// What it comes to first, of that which is sure to come; else of all.
    pub(crate) fn first(&self) -> (End, Forecast) {
        let evicts = self.evicts_first().unwrap_or(NEVER);
        let all = [(End::Full, self.full), (End::NoInodes, self.inodes), (End::Evicts, evicts)];
        all[1..].iter().fold(all[0], |first, other| if sooner(&other.1, &first.1).is_lt() { *other } else { first })
    }

    /// What it has come to already.
    pub(crate) fn now(&self) -> Option<Grave> {
        match self.first() {
            (_, Forecast { seconds, .. }) if seconds > 0.0 => None,
            (End::Full, _) => Some(Grave::Full),
            (End::NoInodes, _) => Some(Grave::NoInodes),
            (End::Evicts, _) => Some(Grave::Evicts),
        }
    }

    /// What is to be told of it by these rules.
    pub(crate) fn grave(&self, rules: &Pressure) -> Option<Grave> {
        if let Some(now) = self.now() {
            return Some(now);
        }
        match self.first() {
            (_, first) if !sure(&first) => None,
            (_, first) if first.seconds <= rules.critical.duration().as_secs_f64() => Some(Grave::Critical),
            (_, first) if first.seconds <= rules.warn.duration().as_secs_f64() => Some(Grave::Warn),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space { size: 1000, free: 60, available: 10, inodes: 100, inodes_free: 50 };
    const LEAST: f64 = 1800.0;

    fn now(space: &Space, kept: &[(&'static str, u64)]) -> Option<Grave> {
        let foretold = Foretold::of(None, space, kept, LEAST);
        let grave = foretold.as_ref().and_then(|foretold| foretold.grave(&Pressure::default()));
        assert_eq!(grave, spent(space, kept), "{foretold:?}");
        assert!(foretold.is_none_or(|foretold| foretold.first().1 == NOW));
        grave
    }

    #[test]
    fn what_is_said_of_it_ends_with_where_to_look() {
        let text = |grave: Grave| grave.text(&Pressure::default());
        assert_eq!(
            [Grave::Warn, Grave::Full].map(text),
            [
                "is expected to be full, or to have pods evicted, within 1d (pressure.warn); `bowline usage` shows what takes the room",
                "is full: nobody but root can write there; `bowline usage` shows what takes the room",
            ]
        );
        let one_line = |grave: Grave| grave.text(&Pressure::default()).lines().count() == 1;
        assert!([Grave::Critical, Grave::Evicts, Grave::NoInodes].into_iter().all(one_line));
    }

    #[test]
    fn what_is_full_is_told_however_short_it_was_watched() {
        let kept = [("nodefs.available", 5), ("nodefs.inodesFree", 5)];
        assert_eq!(now(&SPACE, &kept), None);
        assert_eq!(now(&Space { available: 0, ..SPACE }, &kept), Some(Grave::Full));
        assert_eq!(now(&Space { inodes_free: 0, ..SPACE }, &kept), Some(Grave::NoInodes));
        assert_eq!(now(&Space { available: 5, ..SPACE }, &kept), Some(Grave::Evicts));
        assert_eq!(now(&Space { inodes_free: 5, ..SPACE }, &kept), Some(Grave::Evicts));

        let full = Foretold::of(None, &Space { available: 0, ..SPACE }, &kept, LEAST).unwrap();
        assert_eq!((full.full, full.inodes, full.evicts_first()), (NOW, UNKNOWN, Some(NOW)));
    }

    /// One that is sure is told also when another comes sooner, if at all.
    #[test]
    fn each_forecast_is_believed_by_itself() {
        let of = |seconds, confidence| Forecast { seconds, confidence };
        let (hour, day) = (3600.0, 86_400.0);
        let foretold = |full, inodes, evicts: &[(&'static str, Forecast)]| Foretold {
            growth: 1.0,
            full,
            inodes,
            evicts: evicts.iter().copied().collect(),
        };
        let rules = Pressure::default();
        let told = |foretold: &Foretold| (foretold.first().0, foretold.grave(&rules));

        let unsure_inodes = foretold(of(3.0 * hour, 0.9), of(hour, 0.2), &[]);
        assert_eq!(told(&unsure_inodes), (End::Full, Some(Grave::Critical)));
        let unsure_full = foretold(of(hour, 0.2), of(20.0 * hour, 0.8), &[]);
        assert_eq!(told(&unsure_full), (End::NoInodes, Some(Grave::Warn)));
        let nothing_sure = foretold(of(5.0 * hour, 0.4), of(hour, 0.2), &[("nodefs.available", of(2.0 * hour, 0.3))]);
        assert_eq!(told(&nothing_sure), (End::NoInodes, None));
        let sure_to_last = foretold(of(hour, 0.3), of(f64::INFINITY, 1.0), &[]);
        assert_eq!(told(&sure_to_last), (End::Full, None));
        let evicted_first = foretold(of(20.0 * day, 0.9), NEVER, &[("nodefs.available", of(2.0 * hour, 0.9))]);
        assert_eq!(told(&evicted_first), (End::Evicts, Some(Grave::Critical)));
        let signals = [("nodefs.available", of(2.0 * hour, 0.9)), ("nodefs.inodesFree", of(hour, 0.2))];
        let unsure_signal = foretold(of(20.0 * day, 0.9), NEVER, &signals);
        assert_eq!(told(&unsure_signal), (End::Evicts, Some(Grave::Critical)));
        assert_eq!(unsure_signal.evicts_first(), Some(signals[0].1));
    }

    /// Many filesystems of daemons say nothing of their size, and btrfs has as many inodes as it needs.
    #[test]
    fn what_says_nothing_of_its_size_is_not_full() {
        let kept = [("nodefs.available", 5), ("nodefs.inodesFree", 5)];
        assert_eq!(now(&Space { size: 0, free: 0, available: 0, inodes: 0, inodes_free: 0 }, &kept), None);
        assert_eq!(now(&Space { inodes: 0, inodes_free: 0, ..SPACE }, &kept), None);
    }
}
