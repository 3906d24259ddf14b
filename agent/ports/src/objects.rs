//! Objects of the Kubernetes API, as JSON by their paths: what an issuer reads and writes.

use crate::Fut;
use serde_json::Value;

/// A change of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Write<'a> {
    /// `POST` to a collection; an object of that name is an error of kind `Changed`.
    Create(&'a Value),
    /// `PUT`; with `metadata.resourceVersion` in the object, a newer one is an error of kind `Changed`.
    Replace(&'a Value),
    /// JSON merge patch (RFC 7386); preconditions by `metadata.uid` and `metadata.resourceVersion` in it.
    Merge(&'a Value),
    /// Server-side apply as this field manager, never forced.
    Apply(&'a str, &'a Value),
    /// `DELETE`, only of the object with this uid and, where given, this resourceVersion. Gone already is fine.
    Delete(&'a str, Option<&'a str>),
}

/// The API of one cluster. Every call ends within seconds.
///
/// Paths are the API's own: `/api/v1/nodes/NAME`, `/api/v1/namespaces/NS/secrets?labelSelector=…`.
pub trait Objects: Send + Sync {
    /// An object, or a list; `None` where there is none.
    fn get<'a>(&'a self, path: &'a str) -> Fut<'a, Option<Value>>;
    /// One change.
    fn write<'a>(&'a self, path: &'a str, write: Write<'a>) -> Fut<'a, ()>;
}
