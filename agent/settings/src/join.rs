//! How a node comes into its cluster: the keys of `[cluster]` that are about that.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, quote};
use crate::duration::Span;
use crate::k3s::K3sVersion;
use crate::labels::is_subdomain;
use crate::model::is_normal;
use crate::net::{self, number};
use crate::secret::Secret;

/// The TCP port that issuers answer on unless the settings say otherwise.
pub const ENROLL_PORT: u16 = 7470;

/// How long a server with `init` asks the others before it founds a cluster.
pub const INIT_WAIT: Span = Span::from_secs(60);

/// Which release a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// This one.
    Exact(K3sVersion),
    /// The one that the servers run, which they tell when they let the node in:
    /// an agent that has no `version`.
    OfServers,
}

impl Version {
    /// The release, where the settings name one.
    pub fn exact(self) -> Option<K3sVersion> {
        match self {
            Self::Exact(version) => Some(version),
            Self::OfServers => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(version) => version.fmt(f),
            Self::OfServers => f.write_str("the-servers-own"),
        }
    }
}

impl Serialize for Version {
    /// The tag, or nothing.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.exact().serialize(serializer)
    }
}

/// What this node does about a cluster that is there, or not yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Join {
    /// Servers to ask, in the order of the settings, each once. Empty: there is
    /// nobody to ask.
    pub servers: Vec<ServerAddress>,
    /// An agent's ticket. None on servers, whose own follows from the key.
    pub ticket: Option<TicketSource>,
    /// The absolute path of the cluster key. None on agents, and on a server that
    /// lets nobody in.
    pub key_file: Option<PathBuf>,
    /// Where a server has the cluster's data. Always etcd where `servers` is set.
    pub datastore: Datastore,
    /// None: it never founds a cluster that has `servers`. Else how long it asks
    /// them before it founds one.
    pub init: Option<Span>,
    /// Whether the node registers with [`crate::STARTUP_TAINT`].
    pub startup_taint: bool,
}

/// Where an agent's ticket is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketSource {
    /// In the settings: 64 lower-case hexadecimal digits.
    Inline(Secret),
    /// In this file, by its absolute path.
    File(PathBuf),
}

/// Where servers have the cluster's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Datastore {
    /// K3s's own file on the only server.
    #[default]
    Sqlite,
    /// Embedded etcd, which other servers can join.
    Etcd,
}

impl Datastore {
    /// The name as written in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Etcd => "etcd",
        }
    }
}

/// Where a server answers joiners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// An IP address, or a DNS name in lower case.
    pub host: String,
    /// The TCP port, never 0.
    pub port: u16,
}

impl ServerAddress {
    /// The address, when it is one and no name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for ServerAddress {
    type Err = Complaint;

    /// `10.0.1.10`, `fd00::1`, `control.example`, each with a port behind it or not.
    fn from_str(text: &str) -> Result<Self, Complaint> {
        let bad = || {
            Complaint::new(format!(
                "{} is no server to ask: expected an address or a name, with a port or without: \
                 \"10.0.1.10\", \"10.0.1.10:7470\" or \"[fd00::10]:7470\"",
                quote(text)
            ))
        };
        let (host, port) = if let Ok(address) = text.parse::<IpAddr>() {
            (address.to_string(), ENROLL_PORT)
        } else if let Ok(socket) = text.parse::<SocketAddr>() {
            (socket.ip().to_string(), socket.port())
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, number::<u16>(port).ok_or_else(bad)?),
                None => (text, ENROLL_PORT),
            };
            // What ends in a number is an address with a slip in it.
            let last = name.rsplit('.').next().unwrap_or_default();
            if name.len() > 253 || !is_subdomain(name) || last.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad());
            }
            (name.to_owned(), port)
        };
        if port == 0 {
            return Err(Complaint::new("port 0 is no port to ask at").suggest("write port 7470, the usual one"));
        }
        if port == 6443 {
            return Err(Complaint::new(format!(
                "{} is where K3s answers: servers let nodes in at another port",
                quote(text)
            ))
            .suggest(format!("\"{host}\", which is port 7470")));
        }
        let nobody = |address: IpAddr| address.is_unspecified() || address.is_multicast();
        if host.parse().is_ok_and(nobody) {
            return Err(Complaint::new(format!("no server can be reached at {host}")));
        }
        if let Some(complaint) = host.parse().ok().and_then(net::of_one_link) {
            return Err(complaint);
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for ServerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A ticket as it is written; a refused one is never repeated.
pub(crate) fn ticket(text: &str) -> Result<Secret, Complaint> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == 64 && digits {
        return Ok(Secret::new(text));
    }
    let count = text.chars().count();
    Err(Complaint::new(if count == 64 {
        "a ticket has the digits 0-9 and a-f only, in lower case".to_owned()
    } else {
        format!("a ticket has 64 hexadecimal digits, this has {count} characters")
    })
    .suggest("`bowline ticket` on a server prints it"))
}

