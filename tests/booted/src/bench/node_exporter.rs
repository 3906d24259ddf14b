//! The peer of `idle_rss`: Prometheus's own exporter, built by its module path in the version that `tests/node_exporter`
//! pins with all that it is built of.

use anyhow::{Context, Result};
use bowline_testbed::ok;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it is called in the results.
pub(crate) const NAME: &str = "node_exporter 1.12.1, only its filesystem collector";

/// The program, built when it is not in the cache yet.
pub(crate) fn build() -> Result<PathBuf> {
    let module = bowline_testbed::checkout().join("tests/node_exporter");
    let program = cache()?.join("node_exporter").join("node_exporter");
    // Go's own cache makes this quick when nothing changed.
    let mut go = Command::new("go");
    go.current_dir(module).env("CGO_ENABLED", "0").args(["build", "-trimpath", "-buildvcs=false", "-o"]);
    ok(go.arg(&program).arg("github.com/prometheus/node_exporter"))
        .context("node_exporter could not be built (it takes Go 1.25 or newer)")?;
    Ok(program)
}

/// The folder that the Makefile names, else where it is by default.
fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("BOWLINE_CACHE") {
        return Ok(folder.into());
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(caches.context("neither BOWLINE_CACHE nor HOME is set")?.join("bowline"))
}
