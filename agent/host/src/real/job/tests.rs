//! The files of jobs, and jobs in threads of this process.

use super::*;
use bowline_ports::{Digest, FetchOrder, ReclaimOrder, Reclaiming, SurveyOrder};
use std::process::ExitCode;

fn order(directory: &Path, content: &[u8]) -> FetchOrder {
    let source = directory.join("source");
    std::fs::write(&source, content).unwrap();
    let digest = fetch::sha256(&source).unwrap().unwrap();
    FetchOrder {
        name: "k3s".into(),
        url: format!("file:{}", source.display()),
        ca_file: None,
        digest: Digest::Pinned(digest),
        to: directory.join("k3s"),
    }
}

/// What their units may besides being root: ARCHITECTURE.md and the reviewers go by it.
#[test]
fn what_each_order_may() {
    const CHOWN: u64 = 1 << 0;
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const FOWNER: u64 = 1 << 3;
    const SYS_PTRACE: u64 = 1 << 19;
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(order(directory.path(), b"").capabilities(), Some(CHOWN | DAC_OVERRIDE | FOWNER));
    let survey = SurveyOrder { directories: Vec::new(), beneath: Vec::new(), share: 10 };
    assert_eq!(survey.capabilities(), Some(DAC_READ_SEARCH | SYS_PTRACE));
    // Whoever makes files decides how much there is to be found.
    let has = |all: Vec<(&str, Variant<'_>)>, limit: &str| all.iter().any(|(name, _)| *name == limit);
    assert!(has(survey.properties(), "LimitDATA"));
    let files = DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER;
    let (older_than, at_most) = (0, 0);
    for (what, may) in [
        (Reclaiming::Journal { keep: 0 }, files),
        (Reclaiming::Images { k3s: None, place: "/x".into(), at_most }, files),
        (Reclaiming::RotatedLogs { patterns: Vec::new(), older_than, at_most }, files | SYS_PTRACE),
        (Reclaiming::PodLogs { ended: Vec::new(), older_than, at_most }, files | SYS_PTRACE),
    ] {
        let order = ReclaimOrder { name: "x".into(), what, record: "/x".into(), spare: "/y".into() };
        assert_eq!(order.capabilities(), Some(may), "{order:?}");
        assert!(has(order.properties(), "MemoryMax"));
    }
}

#[test]
fn names_of_units() {
    assert_eq!(unit_name("mkfs-data"), "bowline-mkfs-data.service");
    assert_eq!(unit_name("mkfs-a/b c"), "bowline-mkfs-a_b_c.service");
}

#[test]
fn the_hidden_subcommand_carries_an_order_out_and_leaves_its_result() {
    let directory = tempfile::tempdir().unwrap();
    let files = JobFiles::at(directory.path().join("jobs"));
    let order = order(directory.path(), b"content");
    let path = files.begin("fetch-k3s", &order).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Verb::Fetch.carry_out(&path), ExitCode::SUCCESS);
    assert_eq!(files.result("fetch-k3s").unwrap(), Some(Outcome::Done));
    assert_eq!(std::fs::read(&order.to).unwrap(), b"content");
    assert_eq!(files.progress("fetch-k3s").unwrap().text, "downloading");

    std::fs::remove_file(directory.path().join("source")).unwrap();
    std::fs::remove_file(&order.to).unwrap();
    assert_eq!(Verb::Fetch.carry_out(&path), ExitCode::FAILURE);
    let Some(Outcome::Failed(error)) = files.result("fetch-k3s").unwrap() else { panic!("a failure") };
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(Verb::Fetch.carry_out(Path::new("/no/such.order.json")), ExitCode::FAILURE);
}

