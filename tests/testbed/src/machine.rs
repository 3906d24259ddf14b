//! A machine: what it is made of, and everything that a case does to it.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::base;
use crate::bed::{Inner as Bed, lock};
use crate::boot::{Boot, Door};
use crate::builder::Spec;
use crate::cloud_init;
use crate::disk::{self, Disk};
use crate::root::{self, Root};
use crate::run::{self, LIMIT, Output};
use crate::wait::{PATIENCE, wait_for, wait_some};

/// A booted machine. Clones are the same machine; it ends with its bed.
#[derive(Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    bed: Arc<Bed>,
    root: Root,
    state: Mutex<State>,
}

struct State {
    spec: Spec,
    boot: Option<Boot>,
}

impl Machine {
    /// A machine whose files are there; it does not run yet.
    pub(crate) fn made(bed: Arc<Bed>, root: Root, spec: Spec) -> Machine {
        let machine = Machine { inner: Arc::new(Inner { bed, root, state: Mutex::new(State { spec, boot: None }) }) };
        machine.inner.bed.add_machine(&machine);
        machine
    }

    /// Its host name.
    pub fn name(&self) -> String {
        lock(&self.inner.state).spec.name.clone()
    }

    /// Boots it. Returns when commands, D-Bus and its addresses are there; units may still be starting (see [`Machine::wait_booted`]).
    pub fn start(&self) -> Result<()> {
        let mut state = lock(&self.inner.state);
        if state.boot.as_mut().is_some_and(Boot::running) {
            bail!("{} runs already", state.spec.name);
        }
        if let Some(ended) = state.boot.take() {
            ended.end()?;
        }
        disk::write_rules(&self.inner.root, &self.inner.bed, &state.spec.disks)?;
        let base = self.inner.bed.base(state.spec.os)?;
        let boot = Boot::start(&self.inner.bed, &self.inner.root, &state.spec, &base)?;
        // Seen from outside, without a process: asking inside would slow the boot down.
        let up = format!("/proc/{}/root/run/bowline-bed/up", boot.leader());
        state.boot = Some(boot);
        drop(state);
        wait_for(&format!("{} to boot", self.name()), Duration::from_secs(60), || {
            self.check_running()?;
            Ok(Path::new(&up).exists())
        })
    }

    /// Waits until the boot is over, and returns the state that systemd gives itself: `running` or `degraded`.
    pub fn wait_booted(&self) -> Result<String> {
        wait_some(&format!("{} to have booted", self.name()), LIMIT, || {
            let state = self.run("systemctl is-system-running --wait")?.stdout.trim().to_owned();
            Ok(["running", "degraded"].contains(&state.as_str()).then_some(state))
        })
    }

    /// Whether it runs: something inside may have ended it.
    pub fn is_running(&self) -> bool {
        lock(&self.inner.state).boot.as_mut().is_some_and(Boot::running)
    }

    /// Runs a shell command inside, as root, and returns what it said, whatever its exit status.
    pub fn run(&self, command: &str) -> Result<Output> {
        self.run_with(command, &[], LIMIT / PATIENCE)
    }

    /// The same with standard input and a time limit, which is an idle machine's, as in [`Machine::wait_for`].
    pub fn run_with(&self, command: &str, input: &[u8], limit: Duration) -> Result<Output> {
        run::run(self.door()?.command().args(["sh", "-c", command]), input, limit * PATIENCE)
    }

    /// Runs a shell command that must succeed, and returns its standard output.
    pub fn ok(&self, command: &str) -> Result<String> {
        let output = self.run(command)?;
        if !output.success() {
            bail!("{}: {command}: {output}", self.name());
        }
        Ok(output.stdout)
    }