/// Of these the sandbox has its own (`PrivateTmp=`). They are emptied, too.
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];

/// The path of a file with a secret in it. What is no path may be the secret
/// itself, and is not repeated.
pub(crate) fn secret_file(text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if text.chars().any(char::is_control) || !is_normal(&path) || text == "/" {
        return Err(Complaint::new("this is not the absolute path of a file, without `.` and `..` in it")
            .suggest("write the path of the file, not what is in it"));
    }
    if let Some(place) = PRIVATE.iter().find(|place| path.starts_with(place)) {
        return Err(Complaint::new(format!(
            "the daemon does not see files in {place}: its sandbox has a directory of its own there"
        ))
        .suggest("put the file elsewhere, such as in /etc/bowline, with mode 0600"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::{ServerAddress, secret_file, ticket};

    #[test]
    fn servers() {
        for (text, shown) in [
            ("10.0.1.10", "10.0.1.10:7470"),
            ("10.0.1.10:9099", "10.0.1.10:9099"),
            ("fd00::10", "[fd00::10]:7470"),
            ("[fd00::10]:9099", "[fd00::10]:9099"),
            ("control", "control:7470"),
            ("control.example:9099", "control.example:9099"),
        ] {
            let server: ServerAddress = text.parse().unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(shown.parse::<ServerAddress>().unwrap(), server);
        }
        for text in [
            "",
            ":",
            "a:",
            "a:0",
            "a:x",
            "10.0.1.300",
            "10.0.1",
            "a b",
            "A",
            "https://a",
            "[fd00::10]",
            "0.0.0.0",
            "a/24",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
        for text in ["fe80::10", "[fe80::10]:7470", "[fe80::10%2]:7470", "febf::1"] {
            let refused = text.parse::<ServerAddress>().unwrap_err();
            assert!(refused.message.contains(" is for a single link"), "{refused}");
        }
    }

    #[test]
    fn secrets_are_not_repeated() {
        for text in ["hunter2", &"A".repeat(64), &"a".repeat(63)] {
            assert!(!ticket(text).unwrap_err().to_string().contains(text));
            assert!(!secret_file(text).unwrap_err().to_string().contains(text));
        }
        assert_eq!(ticket(&"0a".repeat(32)).unwrap().expose(), "0a".repeat(32));
    }

    #[test]
    fn secrets_are_where_the_daemon_sees_them() {
        for (text, place) in [("/tmp/ticket", "/tmp"), ("/var/tmp/a/key", "/var/tmp")] {
            let refused = secret_file(text).unwrap_err();
            let why = format!("the daemon does not see files in {place}: its sandbox has a directory of its own there");
            assert_eq!(refused.message, why);
            assert!(refused.suggestion.unwrap().contains("/etc/bowline"));
        }
        for text in ["/tmpfiles/key", "/srv/tmp/key", "/run/key", "/etc/bowline/cluster.key"] {
            assert_eq!(secret_file(text).unwrap(), std::path::Path::new(text));
        }
    }
}
