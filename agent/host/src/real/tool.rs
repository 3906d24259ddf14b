//! Every external program that Bowline runs, and how: fixed arguments, nothing from a shell, no secrets, a
//! deadline.

pub(crate) mod parse;

use super::blocking::Silent;
use bowline_ports::{ErrorKind, Filesystem, PortError};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

/// The path under which a program finds the device that it was given as standard input: whatever happens to
/// names and links meanwhile, it is the device that was checked.
const DEVICE: &str = "/proc/self/fd/0";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool<'a> {
    /// `blkid -p`: the signature on the device at standard input.
    Blkid,
    /// `wipefs -n`: all signatures on the device at standard input.
    Wipefs,
    /// `mkfs.*` on the device at standard input.
    Mkfs {
        /// The type.
        filesystem: Filesystem,
        /// The label, cut to what the type can hold.
        label: &'a str,
        /// The filesystem's UUID.
        uuid: &'a str,
    },
    /// The program that grows a mounted filesystem to its device.
    Grow {
        /// The type.
        filesystem: Filesystem,
        /// Where it is.
        device: &'a Path,
        /// Where it is mounted.
        mount: &'a Path,
        /// Of its device, in a btrfs.
        id: u64,
    },
    /// Looks whether the filesystem on the device at standard input is sound, or repairs what loses nothing.
    Check {
        /// The type.
        filesystem: Filesystem,
        /// Else nothing is written.
        repair: bool,
    },
    /// `chattr`: nothing can be made in a directory any more, or again.
    Chattr {
        /// The directory. It is entered, and not named: what is mounted on it meanwhile is left as it is.
        directory: &'a Path,
        /// Set the flag, or clear it.
        immutable: bool,
    },
    /// `journalctl`: what a unit wrote last.
    Journal {
        /// The unit.
        unit: &'a str,
        /// How many lines.
        lines: usize,
    },
    /// `journalctl --vacuum-size`: archived files of the journal are removed until it takes no more.
    Vacuum {
        /// Bytes.
        bytes: u64,
    },
    /// `crictl`, K3s's own where there is a K3s: asks the container runtime.
    Crictl {
        /// K3s's binary.
        k3s: Option<&'a Path>,
        /// What is asked.
        arguments: &'a [&'a str],
    },
    /// `chronyc -c tracking`: how far the clock is off.
    ChronyTracking,
    /// `iptables-save` and its likes, by their names: all rules of one family of addresses.
    IptablesSave(&'a str),
    /// `nft list tables`: the tables of nftables.
    NftTables,
    /// `nft -j list table`: the rules of one.
    NftTable {
        /// Which packets go through it, such as `inet`.
        family: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// `k3s --version`.
    K3sVersion(&'a Path),
}

impl Tool<'_> {
    fn program(&self) -> &OsStr {
        match self {
            Self::Blkid => OsStr::new("blkid"),
            Self::Wipefs => OsStr::new("wipefs"),
            Self::Mkfs { filesystem: Filesystem::Ext4, .. } => OsStr::new("mkfs.ext4"),
            Self::Mkfs { filesystem: Filesystem::Xfs, .. } => OsStr::new("mkfs.xfs"),
            Self::Mkfs { filesystem: Filesystem::Btrfs, .. } => OsStr::new("mkfs.btrfs"),
            Self::Grow { filesystem: Filesystem::Ext4, .. } => OsStr::new("resize2fs"),
            Self::Grow { filesystem: Filesystem::Xfs, .. } => OsStr::new("xfs_growfs"),
            Self::Grow { filesystem: Filesystem::Btrfs, .. } => OsStr::new("btrfs"),
            Self::Check { filesystem: Filesystem::Ext4, .. } => OsStr::new("e2fsck"),
            Self::Check { filesystem: Filesystem::Xfs, .. } => OsStr::new("xfs_repair"),
            Self::Check { filesystem: Filesystem::Btrfs, .. } => OsStr::new("btrfs"),
            Self::Chattr { .. } => OsStr::new("chattr"),
            Self::Journal { .. } | Self::Vacuum { .. } => OsStr::new("journalctl"),
            Self::Crictl { k3s, .. } => k3s.map_or(OsStr::new("crictl"), Path::as_os_str),
            Self::ChronyTracking => OsStr::new("chronyc"),
            Self::IptablesSave(name) => OsStr::new(name),
            Self::NftTables | Self::NftTable { .. } => OsStr::new("nft"),
            Self::K3sVersion(path) => path.as_os_str(),
        }
    }

    /// The arguments. No discard by mkfs: a device proven blank has nothing to discard, and what the proof did
    /// not read must not be lost to it. Of the three only mkfs.ext4 counts, and not when it is quiet.
    fn arguments(&self) -> Vec<OsString> {
        let words: Vec<String> = match self {
            Self::Blkid => own(&["-p", "-o", "export", DEVICE]),
            Self::Wipefs => own(&["-n", "--json", "-O", "DEVICE,OFFSET,TYPE,USAGE,UUID,LABEL", DEVICE]),
            Self::Mkfs { filesystem: Filesystem::Ext4, label, uuid } => {
                let extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
                own(&["-F", "-m", "0", "-L", cut(label, 16), "-U", uuid, "-E", extended, DEVICE])
            }
            Self::Mkfs { filesystem: Filesystem::Xfs, label, uuid } => {
                own(&["-f", "-q", "-K", "-L", cut(label, 12), "-m", &format!("uuid={uuid}"), DEVICE])
            }
            Self::Mkfs { filesystem: Filesystem::Btrfs, label, uuid } => {
                own(&["-f", "-q", "-K", "-L", cut(label, 255), "-U", uuid, DEVICE])
            }
            Self::Grow { filesystem, device, mount, id } => {
                let [device, mount] = [device, mount].map(|path| path.as_os_str().to_owned());
                return match filesystem {
                    Filesystem::Ext4 => vec![device],
                    Filesystem::Xfs => vec!["-d".into(), mount],
                    Filesystem::Btrfs => vec!["filesystem".into(), "resize".into(), format!("{id}:max").into(), mount],
                };
            }
            Self::Check { filesystem: Filesystem::Ext4, repair: false } => own(&["-n", "-f", DEVICE]),
            Self::Check { filesystem: Filesystem::Ext4, repair: true } => own(&["-p", "-f", DEVICE]),
            Self::Check { filesystem: Filesystem::Xfs, repair: false } => own(&["-n", DEVICE]),
            // Never -L: it would give up what the log holds.
            Self::Check { filesystem: Filesystem::Xfs, repair: true } => own(&[DEVICE]),
            // It knows no safe repair.
            Self::Check { filesystem: Filesystem::Btrfs, .. } => own(&["check", "--readonly", DEVICE]),
            Self::Chattr { immutable, .. } => own(&[if *immutable { "+i" } else { "-i" }, "."]),
            Self::Journal { unit, lines } => {
                own(&["-u", unit, "-n", &lines.to_string(), "-o", "cat", "--no-pager", "-q"])
            }
            Self::Vacuum { bytes } => own(&[&format!("--vacuum-size={bytes}"), "--quiet"]),
            Self::Crictl { k3s, arguments } => {
                own(&k3s.iter().map(|_| "crictl").chain(arguments.iter().copied()).collect::<Vec<_>>())
            }
            Self::ChronyTracking => own(&["-n", "-c", "tracking"]),
            Self::IptablesSave(_) => Vec::new(),
            Self::NftTables => own(&["list", "tables"]),
            Self::NftTable { family, name } => own(&["-j", "list", "table", family, name]),
            Self::K3sVersion(_) => own(&["--version"]),
        };
        words.into_iter().map(OsString::from).collect()
    }

    /// The Debian package that brings the program.
    fn package(&self) -> Option<&'static str> {
        match self {
            Self::Blkid | Self::Wipefs => Some("util-linux"),
            Self::Mkfs { filesystem, .. } | Self::Grow { filesystem, .. } | Self::Check { filesystem, .. } => {
                Some(match filesystem {
                    Filesystem::Ext4 => "e2fsprogs",
                    Filesystem::Xfs => "xfsprogs",
                    Filesystem::Btrfs => "btrfs-progs",
                })
            }
            Self::Chattr { .. } => Some("e2fsprogs"),
            Self::Journal { .. } | Self::Vacuum { .. } => Some("systemd"),
            Self::Crictl { k3s, .. } => k3s.is_none().then_some("cri-tools"),
            Self::ChronyTracking => Some("chrony"),
            Self::IptablesSave(_) => Some("iptables"),
            Self::NftTables | Self::NftTable { .. } => Some("nftables"),
            Self::K3sVersion(_) => None,
        }
    }

    /// The program's name, for messages.
    pub(crate) fn name(&self) -> String {
        self.program().to_string_lossy().into_owned()
    }

    /// The program, ready to be started with a device (or nothing) as standard input.
    pub(crate) fn command(&self, device: Option<File>) -> Command {
        let mut command = Command::new(self.program());
        command
            .args(self.arguments())
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .stdin(device.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Self::Chattr { directory, .. } = self {
            command.current_dir(directory);
        }
        command
    }

    /// Runs it to its end, no longer than the deadline; at the deadline it is killed.
    pub(crate) async fn run(&self, device: Option<File>, deadline: Duration) -> Result<Output, PortError> {
        self.run_holding(device, deadline, ()).await
    }

    /// The same, and holds something until the program has ended. One that reads from a disk that hangs ends when that answers,
    /// however long before it was killed.
    pub(crate) async fn run_holding(
        &self,
        device: Option<File>,
        deadline: Duration,
        held: impl Send + 'static,
    ) -> Result<Output, PortError> {
        let began = Instant::now();
        let mut command = self.command(device);
        let started = started(self.name(), deadline, move || command.spawn(), held).await?;
        let mut running = started.map_err(|error| self.not_started(&error))?;
        match tokio::time::timeout(deadline.saturating_sub(began.elapsed()), running.output()).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(self.not_started(&error)),
            Err(_) => Err(PortError::new(
                ErrorKind::Timeout,
                format!("{} did not end within {} s", self.name(), deadline.as_secs()),
            )),
        }
    }

    /// The error when it could not be started.
    pub(crate) fn not_started(&self, error: &std::io::Error) -> PortError {
        let failed = PortError::io(format_args!("starting {}", self.name()), error);
        match (error.kind(), self.package()) {
            (std::io::ErrorKind::NotFound, Some(package)) => {
                PortError::new(ErrorKind::NotFound, format!("{} is not installed", self.name()))
                    .hint(format!("apt install {package}"))
            }
            _ => failed,
        }
    }

    /// The error when it ended in a way that means failure, with its own words.
    pub(crate) fn failed(&self, output: &Output) -> PortError {
        PortError::new(ErrorKind::Other, format!("{} failed ({}): {}", self.name(), output.status, last_words(output)))
    }
}

