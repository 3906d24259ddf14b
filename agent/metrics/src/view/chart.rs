//! Bars and lines as SVG, with what they show in words.

use super::html::{escape, span};
use std::fmt::Write;

const WIDTH: f64 = 600.0;
const BAR: f64 = 16.0;
const LINE: f64 = 60.0;

/// A bar that is full to `share` (0 to 1), with marks across it.
pub(super) fn bar(out: &mut String, share: f64, marks: &[(f64, String)], says: &str) {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let lowest = marks.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let tone = match share {
        share if share >= lowest || share >= 0.95 => "bad",
        share if share >= 0.8 => "busy",
        _ => "good",
    };
    let _ = write!(
        out,
        "<svg class=\"bar\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {BAR}\" preserveAspectRatio=\"none\">\
         <rect class=\"all\" width=\"{WIDTH}\" height=\"{BAR}\"/><rect class=\"{tone}\" width=\"{:.1}\" height=\"{BAR}\"/>",
        escape(says),
        share * WIDTH
    );
    for (at, _) in marks {
        let x = at.clamp(0.0, 1.0) * WIDTH;
        let _ = write!(out, "<rect class=\"mark\" x=\"{:.1}\" width=\"2\" height=\"{BAR}\"/>", x.min(WIDTH - 2.0));
    }
    out.push_str("</svg>");
}

/// The line of what was: points of seconds before now and use (0 to 1), oldest first. Too few are no line.
pub(super) fn line(out: &mut String, history: &[(f64, f64)], of: &str) {
    let (Some((first, begin)), Some((_, end))) = (history.first(), history.last()) else { return };
    let length = -first;
    if history.len() < 3 || length <= 0.0 {
        return;
    }
    let says = format!("{of} over {}: from {:.0} to {:.0} percent in use", span(length), begin * 100.0, end * 100.0);
    let _ = write!(
        out,
        "<svg class=\"line\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {LINE}\" preserveAspectRatio=\"none\">\
         <rect class=\"all\" width=\"{WIDTH}\" height=\"{LINE}\"/><polyline points=\"",
        escape(&says)
    );
    for (at, used) in history {
        let (x, y) = ((at - first) / length * WIDTH, (1.0 - used.clamp(0.0, 1.0)) * LINE);
        let _ = write!(out, "{x:.1},{y:.1} ");
    }
    let _ = write!(out, "\"/></svg><p class=\"marks\">{} ago … now</p>", span(length));
}
