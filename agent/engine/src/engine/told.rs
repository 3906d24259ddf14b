//! What the journal is told of as done. Who is asked each second for what is waited for is told of once, and at the end.

use super::Key;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Told(BTreeMap<Key, Done>);

struct Done {
    what: String,
    /// It was done again since, and not told.
    again: bool,
}

impl Told {
    /// It was done; `repeats`: it may be repeated while its item waits. What is to be told.
    pub(super) fn done(&mut self, key: &Key, what: &str, repeats: bool) -> Vec<String> {
        if let Some(done) = self.0.get_mut(key).filter(|done| repeats && done.what == what) {
            done.again = true;
            return Vec::new();
        }
        let before = self.0.insert(key.clone(), Done { what: what.to_owned(), again: false });
        before.filter(|done| done.again).map(|done| done.what).into_iter().chain([what.to_owned()]).collect()
    }

    /// Forgets the items at which nothing is done or waited for any more. What is to be told.
    pub(super) fn ended(&mut self, stands: impl Fn(&Key) -> bool) -> Vec<(Key, String)> {
        let ended = self.0.extract_if(.., |key, _| !stands(key));
        ended.filter(|(_, done)| done.again).map(|(key, done)| (key, done.what)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_told_once_and_at_the_end() {
        let key: Key = ("join", "join".into());
        let mut told = Told::default();
        assert_eq!(told.done(&key, "ask", true), ["ask"]);
        assert!(told.done(&key, "ask", true).is_empty() && told.done(&key, "ask", true).is_empty());
        assert_eq!(told.done(&key, "stop", true), ["ask", "stop"], "the one that counted, in front of what came of it");
        assert!(told.ended(|_| true).is_empty());
        assert!(told.done(&key, "stop", true).is_empty());
        assert_eq!(told.ended(|_| false), [(key.clone(), "stop".to_owned())]);
        assert!(told.ended(|_| false).is_empty());
        for _ in 0..2 {
            assert_eq!(told.done(&key, "restart", false), ["restart"], "each one");
        }
    }
}
