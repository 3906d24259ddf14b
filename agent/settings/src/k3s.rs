//! Values that are about K3s: its version, its sums, its mirror, its options.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::complaint::{Complaint, excerpt, quote};
use crate::model::is_normal;
use crate::net::number;
use crate::secret::Secret;

/// A release of K3s: `v1.34.1+k3s1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct K3sVersion {
    /// Kubernetes's major version.
    pub major: u32,
    /// Kubernetes's minor version.
    pub minor: u32,
    /// Kubernetes's patch.
    pub patch: u32,
    /// The number of K3s's own release of that Kubernetes.
    pub k3s: u32,
}

impl K3sVersion {
    /// Reads a tag, without a word on what is wrong with it.
    fn from_tag(tag: &str) -> Option<Self> {
        let (kubernetes, k3s) = tag.strip_prefix('v')?.split_once("+k3s")?;
        let mut parts = kubernetes.split('.');
        let version = Self {
            major: number(parts.next()?)?,
            minor: number(parts.next()?)?,
            patch: number(parts.next()?)?,
            k3s: number(k3s)?,
        };
        parts.next().is_none().then_some(version)
    }
}

impl FromStr for K3sVersion {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        Self::from_tag(text).ok_or_else(|| {
            let complaint = Complaint::new(format!(
                "{} is not a release of K3s: expected a tag such as \"v1.34.1+k3s1\"",
                quote(text)
            ));
            if let Some(release) = released(text) {
                let message = format!("{} is a pre-release of K3s, and Bowline takes releases only", quote(text));
                return Complaint::new(message).suggest(format!("\"{release}\", once it is there"));
            }
            // A version without its `v`, of Kubernetes, or of an image.
            let bare = text.trim().trim_start_matches(['v', 'V']);
            let tags = [format!("v{bare}"), format!("v{bare}+k3s1"), format!("v{}", bare.replacen("-k3s", "+k3s", 1))];
            match tags.iter().find_map(|tag| Self::from_tag(tag)) {
                Some(version) => complaint.suggest(format!("\"{version}\"")),
                None => complaint,
            }
        })
    }
}

/// What `v1.34.1-rc1+k3s1` becomes.
fn released(tag: &str) -> Option<K3sVersion> {
    let (kubernetes, k3s) = tag.split_once("+k3s")?;
    let (release, pre) = kubernetes.split_once('-')?;
    let pre = ["rc", "alpha", "beta"].iter().any(|word| pre.starts_with(word));
    K3sVersion::from_tag(&format!("{release}+k3s{k3s}")).filter(|_| pre)
}

impl fmt::Display for K3sVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch, k3s } = self;
        write!(f, "v{major}.{minor}.{patch}+k3s{k3s}")
    }
}

impl Serialize for K3sVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A SHA-256 sum: 64 hexadecimal digits, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sha256(String);

impl Sha256 {
    /// The digits, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256 {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let count = text.chars().count();
        Err(Complaint::new(if count == 64 {
            "a SHA-256 sum has the digits 0-9 and a-f only".to_owned()
        } else {
            format!("a SHA-256 sum has 64 hexadecimal digits, this has {count}")
        }))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where releases are fetched from, laid out like K3s's own release page:
/// `BASE/v1.34.1+k3s1/k3s` and the `sha256sum-ARCH.txt` beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// `https://…` without a `/` at its end.
    Https(String),
    /// `http://…` without a `/` at its end. Nothing vouches for what comes from
    /// there but `sha256`: fetch only for an architecture that has one.
    Http(String),
    /// `file:/…`: an absolute directory of this machine.
    Directory(PathBuf),
}

impl FromStr for Mirror {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let form = "expected \"https://host/path\", or \"file:/path\" for an air gap";
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let bare = path.trim_end_matches('/');
            let path = PathBuf::from(if bare.is_empty() { path } else { bare });
            if !is_normal(&path) {
                return Err(Complaint::new(
                    "a mirror on this machine is `file:` and an absolute directory \
                     without `.` and `..` in it",
                )
                .suggest("\"file:/srv/k3s\""));
            }
            return Ok(Self::Directory(path));
        }
        let (secure, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((other, _)) if other.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(Complaint::new(format!("a mirror cannot be reached by `{}`: {form}", excerpt(other))));
            }
            _ => return Err(Complaint::new(format!("this is not a mirror: {form}"))),
        };
        let rest = rest.trim_end_matches('/');
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return Err(Complaint::new("a mirror's address cannot carry a name and password"));
        }
        let plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>?#".contains(&byte));
        if host.is_empty() || host.starts_with(':') || !plain {
            return Err(Complaint::new(format!("this is not a mirror: {form}")));
        }
        check_host(host)?;
        Ok(if secure { Self::Https(format!("https://{rest}")) } else { Self::Http(format!("http://{rest}")) })
    }
}

/// `name`, `name:port`, `192.0.2.1:port`, `[2001:db8::1]:port`, when something can be there.
fn check_host(host: &str) -> Result<(), Complaint> {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(Complaint::new(format!("a mirror cannot be at {}: that is no IPv6 address", quote(host))));
            }
            (None, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) })
        }
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    if port.is_some_and(|port| number::<u16>(port).is_none_or(|port| port == 0)) {
        return Err(Complaint::new(format!("a mirror cannot be at {}: a port is 1 to 65535", quote(host))));
    }
    let part = |part: &str| {
        let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        (1..=63).contains(&part.len()) && plain && !part.starts_with('-') && !part.ends_with('-')
    };
    match name {
        Some(name) if name.len() > 253 || !name.strip_suffix('.').unwrap_or(name).split('.').all(part) => {
            Err(Complaint::new(format!("a mirror cannot be at {}: that is no host name", quote(host))))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(url) | Self::Http(url) => f.write_str(url),
            Self::Directory(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Serialize for Mirror {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The value of a K3s option.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// One value.
    One(ConfigScalar),
    /// A list: the option is given once for each.
    Many(Vec<ConfigScalar>),
}

/// A single value of a K3s option.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ConfigScalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Text that anyone may read.
    Text(String),
    /// Text that nobody may read but K3s.
    Secret(Secret),
}
