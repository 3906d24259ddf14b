//! Rows in columns of at most 80 in all.

use super::paper::{WIDTH, folded};
use bowline_ports::text::clean;

/// A column is as wide as its cells, and no wider than this: one long cell does not push all the others away.
const WIDEST: usize = 24;
/// Between two columns.
const GAP: usize = 2;

/// The rows, the first one being the heads. A cell that would not fit beside the others begins a line of its own.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths = (0..columns).map(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.filter(|width| *width <= WIDEST).max().unwrap_or(0)
    });
    let begins: Vec<usize> = widths
        .scan(0, |at, width| {
            let begin = *at;
            *at += width + GAP;
            Some(begin)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, begin) in row.iter().zip(&begins) {
            let used = line.chars().count();
            let column = if used == 0 { 0 } else { (used + GAP).max(*begin) };
            if used > 0 && column + cell.chars().count() > WIDTH {
                text.push_str(line.trim_end());
                text.push('\n');
                line = folded(cell.trim_start(), GAP, 2 * GAP);
            } else {
                line.push_str(&format!("{:1$}{cell}", "", column - used));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let text =
            table(&rows(&[&["NAME", "  SIZE", "USE"], &["a", " 1 GiB", "free"], &["a-longer", "10 GiB", "swap"]]));
        assert_eq!(text, "NAME        SIZE  USE\na          1 GiB  free\na-longer  10 GiB  swap\n");
    }

    #[test]
    fn what_does_not_fit_begins_a_line_and_is_never_cut() {
        let path = format!("/var/lib/{}", "x".repeat(90));
        let text = table(&rows(&[
            &["NAME", "SERIAL", "USE"],
            &["/dev/sda", "12345678", "the running system"],
            &["/dev/sdb", &path, "mounted at /mnt"],
            &["/dev/sdc", "/srv/images/of-some-length/that-fits-a-line.img", "mounted at /mnt/data-of-kafka"],
            &["/dev/sdd", "1", &format!("mounted at {path}")],
        ]));
        let wanted = format!(
            "NAME      SERIAL    USE\n/dev/sda  12345678  the running system\n/dev/sdb\n  {path}\n  mounted at /mnt\n\
             /dev/sdc  /srv/images/of-some-length/that-fits-a-line.img\n  mounted at /mnt/data-of-kafka\n\
             /dev/sdd  1\n  mounted at\n    {path}\n"
        );
        assert_eq!(text, wanted);
    }
}
