//! Directories as rows of a table. Of one beneath another only the rest of its path is seen, which is what tells it
//! from its brothers on a narrow screen; the whole path is there to be heard, found and copied.

use super::html::escape;
use super::{Folder, chart};
use bowline_ports::text::bytes;
use std::fmt::Write;

/// Bytes a day: what grows by less fills no disk.
const GROWS: f64 = 1e8;

pub(super) fn html(out: &mut String, folders: &[Folder]) {
    // Those that the next one may be beneath, the nearest last.
    let mut above: Vec<&Folder> = Vec::new();
    for folder in folders {
        above.retain(|one| one.depth < folder.depth && within(folder, one).is_some());
        row(out, folder, above.last().and_then(|nearest| within(folder, nearest)));
        above.push(folder);
    }
}

/// The rest of a path beneath another.
fn within<'a>(folder: &'a Folder, above: &Folder) -> Option<&'a str> {
    folder.path.strip_prefix(above.path.trim_end_matches('/'))?.strip_prefix('/').filter(|rest| !rest.is_empty())
}

fn row(out: &mut String, folder: &Folder, rest: Option<&str>) {
    let _ = write!(out, "<tr><th scope=\"row\" class=\"d{}\">", folder.depth.min(4));
    let rest = rest.unwrap_or(&folder.path);
    let before = folder.path.strip_suffix(rest).unwrap_or_default();
    if !before.is_empty() {
        let _ = write!(out, "<span class=\"heard\">{}</span>", escape(before));
    }
    out.push_str(&escape(rest));
    if let Some(growth) = folder.growth.filter(|growth| *growth >= GROWS) {
        let _ = write!(out, " <small>grows by {} a day</small>", bytes(growth as u64));
    }
    if folder.left_out > 0 {
        let _ = write!(out, " <small>{} more are not listed: there are too many</small>", folder.left_out);
    }
    if !folder.trouble.is_empty() {
        let _ = write!(out, " <span class=\"bad\">{}</span>", escape(&folder.trouble));
    }
    let size = folder.bytes.map_or_else(|| "unknown".into(), bytes);
    let _ = write!(out, "</th><td>{size}</td><td>");
    match folder.share.filter(|share| share.is_finite()) {
        Some(share) => {
            let percent = percent(share);
            let _ = write!(out, "<span aria-hidden=\"true\">{percent} %</span>");
            chart::bar(out, share, &[], &format!("{percent} percent of its filesystem"));
        }
        None => out.push_str("unknown"),
    }
    out.push_str("</td></tr>\n");
}

/// `17`, and `0.3` of what is little.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (0.05..0.95).contains(&percent) { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(folders: &[(&str, u8)]) -> Vec<String> {
        let folders: Vec<_> = folders
            .iter()
            .map(|(path, depth)| Folder {
                path: (*path).into(),
                depth: *depth,
                bytes: None,
                share: None,
                growth: None,
                left_out: 0,
                trouble: String::new(),
            })
            .collect();
        let mut out = String::new();
        html(&mut out, &folders);
        let seen = |row: &str| row.split("\">").nth(1).map(|head| row[row.find(head).unwrap()..].to_owned());
        out.split("<tr>").skip(1).filter_map(seen).map(|row| row.split("</th>").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_above_is_heard_and_not_seen_again() {
        let heard = |above: &str, rest: &str| format!("<span class=\"heard\">{above}</span>{rest}");
        assert_eq!(
            rows(&[("/srv", 0), ("/srv/a", 1), ("/srv/a/b", 2), ("/srv/ab", 1), ("/srvx", 0), ("/other/y", 1)]),
            [
                "/srv".to_owned(),
                heard("/srv/", "a"),
                heard("/srv/a/", "b"),
                heard("/srv/", "ab"),
                "/srvx".to_owned(),
                "/other/y".to_owned(),
            ]
        );
        assert_eq!(rows(&[("/", 0), ("/etc", 1)]), ["/".to_owned(), heard("/", "etc")]);
    }

    fn of(growth: Option<f64>, left_out: u64) -> String {
        let path = "/srv".into();
        let folder = Folder { path, depth: 0, bytes: Some(1), share: None, growth, left_out, trouble: String::new() };
        let mut out = String::new();
        row(&mut out, &folder, None);
        out
    }

    #[test]
    fn what_grows_is_told() {
        let told = |growth| of(growth, 0).contains("<small>grows by 2.8 GiB a day</small>");
        assert_eq!([Some(3e9), Some(-3e9), Some(9e7), None].map(told), [true, false, false, false]);
    }

    #[test]
    fn what_is_not_listed_is_told() {
        assert!(of(None, 12).contains("<small>12 more are not listed: there are too many</small>"));
        assert!(!of(None, 0).contains("not listed"));
    }

    #[test]
    fn little_is_not_nothing() {
        let texts = [0.0, 0.0004, 0.006, 0.0096, 0.17].map(percent);
        assert_eq!(texts, ["0", "0", "0.6", "1", "17"]);
    }
}
