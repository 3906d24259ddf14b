//! Text for a page: escaped, and numbers as people say them.

/// Text with nothing left in it that HTML reads otherwise, in an element or in a quoted attribute. What moves the cursor or
/// turns the direction of reading is shown as a sign.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            _ if letter.is_control() || turns(letter) => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

fn turns(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1.5 GB`: millions and billions, as disks are sold and as `bowline` says everywhere.
pub(super) fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let (mut value, mut unit) = (number as f64 / 1000.0, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {}", units[unit])
}

/// `3 minutes`: the largest unit of which there are two at least.
pub(super) fn span(seconds: f64) -> String {
    let units = [(86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")];
    let unit = units.iter().find(|(length, _)| seconds >= 2.0 * length);
    match unit {
        Some((length, name)) => format!("{:.0} {name}", (seconds / length).floor()),
        None if seconds >= 60.0 => "a minute".into(),
        None => format!("{:.0} seconds", seconds.max(0.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_html_reads_is_left() {
        assert_eq!(escape("<a href=\"x\" b='y'>&\n"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp; ");
        assert_eq!(escape("a\u{1b}[31m\u{202e}b"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(escape("/mnt/größe"), "/mnt/größe");
    }

    #[test]
    fn numbers_in_words() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_540_000, "1.5 MB"),
            (47_000_000_000, "47 GB"),
            (999_700_000, "1.0 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (seconds, text) in [
            (0.0, "0 seconds"),
            (59.9, "59 seconds"),
            (100.0, "a minute"),
            (150.0, "2 minutes"),
            (7000.0, "116 minutes"),
            (7300.0, "2 hours"),
            (200_000.0, "2 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
