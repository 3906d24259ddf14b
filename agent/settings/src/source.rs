//! The files themselves: positions, and lines for messages without secrets.

use std::cell::OnceCell;
use std::ops::Range;

use crate::SourceFile;
use crate::complaint::{Complaint, printable};
use crate::error::{Error, Place, Snippet};
use crate::secret::HIDDEN;
use crate::secret_text::{self, Shown};

/// A piece of one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Which file, counted in name order.
    pub(crate) file: usize,
    /// The first byte.
    pub(crate) start: usize,
    /// The first byte behind it.
    pub(crate) end: usize,
}

impl Spot {
    pub(crate) fn new(file: usize, span: Range<usize>) -> Self {
        Self { file, start: span.start, end: span.end }
    }
}

/// All files in name order.
pub(crate) struct Sources<'a> {
    files: Vec<Source<'a>>,
}

struct Source<'a> {
    file: &'a SourceFile,
    /// What may be shown of each line: known when there is something to show.
    shown: OnceCell<Vec<Shown>>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(files: &'a [SourceFile]) -> Self {
        let mut files: Vec<&SourceFile> = files.iter().collect();
        files.sort_by(|one, other| {
            (one.path.file_name(), &one.path, &one.text).cmp(&(other.path.file_name(), &other.path, &other.text))
        });
        Self { files: files.into_iter().map(|file| Source { file, shown: OnceCell::new() }).collect() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &'a SourceFile)> + '_ {
        self.files.iter().enumerate().map(|(index, source)| (index, source.file))
    }

    pub(crate) fn file(&self, spot: Spot) -> Option<&'a SourceFile> {
        self.files.get(spot.file).map(|source| source.file)
    }

    /// Where a piece begins.
    pub(crate) fn place(&self, spot: Spot) -> Place {
        let Some(source) = self.files.get(spot.file) else {
            return Place { file: Default::default(), line: 1, column: 1 };
        };
        let before = source.before(spot.start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: source.file.path.clone(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.get(line_start..).map_or(0, |text| text.chars().count()) + 1,
        }
    }

    /// A problem at this piece.
    pub(crate) fn error(&self, spot: Spot, key: &str, complaint: Complaint) -> Error {
        let place = self.place(spot);
        let snippet = self.snippet(spot, &place);
        Error {
            place,
            key: key.to_owned(),
            message: complaint.message,
            snippet,
            suggestion: complaint.suggestion,
            also: Vec::new(),
        }
    }

    fn snippet(&self, spot: Spot, place: &Place) -> Option<Snippet> {
        let source = self.files.get(spot.file)?;
        let line = source.file.text.split('\n').nth(place.line - 1)?;
        let line = line.trim_end();
        let start = place.column - 1;
        let piece = source.file.text.get(spot.start..spot.end).unwrap_or("");
        let length = piece.lines().next().unwrap_or("").chars().count().max(1);
        let lines = source.shown.get_or_init(|| secret_text::shown_lines(&source.file.text));
        let shown = lines.get(place.line - 1).copied().unwrap_or(Shown::Nothing);
        let visible = match shown {
            Shown::All => {
                let text = line.chars().map(printable).collect();
                return Some(Snippet { text, start, length });
            }
            Shown::Key => line.split_once('=').map_or(String::new(), |(key, _)| format!("{} = ", key.trim_end())),
            Shown::Nothing => String::new(),
        };
        let visible: String = visible.chars().map(printable).collect();
        let edge = visible.chars().count();
        let on_key = start + length <= edge;
        Some(Snippet {
            text: format!("{visible}{HIDDEN}"),
            start: if on_key { start } else { edge },
            length: if on_key { length } else { HIDDEN.len() },
        })
    }
}

impl Source<'_> {
    /// The text before a byte, which may be one that no character begins with.
    fn before(&self, byte: usize) -> &str {
        let text = &self.file.text;
        let mut end = byte.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default()
    }
}