#[tokio::test]
async fn a_job_is_nothing_then_done_and_a_new_order_forgets_the_old_result() {
    let directory = tempfile::tempdir().unwrap();
    let jobs = Jobs::new(directory.path(), Launch::Here);
    let bus = Bus::default();
    assert_eq!(jobs.look(&bus, "fetch-k3s").await.unwrap(), None);
    let good = order(directory.path(), b"content");
    jobs.run(&bus, &good, &Progress::default()).await.unwrap();
    assert_eq!(jobs.look(&bus, "fetch-k3s").await.unwrap(), Some(Job::Done));
    let mut bad = good.clone();
    bad.digest = Digest::Pinned("0".repeat(64));
    let error = jobs.run(&bus, &bad, &Progress::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    let Some(Job::Failed(failed)) = jobs.look(&bus, "fetch-k3s").await.unwrap() else { panic!("a failed job") };
    assert_eq!(failed, error);
    let words = error.in_full();
    assert!(words.contains("wrong checksum") && words.contains("nothing was installed"), "{words}");
}

#[tokio::test]
async fn what_was_seen_under_way_is_not_done_again_when_it_has_ended_since() {
    let directory = tempfile::tempdir().unwrap();
    let jobs = Jobs::new(directory.path(), Launch::Here);
    let (bus, progress) = (Bus::default(), Progress::default());
    let order = order(directory.path(), b"content");
    jobs.files.begin("fetch-k3s", &order).unwrap();
    jobs.here.lock().unwrap().insert("fetch-k3s".into());
    assert!(matches!(jobs.look(&bus, "fetch-k3s").await.unwrap(), Some(Job::Running(_))));

    jobs.files.finish("fetch-k3s", &Ok(())).unwrap();
    jobs.here.lock().unwrap().clear();
    jobs.run(&bus, &order, &progress).await.unwrap();
    assert!(!order.to.exists(), "its result was what was asked for");

    assert_eq!(jobs.look(&bus, "fetch-k3s").await.unwrap(), Some(Job::Done));
    jobs.run(&bus, &order, &progress).await.unwrap();
    assert!(order.to.exists(), "who knows that it is done, and asks again, means it");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_and_does_not_end_gives_its_result_to_nobody_again() {
    let directory = tempfile::tempdir().unwrap();
    let jobs = Jobs::new(directory.path(), Launch::Here);
    let (bus, progress) = (Bus::default(), Progress::default());
    let order = SurveyOrder { share: 100, ..SurveyOrder::default() };
    let earlier = bowline_ports::Survey { at: 7, ..bowline_ports::Survey::default() };
    jobs.files.begin("survey", &order).unwrap();
    jobs.files.put_found("survey", &earlier).unwrap();
    jobs.files.finish("survey", &Ok(())).unwrap();
    jobs.here.lock().unwrap().insert("survey".into());
    let error = jobs.run(&bus, &order, &progress).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert_eq!(error.message, "survey does not end: a disk or a server that it needs does not answer");
    assert_eq!(error.hint.as_deref(), Some("wait for it, or end it: systemctl stop bowline-survey.service"));

    jobs.here.lock().unwrap().clear();
    jobs.run(&bus, &order, &progress).await.unwrap();
    assert_ne!(jobs.found::<SurveyOrder>("survey").unwrap().unwrap().at, 7, "it is measured anew");
}

#[tokio::test]
async fn a_job_without_a_result_was_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let jobs = Jobs::new(directory.path(), Launch::Here);
    jobs.files.begin("fetch-k3s", &order(directory.path(), b"")).unwrap();
    let Some(Job::Failed(error)) = jobs.look(&Bus::default(), "fetch-k3s").await.unwrap() else { panic!("a failure") };
    assert_eq!(error.message, "fetch-k3s was cut off before it had a result");
}

#[test]
fn an_order_to_resume_is_the_same_work() {
    let order = FormatOrder {
        volume: "data".into(),
        device: "/dev/sdb".into(),
        id: bowline_ports::DeviceId { serial: None, size: 1 },
        filesystem: bowline_ports::Filesystem::Xfs,
        mount: "/mnt/data".into(),
        uuid: "u".into(),
        begun: "/b".into(),
        resume: false,
    };
    assert!(order.same(&FormatOrder { resume: true, ..order.clone() }));
    assert!(!order.same(&FormatOrder { uuid: "v".into(), ..order.clone() }));
    assert_eq!(order.job(), "mkfs-data");
}

#[test]
fn progress_is_written_at_a_pace() {
    let directory = tempfile::tempdir().unwrap();
    let files = JobFiles::at(directory.path().to_path_buf());
    let value = |done, text: &str| ProgressValue { done, total: 9, text: text.into() };
    // Tried until a busy machine lets both be told within the pace.
    let writer = (0..100).find_map(|_| {
        let (writer, begin) = (files.progress_writer("x"), Instant::now());
        writer.set(value(1, "a"));
        writer.set(value(2, "a"));
        let swift = begin.elapsed() < Duration::from_millis(250);
        assert!(!swift || files.progress("x").unwrap().done == 1);
        swift.then_some(writer)
    });
    let writer = writer.unwrap();
    writer.set(value(3, "b"));
    assert_eq!(files.progress("x").unwrap().done, 3, "another text is written at once");
    std::thread::sleep(Duration::from_millis(260));
    writer.set(value(4, "b"));
    assert_eq!(files.progress("x").unwrap().done, 4);
}
