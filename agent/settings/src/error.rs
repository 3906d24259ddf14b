//! What is wrong with the settings, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::secret::HIDDEN;

/// The width that every text for people keeps to.
const WIDTH: usize = 80;

/// A place in a settings file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as the caller named it.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// The line that a problem is in, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// The line, printable, with everything hidden that may be secret.
    pub text: String,
    /// Where the part begins, in characters from 0.
    pub start: usize,
    /// How many characters it has, at least 1.
    pub length: usize,
}

/// One problem in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// The dotted key that it is about, such as `volume.data.mount`; may be empty.
    pub key: String,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// The offending line.
    pub snippet: Option<Snippet>,
    /// What to write or do instead.
    pub suggestion: Option<String>,
    /// Other places that have to do with it, such as the one it contradicts.
    pub also: Vec<Place>,
}

impl fmt::Display for Error {
    /// Lines of at most 80 columns, unless a path alone is longer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "")
    }
}

/// A problem that is none yet: its text begins with that word.
struct Warning<'a>(&'a Error);

impl fmt::Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "warning: ")
    }
}

impl Error {
    /// The same for what works and is unwise.
    pub fn as_warning(&self) -> impl fmt::Display + '_ {
        Warning(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        wrap(f, &format!("{word}{}:", self.place), &self.message)?;
        if let Some(snippet) = &self.snippet {
            let gutter = self.place.line.to_string().len().max(2);
            let (text, start, length) = snippet.window(WIDTH - gutter - 5);
            write!(f, "\n  {:>gutter$} | {text}", self.place.line)?;
            write!(f, "\n  {:gutter$} | {:start$}{}", "", "", "^".repeat(length))?;
        }
        for place in &self.also {
            write!(f, "\n  and here: {place}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            f.write_str("\n")?;
            wrap(f, "  help:", suggestion)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl Snippet {
    /// Leaves out what stands behind the marked key's `=`.
    pub(crate) fn hide_value(&mut self) {
        let key: usize = self.text.chars().take(self.start + self.length).map(char::len_utf8).sum();
        if let Some(equals) = self.text.get(key..).and_then(|rest| rest.find('='))
            && !self.text.ends_with(HIDDEN)
        {
            self.text.truncate(key + equals + 1);
            self.text.push_str(" …");
        }
    }

    /// The part of the line that fits `width`, and where the marked part is in it.
    fn window(&self, width: usize) -> (String, usize, usize) {
        let letters: Vec<char> = self.text.chars().collect();
        let start = self.start.min(letters.len());
        let mut from = 0;
        if letters.len() > width && start + self.length.min(width / 2) + 1 > width {
            from = start.saturating_sub(width / 3).min(letters.len() - width);
        }
        let mut shown: Vec<char> = letters.iter().skip(from).take(width).copied().collect();
        if from > 0
            && let Some(first) = shown.first_mut()
        {
            *first = '…';
        }
        if from + shown.len() < letters.len()
            && let Some(last) = shown.last_mut()
        {
            *last = '…';
        }
        let start = (start - from).min(width - 1);
        let length = self.length.min(shown.len().saturating_sub(start)).max(1);
        (shown.into_iter().collect(), start, length)
    }
}

/// Writes words in lines of at most [`WIDTH`], the second and later ones indented.
fn wrap(f: &mut fmt::Formatter<'_>, head: &str, text: &str) -> fmt::Result {
    f.write_str(head)?;
    let mut column = head.chars().count();
    for word in text.split(' ') {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            write!(f, "\n    {word}")?;
            column = 4 + length;
        } else {
            write!(f, " {word}")?;
            column += 1 + length;
        }
    }
    Ok(())
}

/// Every problem that was found, in the order of files and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// Sorted, each once.
    pub(crate) fn new(mut errors: Vec<Error>) -> Self {
        errors.sort_by(|one, other| {
            (&one.place, &one.key, &one.message).cmp(&(&other.place, &other.key, &other.message))
        });
        errors.dedup();
        Self(errors)
    }

    /// The problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none; [`crate::load`] never returns such.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Errors {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Errors {
    /// The problems, with an empty line between each two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
