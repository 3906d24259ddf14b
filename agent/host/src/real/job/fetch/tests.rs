//! Downloads from a web server with faults, in this process, over real TLS.

mod server;

use super::*;
use server::{Reply, Server};
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longer than a busy machine makes anybody wait: where one has to run out, the test shortens it, or lets time pass.
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(20), stall: Duration::from_secs(20), total: Duration::from_secs(300) };

struct Bench {
    server: Server,
    directory: tempfile::TempDir,
    said: Mutex<Vec<ProgressValue>>,
}

impl Bench {
    async fn new(replies: &[(&'static str, Reply)]) -> Self {
        Self { server: Server::start(replies).await, directory: tempfile::tempdir().unwrap(), said: Mutex::default() }
    }

    fn order(&self, path: &str, digest: Digest) -> FetchOrder {
        FetchOrder {
            name: "k3s".into(),
            url: self.server.url(path),
            ca_file: Some(self.server.ca_file().to_path_buf()),
            digest,
            to: self.directory.path().join("new/bin/k3s"),
        }
    }

    async fn fetch(&self, order: &FetchOrder) -> Result<(), PortError> {
        let result = fetch(order, LIMITS, &|value| self.said.lock().unwrap().push(value)).await;
        assert!(!part_path(order).exists(), "no part is left behind");
        assert_eq!(order.to.exists(), result.is_ok(), "a file is there exactly when it is right");
        result
    }

    async fn error(&self, path: &str) -> PortError {
        self.fetch(&self.order(path, pinned(b"whatever"))).await.unwrap_err()
    }
}

fn digest(content: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(content);
    hex(digest)
}

fn pinned(content: &[u8]) -> Digest {
    Digest::Pinned(digest(content))
}

fn binary() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

#[tokio::test]
async fn a_file_arrives_verified_executable_and_with_progress() {
    let bench = Bench::new(&[("/k3s", Reply::File(binary()))]).await;
    let order = bench.order("/k3s", pinned(&binary()));
    bench.fetch(&order).await.unwrap();
    assert_eq!(std::fs::read(&order.to).unwrap(), binary());
    assert_eq!(std::fs::metadata(&order.to).unwrap().permissions().mode() & 0o7777, 0o755);
    let said = bench.said.lock().unwrap();
    let last = said.last().unwrap();
    assert_eq!((last.done, last.total, last.text.as_str()), (12_000_000, 12_000_000, "downloading"));
    assert!(said.windows(2).filter(|w| w[1].text == "downloading").all(|w| w[0].done <= w[1].done));
}

#[tokio::test]
async fn the_releases_own_checksum_file_counts() {
    let sums = format!("{}  k3s-arm64\n{}  k3s\n", digest(b"other"), digest(b"content").to_uppercase());
    let replies =
        [("/k3s", Reply::File(b"content".to_vec())), ("/sha256sum-amd64.txt", Reply::File(sums.into_bytes()))];
    let bench = Bench::new(&replies).await;
    let from = |name: &str| Digest::File { url: bench.server.url("/sha256sum-amd64.txt"), name: name.into() };
    bench.fetch(&bench.order("/k3s", from("k3s"))).await.unwrap();
    let error = fetch(&bench.order("/k3s", from("k3s-s390x")), LIMITS, &|_| {}).await.unwrap_err();
    assert!(error.message.ends_with("/sha256sum-amd64.txt has no SHA-256 of k3s-s390x"), "{error}");
}

#[tokio::test]
async fn what_is_there_already_is_not_fetched_again() {
    let bench = Bench::new(&[]).await;
    let order = bench.order("/never-asked", pinned(b"content"));
    files::write(&order.to, b"content", 0o755).unwrap();
    bench.fetch(&order).await.unwrap();
}

#[tokio::test]
async fn a_wrong_checksum_shows_both_and_replaces_nothing() {
    let bench = Bench::new(&[("/k3s", Reply::File(b"evil".to_vec()))]).await;
    let error = bench.error("/k3s").await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains(&digest(b"evil")) && error.message.contains(&digest(b"whatever")), "{error}");
    assert!(error.hint.is_some());

    let order = bench.order("/k3s", pinned(b"whatever"));
    files::write(&order.to, b"the old one", 0o755).unwrap();
    fetch(&order, LIMITS, &|_| {}).await.unwrap_err();
    assert_eq!(std::fs::read(&order.to).unwrap(), b"the old one");
}

#[tokio::test]
async fn a_truncated_download_says_how_far_it_came() {
    let bench = Bench::new(&[("/k3s", Reply::Truncated(vec![7; 1000], 5000))]).await;
    let error = bench.error("/k3s").await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("was cut off after 1000 B of 4.9 KiB"), "{error}");
}

