//! The status page for people: one page without scripts and without anything from elsewhere.
//!
//! Everything in it is escaped, and the browser is told to load nothing (`Content-Security-Policy`) but the style that is in
//! it, by its hash. What a bar or line shows is said in words as well, for who hears it.
//!
//! - `html`: escaping, lengths and times in words.
//! - `chart`: bars and the line of what was.

mod chart;
mod html;

use crate::page::Page;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bowline_engine::{CapabilityReport, CapabilityState, Overall, Report};
use html::{bytes, escape, span};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = include_str!("view/style.css");

/// What the page shows.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The node as it was seen last.
    pub report: &'a Report,
    /// Seconds since 1970.
    pub now: i64,
    /// Filesystems, as the mount table has them.
    pub disks: Vec<Disk>,
    /// Directories, largest first within each that was asked for.
    pub folders: Vec<Folder>,
    /// When directories were measured, in seconds since 1970; `None`: not yet.
    pub measured: Option<i64>,
    /// What takes room and is in no directory: in words.
    pub unseen: Vec<String>,
}

/// A filesystem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Disk {
    /// Where it is mounted.
    pub mountpoint: String,
    /// Device and type, in words.
    pub what: String,
    /// Why it could not be measured; the numbers are nothing then.
    pub error: Option<String>,
    /// It can not be written to.
    pub read_only: bool,
    /// Bytes in all.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that an ordinary user may still write.
    pub available: u64,
    /// At which use (0 to 1) something happens, and what.
    pub marks: Vec<(f64, String)>,
    /// What is foretold; `None`: not watched for long enough.
    pub outlook: Option<Outlook>,
    /// What was: seconds before now (not above 0), and the use (0 to 1), oldest first.
    pub history: Vec<(f64, f64)>,
}

/// What is foretold of a filesystem. Times are seconds from now, infinite where it does not come to that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Bytes a second; below 0 where it empties.
    pub growth: f64,
    /// Until no byte is left.
    pub full: f64,
    /// Until no inode is left.
    pub inodes: f64,
    /// Until the kubelet evicts.
    pub evicts: f64,
    /// How sure it is, 0 to 1.
    pub confidence: f64,
}

/// A directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Its path.
    pub path: String,
    /// How many levels beneath the one that was asked for.
    pub depth: u8,
    /// Bytes that it takes; `None` where it could not be read.
    pub bytes: Option<u64>,
    /// Its share of the filesystem that it is on, 0 to 1.
    pub share: f64,
    /// What could not be read of it.
    pub trouble: String,
}

impl View<'_> {
    /// The page, with what a browser may do with it.
    pub fn page(&self) -> Page {
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Page { status: 200, content_type: "text/html; charset=utf-8", body: self.html(), policy: Some(policy) }
    }

    fn html(&self) -> String {
        let name = self.report.conditions.get("name").map_or("this machine", String::as_str);
        let (title, head) = (escape(name), escape(&self.report.headline()));
        let (word, tone) = overall(self.report.overall);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
             <title>{title} · Bowline</title><style>{STYLE}</style></head><body>\n<header>\
             <h1>{title}</h1><p class=\"state {tone}\">{word}</p><p>{head}</p></header>\n<main>\n"
        );
        self.capabilities(&mut out);
        self.disks(&mut out);
        self.folders(&mut out);
        let _ = write!(
            out,
            "</main>\n<footer><p>Bowline {} · looked {} ago · <a href=\"/metrics\">metrics</a> · \
             <a href=\"/readyz\">ready?</a></p></footer>\n</body></html>\n",
            escape(&self.report.version),
            span((self.now - self.report.at).max(0) as f64)
        );
        out
    }

    fn capabilities(&self, out: &mut String) {
        out.push_str("<section aria-labelledby=\"what\"><h2 id=\"what\">What Bowline looks after</h2>\n");
        if self.report.settings.absent {
            out.push_str("<p>There are no settings yet.</p>");
        }
        for error in &self.report.settings.errors {
            let _ = write!(out, "<p class=\"bad\">{}</p>", escape(error));
        }
        out.push_str("<ul class=\"parts\">\n");
        for capability in &self.report.capabilities {
            self.capability(out, capability);
        }
        out.push_str("</ul></section>\n");
    }

    fn capability(&self, out: &mut String, capability: &CapabilityReport) {
        let (name, state) = (escape(&capability.name), capability.state.name());
        let tone = tone(capability.state);
        let _ = write!(out, "<li><h3>{name}</h3> <span class=\"state {tone}\">{state}</span>");
        let mut lines = Vec::new();
        for step in &capability.steps {
            let text = match (&step.failing, &step.running) {
                (Some(failing), _) => format!("{}: {} failed: {}", step.item, step.what, failing.error),
                (None, Some(_)) => format!("{}: {} (under way)", step.item, step.what),
                (None, None) => format!("{}: {}", step.item, step.what),
            };
            lines.push(text);
        }
        for wait in &capability.waits {
            let since = span((self.now - wait.since).max(0) as f64);
            lines.push(format!("{}: waits for {}, for {since}: {}", wait.item, wait.what, wait.why));
        }
        for refusal in &capability.refusals {
            lines.push(format!("{}: refused: {}. {}", refusal.item, refusal.why, refusal.hint));
        }
        lines.extend(capability.error.iter().map(|error| format!("can not look: {error}")));
        lines.extend(capability.notes.iter().map(|note| format!("{}: {}", note.item, note.text)));
        if !lines.is_empty() {
            out.push_str("<ul>");
            lines.iter().for_each(|line| {
                let _ = write!(out, "<li>{}</li>", escape(line));
            });
            out.push_str("</ul>");
        }
        out.push_str("</li>\n");
    }

    fn disks(&self, out: &mut String) {
        out.push_str("<section aria-labelledby=\"disks\"><h2 id=\"disks\">Filesystems</h2>\n");
        for disk in &self.disks {
            disk.html(out);
        }
        if self.disks.is_empty() {
            out.push_str("<p>None could be seen.</p>");
        }
        out.push_str("</section>\n");
    }

    fn folders(&self, out: &mut String) {
        out.push_str("<section aria-labelledby=\"fills\"><h2 id=\"fills\">What fills them</h2>\n");
        match self.measured {
            Some(at) => {
                let _ = write!(out, "<p>Measured {} ago.</p>", span((self.now - at).max(0) as f64));
            }
            None => out.push_str("<p>Nothing was measured yet.</p>"),
        }
        for text in &self.unseen {
            let _ = write!(out, "<p class=\"busy\">{}</p>", escape(text));
        }
        if !self.folders.is_empty() {
            out.push_str(
                "<table><caption>Directories, with everything in them</caption><thead><tr><th scope=\"col\">Directory</th>\
                 <th scope=\"col\">Size</th><th scope=\"col\">Share of the filesystem</th></tr></thead><tbody>\n",
            );
            self.folders.iter().for_each(|folder| folder.html(out));
            out.push_str("</tbody></table>");
        }
        out.push_str("</section>\n");
    }
}

