//! Starts a machine by systemd-nspawn and ends it: the processes, their control groups and the way in.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::base;
use crate::bed::{Inner as Bed, wait_child};
use crate::builder::Spec;
use crate::cache::Artefact;
use crate::cgroup::Groups;
use crate::root::Root;
use crate::wait::wait_some;

/// Enters the control groups, the bed's network and a mount namespace of its own (so that no mount is left), and becomes nspawn.
const LAUNCH: &str = r#"
for dir in $BED_GROUPS; do echo $$ > "$dir/cgroup.procs" || exit 1; done
exec nsenter "$BED_NET" unshare --mount --propagation private sh -c \
    'mount -t overlay overlay -o "$BED_OVERLAY" "$BED_ROOT" && exec systemd-nspawn "$@"' systemd-nspawn "$@"
"#;

/// Enters the machine's control groups, then the machine. nsenter would bring the host's capabilities along: never the clock or modules.
const ENTER: &str = r#"
for dir in $BED_GROUPS; do echo $$ > "$dir/cgroup.procs" || exit 1; done
unset BED_GROUPS
exec nsenter -t "$0" -m -u -i -n -p -C -r -w -- \
    setpriv --pdeathsig KILL --bounding-set=-sys_time,-sys_module --inh-caps=-sys_time,-sys_module -- "$@"
"#;

/// What a command in the machine finds programs by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What becomes systemd.
const INIT: &str = "/usr/lib/bowline-bed/init";

/// A machine that runs.
pub(crate) struct Boot {
    nspawn: Child,
    leader: u32,
    groups: Groups,
}

impl Boot {
    /// Starts the machine and returns as soon as it has a PID 1.
    pub(crate) fn start(bed: &Bed, root: &Root, spec: &Spec, base: &Artefact) -> Result<Boot> {
        let id = spec.id.as_str();
        let groups = Groups::create(&bed.layout, &format!("bowline-{id}"), |dir| {
            bed.record("cgroups", &dir.display().to_string())
        })?;
        let console = OpenOptions::new().create(true).append(true).open(root.console())?;
        let overlay = format!(
            "lowerdir={}:{},upperdir={},workdir={}",
            root.layer().display(),
            base::root(base).display(),
            root.upper().display(),
            root.work().display()
        );
        let mut words = groups.prefix.clone();
        words.extend(["sh", "-c", LAUNCH, "launch"].map(String::from));
        let (program, words) = words.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(words).args(nspawn_options(spec, root));
        if groups.prefix.is_empty() {
            command.env("BED_GROUPS", join(&groups.dirs));
        } else {
            command.env("BED_GROUPS", "");
        }
        let mut nspawn = command
            .env("BED_NET", bed.net_option())
            .env("BED_OVERLAY", overlay)
            .env("BED_ROOT", root.merged())
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .env("SYSTEMD_NSPAWN_LOCK", "0")
            .env_remove("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()
            .context("systemd-nspawn")?;
        let leader = wait_some("the machine's PID 1", Duration::from_secs(20), || {
            if let Some(status) = nspawn.try_wait()? {
                let console = fs::read_to_string(root.console()).unwrap_or_default();
                return Ok(Some(Err(anyhow::anyhow!("systemd-nspawn ended ({status}): {console}"))));
            }
            Ok(systemd_below(nspawn.id()).map(Ok))
        });
        match leader.and_then(|leader| leader) {
            Ok(leader) => Ok(Boot { nspawn, leader, groups }),
            Err(error) => {
                nspawn.kill().ok();
                nspawn.wait().ok();
                groups.remove();
                Err(error)
            }
        }
    }

    /// The machine's PID 1, as the host counts.
    pub(crate) fn leader(&self) -> u32 {
        self.leader
    }

    pub(crate) fn running(&mut self) -> bool {
        matches!(self.nspawn.try_wait(), Ok(None))
    }

    /// Waits for the end that something inside asked for.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        wait_child(&mut self.nspawn, limit)
    }

    /// Ends the machine at once, as if its plug were pulled, and removes its control groups.
    pub(crate) fn end(mut self) -> Result<()> {
        if self.running() {
            kill(Pid::from_raw(i32::try_from(self.leader)?), Signal::SIGKILL).ok();
            if !wait_child(&mut self.nspawn, Duration::from_secs(10))? {
                self.nspawn.kill()?;
                self.nspawn.wait()?;
            }
        }
        self.groups.remove();
        Ok(())
    }

    /// Collects the status of a machine that the keeper has ended.
    pub(crate) fn reap(mut self) {
        wait_child(&mut self.nspawn, Duration::from_secs(5)).ok();
    }
}

/// The way into a machine, as it was when asked for.
#[derive(Clone)]
pub(crate) struct Door {
    leader: u32,
    groups: Vec<PathBuf>,
}

impl Door {
    pub(crate) fn of(boot: &Boot) -> Door {
        Door { leader: boot.leader, groups: boot.groups.for_commands() }
    }

    /// A command inside; add its words. Nothing of the host's environment goes along.
    pub(crate) fn command(&self) -> Command {
        // By its path: with an environment of its own a program that has to be looked for is started by `fork`, which copies all
        // page tables of the tests.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ENTER]).arg(self.leader.to_string()).env_clear();
        command.env("PATH", PATH).env("HOME", "/root").env("LANG", "C.UTF-8").env("BED_GROUPS", join(&self.groups));
        command
    }

    /// The same for a person to type.
    pub(crate) fn words(&self) -> String {
        format!(
            "nsenter -t {} -m -u -i -n -p -C -r -w -- setpriv --bounding-set=-sys_time,-sys_module bash -l",
            self.leader
        )
    }
}

fn nspawn_options(spec: &Spec, root: &Root) -> Vec<String> {
    let mut options: Vec<String> = [
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--capability=all",
        // The clock and the kernel are the host's.
        "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE",
        "--network-bridge=br0",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        "--kill-signal=SIGRTMIN+3",
        "--system-call-filter=@keyring bpf @raw-io",
        "--bind=/dev/kmsg",
    ]
    .map(String::from)
    .to_vec();
    options.push(format!("--directory={}", root.merged().display()));
    options.push(format!("--bind={}:/var", root.var().display()));
    options.push(format!("--machine={}", spec.id));
    options.push(format!("--hostname={}", spec.name));
    options.extend(spec.binds.iter().map(|(from, to)| format!("--bind-ro={}:{to}", from.display())));
    // Not by --boot: PID 1 must find a writable /sys, or it does without device units for the whole boot.
    options.push(INIT.to_owned());
    options
}

/// nspawn's child that has become systemd.
fn systemd_below(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().find_map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        if name.trim() == "systemd" { pid.parse().ok() } else { None }
    })
}

fn join(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Refuses names that systemd or the network could not take.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(fine) || name.starts_with('-') {
        bail!("not a machine's name: {name:?}");
    }
    Ok(())
}
