//! Objects of the Kubernetes API, as JSON by their paths: what an issuer reads and writes.

use crate::{ErrorKind, Fut, PortError};
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

/// How many objects of a collection are read at a time: the Nodes of a large cluster are megabytes.
const PAGE: usize = 200;
/// More pages than any cluster has.
const PAGES: usize = 1000;

/// Shows every object of a collection, which may have a selector, a page at a time.
///
/// # Errors
/// Those of `get`, and an answer that is no list.
pub async fn each<F: Future<Output = Result<Option<Value>, PortError>>>(
    get: impl Fn(String) -> F,
    path: &str,
    mut show: impl FnMut(&Value),
) -> Result<(), PortError> {
    let join = if path.contains('?') { '&' } else { '?' };
    let mut next = String::new();
    for _ in 0..PAGES {
        let page = get(format!("{path}{join}limit={PAGE}{next}")).await?;
        items(path, page.as_ref())?.iter().for_each(&mut show);
        let token = page.as_ref().and_then(|page| page["metadata"]["continue"].as_str());
        match token.filter(|token| !token.is_empty()) {
            Some(token) => next = format!("&continue={token}"),
            None => return Ok(()),
        }
    }
    Err(PortError::new(ErrorKind::Invalid, format!("{path} has no end")))
}

/// What a collection has. The API has every collection, also an empty one: an answer without is none, and nothing may be
/// concluded from it, least of all that what it should show is gone.
///
/// # Errors
/// The answer is no list.
pub fn items<'a>(path: &str, list: Option<&'a Value>) -> Result<&'a [Value], PortError> {
    match list.map(|list| (list.get("items"), list["kind"].as_str())) {
        Some((Some(Value::Array(items)), _)) => Ok(items),
        // The items of an empty list may be null.
        Some((Some(Value::Null), Some(kind))) if kind.ends_with("List") => Ok(&[]),
        _ => {
            let path = path.split('?').next().unwrap_or(path);
            Err(PortError::new(ErrorKind::Unreachable, format!("reading {path}: the answer is no list")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_list_is_one_and_what_is_no_list_is_none() {
        for empty in [json!({ "items": [] }), json!({ "kind": "NodeList", "items": null })] {
            assert_eq!(items("/nodes", Some(&empty)), Ok(&[][..]), "{empty}");
        }
        for none in
            [json!({}), json!({ "items": null }), json!({ "kind": "Status" }), json!({ "kind": "NodeList" }), json!([])]
        {
            let error = items("/nodes?limit=1", Some(&none)).unwrap_err();
            assert_eq!(
                (error.kind, &*error.message),
                (ErrorKind::Unreachable, "reading /nodes: the answer is no list")
            );
        }
        assert!(items("/nodes", None).is_err());
    }
}
