//! Runs programs with a time limit and keeps everything they said.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

/// How long a program may take unless the caller says otherwise.
pub const LIMIT: Duration = Duration::from_secs(300);

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 128 and the signal where a signal ended it.
    pub code: i32,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the program exited with 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}", self.code)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Runs `command` to its end and returns what it said, whatever its exit status.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let (code, stdout, stderr) = run_bytes(command, input, limit)?;
    Ok(Output {
        code,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Runs `command` and returns its standard output; any other exit status than 0 is an error with all it said.
pub fn ok(command: &mut Command) -> Result<String> {
    let output = run(command, &[], LIMIT)?;
    if !output.success() {
        bail!("{}: {output}", describe(command));
    }
    Ok(output.stdout)
}

/// Runs something on a thread inside a network namespace, which is given as a path, and waits for it.
pub(crate) fn within<T: Send>(network: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let network = File::open(network)?;
    thread::scope(|scope| {
        let inside = scope.spawn(move || {
            setns(&network, CloneFlags::CLONE_NEWNET).context("the network namespace cannot be entered")?;
            work()
        });
        // A panic in there goes on out here.
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The same as [`run`], with standard output and error as bytes.
pub(crate) fn run_bytes(command: &mut Command, input: &[u8], limit: Duration) -> Result<(i32, Vec<u8>, Vec<u8>)> {
    // What it sends to its process group (`kill 0`), inside of a machine too, reaches nobody else.
    command.process_group(0).stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| describe(command))?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not read its input to the end is no error of ours.
        thread::spawn(move || stdin.write_all(&input).is_ok());
    }
    let stdout = child.stdout.take().map(Collected::from_stream);
    let stderr = child.stderr.take().map(Collected::from_stream);
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            let said = [stdout, stderr].into_iter().flatten().map(|s| s.text()).collect::<String>();
            bail!("{}: not done after {limit:?}; said so far: {said}", describe(command));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok((code, stdout.map(Collected::finish).unwrap_or_default(), stderr.map(Collected::finish).unwrap_or_default()))
}

/// A command as one would type it, for messages.
pub(crate) fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// A stream that a thread of its own reads, so that neither a full pipe nor a daemon that keeps it open can hang us.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
    /// The same pipe, to see whether something is in it; `None` where there are no more descriptors.
    pipe: Option<OwnedFd>,
}

impl Collected {
    fn from_stream(mut stream: impl Read + AsFd + Send + 'static) -> Self {
        let pipe = stream.as_fd().try_clone_to_owned().ok();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            while let Ok(n) = stream.read(&mut chunk) {
                if n == 0 {
                    break;
                }
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..n]);
            }
        });
        Collected { bytes, reader, pipe }
    }

    /// Whether its thread still has something to do: bytes to read, or the end to see.
    fn holds_something(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| {
            let mut asked = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The program has ended: what it wrote is in the pipe, which is read to its end. A daemon may keep that open: then it is over
    /// when nothing has been in it for a second.
    fn finish(self) -> Vec<u8> {
        let (began, mut empty_since) = (Instant::now(), Instant::now());
        while !self.reader.is_finished() && empty_since.elapsed() < Duration::from_secs(1) && began.elapsed() < LIMIT {
            if self.holds_something() {
                empty_since = Instant::now();
            }
            thread::sleep(Duration::from_micros(200));
        }
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
