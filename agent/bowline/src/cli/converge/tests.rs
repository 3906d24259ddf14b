//! Who waits is answered in time, by whom there is, and told once.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use super::*;
use crate::show::tests::{report as of, step, wait as waits};
use bowline_engine::{CapabilityReport, CapabilityState, Overall, StepReport, WaitReport};
use bowline_host::sim::{SimHost, World};
use bowline_ports::ProgressValue;
use std::path::PathBuf;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

fn capability(state: CapabilityState, steps: Vec<StepReport>, waits: Vec<WaitReport>) -> CapabilityReport {
    CapabilityReport { name: "volumes".into(), state, steps, waits, refusals: vec![], notes: vec![], error: None }
}

/// A step is under way, of whatever.
fn busy() -> Report {
    let running = Some(ProgressValue { done: 0, total: 0, text: String::new() });
    let step = StepReport { running, ..step("volume/other", "check /dev/sdc", "it was not unmounted") };
    of(Overall::Converging, vec![capability(CapabilityState::Working, vec![step], vec![])])
}

fn waiting() -> Report {
    let wait = waits("address", "an address in 10.0.1.0/24", "there is none", 5, None);
    of(Overall::Converging, vec![capability(CapabilityState::Waiting, vec![], vec![wait])])
}

fn stated(mut report: Report) -> Report {
    report.conditions.insert("released/data".into(), "yes".into());
    report
}

fn is_stated(report: &Report) -> bool {
    report.conditions.contains_key("released/data")
}

/// A daemon that says these to each who asks, one after another; the last one again and again.
struct Daemon {
    serving: JoinHandle<()>,
    speaking: JoinHandle<()>,
}

impl Daemon {
    fn start(path: &Path, says: Vec<Report>) -> Self {
        let (asked, mut asks) = mpsc::channel::<control::LookRequest>(1);
        let (publish, reports) = watch::channel((0, String::new()));
        let serving = control::listen(path, asked, reports).unwrap();
        let speaking = tokio::spawn(async move {
            let mut looks = 0;
            loop {
                tokio::select! {
                    Some(heard) = asks.recv() => heard.send(looks).unwrap(),
                    () = sleep(Duration::from_millis(20)) => {
                        let next = usize::try_from(looks).unwrap().min(says.len() - 1);
                        looks += 1;
                        let report = Report { looks, ..says[next].clone() };
                        publish.send((looks, serde_json::to_string(&report).unwrap())).unwrap();
                    }
                }
            }
        });
        Self { serving, speaking }
    }

    /// As the process ends: its connections as well.
    async fn end(self) {
        self.serving.abort();
        self.speaking.abort();
        let _ = (self.serving.await, self.speaking.await);
    }
}

fn socket() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    (folder, path)
}

