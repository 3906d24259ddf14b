//! What the journal was told of as done. Who is asked each second for what is waited for is told of once, and at the end.

use super::{Key, log};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Told(BTreeMap<Key, Done>);

struct Done {
    what: String,
    /// It was done again since, and not told.
    again: bool,
}

impl Told {
    /// It was done, for an item that waits or does not.
    pub(super) fn done(&mut self, key: &Key, what: &str, waits: bool) {
        match self.0.get_mut(key).filter(|done| waits && done.what == what) {
            Some(done) => done.again = true,
            None => {
                log::done(key, what);
                self.0.insert(key.clone(), Done { what: what.to_owned(), again: false });
            }
        }
    }

    /// Forgets the items at which nothing is done or waited for any more.
    pub(super) fn retain(&mut self, stands: impl Fn(&Key) -> bool) {
        self.0.retain(|key, done| {
            let stands = stands(key);
            if !stands && done.again {
                log::done(key, &done.what);
            }
            stands
        });
    }
}
