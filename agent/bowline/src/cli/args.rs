//! What can be typed.

use bowline_enroll::{NodeName, Role};
use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Ties this machine to its Kubernetes cluster: installs K3s, mounts its volumes before it may start,
/// keeps its labels, and measures everything.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, max_term_width = 80)]
pub(crate) struct Args {
    /// The folder with the settings
    #[arg(long, global = true, value_name = "DIR", default_value = crate::paths::SETTINGS)]
    pub(crate) settings: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// What the unit starts is understood without the parser: its code would stay in the daemon's memory for good, and is some
    /// hundred kilobytes.
    pub(crate) fn of_the_unit(given: &[OsString]) -> Option<Self> {
        let alone = matches!(given, [word] if word == "run");
        alone.then(|| Self { settings: crate::paths::SETTINGS.into(), command: Command::Run })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon; bowline.service starts it
    ///
    /// Exit status: 78 when the settings are wrong (it starts again when they change); 1 for anything else, such as
    /// settings that cannot be read (systemd restarts it every five seconds).
    Run,
    /// Validate settings without touching anything (exit 2: invalid, or not to be read)
    Check {
        /// Files to check instead of the settings folder, before they are installed: all of a node's
        /// together, since they are merged (`bowline check 10-node.toml 20-cluster.toml`); a wrong owner
        /// or mode on a file with a secret is only a warning
        files: Vec<PathBuf>,
        /// As JSON, in the form of /usr/share/bowline/schema/check.json
        #[arg(long)]
        json: bool,
    },
    /// Show the merged settings, each value with its file and line; secrets are hidden (exit 2: invalid,
    /// or not to be read)
    Config {
        /// As JSON, in the form of /usr/share/bowline/schema/config.json
        #[arg(long)]
        json: bool,
    },
    /// Show what would be done and why, what is waited for, and what is refused; changes nothing
    ///
    /// It looks at the machine now, and says what to do about whatever is refused. Exit status: 0, or 1 when something
    /// could not be looked at, or 2 when the settings are invalid (1 with --exit-code).
    Plan {
        /// As JSON, in the form of /usr/share/bowline/schema/report.json
        #[arg(long)]
        json: bool,
        /// Exit 0 when there is nothing to do, 2 when there is something, 1 on errors
        #[arg(long)]
        exit_code: bool,
    },
    /// Do it now, with progress (exit 0: converged, 3: waiting, 1: failed or refused)
    ///
    /// Where the daemon runs, it is asked to do it. Exit status 2: the settings are invalid.
    Apply {
        /// How long to wait for what has to come first (10m, 90s)
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
        wait: Duration,
    },
    /// Show how the node stands (exit 0: ready, 3: not yet, 1: degraded)
    ///
    /// This is the node as the daemon last saw it: what is done, what is waited for and since when, what is refused and
    /// what fails. Exit status 1 also means that no daemon runs. Any user may ask.
    Status {
        /// As JSON, in the form of /usr/share/bowline/schema/report.json
        #[arg(long)]
        json: bool,
        /// Wait until the node is ready, at most this long (10m, 90s)
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait_ready: Option<Duration>,
    },
    /// Check the machine, network, disks, tools and cluster; every finding comes with a remedy (exit 1:
    /// something was found)
    ///
    /// Network checks: whether servers and nodes can be reached, and which ports this machine's own firewall refuses.
    Doctor {
        /// As JSON, in the form of /usr/share/bowline/schema/doctor.json
        #[arg(long)]
        json: bool,
    },
    /// List every block device, and for each volume why a device is or is not its disk
    ///
    /// Exit status: 0, 1 when it failed, 2 when the settings are invalid.
    #[command(args_conflicts_with_subcommands = true)]
    Volumes {
        /// As JSON, in the form of /usr/share/bowline/schema/volumes.json
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<Volumes>,
    },
    /// Print the ticket that lets one machine in under this name
    ///
    /// It needs only the cluster key, and works on any machine. Exit status 2: the name or the settings are wrong.
    Ticket {
        /// The node's name
        #[arg(value_parser = NodeName::new)]
        name: NodeName,
        /// Role the machine joins with
        #[arg(long, value_enum, default_value_t = TicketRole::Agent)]
        role: TicketRole,
        /// The file with the cluster key [default: `cluster.key-file` of the settings]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Print an agent's settings with the ticket, as one more entry for the document in
        /// /usr/share/bowline/cloud-init; by itself it does not install Bowline
        #[arg(long)]
        cloud_init: bool,
    },
    /// On a server: show who holds which name, since when and from where, and who was refused and why
    ///
    /// Exit status: 0, 1 when this is no server or its API does not answer, 2 when the settings are invalid.
    Nodes {
        /// As JSON, in the form of /usr/share/bowline/schema/nodes.json
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<Nodes>,
    },
    /// Take this machine out of its cluster: stops K3s, removes the Node, frees the name (exit 3: not yet)
    ///
    /// A server is first taken out of etcd, while it runs; the last server cannot leave. Volumes and settings stay.
    /// With --drain, a pod without a controller ends for good, and so does the data in an emptyDir. Exit status: 0 it
    /// has left, 3 not yet, 1 it failed, 2 the settings are wrong.
    Leave {
        /// Move its pods to other nodes first, within their disruption budgets
        #[arg(long)]
        drain: bool,
        /// Ask to be let in again
        #[arg(long, conflicts_with = "drain")]
        undo: bool,
        /// Time limit for moving the pods, and again for leaving
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
        timeout: Duration,
    },
    /// Show what fills the disks: filesystems, when they will be full, and directories
    ///
    /// Directories are shown with how they have changed. Exit status: 0, 1 when something could not be measured, or not
    /// all of it be read, 2 when the settings are invalid.
    Usage {
        /// A directory to measure, instead of the distribution's own and those in the settings
        path: Option<PathBuf>,
        /// How many levels below that directory are shown separately
        #[arg(long, value_name = "LEVELS", default_value_t = 1, requires = "path")]
        depth: u8,
        /// As JSON, in the form of /usr/share/bowline/schema/usage.json
        #[arg(long)]
        json: bool,
    },
    /// Print the metrics once
    ///
    /// Left out is what only the daemon knows: its counters, forecasts, directory sizes and error counts. Exit status: 0,
    /// 1 when it failed, 2 when the settings are invalid.
    Metrics,
    /// Commands that Bowline runs itself
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        command: Internal,
    },
}