impl Disk {
    fn html(&self, out: &mut String) {
        let (at, what) = (escape(&self.mountpoint), escape(&self.what));
        let _ = write!(out, "<article><h3>{at}</h3><p class=\"what\">{what}</p>");
        if let Some(error) = &self.error {
            let _ = writeln!(out, "<p class=\"bad\">It can not be measured: {}</p></article>", escape(error));
            return;
        }
        if self.read_only {
            out.push_str("<p class=\"bad\">It is read-only.</p>");
        }
        let share = if self.size == 0 { 0.0 } else { self.used as f64 / self.size as f64 };
        let _ = write!(
            out,
            "<p><b>{:.0} %</b> of {} in use, {} free</p>",
            share * 100.0,
            bytes(self.size),
            bytes(self.available)
        );
        chart::bar(out, share, &self.marks, &format!("{:.0} percent of {at} in use", share * 100.0));
        if !self.marks.is_empty() {
            let marks: Vec<_> =
                self.marks.iter().map(|(at, what)| format!("{} at {:.0} %", escape(what), at * 100.0)).collect();
            let _ = write!(out, "<p class=\"marks\">{}</p>", marks.join(" · "));
        }
        chart::line(out, &self.history, &self.mountpoint);
        let _ = writeln!(out, "<p>{}</p></article>", escape(&self.foretold()));
    }

    fn foretold(&self) -> String {
        let Some(outlook) = self.outlook else {
            return "Nothing is foretold yet: it was not watched for long enough.".into();
        };
        let grows = match outlook.growth {
            rate if rate >= 1.0 / 3600.0 => format!("grows by {} an hour", bytes((rate * 3600.0) as u64)),
            rate if rate <= -1.0 / 3600.0 => format!("shrinks by {} an hour", bytes((-rate * 3600.0) as u64)),
            _ => "does not grow".into(),
        };
        let comes = [("full", outlook.full), ("out of inodes", outlook.inodes), ("the kubelet evicts", outlook.evicts)];
        let mut comes: Vec<_> = comes.into_iter().filter(|(_, seconds)| seconds.is_finite()).collect();
        comes.sort_by(|one, other| one.1.total_cmp(&other.1));
        let comes: Vec<_> = comes.into_iter().map(|(what, seconds)| format!("{what} in {}", span(seconds))).collect();
        if comes.is_empty() {
            return format!("It {grows}, and is not expected to be full.");
        }
        format!("It {grows}: {} ({:.0} % sure).", comes.join(", "), outlook.confidence * 100.0)
    }
}

impl Folder {
    fn html(&self, out: &mut String) {
        let path = escape(&self.path);
        let level = self.depth.min(4);
        let _ = write!(out, "<tr><th scope=\"row\" class=\"d{level}\">{path}");
        if !self.trouble.is_empty() {
            let _ = write!(out, " <span class=\"bad\">{}</span>", escape(&self.trouble));
        }
        let size = self.bytes.map_or_else(|| "?".into(), bytes);
        let _ = write!(out, "</th><td>{size}</td><td>");
        chart::bar(out, self.share, &[], &format!("{:.0} percent of its filesystem", self.share * 100.0));
        out.push_str("</td></tr>\n");
    }
}

fn overall(overall: Overall) -> (&'static str, &'static str) {
    match overall {
        Overall::Ready => ("ready", "good"),
        Overall::Converging => ("on the way", "busy"),
        Overall::Degraded => ("degraded", "bad"),
    }
}

fn tone(state: CapabilityState) -> &'static str {
    match state {
        CapabilityState::Done => "good",
        CapabilityState::Working | CapabilityState::Waiting => "busy",
        CapabilityState::Overdue | CapabilityState::Refused | CapabilityState::Failing | CapabilityState::Unknown => {
            "bad"
        }
    }
}
