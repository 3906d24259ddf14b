//! What a failed case leaves: everything that a person wants to see first, in the checkout's `target/testbed/CASE/`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::artefacts::checkout;
use crate::say;
use crate::system::System;

/// The commands whose output is kept for each machine, by the name of the file.
const COMMANDS: &[(&str, &str)] = &[
    ("journal.txt", "journalctl --no-pager --output=short-precise"),
    ("plan.txt", "command -v bowline >/dev/null && bowline plan"),
    ("status.txt", "command -v bowline >/dev/null && bowline status"),
    (
        "units.txt",
        "systemctl --no-pager --failed; systemctl --no-pager list-jobs; findmnt; df -h; lsblk; ip address; ps -e -o pid,stat,etime,args",
    ),
    ("node.txt", "test -e /etc/rancher/k3s/k3s.yaml && k3s kubectl describe nodes"),
];

/// Saves it. A machine that does not answer must not hide the case's own error, so nothing here fails.
pub(crate) fn save(case: &str, why: &str, machines: &[&dyn System]) {
    let dir = folder().join(case);
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).ok();
    fs::write(dir.join("why.txt"), format!("{why}\n")).ok();
    for machine in machines {
        let dir = dir.join(machine.name());
        fs::create_dir_all(&dir).ok();
        fs::write(dir.join("console.txt"), machine.console().unwrap_or_default()).ok();
        if !machine.is_running() {
            continue;
        }
        for (file, command) in COMMANDS {
            let text = match machine.run_with(command, &[], Duration::from_secs(5)) {
                Ok(output) => output.stdout + &output.stderr,
                Err(error) => format!("{error:#}"),
            };
            if !text.is_empty() {
                fs::write(dir.join(file), text).ok();
            }
        }
    }
    say(&format!("{case}: {why}\ntestbed: journal, console, plan and status are in {}", dir.display()));
}

/// `target/testbed` of the checkout.
pub(crate) fn folder() -> PathBuf {
    checkout().join("target/testbed")
}
