//! The pages beside the exposition, as plain status and text: the server is not this crate's business.

use crate::openmetrics::{OPENMETRICS, wants_openmetrics};
use crate::{CONTENT_TYPE, Form, Sample};
use bowline_engine::{Overall, Report};
use std::time::Duration;

/// What is served, by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/`
    Index,
    /// `/metrics`
    Metrics,
    /// `/healthz`
    Healthz,
    /// `/readyz`
    Readyz,
}

impl Route {
    /// The route of a path (without its query); `None` is a 404.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Index),
            "/metrics" => Some(Self::Metrics),
            "/healthz" => Some(Self::Healthz),
            "/readyz" => Some(Self::Readyz),
            _ => None,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    /// Media type.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
    /// What a browser may do with it (`Content-Security-Policy`), where that is anything.
    pub policy: Option<String>,
}

fn plain(status: u16, line: &str) -> Page {
    Page { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n"), policy: None }
}

/// `/metrics`, in the form that the `Accept` header asks for.
pub fn metrics(sample: &Sample<'_>, accept: &str) -> Page {
    let (content_type, form) =
        if wants_openmetrics(accept) { (OPENMETRICS, Form::OpenMetrics) } else { (CONTENT_TYPE, Form::Text) };
    Page { status: 200, content_type, body: sample.render(form), policy: None }
}

/// `/metrics` before the first look: zeros would be no facts.
pub fn early() -> Page {
    plain(503, "Bowline has not looked at this machine yet")
}

/// `/healthz`: 200 while the loop turns; `turned` is how long ago it last did.
pub fn healthz(turned: Duration, limit: Duration) -> Page {
    if turned <= limit {
        plain(200, "ok")
    } else {
        plain(503, &format!("the loop has not turned for {} s, allowed are {} s", turned.as_secs(), limit.as_secs()))
    }
}

/// `/readyz`: 200 when the node is as its settings say, else 503, with the headline.
pub fn readyz(report: &Report) -> Page {
    let status = if report.overall == Overall::Ready { 200 } else { 503 };
    plain(status, &report.headline())
}

/// `/`: one line on the node and where to go on.
pub fn index(report: &Report) -> Page {
    let text = format!(
        "Bowline {}\n{}\n\n/metrics  for Prometheus\n/healthz  200 while Bowline works\n/readyz   200 while the node is \
         as its settings say",
        report.version,
        report.headline()
    );
    plain(200, &text)
}
