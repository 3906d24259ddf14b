//! What a scrape is made of.

use crate::exposition::{Exposition, Form, Kind, labels};
use crate::{Counters, Enrolments, Exhaustion, exhaustion, filesystem, state};
use bowline_engine::Report;
use bowline_ports::{Arch, Mount, Space};

/// Everything that one scrape shows.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The last look.
    pub report: &'a Report,
    /// Seconds since 1970: ages are counted up to here.
    pub now: i64,
    /// The processor architecture.
    pub arch: Arch,
    /// The names of the volumes in the settings: each has its series, whatever the report says of it.
    pub volumes: &'a [String],
    /// As what the node is of its cluster, by the settings; `None` where Bowline runs no Kubernetes on it.
    pub role: Option<Role>,
    /// Every real mount and how full it is.
    pub filesystems: &'a [FilesystemSample],
    /// The table of mounts could not be read: there are none for that.
    pub mounts_unread: bool,
    /// The phases of the first boot that have ended, with the seconds from Bowline's first start until then.
    pub phases: &'a [(Phase, f64)],
    /// How often systemd restarted K3s; `None` without a unit.
    pub k3s_restarts: Option<u64>,
    /// The daemon itself; `None` in a command.
    pub process: Option<Process>,
    /// The daemon's counters; `None` in a command.
    pub counters: Option<&'a Counters>,
    /// What its issuer counted; `None` in a command, and where the settings make no issuer.
    pub enrolments: Option<&'a Enrolments>,
    /// How disks fill, and by what; `None` in a command that looks once.
    pub exhaustion: Option<&'a Exhaustion>,
    /// Whether the clock is synchronised, as far as anybody says so.
    pub clock_synchronised: bool,
    /// How far the clock is off, in seconds, by those who keep it; positive: it is behind. Left out where nobody says it.
    pub clock_offset: Option<f64>,
}

/// A mount and how full it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemSample {
    /// The mount.
    pub mount: Mount,
    /// How full it is; `None` when the probe failed or did not answer in time.
    pub space: Option<Space>,
}

/// As what a node is of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has the API, and lets others in.
    Server,
    /// It runs workloads only.
    Agent,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Server, Self::Agent];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

/// A phase of the first boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Until there were valid settings.
    Settings,
    /// Until the address was there.
    Address,
    /// Downloading K3s.
    Download,
    /// Making filesystems.
    Format,
    /// Mounting volumes.
    Mount,
    /// From starting K3s until its unit was active.
    K3sStart,
    /// Until the node was Ready.
    Ready,
    /// Until the labels were applied.
    Labels,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 8] = [
        Self::Settings,
        Self::Address,
        Self::Download,
        Self::Format,
        Self::Mount,
        Self::K3sStart,
        Self::Ready,
        Self::Labels,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Address => "address",
            Self::Download => "download",
            Self::Format => "format",
            Self::Mount => "mount",
            Self::K3sStart => "k3s_start",
            Self::Ready => "ready",
            Self::Labels => "labels",
        }
    }

    /// The phase of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// The daemon's own use of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// Processor seconds, user and system.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, in seconds since 1970.
    pub started: f64,
}

impl Process {
    /// From the text of `/proc/self/stat` and `/proc/self/status`, and the time of boot (`btime` of `/proc/stat`).
    /// `None` where the text is not as expected.
    pub fn parse(stat: &str, status: &str, boot: i64) -> Option<Self> {
        // The kernel counts in hundredths of a second for user space, whatever its own clock is.
        const TICKS: f64 = 100.0;
        // The name, in brackets, may have blanks and brackets in it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS,
            resident_bytes: kib * 1024,
            threads: field(20)?,
            started: boot as f64 + field(22)? as f64 / TICKS,
        })
    }
}

impl Sample<'_> {
    /// The exposition.
    pub fn render(&self, form: Form) -> String {
        let mut out = Exposition::with_capacity(form, 16 * 1024 + self.filesystems.len() * 1800);
        out.family("build_info", Kind::Gauge, "Which build runs; always 1.")
            .series(&labels(&[("version", &self.report.version), ("arch", self.arch.name())]), true);
        state::overall(&mut out, self);
        state::capabilities(&mut out, self);
        state::node(&mut out, self);
        state::volumes(&mut out, self);
        state::room(&mut out, self);
        let help = "1 when the table of mounts could not be read, so that filesystems are missing here.";
        out.gauge("mounts_error", help, self.mounts_unread);
        let rows = filesystem::rows(self.filesystems);
        filesystem::families(&mut out, &rows);
        if let Some(exhaustion) = self.exhaustion {
            exhaustion::families(&mut out, &rows, exhaustion);
        }
        self.boot_and_k3s(&mut out);
        if let Some(process) = &self.process {
            process.render(&mut out);
        }
        if let Some(counters) = self.counters {
            out.encoded(&counters.encoded());
        }
        if let Some(enrolments) = self.enrolments {
            enrolments.members_into(&mut out);
            out.encoded(&enrolments.encoded());
        }
        out.into_text()
    }

    fn boot_and_k3s(&self, out: &mut Exposition) {
        let help = "Seconds from Bowline's first start until this phase of the first boot had ended.";
        let mut family = out.family("boot_phase_seconds", Kind::Gauge, help);
        for (phase, seconds) in self.phases {
            family.series(&labels(&[("phase", phase.name())]), *seconds);
        }
        if let Some(restarts) = self.k3s_restarts {
            out.family("k3s_restarts_total", Kind::Counter, "Restarts of K3s by systemd since it was last started.")
                .series("", restarts);
        }
    }
}

impl Process {
    fn render(&self, out: &mut Exposition) {
        out.family("process_cpu_seconds_total", Kind::Counter, "Processor seconds that Bowline has used.")
            .series("", self.cpu_seconds);
        out.gauge("process_resident_memory_bytes", "Resident memory of Bowline.", self.resident_bytes);
        out.gauge("process_threads", "Threads of Bowline.", self.threads);
        out.gauge("process_start_time_seconds", "When Bowline started, in seconds since 1970.", self.started);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_read_from_proc() {
        let stat = "742 (bow) line) S 1 742 742 0 -1 4194560 2310 0 5 0 125 75 0 0 20 0 2 0 1500 78000000 1300 0";
        let status = "Name:\tbowline\nVmRSS:\t    5200 kB\nThreads:\t2\n";
        let wanted = Process { cpu_seconds: 2.0, resident_bytes: 5_324_800, threads: 2, started: 1_700_000_015.0 };
        assert_eq!(Process::parse(stat, status, 1_700_000_000), Some(wanted));
        assert_eq!(Process::parse("1 (x) S 1", status, 0), None);
        assert_eq!(Process::parse(stat, "Name:\tx\n", 0), None);
    }

    #[test]
    fn phases_have_names() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
        }
        assert_eq!(Phase::from_name("lunch"), None);
    }
}
