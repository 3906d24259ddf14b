//! Who has the machine, and who is asked for what.

use super::*;
use crate::real::given_back::given_back;

#[test]
fn one_holder_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    assert!(!Lock::is_held(&path));
    let lock = Lock::take(&path).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "whoever may read it may hold it");
    assert!(Lock::is_held(&path));
    assert_eq!(Lock::take(&path).err().unwrap().kind, ErrorKind::Busy);
    drop(lock);
    given_back("it is held", || !Lock::is_held(&path));
}

#[tokio::test]
async fn who_has_the_lock_is_given_time_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = Lock::take(&path).unwrap();
    let mut told = 0;
    let late = Lock::take_within(&path, Duration::from_millis(150), |_| told += 1).await;
    assert_eq!((late.err().map(|error| error.kind), told), (Some(ErrorKind::Busy), 1));
    given_back("it is wanted", || !Lock::is_wanted(&path));
    let begun = tokio::sync::Notify::new();
    let waits = Lock::take_within(&path, Duration::from_secs(60), |_| begun.notify_one());
    let gives = async {
        begun.notified().await;
        while !Lock::is_wanted(&path) {
            tokio::time::sleep(TAKE_AGAIN).await;
        }
        held.give(&path).await.err().map(|error| error.kind)
    };
    let (taken, given) = tokio::join!(waits, gives);
    assert_eq!((taken.is_ok(), given), (true, Some(ErrorKind::Busy)));
}

#[test]
fn only_a_writing_flock_on_that_very_file_counts() {
    let device = nix::sys::stat::makedev(0x103, 0x19);
    let held = |line: &str| lists(line, device, 1234);
    assert!(held("3: POSIX  ADVISORY  READ 7 00:19:9 0 EOF\n1: FLOCK  ADVISORY  WRITE 812 103:19:1234 0 EOF\n"));
    assert!(held("1: FLOCK  ADVISORY  WRITE 812 103:19:1234 0 EOF"));
    for other in ["1: FLOCK  ADVISORY  READ 812", "1: -> FLOCK  ADVISORY  WRITE 812", "1: POSIX  ADVISORY  WRITE 812"] {
        assert!(!held(&format!("{other} 103:19:1234 0 EOF")), "{other}");
    }
    assert!(!held("1: FLOCK  ADVISORY  WRITE 812 103:19:12345 0 EOF"));
    assert!(!held("1: FLOCK  ADVISORY  WRITE 812 03:19:1234 0 EOF"));
}

#[tokio::test]
async fn a_command_asks_and_gets_reports_of_looks_that_began_after_it_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (asked, mut asks) = mpsc::channel(1);
    let (publish, reports) = watch::channel((6, String::from("old")));
    let server = listen(&path, asked, reports).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut answers = ask_apply(&path).await.unwrap();
    let heard = asks.recv().await.unwrap();
    publish.send((7, "under way when it asked".into())).unwrap();
    heard.send(7).unwrap();
    tokio::task::yield_now().await;
    publish.send((8, "new".into())).unwrap();
    assert_eq!(answers.next().await.unwrap().as_deref(), Some("new"));
    // One that is there before the question's own answer is read is not lost.
    let mut answers = ask_apply(&path).await.unwrap();
    let heard = asks.recv().await.unwrap();
    heard.send(8).unwrap();
    publish.send((9, "at once".into())).unwrap();
    assert_eq!(answers.next().await.unwrap().as_deref(), Some("at once"));
    server.abort();
}

/// Of a command and a daemon one may be older: each takes the word of the other that it knows.
#[tokio::test]
async fn who_asks_again_only_has_the_daemon_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (asked, mut asks) = mpsc::channel(1);
    let (publish, reports) = watch::channel((0, String::new()));
    let server = listen(&path, asked, reports).unwrap();
    for (looks, words) in [(1, "apply\n"), (2, "again\napply\n"), (3, "unheard of\napply\n")] {
        let mut answers = match looks {
            1 => ask_apply(&path).await.unwrap(),
            2 => ask_again(&path).await.unwrap(),
            _ => ask(&path, words.into()).await.unwrap(),
        };
        let heard = asks.recv().await.unwrap();
        assert_eq!(heard.tries, looks != 2, "{words}");
        heard.send(looks - 1).unwrap();
        publish.send((looks, format!("look {looks}"))).unwrap();
        let mut said = Vec::new();
        while said.last() != Some(&format!("look {looks}")) {
            said.push(answers.next().await.unwrap().unwrap());
        }
        assert_eq!(said.len(), if looks == 3 { 2 } else { 1 }, "{said:?}");
        assert!(asks.try_recv().is_err(), "one question is one");
    }
    server.abort();
}

#[tokio::test]
async fn one_command_too_many_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (asked, mut asks) = mpsc::channel(PLACES);
    let (publish, reports) = watch::channel((0, String::new()));
    let server = listen(&path, asked, reports).unwrap();
    let mut others = Vec::new();
    for _ in 0..PLACES {
        others.push((ask_apply(&path).await.unwrap(), asks.recv().await.unwrap()));
    }
    for _ in 0..3 {
        let error = ask_apply(&path).await.unwrap().next().await.unwrap_err();
        assert_eq!((error.kind, error.hint.is_some()), (ErrorKind::Busy, true));
        assert_eq!(error.message, "the daemon is asked by 8 other commands already");
    }
    for (mut answers, heard) in others {
        heard.send(0).unwrap();
        publish.send((1, "there".into())).unwrap();
        assert_eq!(answers.next().await.unwrap().as_deref(), Some("there"));
    }
    server.abort();
}

#[test]
fn only_who_may_not_is_told_to_be_root() {
    let hint = |error| not_opened(Path::new("/run/bowline/lock"), &std::io::Error::from(error)).hint;
    for error in [nix::errno::Errno::EACCES, nix::errno::Errno::EPERM] {
        assert_eq!(hint(error).as_deref(), Some("run it as root"));
    }
    for error in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EROFS] {
        assert_eq!(hint(error), None);
    }
}
