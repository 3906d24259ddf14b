//! What is said of a filesystem.

use super::html::escape;
use super::{Disk, Foreseen, chart};
use bowline_ports::text::{about, bytes};
use std::fmt::Write;

impl Disk {
    pub(super) fn html(&self, out: &mut String) {
        let (at, what) = (escape(&self.mountpoint), escape(&self.what));
        let _ = write!(out, "<article><h3>{at}</h3><p class=\"what\">{what}</p>");
        if let Some(error) = &self.error {
            let _ = writeln!(out, "<p class=\"bad\">It cannot be measured: {}</p></article>", escape(error));
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
        chart::line(out, self);
        let _ = writeln!(out, "<p>{}</p></article>", escape(&self.forecast()));
    }

    fn forecast(&self) -> String {
        let Some(outlook) = self.outlook else {
            return match (self.read_only, self.beyond) {
                (true, _) => "No forecast: it cannot fill.",
                (_, true) => "No forecast: there are too many filesystems to watch them all.",
                _ => "No forecast yet: it was not watched for long enough.",
            }
            .into();
        };
        let grows = match outlook.growth {
            rate if rate >= 1.0 / 3600.0 => format!("grows by {} an hour", bytes((rate * 3600.0) as u64)),
            rate if rate <= -1.0 / 3600.0 => format!("shrinks by {} an hour", bytes((-rate * 3600.0) as u64)),
            _ => "does not grow".into(),
        };
        let evicts = outlook.evicts.map(|evicts| ("the kubelet evicts", evicts));
        let comes = [("full", outlook.full), ("out of inodes", outlook.inodes)].into_iter().chain(evicts);
        let mut comes: Vec<_> = comes.filter(|(_, then)| then.seconds.is_finite()).collect();
        comes.sort_by(|one, other| one.1.seconds.total_cmp(&other.1.seconds));
        let comes: Vec<_> = comes.into_iter().map(|(what, then)| format!("{what} {}", when(then))).collect();
        if comes.is_empty() {
            return format!("It {grows}, and is not expected to be full.");
        }
        format!("It {grows}: {}.", comes.join(", "))
    }
}

/// What has come to pass is a fact.
fn when(then: Foreseen) -> String {
    if then.seconds < 1.0 {
        return "now".into();
    }
    format!("in {} ({:.0} % sure)", about(then.seconds), then.confidence * 100.0)
}
