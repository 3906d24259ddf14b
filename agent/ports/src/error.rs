//! Why a call failed, in a form that decides what to do next.

use serde::{Deserialize, Serialize};

/// What kind of failure it was. Matches over it are exhaustive, so that a new kind forces a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Something that has to exist does not.
    NotFound,
    /// The operating system said no (permissions, read-only filesystem).
    Denied,
    /// Somebody else uses it at the moment.
    Busy,
    /// No answer within the deadline.
    Timeout,
    /// No space left on the device.
    NoSpace,
    /// The other side cannot be reached (name, route, connection, D-Bus).
    Unreachable,
    /// The other side answered something that cannot be used (checksum, status, certificate).
    Invalid,
    /// The facts changed between looking and doing: look again.
    Changed,
    /// Anything else.
    Other,
}

/// A failed call: what was tried on what, why it failed, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct PortError {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// One sentence that names the object and the cause; never a secret.
    pub message: String,
    /// What to do about it, when there is more to say than "wait".
    pub hint: Option<String>,
}

impl PortError {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What it says and what can be done about it, in one line.
    pub fn in_full(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.message.clone(), |hint| format!("{} → {hint}", self.message))
    }

    /// An operating-system error on `what` ("writing /etc/…").
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::ResourceBusy => ErrorKind::Busy,
            Io::TimedOut => ErrorKind::Timeout,
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace,
            Io::ConnectionRefused | Io::ConnectionReset | Io::HostUnreachable | Io::NetworkUnreachable => {
                ErrorKind::Unreachable
            }
            _ => ErrorKind::Other,
        };
        Self::new(kind, format!("{what}: {error}"))
    }
}
