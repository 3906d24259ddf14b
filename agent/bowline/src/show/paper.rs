//! What is written on: lines of at most 80 columns with a hanging indent, and colour where it is wanted.

use bowline_ports::text::clean;
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
            let blanks = match line.is_empty() {
                true => 0,
                false if column >= indent && column > at => 1,
                false => indent - column,
            };
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

    /// `lead` in a tone, and beside it a command as it is to be typed: on a line of its own where it does not fit.
    pub(super) fn command(&mut self, at: usize, tone: Tone, lead: &str, command: &str) {
        let (lead, command) = (clean(lead), clean(command).replace('\n', " "));
        let wide = at + lead.chars().count() + 1 + command.chars().count() > WIDTH;
        self.text.extend(std::iter::repeat_n(' ', at));
        self.paint(tone, &lead);
        self.text.push_str(if wide { "\n" } else { " " });
        self.text.extend(std::iter::repeat_n(' ', if wide { at + 2 } else { 0 }));
        self.text.push_str(&command);
        self.text.push('\n');
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
            // Writing to a String cannot fail.
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
    let lines = wrap(text, WIDTH - first, WIDTH - rest);
    format!("{:first$}{}", "", lines.iter().enumerate().map(indent_after(rest)).collect::<Vec<_>>().join("\n"))
}

/// The text with its lines that are wider than the page folded, each behind its own indent. What is in colour was laid
/// out already.
pub(crate) fn fitted(text: &str) -> String {
    let line = |line: &str| {
        if line.chars().count() <= WIDTH || line.contains('\x1b') {
            return line.to_owned();
        }
        let indent = (line.len() - line.trim_start_matches(' ').len()).min(WIDTH / 2);
        folded(line, indent, indent + 4)
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Lines of at most `first` columns, then `rest` columns. A word that is longer stays whole, on a line of its own: a path,
/// a link or a command is there to be copied.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in clean(text).lines() {
        let mut line = String::new();
        for word in words(paragraph) {
            let room = if lines.is_empty() { first } else { rest };
            let (used, needs) = (line.chars().count(), word.chars().count());
            let narrow = lines.is_empty() && first < rest && needs > first;
            if (used > 0 && used + 1 + needs > room) || (used == 0 && narrow) {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// The words of a line. What stands between backticks is one, with its blanks.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim_start();
    std::iter::from_fn(move || {
        let (word, more) = rest.split_at(word_end(rest));
        rest = more.trim_start();
        (!word.is_empty()).then_some(word)
    })
}

fn word_end(text: &str) -> usize {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '`' => quoted = !quoted,
            letter if letter.is_whitespace() && !quoted => return at,
            _ => {}
        }
    }
    // A backtick alone is a letter like any other.
    let end = quoted.then(|| text.find(char::is_whitespace)).flatten();
    end.unwrap_or(text.len())
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
    fn what_is_copied_stays_whole() {
        let path = format!("https://mirror.example/{}/k3s", "a".repeat(200));
        let mut paper = Paper::new(false);
        paper.entry(2, Tone::Bad, "failing", 10, &format!("cannot download {path} now"));
        paper.entry(
            10,
            Tone::Bold,
            "to do:",
            10,
            "`wipefs --all /dev/disk/by-id/scsi-0HC_Volume_12345678`, and `x` too",
        );
        paper.entry(0, Tone::Bold, &"lead".repeat(10), 4, "a word `of some forty columns, all of it one`");
        let wanted = format!(
            "  failing cannot download\n          {path}\n          now\n          \
             to do: `wipefs --all /dev/disk/by-id/scsi-0HC_Volume_12345678`, and\n          `x` too\n\
             {} a word\n    `of some forty columns, all of it one`\n",
            "lead".repeat(10)
        );
        assert_eq!(paper.into_text(), wanted);
        assert_eq!(words("a ` b `c d`e  f").collect::<Vec<_>>(), ["a", "` b `c", "d`e", "f"]);
        assert_eq!(words("`a b` c `d  e").collect::<Vec<_>>(), ["`a b`", "c", "`d", "e"]);
    }

    #[test]
    fn a_command_is_on_one_line() {
        let long = format!("apt-get install {}", "package ".repeat(10).trim_end());
        let mut paper = Paper::new(false);
        paper.command(4, Tone::Bold, "run:", "systemctl start k3s");
        paper.command(4, Tone::Bold, "run:", &long);
        assert_eq!(paper.into_text(), format!("    run: systemctl start k3s\n    run:\n      {long}\n"));
    }

    #[test]
    fn sentences_are_folded_behind_their_indent() {
        let text = format!("short\n  help: {}\n\x1b[1m{}\x1b[0m\n", "words ".repeat(15).trim_end(), "x".repeat(90));
        let wanted = format!(
            "short\n  help: {}\n      words words words\n\x1b[1m{}\x1b[0m\n",
            "words ".repeat(12).trim_end(),
            "x".repeat(90)
        );
        assert_eq!(fitted(&text), wanted);
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