/// What a command comes to, and what it has written.
async fn followed(path: &Path, wait: Wait<'_>) -> (bool, Report, Option<PortError>, String) {
    let mut out = Vec::new();
    let mut work = Work::new(&wait, show::Progress::new(false), &mut out);
    let over = work.follow(path).await.unwrap();
    let (last, away) = (work.last, work.away);
    (over, last, away, String::from_utf8(out).unwrap())
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_is_under_way_elsewhere_holds_up_nobody_who_waits_for_something_else() {
    let (_folder, path) = socket();
    let daemon = Daemon::start(&path, vec![busy()]);
    let began = Instant::now();
    let (over, last, ..) = followed(&path, Wait::until(&is_stated, SHORT)).await;
    assert!(over && last.looks > 0 && !is_stated(&last));
    assert!(began.elapsed() >= SHORT);
    daemon.end().await;
    let daemon = Daemon::start(&path, vec![busy(), stated(busy())]);
    assert!(is_stated(&followed(&path, Wait::until(&is_stated, LONG)).await.1));
    daemon.end().await;
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_not_waited_for_any_longer() {
    let (_folder, path) = socket();
    let _silent = UnixListener::bind(&path).unwrap();
    let (over, last, ..) = followed(&path, Wait::until(&is_stated, SHORT)).await;
    assert!(over && last.looks == 0);
}

#[tokio::test]
async fn who_applies_waits_for_steps_under_way_and_no_longer_for_others() {
    let (_folder, path) = socket();
    let daemon = Daemon::start(&path, vec![busy(), busy(), waiting()]);
    let (over, last, ..) = followed(&path, Wait::for_all(Duration::ZERO)).await;
    assert_eq!((over, outcome(&last)), (true, Outcome::Waiting));
    daemon.end().await;
}

#[tokio::test]
async fn the_next_daemon_is_asked_and_what_stands_still_is_said_once() {
    let (_folder, path) = socket();
    let first = Daemon::start(&path, vec![waiting()]);
    let restart = async {
        // Long enough for a second question, which is answered alike.
        sleep(AGAIN * 3).await;
        first.end().await;
        sleep(AGAIN * 2).await;
        Daemon::start(&path, vec![waiting(), stated(waiting())])
    };
    let ((over, last, away, said), next) = tokio::join!(followed(&path, Wait::until(&is_stated, LONG)), restart);
    assert!(over && is_stated(&last) && away.is_none());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "waiting for an address in 10.0.1.0/24");
    assert!(lines.len() == 2 && lines[1].ends_with(": it is asked again until the time is over"), "{said}");
    next.end().await;
}

#[tokio::test]
async fn a_daemon_that_ends_for_good_is_told_of_when_the_time_is_over() {
    let (_folder, path) = socket();
    for wait in [Wait::for_all(Duration::ZERO), Wait::until(&is_stated, SHORT)] {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let ends = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Closed with something unread, it would be a reset.
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await.unwrap();
            drop((stream, listener));
        };
        let ((over, last, away, _), ()) = tokio::join!(followed(&path, wait), ends);
        assert!(over && last.looks == 0, "the machine is the daemon's");
        assert!(away.unwrap().message.starts_with("the daemon has ended"));
    }
    // Nobody was there from the first: the lock may be free.
    assert!(!followed(&path, Wait::until(&is_stated, LONG)).await.0);
}

/// A daemon that starts while a command waits gets the machine.
#[tokio::test]
async fn who_waits_with_nothing_under_way_lets_a_daemon_have_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = Lock::take(&path).unwrap();
    let sim = SimHost::new(&World::default());
    sim.put(paths::STATUS, &serde_json::to_string(&of(Overall::Ready, vec![])).unwrap());
    let host: Arc<dyn Change> = Arc::new(sim.clone());
    let mut engine = Engine::new(Vec::new(), "test");
    let starts = Lock::take_within(&path, LONG, |_| {});
    let mut out = Vec::new();
    let wait = Wait::until(&is_stated, LONG);
    let mut work = Work::new(&wait, show::Progress::new(false), &mut out);
    let (over, daemon) = tokio::join!(work.alone(&mut engine, &host, lock, &path), starts);
    assert!(!over && daemon.is_ok());
    let seen: Report = serde_json::from_str(&sim.text(paths::STATUS).unwrap()).unwrap();
    assert_eq!((seen.overall, seen.looks), (Overall::Ready, 0), "what was seen before is no look of who has the lock");
    // Nor does it go on beyond its time.
    let (other, wait) = (folder.path().join("other"), Wait::until(&is_stated, SHORT));
    let mut work = Work::new(&wait, show::Progress::new(false), &mut out);
    assert!(work.alone(&mut engine, &host, Lock::take(&other).unwrap(), &other).await);
    assert!(work.last.looks > 0 && wait.has_ended());
}

#[test]
fn other_settings_than_the_daemons_are_refused() {
    let mut report = Report::default();
    assert!(same_settings(Path::new(paths::SETTINGS), &report).is_ok());
    assert!(same_settings(Path::new("/srv/other"), &report).is_err());
    report.settings.files = vec!["/srv/other/50-node.toml".into()];
    assert!(same_settings(Path::new("/srv/other"), &report).is_ok());
    let error = same_settings(Path::new(paths::SETTINGS), &report).unwrap_err();
    assert!(error.message.starts_with("the daemon applies the settings in /srv/other, not those in /etc/bowline"));
}

#[test]
fn nobody_is_told_that_it_goes_on_where_it_does_not() {
    assert!(by_whether_it_goes_on("it is not", true).contains("Bowline keeps trying"));
    assert!(by_whether_it_goes_on("it is not", false).contains("`systemctl start bowline`"));
}