#[tokio::test]
async fn a_hanging_download_says_where() {
    let bench = Bench::new(&[("/k3s", Reply::Hanging(vec![7; 12 << 20], 70 << 20))]).await;
    let order = bench.order("/k3s", pinned(b"whatever"));
    // All of it has come: what is waited for from now on passes at once.
    let hangs = AtomicBool::new(false);
    let report = |value: ProgressValue| {
        if value.done == 12 << 20 && !hangs.swap(true, Ordering::SeqCst) {
            tokio::time::pause();
        }
    };
    let error = fetch(&order, LIMITS, &report).await.unwrap_err();
    assert!(hangs.load(Ordering::SeqCst), "{error}");
    tokio::time::resume();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(error.message.contains("no data for 20 s after 12 MiB of 70 MiB from localhost"), "{error}");
    assert!(!part_path(&order).exists() && !order.to.exists());

    let bench = Bench::new(&[("/k3s", Reply::Silent)]).await;
    let order = bench.order("/k3s", pinned(b"whatever"));
    let limits = Limits { stall: Duration::from_millis(300), ..LIMITS };
    let error = fetch(&order, limits, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(error.message.contains("no answer for 0 s"), "{error}");
    assert!(!part_path(&order).exists() && !order.to.exists());
}

#[tokio::test]
async fn a_missing_file_asks_whether_that_version_exists() {
    let bench = Bench::new(&[]).await;
    let error = bench.error("/v1.99.0%2Bk3s1/k3s?token=secret").await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("/v1.99.0%2Bk3s1/k3s: HTTP 404 Not Found"), "{error}");
    assert!(error.hint.unwrap().contains("does that version exist"));
    assert!(!error.message.contains("secret"));
}

#[tokio::test]
async fn redirections_are_followed_but_never_out_of_tls_nor_for_ever() {
    let replies = [
        ("/a", Reply::Redirect("/b?signature=x".into())),
        ("/b?signature=x", Reply::Redirect("c".into())),
        ("/c", Reply::File(b"content".to_vec())),
        ("/plain", Reply::Redirect("http://localhost:1/k3s".into())),
        ("/loop", Reply::Redirect("/loop".into())),
    ];
    let bench = Bench::new(&replies).await;
    bench.fetch(&bench.order("/a", pinned(b"content"))).await.unwrap();
    std::fs::remove_file(bench.directory.path().join("new/bin/k3s")).unwrap();
    let error = bench.error("/plain").await;
    assert!(error.message.contains("leads from https to http"), "{error}");
    let error = bench.error("/loop").await;
    assert!(error.message.contains("more than 10 redirections"), "{error}");
}

