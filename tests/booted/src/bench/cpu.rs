//! CPU time of a unit's main process, to the nanosecond: by the kernel's clock of that process, which the host may read. The
//! control group would say the same, but where controllers are those of cgroup v1 systemd does not count a unit that runs.

use crate::settled::children_ms;
use anyhow::{Context, Result};
use bowline_booted::pid;
use bowline_testbed::Machine;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::fs;
use std::time::Duration;

/// Milliseconds of all its threads, ended ones too, and of the children that it has waited for.
pub(crate) fn cpu_ms(machine: &Machine, unit: &str) -> Result<f64> {
    let main = pid(machine, unit)?;
    let clock = clock_getcpuclockid(Pid::from_raw(seen_from_outside(machine, &main)?))?;
    let own = Duration::from(clock_gettime(clock)?).as_secs_f64() * 1000.0;
    Ok(own + children_ms(machine, &main)?)
}

/// The number that a process of the machine has on the host.
fn seen_from_outside(machine: &Machine, inside: &str) -> Result<i32> {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let machines = namespace(&machine.leader()?.to_string()).context("the machine has no PID namespace")?;
    let all = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut processes = all.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let found = processes.find(|process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        innermost(&status) == Some(inside) && namespace(process).as_ref() == Some(&machines)
    });
    Ok(found.with_context(|| format!("the host does not see process {inside} of the machine"))?.parse()?)
}

/// The number that a process has in its own namespace.
fn innermost(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_processes() {
        assert_eq!(innermost("Name:\tbowline\nNSpid:\t5310\t742\nThreads:\t2\n"), Some("742"));
        assert_eq!(innermost("Name:\tbowline\n"), None);
    }
}
