//! Downloading a file: verified while it streams, in place only when it is right.

mod http;
mod tls;
mod url;

pub use http::redirected;
pub use url::{Url, Web};

use super::super::{files, space, unix_now};
use super::{Order, Report, Verb};
use bowline_ports::text::bytes;
use bowline_ports::{Digest, ErrorKind, FetchOrder, PortError, ProgressValue};
use http::{Answer, Client};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest checksum file that is read.
const CHECKSUMS: usize = 1 << 20;
/// Ten times what K3s has: who sends more sends something else, or without end.
const LARGEST: u64 = 1 << 30;
/// What must stay free besides the file.
const MARGIN: u64 = 1 << 20;

/// CHOWN, `DAC_OVERRIDE` and FOWNER: a download needs nothing else.
const FILES_ONLY: u64 = 0b1011;

/// So many seconds without data are mentioned.
const SILENT_SECONDS: u64 = 5;

impl Order for FetchOrder {
    const VERB: Verb = Verb::Fetch;
    const REPLACED: bool = true;
    type Found = ();

    fn job(&self) -> String {
        format!("fetch-{}", self.name)
    }

    fn description(&self) -> String {
        format!("Bowline: downloads {}", self.name)
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn capabilities(&self) -> Option<u64> {
        Some(FILES_ONLY)
    }

    async fn carry_out(&self, report: Report<'_>) -> Result<(), PortError> {
        fetch(self, Limits::default(), report).await
    }
}

/// How long the other side may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For the name, the connection and TLS together.
    pub(crate) connect: Duration,
    /// Without a single byte.
    pub(crate) stall: Duration,
    /// For everything: a byte now and then would otherwise go on for ever.
    pub(crate) total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), stall: Duration::from_secs(30), total: Duration::from_secs(3600) }
    }
}

/// Carries out the order.
pub(crate) async fn fetch(order: &FetchOrder, limits: Limits, report: Report<'_>) -> Result<(), PortError> {
    let mut client = Client::new(order.ca_file.clone(), limits);
    let result = match tokio::time::timeout(limits.total, attempt(order, &mut client, report)).await {
        Ok(result) => result,
        Err(_) => Err(PortError::new(
            ErrorKind::Timeout,
            format!("{}: not complete after {} s", order.url, limits.total.as_secs()),
        )
        .hint("the connection is too slow, or the other side sends without end; a mirror nearby helps")),
    };
    match client.skew() {
        Some(skew) => result.map_err(|error| {
            let hint = match &error.hint {
                Some(hint) => format!("{hint}; {skew}"),
                None => skew,
            };
            error.hint(hint)
        }),
        None => result,
    }
}

async fn attempt(order: &FetchOrder, client: &mut Client, report: Report<'_>) -> Result<(), PortError> {
    let say = |done, total, text: &str| report(ProgressValue { done, total, text: text.to_owned() });
    say(0, 0, "asking for the checksum");
    let wanted = wanted(order, client).await?;
    if let Some(there) = sha256(&order.to)?
        && there == wanted
    {
        return Ok(());
    }
    say(0, 0, "connecting");
    let mut answer = client.get(&order.url).await?;
    let directory = order.to.parent().unwrap_or(Path::new("/")).to_path_buf();
    files::make_directories(&directory)?;
    if answer.length.is_some_and(|length| length > LARGEST) {
        return Err(too_large(&answer.shown));
    }
    check_space(order, &directory, answer.length)?;

    let part = Part::create(order)?;
    let digest = receive(&mut answer, &part.file, &part.path, &say).await?;
    if digest != wanted {
        return Err(PortError::new(
            ErrorKind::Invalid,
            format!("{} has the wrong checksum: SHA-256 {digest} instead of {wanted}", answer.shown),
        )
        .hint("nothing was installed; is the checksum the one of this version and this architecture?"));
    }
    if let Some(skew) = client.skew() {
        say(answer.length.unwrap_or_default(), answer.length.unwrap_or_default(), &skew);
    }
    part.keep(&order.to)
}

/// The digest that the file has to have.
async fn wanted(order: &FetchOrder, client: &mut Client) -> Result<String, PortError> {
    let (url, name) = match &order.digest {
        Digest::Pinned(digest) if is_sha256(digest) => return Ok(digest.to_ascii_lowercase()),
        Digest::Pinned(_) => {
            return Err(PortError::new(
                ErrorKind::Invalid,
                format!("the checksum given for {} is not 64 hexadecimal digits", order.name),
            ));
        }
        Digest::File { url, name } => (url, name),
    };
    let mut answer = client.get(url).await?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > CHECKSUMS {
            return Err(PortError::new(
                ErrorKind::Invalid,
                format!("{}: more than 1 MiB, so not a checksum file", answer.shown),
            ));
        }
    }
    find_digest(&String::from_utf8_lossy(&text), name).ok_or_else(|| {
        PortError::new(ErrorKind::Invalid, format!("{} has no SHA-256 of {name}", answer.shown))
            .hint("is it the checksum file of this version?")
    })
}

