//! What is foretold of one filesystem, and how much of that is told.

use bowline_ports::Space;
use bowline_pressure::forecast::{Forecast, Outlook};
use bowline_pressure::history::History;
use bowline_settings::Pressure;
use std::collections::BTreeMap;

/// Less sure than this, nobody is woken.
const SURE: f64 = 0.5;
const NOW: Forecast = Forecast { seconds: 0.0, confidence: 1.0 };
const NEVER: Forecast = Forecast { seconds: f64::INFINITY, confidence: 1.0 };

/// Times are seconds from the last sample, infinite where it does not come to that.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Foretold {
    /// Bytes a second.
    pub(crate) growth: f64,
    /// No byte left that an ordinary user may write.
    pub(crate) full: f64,
    /// No inode left.
    pub(crate) inodes: f64,
    /// Pods evicted, by the kubelet's name of the signal.
    pub(crate) evicts: BTreeMap<&'static str, f64>,
    /// 0 to 1: of the first that comes.
    pub(crate) confidence: f64,
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
        let (within, key) = match self {
            Grave::Warn => (rules.warn, "warn"),
            Grave::Critical => (rules.critical, "critical"),
            Grave::Evicts => return "is so full that the kubelet evicts pods".into(),
            Grave::NoInodes => return "has no inode left: no file can be made there".into(),
            Grave::Full => return "is full: nobody but root can write there".into(),
        };
        format!("is expected to be full, or to have pods evicted, within {within} (pressure.{key})")
    }
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
            (None, _) | (_, None) => NEVER,
        };
        let full = comes(&bytes, room(space.size, space.available, 0));
        let no_inodes = comes(&inodes, room(space.inodes, space.inodes_free, 0));
        let mut first = if no_inodes.seconds < full.seconds { no_inodes } else { full };
        let mut evicts = BTreeMap::new();
        for (signal, kept) in kept {
            let outlook = if signal.ends_with("inodesFree") { &inodes } else { &bytes };
            let then = comes(outlook, room_of(signal, *kept, space));
            if then.seconds < first.seconds {
                first = then;
            }
            evicts.insert(*signal, then.seconds);
        }
        Some(Foretold {
            growth: bytes.map_or(0.0, |bytes| bytes.rate()),
            full: full.seconds,
            inodes: no_inodes.seconds,
            evicts,
            confidence: first.confidence,
        })
    }

    /// The first that comes, in seconds.
    pub(crate) fn first(&self) -> f64 {
        self.evicts.values().copied().fold(self.full.min(self.inodes), f64::min)
    }

    /// When the kubelet evicts first, in seconds.
    pub(crate) fn evicts_first(&self) -> f64 {
        self.evicts.values().copied().fold(f64::INFINITY, f64::min)
    }

    /// What it has come to already.
    pub(crate) fn now(&self) -> Option<Grave> {
        match self.first() {
            _ if self.full <= 0.0 => Some(Grave::Full),
            _ if self.inodes <= 0.0 => Some(Grave::NoInodes),
            first => (first <= 0.0).then_some(Grave::Evicts),
        }
    }

    /// What is to be told of it by these rules.
    pub(crate) fn grave(&self, rules: &Pressure) -> Option<Grave> {
        if let Some(now) = self.now() {
            return Some(now);
        }
        match self.first() {
            _ if self.confidence < SURE => None,
            first if first <= rules.critical.duration().as_secs_f64() => Some(Grave::Critical),
            first if first <= rules.warn.duration().as_secs_f64() => Some(Grave::Warn),
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
        assert!(foretold.is_none_or(|foretold| foretold.first() <= 0.0 && foretold.confidence >= 1.0));
        grave
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
        assert_eq!((full.full, full.inodes, full.evicts_first()), (0.0, f64::INFINITY, 0.0));
    }

    /// Many filesystems of daemons say nothing of their size, and btrfs has as many inodes as it needs.
    #[test]
    fn what_says_nothing_of_its_size_is_not_full() {
        let kept = [("nodefs.available", 5), ("nodefs.inodesFree", 5)];
        assert_eq!(now(&Space { size: 0, free: 0, available: 0, inodes: 0, inodes_free: 0 }, &kept), None);
        assert_eq!(now(&Space { inodes: 0, inodes_free: 0, ..SPACE }, &kept), None);
    }
}
