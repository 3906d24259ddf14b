//! What cases do inside a booted system, whether it is a container or a virtual machine.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::machine::Machine;
use crate::run::{LIMIT, Output};
use crate::wait::{PATIENCE, wait_for};

/// A booted system: a [`Machine`] or a [`VirtualMachine`](crate::VirtualMachine).
pub trait System {
    /// Its name, for messages.
    fn name(&self) -> String;

    /// Whether it runs.
    fn is_running(&self) -> bool;

    /// Runs a shell command inside, as root, with standard input and a time limit, which is an idle machine's; returns what it said,
    /// whatever its exit status.
    fn run_with(&self, command: &str, input: &[u8], limit: Duration) -> Result<Output>;

    /// Writes a file, whole or not at all, with its parent folders.
    fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()>;

    /// Everything that was written to its console, over all boots.
    fn console(&self) -> Result<String>;

    /// Runs a shell command inside and returns what it said, whatever its exit status.
    fn run(&self, command: &str) -> Result<Output> {
        self.run_with(command, &[], LIMIT / PATIENCE)
    }

    /// Runs a shell command that must succeed, and returns its standard output.
    fn ok(&self, command: &str) -> Result<String> {
        let output = self.run(command)?;
        if !output.success() {
            bail!("{}: {command}: {output}", self.name());
        }
        Ok(output.stdout)
    }

    /// The text of a file.
    fn read(&self, path: &str) -> Result<String> {
        self.ok(&format!("cat -- '{path}'"))
    }

    /// The journal of a unit, over all boots, with all that was said until now.
    fn journal(&self, unit: &str) -> Result<String> {
        let read = format!("journalctl --no-pager --output=short-precise --unit='{unit}'");
        self.ok(&format!("journalctl --sync && {read}"))
    }

    /// Asks `probe` until it says `true`; the system must go on running.
    fn wait_for(&self, what: &str, limit: Duration, probe: &mut dyn FnMut() -> Result<bool>) -> Result<()> {
        let mut ended = false;
        wait_for(&format!("{what} on {}", self.name()), limit, || {
            ended = !self.is_running();
            Ok(ended || probe()?)
        })?;
        if ended {
            bail!("{} has ended while {what} was waited for; its console: {}", self.name(), self.console()?);
        }
        Ok(())
    }
}

impl System for Machine {
    fn name(&self) -> String {
        Machine::name(self)
    }

    fn is_running(&self) -> bool {
        Machine::is_running(self)
    }

    fn run_with(&self, command: &str, input: &[u8], limit: Duration) -> Result<Output> {
        Machine::run_with(self, command, input, limit)
    }

    fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        Machine::put(self, path, bytes, mode)
    }

    fn console(&self) -> Result<String> {
        Machine::console(self)
    }
}
