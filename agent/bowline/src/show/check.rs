//! One line of a list of checks, with what belongs below it.

use super::paper::{Paper, Tone};

/// Where the text begins.
const INDENT: usize = 9;
/// The word before a command.
const RUN: &str = "run:";

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing is wrong.
    Ok,
    /// Nothing is wrong, and there is something to know.
    Note,
    /// It could not be made.
    Skipped,
    /// Something is wrong.
    Finding,
}

/// A check by its name, what came out, and further lines of a word and a text.
pub(crate) fn check(mark: Mark, name: &str, text: &str, details: &[(&str, &str)], colour: bool) -> String {
    let (tone, lead) = match mark {
        Mark::Ok => (Tone::Good, "ok"),
        Mark::Note => (Tone::Dim, "note"),
        Mark::Skipped => (Tone::Dim, "skipped"),
        Mark::Finding => (Tone::Bad, "finding"),
    };
    let mut paper = Paper::new(colour);
    paper.entry(0, tone, lead, INDENT, &format!("{name}: {text}"));
    for (word, text) in details {
        match *word {
            RUN => paper.command(INDENT, Tone::Bold, word, text),
            _ => paper.entry(INDENT, Tone::Bold, word, INDENT + 2, text),
        }
    }
    paper.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_its_remedy_below_it() {
        let details = [("remedy:", "install the program"), ("run:", "apt-get install --yes xfsprogs")];
        let text = check(Mark::Finding, "mkfs.xfs", "it is not installed, and volume data needs it", &details, false);
        let wanted = "finding  mkfs.xfs: it is not installed, and volume data needs it\n         \
                      remedy: install the program\n         run: apt-get install --yes xfsprogs\n";
        assert_eq!(text, wanted);
        assert_eq!(
            check(Mark::Ok, "clock", "synchronised", &[], true),
            "\x1b[32mok\x1b[0m       clock: synchronised\n"
        );
    }
}