#[tokio::test]
async fn an_unknown_name_and_a_closed_port_are_unreachable() {
    let bench = Bench::new(&[]).await;
    let mut order = bench.order("/k3s", pinned(b""));
    order.url = "https://no-such-host.invalid/k3s".into();
    let error = bench.fetch(&order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.starts_with("the name no-such-host.invalid cannot be resolved"), "{error}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    order.url = format!("https://{closed}/k3s");
    let error = bench.fetch(&order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.starts_with(&format!("no connection to {closed}: ")), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_a_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = Bench::new(&[]).await;
    let mut order = bench.order("/k3s", pinned(b""));
    order.url = format!("https://{}/k3s", silent.local_addr().unwrap());
    let limits = Limits { connect: Duration::from_millis(200), ..LIMITS };
    let error = fetch(&order, limits, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(error.message.starts_with("no connection to 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn certificates_out_of_their_time_tell_the_clock() {
    for (from, to, words) in [(2001, 2002, "has expired"), (2101, 2102, "is not valid yet")] {
        let mut bench = Bench::new(&[]).await;
        bench.server = Server::with_years(&[], from, to).await;
        let error = bench.error("/k3s").await;
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(words) && error.message.contains("this machine's clock says"), "{error}");
        assert!(error.hint.unwrap().contains("timedatectl"));
    }
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_and_a_bad_ca_file() {
    let bench = Bench::new(&[("/k3s", Reply::File(Vec::new()))]).await;
    let stranger = Bench::new(&[]).await;
    let mut order = bench.order("/k3s", pinned(b""));
    order.ca_file = Some(stranger.server.ca_file().to_path_buf());
    let error = bench.fetch(&order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("an authority that is not trusted here"), "{error}");

    order.ca_file = Some("/no/such/ca.pem".into());
    let error = bench.fetch(&order).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.starts_with("reading the CA file /no/such/ca.pem"), "{error}");

    let empty = bench.directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    order.ca_file = Some(empty);
    assert!(bench.fetch(&order).await.unwrap_err().message.contains("has no certificate in it"));
}

#[tokio::test]
async fn what_is_far_too_large_or_never_ends_is_given_up() {
    let replies = [("/k3s", Reply::Truncated(b"begin".to_vec(), 2 << 30)), ("/slow", Reply::Hanging(Vec::new(), 100))];
    let bench = Bench::new(&replies).await;
    let error = bench.error("/k3s").await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.ends_with("/k3s: more than 1 GiB, so not K3s"), "{error}");

    let order = bench.order("/slow", pinned(b"whatever"));
    let limits = Limits { total: Duration::from_millis(100), ..LIMITS };
    let error = fetch(&order, limits, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(error.message.contains("/slow: not complete after"), "{error}");
    assert!(!part_path(&order).exists());
}

#[tokio::test]
async fn a_clock_far_from_the_servers_is_told() {
    let date = "Thu, 01 Jan 2004 00:00:00 GMT";
    let replies = [("/k3s", Reply::Dated(b"content".to_vec(), date)), ("/no", Reply::Dated(b"no".to_vec(), date))];
    let bench = Bench::new(&replies).await;
    let error = bench.error("/no").await;
    assert!(error.hint.unwrap().contains("ahead of that of localhost"));
    bench.fetch(&bench.order("/k3s", pinned(b"content"))).await.unwrap();
    assert!(bench.said.lock().unwrap().last().unwrap().text.contains("this machine's clock"));
}

#[tokio::test]
async fn files_of_this_machine_are_copied_and_verified_alike() {
    let bench = Bench::new(&[]).await;
    let source = bench.directory.path().join("air gap");
    std::fs::write(&source, b"content").unwrap();
    let mut order = bench.order("/", pinned(b"content"));
    order.url = format!("file:{}", source.display());
    bench.fetch(&order).await.unwrap();
    std::fs::remove_file(&order.to).unwrap();
    order.digest = pinned(b"other");
    assert_eq!(bench.fetch(&order).await.unwrap_err().kind, ErrorKind::Invalid);
    order.url = "file:/no/such/file".into();
    let error = bench.fetch(&order).await.unwrap_err();
    assert_eq!((error.kind, error.message.starts_with("reading /no/such/file")), (ErrorKind::NotFound, true));
}

#[tokio::test]
async fn more_than_fits_is_refused_before_it_is_downloaded() {
    let bench = Bench::new(&[]).await;
    let order = bench.order("/k3s", pinned(b""));
    let error = check_space(&order, bench.directory.path(), Some(1 << 50)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace);
    assert!(error.message.contains("has no room") && error.message.contains("1.0 PiB needed"), "{error}");
}

#[test]
fn lines_of_sha256sum() {
    let (one, two) = ("a".repeat(64), "b".repeat(64));
    let text = format!("{one}  k3s-airgap-images-amd64.tar\n{two} *k3s\nshort  k3s-x\n");
    assert_eq!(find_digest(&text, "k3s"), Some(two));
    assert_eq!(find_digest(&text, "k3s-airgap-images-amd64.tar"), Some(one));
    assert_eq!(find_digest(&text, "k3s-x"), None);
    assert_eq!(find_digest("", "k3s"), None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_tells_so_again_and_again() {
    let told = Mutex::new(Vec::new());
    let slow = tokio::time::sleep(Duration::from_millis(500));
    patiently(slow, Duration::from_millis(50), |times| told.lock().unwrap().push(times)).await;
    assert!(told.lock().unwrap().starts_with(&[1, 2, 3]), "{told:?}");
    patiently(async {}, Duration::from_millis(50), |_| panic!("nothing to tell")).await;
}
