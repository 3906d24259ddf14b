//! Text for a page: escaped.

use bowline_ports::text::clean;

/// Text with nothing left in it that HTML reads otherwise, in an element or in a quoted attribute, or that is not plain.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_html_reads_is_left() {
        assert_eq!(escape("<a href=\"x\" b='y'>&\n"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp; ");
        assert_eq!(escape("a\u{1b}[31m\u{202e}b"), "a?[31m?b");
        assert_eq!(escape("/mnt/größe"), "/mnt/größe");
    }
}
