//! Bars and lines as SVG, with what they show in words.

use super::Disk;
use super::html::escape;
use bowline_ports::text::about;
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
        "<svg class=\"bar\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {BAR}\" \
         preserveAspectRatio=\"none\"><rect class=\"all\" width=\"{WIDTH}\" height=\"{BAR}\"/>\
         <rect class=\"{tone}\" width=\"{:.1}\" height=\"{BAR}\"/>",
        escape(says),
        share * WIDTH
    );
    for at in heights(marks) {
        let x = (at * WIDTH).min(WIDTH - 3.0);
        let _ = write!(out, "<rect class=\"mark\" x=\"{x:.1}\" width=\"3\" height=\"{BAR}\"/>");
    }
    out.push_str("</svg>");
}

/// The line of how much was in use, as far back as is known, and from now on as it is foretold. Too few points are no
/// line.
pub(super) fn line(out: &mut String, disk: &Disk) {
    let known = |(at, used): &&(f64, f64)| at.is_finite() && used.is_finite();
    let history: Vec<_> = disk.history.iter().filter(known).map(|(at, used)| (*at, used.clamp(0.0, 1.0))).collect();
    let (Some((first, begin)), Some((last, end))) = (history.first(), history.last()) else { return };
    let length = -first;
    if history.len() < 3 || length <= 0.0 {
        return;
    }
    let coming = coming(disk, length);
    let all = length + coming.map_or(0.0, |(seconds, _)| seconds);
    let point = |at: f64, used: f64| format!("{:.1},{:.1}", (at - first) / all * WIDTH, (1.0 - used) * LINE);
    let mut says = format!("{:.0} % in use {} ago, {:.0} % now", begin * 100.0, about(length), end * 100.0);
    if let Some((seconds, used)) = coming {
        let _ = write!(says, ", {:.0} % in {} by forecast", used * 100.0, about(seconds));
    }
    let _ = write!(
        out,
        "<svg class=\"line\" role=\"img\" aria-label=\"{}: {}\" viewBox=\"0 0 {WIDTH} {LINE}\" \
         preserveAspectRatio=\"none\"><rect class=\"all\" width=\"{WIDTH}\" height=\"{LINE}\"/>",
        escape(&disk.mountpoint),
        says.replace(" %", " percent"),
    );
    for at in heights(&disk.marks) {
        let _ = write!(out, "<path class=\"limit\" d=\"M0 {0:.1}H{WIDTH}\"/>", (1.0 - at) * LINE);
    }
    let was: Vec<_> = history.iter().map(|(at, used)| point(*at, *used)).collect();
    let was = was.join(" ");
    let _ = write!(
        out,
        "<polygon points=\"{} {was} {}\"/><polyline points=\"{was}\"/>",
        point(*first, 0.0),
        point(*last, 0.0)
    );
    if let Some((seconds, used)) = coming {
        let (now, then) = (point(*last, *end), point(seconds, used));
        let _ = write!(out, "<polyline class=\"coming\" points=\"{now} {then}\"/>");
    }
    let _ = write!(out, "</svg><p class=\"marks\" aria-hidden=\"true\">{says}</p>");
}

/// How much is foretold to be in use, and in how many seconds: as far ahead as is looked back, or until it is full.
fn coming(disk: &Disk, length: f64) -> Option<(f64, f64)> {
    let outlook = disk.outlook.filter(|outlook| outlook.growth > 0.0 && outlook.full.seconds.is_finite())?;
    let seconds = outlook.full.seconds.clamp(0.0, length);
    let used = (disk.used as f64 + outlook.growth * seconds) / (disk.size.max(1) as f64);
    (seconds >= 1.0).then_some((seconds, used.clamp(0.0, 1.0)))
}

/// Where marks are, as far as they are anywhere.
fn heights(marks: &[(f64, String)]) -> impl Iterator<Item = f64> {
    marks.iter().map(|(at, _)| *at).filter(|at| at.is_finite()).map(|at| at.clamp(0.0, 1.0))
}