/// The digest of a name in the output of `sha256sum`: 64 hex digits in lower case.
pub fn find_digest(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (digest, file) = line.trim_end().split_once(' ')?;
        let file = file.trim_start();
        let file = file.strip_prefix('*').unwrap_or(file);
        (file == name && is_sha256(digest)).then(|| digest.to_ascii_lowercase())
    })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// SHA-256 of a file in lower-case hex; `None` where there is none.
pub(crate) fn sha256(path: &Path) -> Result<Option<String>, PortError> {
    use std::io::Read;
    let what = || format!("reading {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PortError::io(what(), &error)),
    };
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(|e| PortError::io(what(), &e))? {
            0 => return Ok(Some(hex(digest))),
            length => digest.update(&buffer[..length]),
        }
    }
}

fn hex(digest: Sha256) -> String {
    format!("{:x}", digest.finalize())
}

async fn receive(
    answer: &mut Answer,
    mut file: &File,
    path: &Path,
    say: &impl Fn(u64, u64, &str),
) -> Result<String, PortError> {
    let total = answer.length.unwrap_or_default();
    let mut digest = Sha256::new();
    let mut done = 0;
    say(0, total, "downloading");
    loop {
        let silence = |seconds: u64| match seconds {
            ..SILENT_SECONDS => say(done, total, "downloading"),
            _ => say(done, total, &format!("no data for {seconds} s")),
        };
        let Some(chunk) = patiently(answer.chunk(), Duration::from_secs(1), silence).await? else { break };
        if done + chunk.len() as u64 > LARGEST {
            return Err(too_large(&answer.shown));
        }
        digest.update(&chunk);
        file.write_all(&chunk).map_err(|error| {
            let error = PortError::io(format_args!("writing {}", path.display()), &error);
            if error.kind == ErrorKind::NoSpace { error.hint(room(path, total)) } else { error }
        })?;
        done += chunk.len() as u64;
        say(done, total, "downloading");
    }
    Ok(hex(digest))
}

fn too_large(shown: &str) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{shown}: more than {}, so not K3s", bytes(LARGEST)))
        .hint("nothing was installed; is it the right address?")
}

/// Waits for something, and tells at this pace how many times it has told already.
async fn patiently<T>(something: impl Future<Output = T>, pace: Duration, tell: impl Fn(u64)) -> T {
    let mut something = std::pin::pin!(something);
    let mut times = 0;
    loop {
        match tokio::time::timeout(pace, &mut something).await {
            Ok(done) => return done,
            Err(_) => {
                times += 1;
                tell(times);
            }
        }
    }
}

fn check_space(order: &FetchOrder, directory: &Path, length: Option<u64>) -> Result<(), PortError> {
    let Some(length) = length else { return Ok(()) };
    let what = || format!("asking the filesystem of {}", directory.display());
    let free = space::ask(directory).map_err(|e| PortError::io(what(), &e))?.available;
    // What the part of an earlier attempt holds will be free again.
    let part = std::fs::metadata(part_path(order)).map(|m| m.len()).unwrap_or_default();
    if free.saturating_add(part) >= length + MARGIN {
        return Ok(());
    }
    Err(PortError::new(
        ErrorKind::NoSpace,
        format!("{} has no room: {} free, {} needed", directory.display(), bytes(free), needed(length)),
    )
    .hint(room(directory, length)))
}

/// How much room it takes, in whole MiB.
fn needed(length: u64) -> String {
    bytes((length + MARGIN).next_multiple_of(1 << 20))
}

fn room(place: &Path, length: u64) -> String {
    format!("make {} of room on the filesystem of {}", needed(length), place.display())
}

/// One for each kind of download, whatever its version: what a stopped one left, the next one replaces.
fn part_path(order: &FetchOrder) -> PathBuf {
    order.to.with_file_name(format!("{}.bowline-part", order.name))
}

/// The file while it is not verified; gone when dropped.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Part {
    fn create(order: &FetchOrder) -> Result<Self, PortError> {
        let path = part_path(order);
        files::remove(&path)?;
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| PortError::io(format_args!("writing {}", path.display()), &e))?;
        Ok(Self { path, file, kept: false })
    }

    /// Gives the verified file its name, durably.
    fn keep(mut self, to: &Path) -> Result<(), PortError> {
        files::rename(&self.path, to, 0o755)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // An unverified file is of no use to anybody; the next attempt would replace it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// How far, for messages.
fn amount(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {}", bytes(done), bytes(total)),
        None => bytes(done),
    }
}

/// The machine's clock, as it believes.
fn clock_says() -> String {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(unix_now().unsigned_abs());
    httpdate::fmt_http_date(now)
}

#[cfg(test)]
mod tests;
