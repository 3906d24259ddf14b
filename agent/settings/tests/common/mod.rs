//! What the tests share.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "tests read their own files")]

use std::path::PathBuf;

use bowline_settings::{Errors, Loaded, SourceFile, load};

/// A file of root's that nobody else can read.
pub(crate) fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { path: PathBuf::from("/etc/bowline/config.d").join(name), text: text.to_owned(), mode: 0o600, uid: 0 }
}

/// What one text says.
pub(crate) fn one(text: &str) -> Result<Loaded, Errors> {
    load(&[file("10-test.toml", text)])
}
