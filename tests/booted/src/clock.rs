//! The clock: that it is synchronised, and another one for Bowline than the machine has: libfaketime stands in for a clock that is wrong, since the machines
//! share the host's.

use anyhow::Result;
use bowline_testbed::{Machine, MachineBuilder};

const UNITS: [&str; 2] = ["bowline", "bowline-fetch-k3s"];

/// The machine will be told that its clock is synchronised: stands in for a time service, which a bed does not have (the clock is
/// the host's, and no machine may touch it).
pub fn synchronised(machine: MachineBuilder) -> MachineBuilder {
    let file = "f /run/systemd/timesync/synchronized 0644 root root - -\n";
    machine.file("/etc/tmpfiles.d/bed-clock.conf", file, 0o644)
}

/// Sets the clock of Bowline and of its downloads off, by `+365d`, from their next start.
pub fn set_off(machine: &Machine, offset: &str) -> Result<()> {
    let text = format!("[Service]\nEnvironment={}\n", variables(machine, offset)?);
    for unit in UNITS {
        machine.put(&drop_in(unit), &text, 0o644)?;
    }
    machine.ok("systemctl daemon-reload").map(drop)
}

/// The variables by which a program has such a clock.
pub fn variables(machine: &Machine, offset: &str) -> Result<String> {
    let library = machine.ok("ls /usr/lib/*/faketime/libfaketimeMT.so.1")?;
    Ok(format!("LD_PRELOAD={} DONT_FAKE_MONOTONIC=1 FAKETIME={offset}", library.trim()))
}

/// Sets it right again, and starts Bowline with it.
pub fn set_right(machine: &Machine) -> Result<()> {
    let files = UNITS.map(drop_in).join(" ");
    machine.ok(&format!("rm {files}; systemctl daemon-reload; systemctl restart bowline")).map(drop)
}

fn drop_in(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}.service.d/clock.conf")
}
