//! What is wrong with one value, before it is known where the value stands.

use std::fmt;

use crate::secret_text;

/// Why a value was refused, and what may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The reason, a sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl Complaint {
    /// A reason alone.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }

    /// The same with what to do, or the quoted text to write, instead.
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        let suggestion = suggestion.into();
        self.suggestion = Some(if suggestion.starts_with('"') { format!("write {suggestion}") } else { suggestion });
        self
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Complaint {}

/// What a person wrote, quoted for a message: short, printable, never a secret.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// The same without the quotes, for keys.
pub(crate) fn excerpt(text: &str) -> String {
    const MOST: usize = 48;
    if secret_text::is_secret_value(text) {
        return crate::secret::HIDDEN.to_owned();
    }
    let mut short: String = text.chars().take(MOST).map(printable).collect();
    if text.chars().count() > MOST {
        short.push('…');
    }
    short
}

/// A character that cannot move the cursor or change colours.
pub(crate) fn printable(letter: char) -> char {
    if letter == '\t' {
        ' '
    } else if letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    {
        '·'
    } else {
        letter
    }
}
