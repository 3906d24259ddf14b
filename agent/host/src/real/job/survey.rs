//! A survey: how large directories are, what lies beneath mount points, what was deleted and is still open.
//!
//! - `open`: files that were deleted and are still open; `fit`: an answer that is not too long to be read.

mod fit;
mod open;

use super::super::unix_now;
use super::{Order, Report, Verb};
use bowline_ports::{
    Beneath, Deleted, DirectorySize, Hidden, Measured, Part, PortError, ProgressValue, Survey, SurveyOrder,
    SurveyedDirectory, path_text,
};
use bowline_usage::{ANSWER, Control, Problems, Request, SILENCE, ScanError, Size, Threads, Tree, scan};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use zbus::wire::Variant;

/// Where the unit sees a filesystem without what is mounted on it, by the number of its mount in the order.
const UNDER: &str = "/run/bowline-under";
/// `DAC_READ_SEARCH` and `SYS_PTRACE`: to read directories of others, and which files their processes have open.
const READ_ONLY: u64 = 1 << 2 | 1 << 19;
/// Directories told apart in one answer, at most.
const PARTS: usize = 500;
/// For the files that are open: its budget of processor time (`open`), where others leave little of it.
const OPEN: Duration = Duration::from_secs(600);

impl Order for SurveyOrder {
    const VERB: Verb = Verb::Survey;
    const REPLACED: bool = true;
    type Found = Survey;

    fn job(&self) -> String {
        Self::JOB.into()
    }