/// The role a ticket lets a machine join with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TicketRole {
    Agent,
    Server,
}

impl From<TicketRole> for Role {
    fn from(role: TicketRole) -> Self {
        match role {
            TicketRole::Agent => Self::Agent,
            TicketRole::Server => Self::Server,
        }
    }
}

/// What is done with one volume.
#[derive(Debug, Subcommand)]
pub(crate) enum Volumes {
    /// Make a volume's disk ready to be detached and used by another machine (exit 3: not yet)
    ///
    /// It moves the pods that use the volume, within their disruption budgets (where Bowline runs K3s; elsewhere drain
    /// the node first), stops K3s or the gated services if it must, unmounts the volume, and writes everything to disk.
    /// The volume stays released, also after a reboot, until the disk is gone for half a minute, or
    /// `take` takes it back. Exit status: 0 the disk can be detached, 3 not yet, 1 it failed, 2 the settings are invalid.
    Release {
        /// The volume's name
        name: String,
        /// Time limit for moving the pods, and again for unmounting
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
        timeout: Duration,
    },
    /// Take back a released volume, and mount it again (exit 3: not yet)
    ///
    /// Exit status: 0 it is no longer released (a daemon may still have to mount it: see `bowline status`), 3 it is not
    /// mounted yet and no daemon runs, 1 it failed, 2 the settings are invalid.
    Take {
        /// The volume's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// For compromised machines: refuse a name's ticket until the cluster key changes
    ///
    /// Exit status: 0 it is refused from now on, 1 it failed, 2 the name or the settings are wrong.
    Revoke {
        /// The node's name
        #[arg(value_parser = NodeName::new)]
        name: NodeName,
        /// Also refuse the ticket of a name that nobody has held yet
        #[arg(long)]
        unheld: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// Download and verify what the order names; runs in its own unit
    Fetch { order: PathBuf },
    /// Make the filesystem the order describes; runs in its own unit
    Format { order: PathBuf },
    /// Grow the filesystem the order names; runs in its own unit
    Grow { order: PathBuf },
    /// Do the order's work at a volume's mount point; runs in its own unit
    Tend { order: PathBuf },
    /// Measure the directories the order names; runs in its own unit
    Survey { order: PathBuf },
    /// Free room as the order says; runs in its own unit
    Reclaim { order: PathBuf },
    /// Close the order's ports to pods, and stay running; bowline-guard.service starts it
    Guard { order: PathBuf, closed: PathBuf },
    /// Remove what Bowline keeps in the cluster; runs when the package is removed
    Retire,
    /// Write man pages and shell completions
    Papers { folder: PathBuf },
}

/// A year, in seconds: beyond it clocks overflow, and nobody waits.
const LONGEST: u64 = 365 * 24 * 3600;

/// `90s`, `10m`, `1h`, or seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("“{text}” is not a time: write 90s, 10m or 1h"))?;
    let factor = match unit.trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(format!("“{text}” is not a time: write 90s, 10m or 1h")),
    };
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds <= LONGEST)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("“{text}” is too long: a year (8760h) is the most"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::real::job::Verb;
    use clap::CommandFactory;

    #[test]
    fn what_the_unit_starts_is_what_the_parser_understands() {
        let shown = |args: Args| format!("{args:?}");
        let known = Args::of_the_unit(&["run".into()]).map(shown);
        assert_eq!(known, Args::try_parse_from(["bowline", "run"]).ok().map(shown));
        for other in [&[][..], &["run".into(), "--help".into()], &["status".into()]] {
            assert!(Args::of_the_unit(other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn every_work_in_a_unit_of_its_own_has_its_command() {
        for verb in Verb::ALL.map(Verb::as_str) {
            let args = Args::try_parse_from(["bowline", "internal", verb, "/run/bowline/jobs/x.order.json"]);
            assert!(args.is_ok(), "{verb}: {args:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("8760h"), Ok(Duration::from_secs(LONGEST)));
        assert!(duration("8761h").is_err() && duration("18446744073709551615s").is_err());
        assert!(duration("soon").is_err() && duration("5d").is_err());
    }
}
