//! How often the metadata service is asked: looks come every second while something is waited for, and the service is
//! there for all that runs on the machine. Both hosts keep to it.

use bowline_ports::{MetadataAnswer, MetadataAsk, PortError};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between two requests for a path, at first.
const LEAST: Duration = Duration::from_secs(5);
/// And when the answer was the same again and again.
const MOST: Duration = Duration::from_secs(60);

type Answer = Result<MetadataAnswer, PortError>;

/// The last answer of each path, and when it may be asked for again.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<BTreeMap<String, Last>>);

#[derive(Debug)]
struct Last {
    answer: Answer,
    pause: Duration,
    next: Instant,
}

impl Pace {
    /// The answers to all paths; `now` is asked for those that are due.
    pub(crate) async fn ask<F>(
        &self,
        ask: &MetadataAsk,
        now: impl FnOnce(MetadataAsk) -> F,
    ) -> Result<Vec<MetadataAnswer>, PortError>
    where
        F: Future<Output = Result<Vec<MetadataAnswer>, PortError>>,
    {
        let due: Vec<String> = ask.paths.iter().filter(|path| self.is_due(path)).cloned().collect();
        if !due.is_empty() {
            let answers = now(MetadataAsk { paths: due.clone(), ..ask.clone() }).await;
            for (index, path) in due.into_iter().enumerate() {
                let answer = answers.as_ref().map_err(Clone::clone).map(|all| all.get(index).cloned());
                // One answer a path is the contract of `now`.
                if let Some(answer) = answer.transpose() {
                    self.note(path, answer);
                }
            }
        }
        let known = self.lock();
        ask.paths.iter().filter_map(|path| known.get(path)).map(|last| last.answer.clone()).collect()
    }

    /// As if nothing had ever been asked: a new process.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn is_due(&self, path: &str) -> bool {
        self.lock().get(path).is_none_or(|last| last.next <= Instant::now())
    }

    fn note(&self, path: String, answer: Answer) {
        let now = Instant::now();
        let mut known = self.lock();
        // Asked again after a long time, it begins anew.
        let before = known.get(&path).filter(|last| last.answer == answer && now < last.next + MOST);
        let pause = before.map_or(LEAST, |last| (last.pause * 2).min(MOST));
        known.insert(path, Last { answer, pause, next: now + pause });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::ErrorKind;
    use std::cell::RefCell;
    use tokio::time::advance;

    /// When a path was really asked for, with a look each second, and one answer until the 100th second.
    #[tokio::test(start_paused = true)]
    async fn a_path_is_asked_for_ever_more_rarely_until_its_answer_changes() {
        let pace = Pace::default();
        let ask = MetadataAsk { header: None, token: None, paths: vec!["/id".into()] };
        let begin = Instant::now();
        let times = RefCell::new(Vec::new());
        for second in 0..220 {
            let now = async |ask: MetadataAsk| {
                times.borrow_mut().push(begin.elapsed().as_secs());
                let body = if second < 100 { "old" } else { "new" };
                Ok(ask.paths.iter().map(|_| MetadataAnswer { status: 200, body: body.into() }).collect())
            };
            assert_eq!(pace.ask(&ask, now).await.unwrap().len(), 1);
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(*times.borrow(), [0, 5, 15, 35, 75, 135, 140, 150, 170, 210]);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_remembered_and_other_paths_are_asked_for_all_the_same() {
        let pace = Pace::default();
        let ask = |paths: &[&str]| MetadataAsk {
            header: None,
            token: None,
            paths: paths.iter().map(ToString::to_string).collect(),
        };
        let refused = async |_: MetadataAsk| Err(PortError::new(ErrorKind::Unreachable, "nobody there"));
        let fine = async |ask: MetadataAsk| {
            Ok(ask.paths.into_iter().map(|path| MetadataAnswer { status: 200, body: path }).collect())
        };
        assert_eq!(pace.ask(&ask(&["/a"]), refused).await.unwrap_err().kind, ErrorKind::Unreachable);
        assert_eq!(pace.ask(&ask(&["/a"]), fine).await.unwrap_err().message, "nobody there");
        let bodies = |answers: Vec<MetadataAnswer>| answers.into_iter().map(|one| one.body).collect::<Vec<_>>();
        assert_eq!(bodies(pace.ask(&ask(&["/b"]), fine).await.unwrap()), ["/b"]);
        advance(LEAST).await;
        assert_eq!(bodies(pace.ask(&ask(&["/a", "/b"]), fine).await.unwrap()), ["/a", "/b"]);
        pace.forget();
        assert!(pace.ask(&ask(&["/b"]), refused).await.is_err());
    }
}
