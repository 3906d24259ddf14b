//! The status page for people: one page without scripts and without anything from elsewhere.
//!
//! Everything in it is escaped, and the browser is told to load nothing (`Content-Security-Policy`) but the style that is in
//! it, by its hash. What a bar or line shows is said in words as well, for who hears it.
//!
//! - `html`: escaping, lengths and times in words.
//! - `chart`: bars, and the line of what was and is foretold.
//! - `capability`, `disk`, `folder`: what is said of each.

mod capability;
mod chart;
mod disk;
mod folder;
mod html;

use crate::page::Page;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bowline_engine::{Overall, Report};
use bowline_ports::condition;
use bowline_ports::text::about;
use html::escape;
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
    /// It cannot be written to.
    pub read_only: bool,
    /// There are so many filesystems that it is not watched.
    pub beyond: bool,
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

/// What is foretold of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Bytes a second; below 0 where it empties.
    pub growth: f64,
    /// That no byte is left.
    pub full: Foreseen,
    /// That no inode is left.
    pub inodes: Foreseen,
    /// That the kubelet evicts; `None` where it never does because of this filesystem.
    pub evicts: Option<Foreseen>,
}

/// Something that is foretold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foreseen {
    /// Seconds from now, infinite where it does not come to that.
    pub seconds: f64,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
}

impl Foreseen {
    /// In so many seconds, so sure.
    pub fn of(seconds: f64, confidence: f64) -> Self {
        Self { seconds, confidence }
    }

    /// It does not come to that.
    pub fn never(confidence: f64) -> Self {
        Self::of(f64::INFINITY, confidence)
    }
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
    /// Its share of the filesystem that it is on, 0 to 1; `None` where that is not known.
    pub share: Option<f64>,
    /// Bytes a day that it grows by, as far as that goes on; `None` where it was not measured three times.
    pub growth: Option<f64>,
    /// How many directories in it are not listed, because there are too many.
    pub left_out: u64,
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
        let name = self.report.conditions.get(condition::NAME).map_or("this machine", String::as_str);
        let (title, head) = (escape(name), self.report.headline());
        let (word, tone) = overall(self.report.overall);
        // The word stands beside it already.
        let head = escape(head.strip_prefix("ready: ").unwrap_or(&head));
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
             <title>{title} · Bowline</title><style>{STYLE}</style></head><body>\n<header>\
             <h1>{title}</h1> <p class=\"state {tone}\">{word}</p><p>{head}</p></header>\n<main>\n"
        );
        self.capabilities(&mut out);
        self.disks(&mut out);
        self.folders(&mut out);
        let looked = match self.report.at {
            0 => "not looked yet".to_owned(),
            at => format!("looked {} ago", about((self.now - at).max(0) as f64)),
        };
        let _ = write!(
            out,
            "</main>\n<footer><p>Bowline {} · {looked} · <a href=\"/metrics\">metrics</a> · \
             <a href=\"/readyz\">ready?</a></p></footer>\n</body></html>\n",
            escape(&self.report.version),
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
        if !self.report.capabilities.is_empty() {
            out.push_str("<ul class=\"parts\">\n");
            self.report.capabilities.iter().for_each(|one| capability::html(out, one, self.now));
            out.push_str("</ul>");
        }
        out.push_str("</section>\n");
    }

    fn disks(&self, out: &mut String) {
        out.push_str("<section aria-labelledby=\"disks\"><h2 id=\"disks\">Filesystems</h2>\n");
        if self.disks.is_empty() {
            out.push_str("<p>None could be seen.</p>");
        } else {
            out.push_str("<div class=\"disks\">\n");
            self.disks.iter().for_each(|disk| disk.html(out));
            out.push_str("</div>");
        }
        out.push_str("</section>\n");
    }

    fn folders(&self, out: &mut String) {
        out.push_str("<section aria-labelledby=\"fills\"><h2 id=\"fills\">What fills them</h2>\n");
        match self.measured {
            Some(at) => {
                let _ = write!(out, "<p>Measured {} ago.</p>", about((self.now - at).max(0) as f64));
            }
            None => out.push_str("<p>Nothing was measured yet.</p>"),
        }
        for text in &self.unseen {
            let _ = write!(out, "<p class=\"busy\">{}</p>", escape(text));
        }
        if !self.folders.is_empty() {
            out.push_str(
                "<table><caption>Directories, with everything in them</caption><thead><tr><th scope=\"col\">Directory</th>\
                 <th scope=\"col\">Size</th><th scope=\"col\">Of its filesystem</th></tr></thead><tbody>\n",
            );
            folder::html(out, &self.folders);
            out.push_str("</tbody></table>");
        }
        out.push_str("</section>\n");
    }
}

fn overall(overall: Overall) -> (&'static str, &'static str) {
    match overall {
        Overall::Ready => ("ready", "good"),
        Overall::Converging => ("on the way", "busy"),
        Overall::Degraded => ("degraded", "bad"),
    }
}