    /// Writes a file, whole or not at all, with its parent folders.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        if !self.is_running() {
            return self.inner.root.write(path, bytes.as_ref(), mode);
        }
        let script = r#"mkdir -p "$(dirname "$1")" && umask 077 && cat > "$1.bowline-bed" && chmod "$2" "$1.bowline-bed" && mv "$1.bowline-bed" "$1""#;
        let mut command = self.door()?.command();
        command.args(["sh", "-c", script, "put", path, &format!("{mode:o}")]);
        let output = run::run(&mut command, bytes.as_ref(), LIMIT)?;
        if !output.success() {
            bail!("{}: could not write {path}: {output}", self.name());
        }
        Ok(())
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read_bytes(path)?).into_owned())
    }

    /// The bytes of a file.
    pub fn read_bytes(&self, path: &str) -> Result<Vec<u8>> {
        let (code, bytes, said) = run::run_bytes(self.door()?.command().args(["cat", "--", path]), &[], LIMIT)?;
        if code != 0 {
            bail!("{}: {}", self.name(), String::from_utf8_lossy(&said).trim());
        }
        Ok(bytes)
    }

    /// The journal of a unit, over all boots, with all that was said until now.
    pub fn journal(&self, unit: &str) -> Result<String> {
        let read = format!("journalctl --no-pager --output=short-precise --unit='{unit}'");
        self.ok(&format!("journalctl --sync && {read}"))
    }

    /// Everything that was written to its console, over all boots.
    pub fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.inner.root.console())?).into_owned())
    }

    /// Asks `probe` until it says `true`; the machine must go on running.
    pub fn wait_for(&self, what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
        let running = || self.check_running();
        wait_for(&format!("{what} on {}", self.name()), limit, || running().and_then(|()| probe()))
    }

    /// Waits for the end of cloud-init, and returns how it went.
    pub fn wait_cloud_init(&self) -> Result<cloud_init::CloudInit> {
        cloud_init::wait(self)
    }

    /// Reboots it from inside, as `systemctl reboot` does, and waits as [`Machine::start`] does.
    pub fn reboot(&self) -> Result<()> {
        self.go_down("reboot")?;
        self.start()
    }

    /// Shuts it down from inside.
    pub fn shut_down(&self) -> Result<()> {
        self.go_down("poweroff")
    }

    /// Pulls its plug. What it wrote is safe all the same: the page cache is the host's. Real power cuts need a virtual machine.
    pub fn power_off(&self) -> Result<()> {
        match lock(&self.inner.state).boot.take() {
            Some(boot) => boot.end(),
            None => Ok(()),
        }
    }

    /// Installs a Debian package by dpkg: its dependencies must be there. (By apt, as users do: [`Bed::apt_repository`](crate::Bed::apt_repository).)
    pub fn install(&self, package: &Path) -> Result<String> {
        self.put("/run/bowline-bed/package.deb", fs::read(package)?, 0o644)?;
        self.ok("DEBIAN_FRONTEND=noninteractive dpkg --install /run/bowline-bed/package.deb")
    }

    /// Lets needrestart act after package changes, as on a real machine; new machines have it without its hooks.
    pub fn enable_needrestart(&self) -> Result<()> {
        self.ok("cp -r /usr/lib/bowline-bed/needrestart/etc /").map(drop)
    }

    /// Kills the main process of a unit with SIGKILL, once it has one: between an earlier kill and systemd's restart there is none.
    pub fn kill(&self, unit: &str) -> Result<()> {
        let main =
            || Ok::<_, anyhow::Error>(self.ok(&format!("systemctl show -P MainPID '{unit}'"))?.trim().to_owned());
        let mut killed = String::new();
        self.wait_for(&format!("a main process of {unit}"), LIMIT, || {
            killed = main()?;
            Ok(killed != "0" && self.run(&format!("systemctl kill --kill-whom=main --signal=KILL '{unit}'"))?.success())
        })?;
        self.wait_for(&format!("the end of {unit}"), LIMIT, || Ok(main()? != killed))
    }

    /// Ends it and removes its files. Its disks stay, and its name may be given to a new machine.
    pub fn destroy(&self) -> Result<()> {
        self.power_off()?;
        let disks = std::mem::take(&mut lock(&self.inner.state).spec.disks);
        disks.iter().try_for_each(Disk::released)?;
        self.inner.bed.remove_machine(&self.name());
        root::remove(&self.inner.root.dir)
    }

    /// A new machine with the same name, address, user data and disks, and a new root file system.
    pub fn recreate(&self) -> Result<()> {
        self.power_off()?;
        self.inner.root.wipe()?;
        let spec = lock(&self.inner.state).spec.clone();
        self.inner.root.create(&base::root(&*self.inner.bed.base(spec.os)?), &spec)?;
        self.start()
    }

    /// Hands other user data to the next [`Machine::recreate`].
    pub fn set_cloud_init(&self, user_data: &str) {
        lock(&self.inner.state).spec.cloud_init = Some(user_data.to_owned());
    }

    /// Pulls its network cable.
    pub fn cut_link(&self) -> Result<()> {
        self.link("down")
    }

    /// Plugs it in again.
    pub fn restore_link(&self) -> Result<()> {
        self.link("up")
    }

    /// Attaches a disk, hot if the machine runs.
    pub fn attach(&self, disk: &Disk) -> Result<()> {
        lock(&self.inner.state).spec.disks.push(disk.clone());
        if !self.is_running() {
            return Ok(());
        }
        self.show_disks()?;
        disk.plug(self)
    }

    /// Takes a disk away: its link, its node and its device unit go. (A mounted one only half: the kernel keeps it until the last user ends.)
    pub fn detach(&self, disk: &Disk) -> Result<()> {
        lock(&self.inner.state).spec.disks.retain(|other| other.serial() != disk.serial());
        if self.is_running() {
            self.show_disks()?;
            disk.unplug(self)?;
        }
        disk.released()
    }

    /// The command by which a person enters it.
    pub fn enter_command(&self) -> Result<String> {
        Ok(self.door()?.words())
    }

    /// Its PID 1 as the host counts, for looking at it from outside.
    pub fn leader(&self) -> Result<u32> {
        lock(&self.inner.state).boot.as_ref().map(Boot::leader).ok_or_else(|| anyhow!("the machine does not run"))
    }

    /// Runs something on a thread in the machine's own network, where a pod with the host's network is.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        run::within(Path::new(&format!("/proc/{}/ns/net", self.leader()?)), work)
    }

    pub(crate) fn reap(&self) {
        if let Some(boot) = lock(&self.inner.state).boot.take() {
            boot.reap();
        }
    }

    /// Writes the list of disks and the rules that name them, as they are now.
    fn show_disks(&self) -> Result<()> {
        let disks = lock(&self.inner.state).spec.disks.clone();
        disk::rules(&self.inner.bed, &disks)?.iter().try_for_each(|(path, text)| self.put(path, text, 0o644))
    }

    fn link(&self, state: &str) -> Result<()> {
        let interface = format!("vb-{}", lock(&self.inner.state).spec.id);
        let mut command = std::process::Command::new("nsenter");
        command.arg(self.inner.bed.net_option()).args(["--", "ip", "link", "set", &interface, state]);
        run::ok(&mut command).map(drop)
    }

    /// Has systemd end it, and waits for that.
    fn go_down(&self, how: &str) -> Result<()> {
        let said = self.run(&format!("systemctl {how} --no-block"))?;
        if !said.success() && self.is_running() {
            bail!("{}: {how}: {said}", self.name());
        }
        let mut boot = lock(&self.inner.state).boot.take().ok_or_else(|| anyhow!("the machine does not run"))?;
        let ended = boot.wait(LIMIT)?;
        boot.end()?;
        if !ended {
            bail!("{} did not go down within {LIMIT:?}", self.name());
        }
        Ok(())
    }

    fn check_running(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { bail!("{} has ended; its console: {}", self.name(), self.console()?) }
    }

    fn door(&self) -> Result<Door> {
        let mut state = lock(&self.inner.state);
        let name = state.spec.name.clone();
        let boot = state.boot.as_mut().ok_or_else(|| anyhow!("{name} does not run"))?;
        if boot.running() { Ok(Door::of(boot)) } else { bail!("{name} has ended") }
    }
}