/// What hangs where it is started is not started once more meanwhile.
static STARTS: LazyLock<Silent> = LazyLock::new(Silent::default);

/// Starts a program on another thread: whoever starts one waits until it is read from its disk, which may hang. One that comes
/// when nobody waits any more is killed.
async fn started<T: Send + 'static>(
    name: String,
    deadline: Duration,
    start: impl FnOnce() -> std::io::Result<Child> + Send + 'static,
    held: T,
) -> Result<std::io::Result<Running<T>>, PortError> {
    let work = move |_: &Path| Ok(start().map(|child| Running(Some((child, held)))));
    STARTS.within(deadline, "starting", Path::new(&name), work).await
}

/// A program that runs, and what is held as long as it does.
struct Running<T: Send + 'static>(Option<(Child, T)>);

impl<T: Send + 'static> Running<T> {
    async fn output(&mut self) -> std::io::Result<Output> {
        let Some((child, _)) = &mut self.0 else { return Err(std::io::ErrorKind::NotFound.into()) };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (status, stdout, stderr) = tokio::try_join!(child.wait(), all_of(out), all_of(err))?;
        self.0 = None;
        Ok(Output { status, stdout, stderr })
    }
}

impl<T: Send + 'static> Drop for Running<T> {
    fn drop(&mut self) {
        let (Some((mut child, held)), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        let _ = child.start_kill();
        runtime.spawn(async move {
            let _ = child.wait().await;
            drop(held);
        });
    }
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut all).await?;
    }
    Ok(all)
}

