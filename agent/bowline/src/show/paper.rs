//! What is written on: lines of at most 80 columns with a hanging indent, and colour where it is wanted.

use std::fmt::Write;

/// Columns at most.
pub(super) const WIDTH: usize = 80;

/// How a word is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Bold,
    Dim,
    Good,
    Busy,
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
        }
    }
}

/// Collects text.
pub(super) struct Paper {
    text: String,
    colour: bool,
}

impl Paper {
    pub(super) fn new(colour: bool) -> Self {
        Self { text: String::new(), colour }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// An empty line, but not at the beginning and not twice.
    pub(super) fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Text from the first column, all of it in one tone.
    pub(super) fn title(&mut self, tone: Tone, text: &str) {
        for line in wrap(text, WIDTH, WIDTH - 2).iter().enumerate().map(indent_after(2)) {
            self.paint(tone, &line);
            self.text.push('\n');
        }
    }

    /// `lead` in a tone, beginning at column `at`, and from column `indent` on the text, plainly.
    pub(super) fn entry(&mut self, at: usize, tone: Tone, lead: &str, indent: usize, text: &str) {
        let lead = clean(lead);
        let used = at + lead.chars().count() + usize::from(!lead.is_empty() && !text.is_empty());
        let first = WIDTH.saturating_sub(used.max(indent));
        let lines = wrap(text, first, WIDTH - indent);
        let mut lines = lines.iter();
        self.text.extend(std::iter::repeat_n(' ', at));
        self.paint(tone, &lead);
        if let Some(line) = lines.next() {
            let column = at + lead.chars().count();
            let blanks = if column >= indent && column > at { 1 } else { indent - column };
            self.text.extend(std::iter::repeat_n(' ', blanks));
            self.text.push_str(line);
        }
        self.text.push('\n');
        for line in lines {
            self.text.extend(std::iter::repeat_n(' ', indent));
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// A name, and from a column on a word in a tone.
    pub(super) fn word(&mut self, name: &str, column: usize, tone: Tone, word: &str) {
        let name = clean(name);
        self.text.push_str(&name);
        self.text.extend(std::iter::repeat_n(' ', column.saturating_sub(name.chars().count()).max(1)));
        self.paint(tone, word);
        self.text.push('\n');
    }

    fn paint(&mut self, tone: Tone, text: &str) {
        if self.colour && tone != Tone::Plain && !text.is_empty() {
            // Writing to a String can not fail.
            let _ = write!(self.text, "\x1b[{}m{text}\x1b[0m", tone.code());
        } else {
            self.text.push_str(text);
        }
    }
}

fn indent_after(columns: usize) -> impl Fn((usize, &String)) -> String {
    move |(at, line)| if at == 0 { line.clone() } else { format!("{:columns$}{line}", "") }
}

/// The text in lines of at most 80 columns, the first and later ones indented by so many.
pub(crate) fn folded(text: &str, first: usize, rest: usize) -> String {
    let lines = wrap(text, 80 - first, 80 - rest);
    format!("{:first$}{}", "", lines.iter().enumerate().map(indent_after(rest)).collect::<Vec<_>>().join("\n"))
}

/// The text without what commands a terminal or turns the direction of writing. Line ends stay.
pub(super) fn clean(text: &str) -> String {
    let allowed = |c: char| match c {
        '\n' => '\n',
        '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(allowed).collect()
}

/// Lines of at most `first` columns, then `rest` columns. Words that are longer are broken after a slash, comma,
/// colon or the like.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in clean(text).lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let mut word = word;
            loop {
                let room = if lines.is_empty() { first } else { rest }.max(10);
                let used = line.chars().count();
                let blank = usize::from(used > 0);
                if used + blank + word.chars().count() <= room {
                    line.extend(std::iter::repeat_n(' ', blank));
                    line.push_str(word);
                    break;
                }
                // A line of its own first; what is too long even for that is broken.
                if used == 0 {
                    let (head, tail) = word.split_at(break_at(word, room));
                    line.push_str(head);
                    word = tail;
                }
                lines.push(std::mem::take(&mut line));
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// Where to break a word that is longer than `room`.
fn break_at(word: &str, room: usize) -> usize {
    let hard = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
    let head = &word[..hard];
    let soft = head.rfind(['/', ',', ':', ';', '=', '&', '?', '-']).map(|at| at + 1);
    soft.filter(|at| head[..*at].chars().count() > room / 2).unwrap_or(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_hang() {
        let mut paper = Paper::new(false);
        let text = "no interface has an address in 10.0.1.0/24 yet; there are eth0 203.0.113.7, lo 127.0.0.1";
        paper.entry(2, Tone::Good, "wait", 10, text);
        let wanted = "  wait    no interface has an address in 10.0.1.0/24 yet; there are eth0\n          203.0.113.7, lo 127.0.0.1\n";
        assert_eq!(paper.into_text(), wanted);
    }

    #[test]
    fn a_long_lead_moves_the_text() {
        let mut paper = Paper::new(false);
        paper.entry(0, Tone::Plain, "a-capability", 10, "done");
        paper.entry(0, Tone::Plain, "", 4, "x");
        paper.entry(0, Tone::Plain, "lead", 10, "");
        assert_eq!(paper.into_text(), "a-capability done\n    x\nlead\n");
    }

    #[test]
    fn nothing_is_wider_than_the_page() {
        let path = format!("https://mirror.example/{}/k3s", "a".repeat(200));
        let mut paper = Paper::new(false);
        paper.entry(2, Tone::Bad, "failing", 10, &format!("can not download {path} now"));
        paper.title(Tone::Bold, &path);
        let text = paper.into_text();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let joined: String = text.split_whitespace().collect();
        assert_eq!(joined.matches(&path).count(), 2, "nothing is lost");
    }

    #[test]
    fn colour_only_when_told_and_never_from_within() {
        let mut paper = Paper::new(true);
        paper.entry(0, Tone::Bad, "bad\x1b[2J", 8, "a\x07b\u{202e}c\td");
        assert_eq!(paper.into_text(), "\x1b[31mbad?[2J\x1b[0m a?b?c d\n");
        let mut paper = Paper::new(false);
        paper.title(Tone::Bold, "x");
        assert_eq!(paper.into_text(), "x\n");
    }
}
