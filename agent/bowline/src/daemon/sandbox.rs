//! Whether the sandbox is still the one that a start would make now.
//!
//! It is made of the directories that are there at the start. One that is removed and made anew since, or is on a filesystem
//! that was read-only then, stays read-only in it for good, whatever the machine's own mounts say: the daemon ends, and
//! systemd starts it in a new one.

use crate::cli::doctor::machine::{PLACES, on};
use bowline_engine::Report;
use bowline_host::real::read_only_here;
use bowline_ports::{ErrorKind, Inspect, Mount};
use std::path::Path;

/// What could not be written from the start although the machine's own mounts let it: a new start would change nothing.
pub(super) struct Sandbox(Vec<&'static str>);

impl Sandbox {
    pub(super) async fn new(host: &dyn Inspect) -> Self {
        Self(shut(host).await)
    }

    /// A directory that the next start could write. Looked for only where a step was denied something, or, on a node that has none
    /// to do, the file of samples was (`denied`).
    pub(super) async fn outlived(&self, host: &dyn Inspect, report: &Report, denied: bool) -> Option<&'static str> {
        let steps = report.capabilities.iter().flat_map(|one| &one.steps);
        let mut kinds = steps.filter_map(|step| Some(step.failing.as_ref()?.kind));
        match denied || kinds.any(|kind| kind == ErrorKind::Denied) {
            true => shut(host).await.into_iter().find(|place| !self.0.contains(place)),
            false => None,
        }
    }
}

/// Where this process cannot write, and the machine's own mounts say that one could.
async fn shut(host: &dyn Inspect) -> Vec<&'static str> {
    let mounts = host.mounts().await.unwrap_or_default();
    let mut shut = Vec::new();
    for place in PLACES {
        if let Ok(Some(real)) = host.real_path(Path::new(place)).await
            && differs(read_only_here(&real), &mounts, &real)
        {
            shut.push(place);
        }
    }
    shut
}

fn differs(here: Option<bool>, mounts: &[Mount], path: &Path) -> bool {
    here == Some(true) && on(mounts, path).is_some_and(|mount| !mount.read_only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::machine::tests::mount;

    #[test]
    fn only_what_is_writable_outside_is_a_matter_of_the_sandbox() {
        let place = Path::new("/etc/rancher");
        let writable = [mount("/", false)];
        assert!(differs(Some(true), &writable, place));
        assert!(!differs(Some(false), &writable, place));
        assert!(!differs(None, &writable, place), "it is gone: a start would not change that");
        assert!(!differs(Some(true), &[mount("/", true)], place));
        assert!(!differs(Some(true), &[mount("/", false), mount("/etc", true)], place));
        assert!(!differs(Some(true), &[], place));
    }
}
