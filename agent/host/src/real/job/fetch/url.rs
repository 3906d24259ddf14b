//! Addresses of files: `https`, `http` and `file`.

use bowline_ports::{ErrorKind, PortError};
use hyper::Uri;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// As long as a name in DNS can be.
const LONGEST_HOST: usize = 253;
/// What messages show of an address: who answers may send one as long as they like.
const SHOWN: usize = 300;

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Url {
    /// Behind a web server.
    Web(Web),
    /// On this machine.
    File(PathBuf),
}

/// A web address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// `https` rather than `http`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path with its query, which may hold a signature: not for messages.
    pub path: String,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// A sentence with the text, but for what may be secret in it.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let wrong = |why: &str| PortError::new(ErrorKind::Invalid, format!("{}: {why}", without_secrets(text)));
        if let Some(rest) = text.strip_prefix("file:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let absolute = path.starts_with('/');
            return if absolute { Ok(Self::File(path.into())) } else { Err(wrong("not an absolute path")) };
        }
        let uri: Uri = text.parse().map_err(|e| wrong(&format!("not a URL ({e})")))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("neither https, http nor file")),
        };
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(wrong("a user name in the URL is not supported"));
        }
        let host = uri.host().unwrap_or_default();
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if inner.is_some_and(|address| address.parse::<Ipv6Addr>().is_err()) {
            return Err(wrong("no IPv6 address in the brackets"));
        }
        let host = inner.unwrap_or(host).to_owned();
        if host.is_empty() || host.len() > LONGEST_HOST || host.contains(['[', ']']) {
            return Err(wrong("no host"));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Ok(Self::Web(Web { tls, host, port, path }))
    }

    /// For messages.
    pub fn shown(&self) -> String {
        match self {
            Self::Web(web) => web.shown(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Web {
    /// Host and port, as in the header `Host`.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The address without its query.
    pub fn shown(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        short(format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.authority()))
    }

    /// Where a redirection leads.
    ///
    /// # Errors
    /// It is no address of a file, on this machine, or without TLS where there was TLS.
    pub fn redirected(&self, location: &str) -> Result<Self, PortError> {
        let scheme = if self.tls { "https" } else { "http" };
        let target = if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.authority())
        } else if location.contains("://") {
            location.to_owned()
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{scheme}://{}{directory}/{location}", self.authority())
        };
        let from = self.shown();
        match Url::parse(&target)? {
            Url::Web(web) if self.tls && !web.tls => Err(PortError::new(
                ErrorKind::Invalid,
                format!("{from} leads from https to http ({}): refused", web.shown()),
            )),
            Url::Web(web) => Ok(web),
            Url::File(_) => Err(PortError::new(ErrorKind::Invalid, format!("{from} leads to a local file: refused"))),
        }
    }
}

/// A text that was meant as a URL, without what may be secret in it.
fn without_secrets(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => short(format!("{scheme}://…@{rest}")),
        _ => short(text.to_owned()),
    }
}

fn short(mut text: String) -> String {
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_for_ipv6_addresses_alone() {
        assert_eq!(web("https://[2001:db8::1]:8443/k3s").host, "2001:db8::1");
        for text in ["http://00[21:db8::1]:81/a", "http://[k3s.example]/a", "http://[]/a", "http://a]/b"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    fn web(text: &str) -> Web {
        match Url::parse(text).unwrap() {
            Url::Web(web) => web,
            Url::File(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn addresses() {
        let one = web("https://mirror.example/k3s/v1.34.1%2Bk3s1/k3s?sig=secret");
        assert_eq!((one.tls, one.host.as_str(), one.port), (true, "mirror.example", 443));
        assert_eq!(one.path, "/k3s/v1.34.1%2Bk3s1/k3s?sig=secret");
        assert_eq!(one.shown(), "https://mirror.example/k3s/v1.34.1%2Bk3s1/k3s");
        assert_eq!(web("http://[::1]:8080/x").shown(), "http://[::1]:8080/x");
        assert_eq!(Url::parse("file:/srv/k3s").unwrap(), Url::File("/srv/k3s".into()));
        assert_eq!(Url::parse("file:///srv/k3s").unwrap(), Url::File("/srv/k3s".into()));
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        let message = |text| Url::parse(text).unwrap_err().message;
        assert_eq!(message("ftp://host/x"), "ftp://host/x: neither https, http nor file");
        assert_eq!(message("file:x"), "file:x: not an absolute path");
        let with_password = message("https://me:hunter2@host/x?token=abc");
        assert_eq!(with_password, "https://…@host/x: a user name in the URL is not supported");
    }

    #[test]
    fn redirections() {
        let from = web("https://a.example:8443/x/y?q=1");
        let to = |location: &str| from.redirected(location).unwrap().shown();
        assert_eq!(to("https://b.example/z"), "https://b.example/z");
        assert_eq!(to("//b.example/z"), "https://b.example/z");
        assert_eq!(to("/z"), "https://a.example:8443/z");
        assert_eq!(to("z"), "https://a.example:8443/x/z");
        let refused = from.redirected("http://a.example/z").unwrap_err();
        assert_eq!(
            refused.message,
            "https://a.example:8443/x/y leads from https to http (http://a.example/z): refused"
        );
        assert!(from.redirected("file:///etc/shadow").is_err());
        assert!(web("http://a/").redirected("https://a/").unwrap().tls);
        let long = from.redirected(&format!("ftp://{}", "a".repeat(60_000))).unwrap_err();
        assert!(long.message.len() < 400, "{} bytes", long.message.len());
        assert!(from.redirected(&format!("https://{}/", "a".repeat(254))).is_err());
    }
}