/// What a program said last: standard error if it wrote there, else standard output; one line, bounded.
pub(crate) fn last_words(output: &Output) -> String {
    let stream = if output.stderr.trim_ascii().is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(stream);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let tail = lines.iter().skip(lines.len().saturating_sub(4)).copied().collect::<Vec<_>>().join("; ");
    if tail.is_empty() { "it said nothing".into() } else { tail.chars().take(600).collect() }
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// At most so many bytes, whole characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::given_back::given_back;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    fn arguments(tool: Tool<'_>) -> String {
        tool.arguments().iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    /// Without `-f` a superblock that says "clean" has it pass over what the check has found.
    #[test]
    fn what_is_repaired_is_looked_through_as_it_was_checked() {
        let check = |filesystem, repair| arguments(Tool::Check { filesystem, repair });
        assert_eq!(check(Filesystem::Ext4, false), "-n -f /proc/self/fd/0");
        assert_eq!(check(Filesystem::Ext4, true), "-p -f /proc/self/fd/0");
        assert_eq!(check(Filesystem::Xfs, true), "/proc/self/fd/0", "never -L");
    }

    #[test]
    fn labels_are_cut_to_what_the_filesystem_holds() {
        let uuid = "6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11";
        let mkfs = |filesystem| Tool::Mkfs { filesystem, label: "a-volume-with-a-long-näme", uuid };
        assert_eq!(
            arguments(mkfs(Filesystem::Ext4)),
            format!(
                "-F -m 0 -L a-volume-with-a- -U {uuid} -E lazy_itable_init=1,lazy_journal_init=1,nodiscard \
                 /proc/self/fd/0"
            )
        );
        assert_eq!(
            arguments(mkfs(Filesystem::Xfs)),
            format!("-f -q -K -L a-volume-wit -m uuid={uuid} /proc/self/fd/0")
        );
        assert_eq!(cut("näme", 2), "n");
    }

    /// As on a disk that hangs: the loop turns on, and the program that comes after all is ended.
    #[tokio::test]
    async fn a_start_that_hangs_keeps_nobody_else_waiting() {
        let (endless, _write) = std::io::pipe().unwrap();
        let mut command = Tool::IptablesSave("cat").command(Some(File::from(OwnedFd::from(endless))));
        let start = move || {
            std::thread::sleep(Duration::from_secs(1));
            command.spawn()
        };
        let (held, began) = (Arc::new(()), Instant::now());
        let started = started("hangs".into(), Duration::from_millis(100), start, Arc::clone(&held)).await;
        assert_eq!(started.err().map(|error| error.kind), Some(ErrorKind::Timeout));
        assert!(began.elapsed() < Duration::from_millis(900));
        while Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(began.elapsed() > Duration::from_millis(900), "it was held until the program had come, and ended");
    }

    #[tokio::test]
    async fn what_is_held_is_let_go_of_when_the_program_has_ended() {
        let (endless, mut write) = std::io::pipe().unwrap();
        let held = Arc::new(());
        let tool = Tool::IptablesSave("cat");
        let moment = Duration::from_millis(300);
        let run = tool.run_holding(Some(File::from(OwnedFd::from(endless))), moment, Arc::clone(&held));
        assert_eq!(run.await.unwrap_err().kind, ErrorKind::Timeout);
        assert_eq!(Arc::strong_count(&held), 2, "it was killed, and nobody knows yet whether it ended");
        while Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        given_back("somebody reads", || write.write_all(b"x").is_err());
        let output = Tool::K3sVersion(Path::new("/bin/echo")).run(None, Duration::from_secs(20)).await.unwrap();
        assert!(output.status.success() && !output.stdout.is_empty());
    }
}
