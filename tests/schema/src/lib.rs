//! The documented forms of what Bowline prints as JSON (`packaging/schema`), and whether something has one.

use jsonschema::Validator;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Every form, by the name of its file. `report` is that of two commands, `status` and `plan`.
pub const FORMS: [&str; 7] = ["check", "config", "doctor", "nodes", "report", "usage", "volumes"];

/// The folder of the forms; the package has it as `/usr/share/bowline/schema`. It is that of the checkout in which Cargo
/// runs this: the one in which it was compiled may be another, and gone, as checkouts share what is compiled.
pub fn folder() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.as_deref().and_then(|package| package.ancestors().nth(2)).unwrap_or(Path::new(".")).join("packaging/schema")
}

/// The document of a form.
///
/// # Errors
/// There is none of this name, or it is no JSON.
pub fn document(form: &str) -> Result<Value, String> {
    let path = folder().join(format!("{form}.json"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads what a command printed.
///
/// # Errors
/// It is no JSON, or has not this form: every place where it differs, and how.
pub fn read(form: &str, text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}: {text}"))?;
    fits(form, &value)?;
    Ok(value)
}

/// Whether a value has a form.
///
/// # Errors
/// Every place where it differs, and how.
pub fn fits(form: &str, value: &Value) -> Result<(), String> {
    let document = document(form)?;
    let validator = Validator::new(&document).map_err(|error| format!("the schema {form}: {error}"))?;
    let place = |error: &jsonschema::ValidationError<'_>| format!("\n  {}: {error}", error.instance_path());
    let faults: String = validator.iter_errors(value).map(|error| place(&error)).collect();
    if faults.is_empty() { Ok(()) } else { Err(format!("this has not the form {form}:{faults}\n{value:#}")) }
}