    fn description(&self) -> String {
        "Bowline: measures directories".into()
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn capabilities(&self) -> Option<u64> {
        Some(READ_ONLY)
    }

    fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        let text = |path: &Path| path.to_str().map(str::to_owned);
        // What D-Bus has no text for is not looked beneath.
        let under = parents(&self.beneath).into_iter().enumerate().filter_map(|(number, parent)| {
            // Optional: a mount that is gone by now is no reason not to measure the rest. Without what is mounted on it.
            Some((text(&parent)?, text(&under(number))?, true, 0_u64))
        });
        vec![
            ("BindReadOnlyPaths", Variant::from(under.collect::<Vec<_>>())),
            ("ProtectSystem", Variant::from("strict")),
            ("ReadWritePaths", Variant::from(vec!["/run/bowline"])),
            ("PrivateNetwork", Variant::from(true)),
            ("CPUSchedulingPolicy", Variant::from(SCHED_IDLE)),
            ("IOSchedulingClass", Variant::from(IO_IDLE)),
            ("Nice", Variant::from(19)),
            // Whoever has to end is ended at once: nothing is lost by it.
            ("TimeoutStopUSec", Variant::from(1_000_000_u64)),
            ("OOMScoreAdjust", Variant::from(500)),
            ("RuntimeMaxUSec", Variant::from(LONGEST_MICROSECONDS)),
            ("LimitDATA", Variant::from(MEMORY)),
        ]
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<Survey, PortError> {
        Ok(survey(self, &unix_now, report))
    }
}

/// The kernel's number of a scheduling policy that takes what others leave.
const SCHED_IDLE: i32 = 5;
/// And of a disk's.
const IO_IDLE: i32 = 3;

/// Microseconds, a day: a small share of a processor and a slow disk take hours for millions of files, and whoever is at it for
/// longer waits for something that does not answer. It counts as failed then.
const LONGEST_MICROSECONDS: u64 = 86_400_000_000;

/// Bytes, where five million are usual: others decide what there is to be found. Only its own memory counts: of a cgroup's also the
/// kernel's would, of each file that it looked at, and the next survey would have to read all of them from the disk again.
const MEMORY: u64 = 256 << 20;

fn under(number: usize) -> PathBuf {
    Path::new(UNDER).join(number.to_string())
}

/// The mounts whose directories are hidden by others, each once.
fn parents(beneath: &[Beneath]) -> Vec<PathBuf> {
    let mut all: Vec<_> = beneath.iter().map(|one| one.parent.clone()).collect();
    all.sort();
    all.dedup();
    all
}

fn survey(order: &SurveyOrder, now: &dyn Fn() -> i64, report: Report<'_>) -> Survey {
    let total = order.directories.len();
    let mut found = Survey::default();
    for (number, directory) in order.directories.iter().enumerate() {
        let (done, total) = (number.try_into().unwrap_or(0), total.try_into().unwrap_or(0));
        report(ProgressValue { done, total, text: format!("measuring {}", directory.path.display()) });
        found.directories.extend(measure(directory, order.share));
    }
    let parents = parents(&order.beneath);
    for one in &order.beneath {
        let place = parents.iter().position(|parent| *parent == one.parent).map(under);
        found.hidden.extend(place.and_then(|place| hidden(one, &place, order.share)));
    }
    (found.deleted, found.deleted_trouble) = deleted(|| open::deleted(Path::new("/proc")), OPEN);
    found.at = now();
    fit::fit(&mut found, fit::MOST);
    found
}

/// What others have open decides how long this takes, and it may be on what does not answer: on a thread of its own, the directories
/// are told all the same.
fn deleted(look: fn() -> (Vec<Deleted>, String), longest: Duration) -> (Vec<Deleted>, String) {
    let (said, hears) = std::sync::mpsc::channel();
    match Builder::new().spawn(move || said.send(look())) {
        Ok(_) => hears.recv_timeout(longest).unwrap_or_else(|_| {
            (Vec::new(), format!("that came to no end within {} s: something did not answer", longest.as_secs()))
        }),
        Err(error) => (Vec::new(), ScanError::Thread(error).to_string()),
    }
}

/// Whether anything is said of a path, by a thread of its own: one that hangs goes with this unit.
fn answers(path: &Path) -> std::io::Result<bool> {
    let (said, hears) = std::sync::mpsc::channel();
    let path = path.to_path_buf();
    Builder::new().spawn(move || said.send(std::fs::symlink_metadata(path).is_ok()))?;
    Ok(hears.recv_timeout(ANSWER).is_ok())
}

/// The scan of a unit that is idle already.
fn request(path: &Path, depth: u8, share: u8) -> Request {
    Request {
        depth: depth.into(),
        directories: PARTS,
        threads: Threads::One,
        idle: true,
        share: Some(f64::from(share.max(1)) / 100.0),
        ..Request::of(path)
    }
}

/// `None` where there is no such directory and nobody named it: distributions have it or not.
fn measure(directory: &SurveyedDirectory, share: u8) -> Option<Measured> {
    let path = &directory.path;
    let trouble = match answers(path) {
        Ok(true) => None,
        Ok(false) => Some(format!("its filesystem has not answered within {} s", ANSWER.as_secs())),
        Err(error) => Some(ScanError::Thread(error).to_string()),
    };
    if let Some(trouble) = trouble {
        return Some(Measured { path: path.clone(), trouble, ..Measured::default() });
    }
    match watched(request(path, directory.depth, share), SILENCE, scan) {
        None => {
            let trouble = format!("its filesystem stopped answering: nothing came for {} s", SILENCE.as_secs());
            Some(Measured { path: path.clone(), trouble, ..Measured::default() })
        }
        Some(Ok(tree)) => Some(measured(path, &tree)),
        Some(Err(ScanError::Root { error, .. })) if error.kind() == std::io::ErrorKind::NotFound => {
            let trouble = "there is no such directory".to_owned();
            directory.named.then(|| Measured { path: path.clone(), trouble, ..Measured::default() })
        }
        Some(Err(error)) => Some(Measured { path: path.clone(), trouble: error.to_string(), ..Measured::default() }),
    }
}

/// A scan on a thread of its own; `None` when it finds nothing more for so long: a server that is gone in the midst of it. The
/// thread ends with this unit then.
fn watched(request: Request, silence: Duration, scan: Scan) -> Option<Result<Tree, ScanError>> {
    let control = Arc::new(Control::new());
    let (said, hears) = std::sync::mpsc::channel();
    let seen = Arc::clone(&control);
    if let Err(error) = Builder::new().spawn(move || said.send(scan(&request, &control)).is_ok()) {
        return Some(Err(ScanError::Thread(error)));
    }
    loop {
        let before = seen.names();
        match hears.recv_timeout(silence) {
            Ok(found) => return Some(found),
            Err(_) if seen.names() == before => return None,
            Err(_) => {}
        }
    }
}

/// How [`bowline_usage::scan`] is called.
type Scan = fn(&Request, &Control) -> Result<Tree, ScanError>;

fn measured(path: &Path, tree: &Tree) -> Measured {
    let parts = tree.directories.iter().enumerate().skip(1).map(|(index, one)| Part {
        // For series and pages, in which two names may not become one.
        path: path_text(&tree.path(index)).into(),
        depth: u8::try_from(one.depth).unwrap_or(u8::MAX),
        size: size(one.size),
    });
    Measured {
        path: path.to_path_buf(),
        real: tree.real.clone(),
        size: Some(size(tree.size())),
        parts: parts.collect(),
        left_out: tree.left_out,
        seconds: tree.took.as_secs_f64(),
        trouble: trouble(&tree.problems),
    }
}

fn size(size: Size) -> DirectorySize {
    DirectorySize { allocated: size.allocated, apparent: size.apparent, inodes: size.inodes }
}

/// What could not be read; what vanished meanwhile, or is mounted beneath, is as it should be.
fn trouble(problems: &Problems) -> String {
    let twice = match problems.not_remembered {
        0 => None,
        many => Some(format!(
            "{many} names of files with several names may be counted twice: there are too many to remember"
        )),
    };
    let unread = (problems.unreadable > 0).then(|| unread(problems));
    [unread, twice].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn unread(problems: &Problems) -> String {
    let first = problems.first.iter().find_map(|one| Some((fit::short(&one.path), one.error.as_ref()?)));
    let example = first.map(|(path, error)| format!(", such as {path}: {error}")).unwrap_or_default();
    format!("{} could not be read{example}", problems.unreadable)
}

/// `None` where it cannot be told: the filesystem beneath is not to be seen here.
fn hidden(beneath: &Beneath, place: &Path, share: u8) -> Option<Hidden> {
    let within = beneath.mount_point.strip_prefix(&beneath.parent).ok()?;
    let directory = place.join(within);
    let tree = watched(request(&directory, 0, share), SILENCE, scan)?.ok()?;
    let own = std::os::unix::fs::MetadataExt::blocks(&std::fs::symlink_metadata(&directory).ok()?) * 512;
    Some(Hidden { mount_point: beneath.mount_point.clone(), bytes: tree.size().allocated.saturating_sub(own) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn quiet(_: ProgressValue) {}

    #[test]
    fn directories_with_their_parts_and_without_those_that_are_not_there() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("images/layers")).unwrap();
        fs::write(place.path().join("images/layers/one"), vec![1; 100_000]).unwrap();
        let of = |path: PathBuf, depth, named| SurveyedDirectory { path, depth, named };
        let (not_there, a_typo) = (of("/no/such/place".into(), 0, false), of("/no/such/typo".into(), 0, true));
        let order = SurveyOrder {
            directories: vec![of(place.path().into(), 1, true), not_there, a_typo],
            share: 100,
            ..SurveyOrder::default()
        };
        let found = survey(&order, &|| 7, &quiet);
        assert_eq!(found.at, 7);
        let [one, typo] = &found.directories[..] else { panic!("{found:#?}") };
        assert_eq!((typo.size, typo.trouble.as_str()), (None, "there is no such directory"));
        let whole = one.size.unwrap();
        assert_eq!((one.path.as_path(), whole.inodes, whole.apparent), (place.path(), 4, 100_000));
        assert!(whole.allocated >= 100_000 && one.trouble.is_empty(), "{one:?}");
        let parts: Vec<_> = one.parts.iter().map(|part| (part.path.clone(), part.depth, part.size.inodes)).collect();
        assert_eq!(parts, [(place.path().join("images"), 1, 3)]);
    }

    #[test]
    fn more_parts_than_are_told_apart_are_counted() {
        let place = tempfile::tempdir().unwrap();
        let directories = vec![SurveyedDirectory { path: place.path().into(), depth: 1, named: true }];
        (0..PARTS + 3).for_each(|number| fs::create_dir(place.path().join(number.to_string())).unwrap());
        let found = survey(&SurveyOrder { directories, share: 100, ..SurveyOrder::default() }, &|| 7, &quiet);
        let [one] = &found.directories[..] else { panic!("{found:#?}") };
        let inodes = u64::try_from(PARTS).unwrap() + 4;
        assert_eq!((one.parts.len(), one.left_out, one.size.unwrap().inodes), (PARTS - 1, 4, inodes));
    }

    #[test]
    fn a_linked_directory_says_where_it_really_is() {
        let place = tempfile::tempdir().unwrap();
        let (real, link) = (place.path().canonicalize().unwrap().join("real"), place.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let directories = [&link, &place.path().join("no")].map(|path| SurveyedDirectory {
            path: path.clone(),
            depth: 0,
            named: true,
        });
        let found = survey(&SurveyOrder { directories: directories.into(), ..SurveyOrder::default() }, &|| 7, &quiet);
        let [one, missing] = &found.directories[..] else { panic!("{found:#?}") };
        assert_eq!((one.path.as_path(), one.place()), (link.as_path(), real.as_path()));
        assert_eq!(missing.place(), place.path().join("no"));
    }

    #[test]
    fn what_lies_beneath_a_mount_point_is_counted_without_the_directory_itself() {
        let place = tempfile::tempdir().unwrap();
        let beneath = Beneath { mount_point: "/mnt/data".into(), parent: "/".into() };
        fs::create_dir_all(place.path().join("mnt/data")).unwrap();
        assert_eq!(hidden(&beneath, place.path(), 100).unwrap().bytes, 0);
        fs::write(place.path().join("mnt/data/lost"), vec![1; 50_000]).unwrap();
        assert!(hidden(&beneath, place.path(), 100).unwrap().bytes >= 50_000);
        assert_eq!(hidden(&Beneath { parent: "/other".into(), ..beneath }, place.path(), 100), None);
    }

    #[test]
    fn a_scan_that_finds_nothing_more_is_given_up_and_one_that_goes_on_is_not() {
        let place = tempfile::tempdir().unwrap();
        let wanted = || request(place.path(), 0, 100);
        assert!(watched(wanted(), Duration::from_secs(20), scan).is_some_and(|found| found.is_ok()));
        let hangs: Scan = |_, _| loop {
            std::thread::park();
        };
        assert!(watched(wanted(), Duration::from_millis(100), hangs).is_none());
    }

    #[test]
    fn open_files_that_come_to_no_end_lose_no_directory() {
        let (found, trouble) = deleted(|| (vec![Deleted::default()], String::new()), Duration::from_secs(20));
        assert_eq!((found.len(), trouble.as_str()), (1, ""));
        let hangs = || loop {
            std::thread::park();
        };
        let (found, trouble) = deleted(hangs, Duration::from_millis(100));
        assert!(found.is_empty() && trouble.contains("no end"), "{trouble}");
    }

    #[test]
    fn names_of_any_bytes_come_through_the_files_of_the_job() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        for name in [&b"caf\xe9"[..], b"caf\xff", b"plain"] {
            fs::create_dir_all(root.join(OsStr::from_bytes(name))).unwrap();
        }
        let at = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let order = SurveyOrder {
            directories: vec![SurveyedDirectory { path: root.clone(), depth: 1, named: true }],
            beneath: vec![Beneath { mount_point: at(b"/mnt/\xff/x"), parent: at(b"/mnt/\xff") }],
            share: 100,
        };
        assert!(order.properties().iter().all(|(_, value)| !format!("{value:?}").contains('\u{fffd}')));
        let files = super::super::job_files::JobFiles::at(place.path().join("jobs"));
        files.begin(SurveyOrder::JOB, &order).unwrap();
        assert_eq!(files.order::<SurveyOrder>(SurveyOrder::JOB).unwrap().unwrap(), order);
        let mut found = survey(&order, &|| 7, &quiet);
        found.hidden = vec![Hidden { mount_point: at(b"/mnt/\xff/x"), bytes: 1 }];
        files.put_found(SurveyOrder::JOB, &found).unwrap();
        assert_eq!(files.found::<Survey>(SurveyOrder::JOB).unwrap().unwrap(), found);
        let mut names: Vec<_> = found.directories[0].parts.iter().map(|part| part.path.to_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, [r"caf\xe9", r"caf\xff", "plain"].map(|name| format!("{}/{name}", root.display())));
    }

    #[test]
    fn what_a_sum_may_lack_or_have_twice_is_told() {
        let of = |unreadable, not_remembered| trouble(&Problems { unreadable, not_remembered, ..Problems::default() });
        let twice = "5 names of files with several names may be counted twice: there are too many to remember";
        assert_eq!([of(0, 0), of(3, 0), of(0, 5)], ["", "3 could not be read", twice]);
        assert_eq!(of(3, 5), format!("3 could not be read; {twice}"));
    }

    #[test]
    fn mounts_that_hide_directories_are_shown_once_each() {
        let of = |at: &str, parent: &str| Beneath { mount_point: at.into(), parent: parent.into() };
        let all = [of("/mnt/a", "/"), of("/mnt/a/b", "/mnt/a"), of("/mnt/c", "/")];
        assert_eq!(parents(&all), [PathBuf::from("/"), PathBuf::from("/mnt/a")]);
    }
}
