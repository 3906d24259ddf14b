//! Reads `[metrics]` and `[log]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Serialize, Serializer};

use crate::complaint::Complaint;
use crate::net::{Cidr, Listen, ListenHost};
use crate::network::kubernetes;
use crate::reader::{Reader, Section};
use crate::source::Spot;
use crate::tree::Kind;

pub(crate) const KEYS: [&str; 3] = ["listen", "allow", "status-page"];

/// The port that metrics are served on unless the settings say otherwise.
pub const METRICS_PORT: u16 = 9787;

/// `[metrics]`: where the metrics are served, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Metrics {
    /// Where to listen. Empty: nowhere.
    pub listen: Vec<Listen>,
    /// Who may scrape what is not loopback; never empty when there is such.
    pub allow: Vec<Allow>,
    /// Where the status page is served.
    pub status_page: StatusPage,
}

/// Where the status page is served beside the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusPage {
    /// On loopback addresses only.
    #[default]
    Loopback,
    /// Wherever metrics are, to whoever may scrape.
    Everywhere,
    /// Nowhere.
    Never,
}

impl StatusPage {
    /// Whether it is served on a loopback address (or on another one).
    pub fn served(self, loopback: bool) -> bool {
        match self {
            Self::Loopback => loopback,
            Self::Everywhere => true,
            Self::Never => false,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: vec![Listen { host: ListenHost::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: METRICS_PORT }],
            allow: Vec::new(),
            status_page: StatusPage::default(),
        }
    }
}

/// Who may scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Every address in this network.
    Network(Cidr),
    /// `pods`: every address of the cluster's pod network.
    Pods,
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Pods => f.write_str("pods"),
        }
    }
}

impl Serialize for Allow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `[log]`: how much is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    /// What is logged: this level and the graver ones.
    pub level: LogLevel,
}

/// A log level, from grave to chatty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// Also what may become one.
    Warn,
    /// Also what was done.
    #[default]
    Info,
    /// Also why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name as written in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Reads the table; what it does not say has its default.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Metrics {
    let defaults = Metrics::default();
    let Some(section) = reader.section(root, "metrics") else {
        return defaults;
    };
    reader.known(&section, &KEYS, &[]);
    let listen: Option<Vec<(Listen, Spot)>> = reader.texts(&section, "listen", str::parse);
    let allow = reader.texts(&section, "allow", |text| match text {
        "pods" => Ok(Allow::Pods),
        text => text.parse().map(Allow::Network).map_err(|complaint: Complaint| Complaint {
            message: format!("{}, or \"pods\"", complaint.message),
            ..complaint
        }),
    });
    if let Some(listen) = &listen {
        let kubernetes = if reader.whole { kubernetes(root) } else { Vec::new() };
        check_listen(reader, &section, listen, allow.as_ref().is_none_or(Vec::is_empty), &kubernetes);
    }
    let pages =
        [("loopback", StatusPage::Loopback), ("everywhere", StatusPage::Everywhere), ("never", StatusPage::Never)];
    let status_page = reader.choice(&section, "status-page", &pages, &[]).unwrap_or_default();
    let values = |list: Vec<(Listen, Spot)>| list.into_iter().map(|(value, _)| value).collect();
    Metrics {
        listen: listen.map_or(defaults.listen, values),
        allow: allow.unwrap_or_default().into_iter().map(|(value, _)| value).collect(),
        status_page,
    }
}

fn check_listen<'a>(
    reader: &mut Reader<'a>,
    section: &Section<'a>,
    listen: &[(Listen, Spot)],
    nobody: bool,
    kubernetes: &[(u16, &str)],
) {
    let path = section.key("listen");
    for (index, (place, at)) in listen.iter().enumerate() {
        let earlier = listen.get(..index).unwrap_or_default();
        if earlier.iter().any(|(other, _)| other == place) {
            reader.complain(*at, &path, Complaint::new(format!("{place} is in the list twice")));
        } else if let Some((other, _)) = earlier.iter().find(|(other, _)| other.overlaps(place)) {
            let complaint = Complaint::new(format!("{place} and {other} are in each other's way"));
            reader.complain(*at, &path, complaint.suggest("leave out the narrower one, or give it another port"));
        } else if let Some((_, what)) = kubernetes.iter().find(|(port, _)| *port == place.port) {
            let complaint = Complaint::new(format!("{place} is in the way of Kubernetes: {what} listens there"));
            reader.complain(*at, &path, complaint.suggest("port 9787 is the usual one"));
        } else if reader.whole && nobody && section.get("allow").is_none_or(is_empty_list) && !place.is_loopback() {
            reader.complain(
                *at,
                &path,
                Complaint::new(format!(
                    "{place} can be reached from outside, and `metrics.allow` does \
                     not say who may scrape it"
                ))
                .suggest("add allow = [\"10.0.1.0/24\", \"pods\"], with your own network"),
            );
        }
    }
}

fn is_empty_list(item: &crate::tree::Item) -> bool {
    matches!(&item.kind, Kind::List(items) if items.is_empty())
}

/// Reads `[log]`.
pub(crate) fn read_log<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Log {
    let Some(section) = reader.section(root, "log") else {
        return Log::default();
    };
    reader.known(&section, &["level"], &[]);
    let words = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
        .map(|level| (level.as_str(), level));
    Log { level: reader.choice(&section, "level", &words, &[]).unwrap_or_default() }
}
