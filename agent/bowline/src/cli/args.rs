//! What can be typed.

use bowline_enroll::{NodeName, Role};
use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Ties this machine to its Kubernetes cluster: K3s installed, volumes mounted before it may start,
/// labels kept, everything measured.
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
    /// The daemon: what the systemd unit starts
    Run,
    /// Validate settings without touching anything (exit 2: invalid)
    Check {
        /// Files to check instead of the settings folder, before they are in their place: whose a
        /// file with a secret is, and its mode, are a warning
        files: Vec<PathBuf>,
        /// As JSON, in the form of /usr/share/bowline/schema/check.json
        #[arg(long)]
        json: bool,
    },
    /// The merged settings, each value with the file and line it came from; secrets hidden
    Config {
        /// As JSON, in the form of /usr/share/bowline/schema/config.json
        #[arg(long)]
        json: bool,
    },
    /// What would be done and why, what is waited for, what is refused; changes nothing
    Plan {
        /// As JSON, in the form of /usr/share/bowline/schema/report.json
        #[arg(long)]
        json: bool,
        /// Exit 0 when there is nothing to do, 2 when there is something, 1 on errors
        #[arg(long)]
        exit_code: bool,
    },
    /// Do it now, with progress (exit 0: converged, 3: waiting, 1: failed or refused)
    Apply {
        /// How long to wait for what has to come first (10m, 90s)
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
        wait: Duration,
    },
    /// How the node stands (exit 0: ready, 3: not yet, 1: degraded)
    Status {
        /// As JSON, in the form of /usr/share/bowline/schema/report.json
        #[arg(long)]
        json: bool,
        /// Wait until the node is ready, at most this long (10m, 90s)
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait_ready: Option<Duration>,
    },
    /// Check the machine, network, disks, tools and cluster from here; every finding with its remedy (exit 1:
    /// something was found)
    Doctor {
        /// As JSON, in the form of /usr/share/bowline/schema/doctor.json
        #[arg(long)]
        json: bool,
    },
    /// Every block device, and for every volume why each device is or is not the one
    #[command(args_conflicts_with_subcommands = true)]
    Volumes {
        /// As JSON, in the form of /usr/share/bowline/schema/volumes.json
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<Volumes>,
    },
    /// Print the ticket that lets one machine in under this name; needs the cluster key only, and works anywhere
    Ticket {
        /// The node's name
        #[arg(value_parser = NodeName::new)]
        name: NodeName,
        /// As what the machine comes in
        #[arg(long, value_enum, default_value_t = TicketRole::Agent)]
        role: TicketRole,
        /// The file with the cluster key [default: `cluster.key-file` of the settings]
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// The settings of such an agent, for cloud-init: one more entry for the document in
        /// /usr/share/bowline/cloud-init, which installs Bowline
        #[arg(long)]
        cloud_init: bool,
    },
    /// On a server: who holds which name, since when and from where, and who was refused
    Nodes {
        /// As JSON, in the form of /usr/share/bowline/schema/nodes.json
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<Nodes>,
    },
    /// Take this machine out of its cluster: K3s stops, the Node goes, the name is free (exit 3: not yet). Volumes and
    /// settings stay. The last server can not leave
    Leave {
        /// Move its pods to other nodes first, within their disruption budgets
        #[arg(long)]
        drain: bool,
        /// Ask to be let in again
        #[arg(long, conflicts_with = "drain")]
        undo: bool,
        /// How long it may take, each of moving the pods and leaving
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
        timeout: Duration,
    },
    /// What fills the disks, as bars: filesystems with when they are full, and directories
    Usage {
        /// A directory to measure instead of the distribution's own and those of the settings
        path: Option<PathBuf>,
        /// How many levels beneath that directory are told apart
        #[arg(long, value_name = "LEVELS", default_value_t = 1, requires = "path")]
        depth: u8,
        /// As JSON, in the form of /usr/share/bowline/schema/usage.json
        #[arg(long)]
        json: bool,
    },
    /// The metrics, once, to standard output
    Metrics,
    /// Parts of Bowline that it calls itself
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        command: Internal,
    },
}

/// As what a ticket lets a machine in.
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
    /// Make its disk ready to be detached and used by another machine: moves the pods that use it, stops Kubernetes if it
    /// must, unmounts and writes all out (exit 3: not yet). It stays so until the disk is gone, or is taken back
    Release {
        /// The volume's name
        name: String,
        /// How long it may take, each of moving the pods and unmounting
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
        timeout: Duration,
    },
    /// Take a released volume back: it is mounted again
    Take {
        /// The volume's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// End the claim of a name: its ticket is refused until the cluster key changes
    Revoke {
        /// The node's name
        #[arg(value_parser = NodeName::new)]
        name: NodeName,
        /// Refuse the ticket of a name that nobody has held yet, too
        #[arg(long)]
        unheld: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// Download and verify what an order says; runs as a unit of its own
    Fetch { order: PathBuf },
    /// Make the filesystem that an order says; runs as a unit of its own
    Format { order: PathBuf },
    /// Grow a filesystem as an order says; runs as a unit of its own
    Grow { order: PathBuf },
    /// Do what an order says at a volume's mount point; runs as a unit of its own
    Tend { order: PathBuf },
    /// Measure directories as an order says; runs as a unit of its own
    Survey { order: PathBuf },
    /// Free room as an order says; runs as a unit of its own
    Reclaim { order: PathBuf },
    /// Close ports to pods as an order says, and stay; what bowline-guard.service starts
    Guard { order: PathBuf, closed: PathBuf },
    /// Take away what is in the cluster for as long as Bowline is; what the package's removal runs
    Retire,
    /// Write man pages and shell completions
    Papers { folder: PathBuf },
}

/// A year, in seconds: beyond it clocks overflow, and nobody waits.
const LONGEST: u64 = 365 * 24 * 3600;

/// `90s`, `10m`, `1h`, or seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("“{text}” is no time: write 90s, 10m or 1h"))?;
    let factor = match unit.trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(format!("“{text}” is no time: write 90s, 10m or 1h")),
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
        for verb in bowline_host::real::job::VERBS {
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
