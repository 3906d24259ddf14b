//! How connections ended.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $outcome:ident),+ $(,)?) => {
        /// How connections ended, since the door opened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// The names of all the ways in which a connection can end.
            pub const ENDS: &[&str] = &[$(stringify!($name),)+];
        }

        #[derive(Debug, Clone, Copy)]
        pub(super) enum Outcome {
            $($outcome,)+
        }

        impl Outcome {
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$outcome => stringify!($name),)+
                }
            }
        }

        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $($name: AtomicU64,)+
        }

        impl Tally {
            pub(super) fn count(&self, outcome: Outcome) {
                let counter = match outcome {
                    $(Outcome::$outcome => &self.$name,)+
                };
                counter.fetch_add(1, Relaxed);
            }

            pub(super) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

outcomes! {
    /// Answered by the answerer.
    answered = Answered,
    /// A wrong proof, whose answer waits or has waited.
    wrong = Wrong,
    /// A wrong proof without an answer, since too many wait already.
    unanswered = Unanswered,
    /// Refused before the answerer saw it: method, path, length, headers, or no HTTP at all.
    malformed = Malformed,
    /// No TLS 1.3 with the protocol `bowline/1`.
    handshake = Handshake,
    /// Too slow with its handshake, head or body.
    slow = Slow,
    /// Nothing was asked, or the connection broke.
    broken = Broken,
    /// The answerer took too long.
    late = Late,
    /// Lost its place to another.
    evicted = Evicted,
    /// There was no place for it.
    full = Full,
}
