//! Settings on real directories; devices and units need more machine than a test has.

use super::*;
use std::path::Path;
use tokio::time::timeout;

/// Only what never comes takes so long.
const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(900);

fn start(settings: &Path) -> (mpsc::Receiver<Event>, watch::Sender<Vec<String>>) {
    let (units, names) = watch::channel(Vec::new());
    (
        super::watch(
            Arc::default(),
            Arc::default(),
            Sources { settings: settings.to_path_buf(), units: names, unfinished: Unfinished::default() },
        ),
        units,
    )
}

/// Plays a story in a namespace of its own, which takes a thread of its own and root.
pub(super) fn alone(namespace: nix::sched::CloneFlags, story: impl AsyncFnOnce() + Send + 'static) {
    let place = std::thread::spawn(move || {
        if let Err(error) = nix::sched::unshare(namespace) {
            // Not tried then: `make test` runs as root.
            assert_eq!(error, nix::errno::Errno::EPERM);
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(story());
    });
    place.join().unwrap();
}

/// The next event about settings; other tests may make device events.
async fn settings(events: &mut mpsc::Receiver<Event>, patience: Duration) -> bool {
    let next = async {
        while let Some(event) = events.recv().await {
            if event == Event::Settings {
                return true;
            }
        }
        false
    };
    timeout(patience, next).await.unwrap_or(false)
}

#[tokio::test]
async fn a_change_is_told_once_and_reading_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let (mut events, _units) = start(directory.path());
    assert!(settings(&mut events, SOON).await, "whatever was written before the watch began");
    assert!(!settings(&mut events, QUIET).await, "nothing happened yet");
    let file = directory.path().join("10-node.toml");
    let mut quiet = 0;
    // On a busy machine the steps of one change may come far apart, and be told twice: then it is tried again.
    for round in 0..12 {
        std::fs::write(&file, format!("round = {round}")).unwrap();
        assert!(settings(&mut events, SOON).await);
        for _ in 0..50 {
            std::fs::read(&file).unwrap();
            std::fs::read_dir(directory.path()).unwrap().for_each(drop);
        }
        if !settings(&mut events, QUIET).await {
            quiet += 1;
        }
        if quiet == 3 {
            break;
        }
        while settings(&mut events, QUIET).await {}
    }
    assert_eq!(quiet, 3, "told once, and reading wakes nobody");
    std::fs::remove_file(&file).unwrap();
    assert!(settings(&mut events, SOON).await);
}

#[tokio::test]
async fn a_directory_that_comes_later_goes_and_comes_again() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("etc/bowline");
    let (mut events, _units) = start(&directory);
    while settings(&mut events, QUIET).await {}
    for _ in 0..2 {
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("a.toml"), "").unwrap();
        assert!(settings(&mut events, SOON).await);
        while settings(&mut events, QUIET).await {}
        std::fs::write(directory.join("b.toml"), "").unwrap();
        assert!(settings(&mut events, SOON).await, "the new directory is watched");
        std::fs::remove_dir_all(above.path().join("etc")).unwrap();
        assert!(settings(&mut events, SOON).await);
        while settings(&mut events, QUIET).await {}
    }
}

#[tokio::test]
async fn a_file_that_is_being_written_is_told_when_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("40-secret.toml");
    std::fs::write(&file, "whole").unwrap();
    let (mut events, _units) = start(directory.path());
    while settings(&mut events, QUIET).await {}
    // As a shell does for `program > FILE`: emptied at once, filled when the program has something to say.
    let mut writing = std::fs::File::create(&file).unwrap();
    assert!(!settings(&mut events, QUIET * 4).await, "longer than what many changes in a row may take");
    std::io::Write::write_all(&mut writing, b"whole again").unwrap();
    assert!(!settings(&mut events, QUIET).await, "it may not be all yet");
    drop(writing);
    assert!(settings(&mut events, SOON).await);
    // An editor's own files are none, however long they stay open.
    let mut swap = std::fs::File::create(directory.path().join(".40-secret.toml.swp")).unwrap();
    std::io::Write::write_all(&mut swap, b"x").unwrap();
    while settings(&mut events, QUIET).await {}
    std::fs::write(&file, "whole").unwrap();
    assert!(settings(&mut events, SOON).await);
    drop(swap);
    // One that is renamed over it, or removed, is nothing that is still to come.
    let mut writing = std::fs::File::create(directory.path().join("new.toml")).unwrap();
    std::io::Write::write_all(&mut writing, b"x").unwrap();
    std::fs::rename(directory.path().join("new.toml"), &file).unwrap();
    assert!(settings(&mut events, SOON).await, "renamed while it was open");
}

/// Writes a file as if it were long ago.
fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

/// As configuration management does that keeps the files elsewhere: no event tells of what is written there.
#[tokio::test(start_paused = true)]
async fn what_links_lead_to_is_looked_at_now_and_then() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("node");
    let place = folder.path().join("config.d");
    put(&target, "one");
    let (unfinished, signal) = (Unfinished::default(), Notify::new());
    let told = || async { timeout(Duration::from_secs(25), signal.notified()).await.is_ok() };
    let story = async {
        assert!(told().await, "what was written before");
        assert!(!told().await, "nothing is a link");
    };
    std::fs::create_dir(&place).unwrap();
    put(&place.join("10-node.toml"), "whole");
    tokio::select! {
        () = super::settings::watch(&place, &unfinished, &signal) => {}
        () = story => {}
    }
    std::os::unix::fs::symlink(&target, place.join("20-more.toml")).unwrap();
    let story = async {
        assert!(told().await, "what was written before");
        assert!(!told().await, "nothing has changed");
        put(&target, "two");
        assert!(told().await);
        std::fs::write(&target, "").unwrap();
        assert!(!told().await, "it may be filled later");
        std::fs::write(&target, "ha").unwrap();
        assert!(!told().await, "it may not be all yet");
        put(&target, "");
        assert!(told().await);
        assert!(!told().await, "it is told once");
        std::fs::remove_file(&target).unwrap();
        assert!(told().await, "it leads nowhere");
    };
    tokio::select! {
        () = super::settings::watch(&place, &unfinished, &signal) => {}
        () = story => {}
    }
    // The folder itself.
    std::fs::remove_file(place.join("20-more.toml")).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("later"), &link).unwrap();
    let story = async {
        assert!(told().await);
        assert!(!told().await, "it leads nowhere yet");
        std::fs::rename(&place, folder.path().join("later")).unwrap();
        assert!(told().await, "what it leads to has come");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        assert!(told().await, "it leads elsewhere");
    };
    tokio::select! {
        () = super::settings::watch(&link, &unfinished, &signal) => {}
        () = story => {}
    }
}
