//! What the booted cases, the demo and the benchmarks share: a site with a release page and an apt repository, and
//! machines with Bowline on them.

pub mod clock;
pub mod document;
pub mod findings;
pub mod hetzner;
pub mod joiners;
pub mod kube;
pub mod looks;
pub mod page;
pub mod pair;
pub mod pods;
pub mod servers;
pub mod settings;
pub mod told;

use anyhow::{Context, Result};
use bowline_testbed::{Bed, Disk, K3S_VERSION, Machine, MachineBuilder, Releases, System, k3s, package};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The serial of the data volume, as Hetzner numbers them.
pub const VOLUME: &str = "12345678";
/// The cluster key of enrolment's own test vector.
pub const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";
/// The node's name.
pub const NODE: &str = "k3s-control";
/// Its address.
pub const ADDRESS: &str = "10.0.1.10";
/// How long a whole first boot may take on a busy machine.
pub const FIRST_BOOT: Duration = Duration::from_secs(180);

/// The package under test: what `make test` built, or what the cache has for this source.
pub fn deb() -> Result<PathBuf> {
    match std::env::var_os("BOWLINE_DEB") {
        Some(path) => Ok(path.into()),
        None => Ok(package()?.path().to_path_buf()),
    }
}

/// A release page with K3s (or its stand-in) on it.
pub fn releases(bed: &Bed) -> Result<Releases> {
    let releases = bed.releases()?;
    releases.publish(K3S_VERSION, k3s()?.path())?;
    Ok(releases)
}

/// A release page with another program in K3s's place, and its SHA-256.
pub fn releases_with(bed: &Bed, program: &Path) -> Result<(Releases, String)> {
    let releases = bed.releases()?;
    let sha256 = releases.publish(K3S_VERSION, program)?;
    Ok((releases, sha256))
}

/// A machine with the authority of the release page, an address, the clock's stand-in and perhaps a disk.
pub fn bare(bed: &Bed, releases: &Releases, disk: Option<&Disk>) -> Result<Machine> {
    bare_as(bed, releases, NODE, ADDRESS, disk)
}

/// The same under another name, at another address.
pub fn bare_as(bed: &Bed, releases: &Releases, name: &str, address: &str, disk: Option<&Disk>) -> Result<Machine> {
    built(bed, releases, name, address, disk).start()
}

fn built(bed: &Bed, releases: &Releases, name: &str, address: &str, disk: Option<&Disk>) -> MachineBuilder {
    let machine = clock::synchronised(bed.machine(name).address(address)).file(
        "/etc/bowline/mirror-ca.pem",
        releases.ca_pem(),
        0o644,
    );
    let machine = match disk {
        Some(disk) => machine.disk(disk),
        None => machine,
    };
    match std::env::var("SLOW_K3S") {
        Ok(seconds) => slow_k3s(machine, &seconds),
        Err(_) => machine,
    }
}

/// With a K3s that takes these seconds longer to start and to stop, as the real one does on a small VM.
fn slow_k3s(machine: MachineBuilder, seconds: &str) -> MachineBuilder {
    let slow = format!("[Service]\nExecStartPre=/bin/sleep {seconds}\nExecStop=/bin/sleep {seconds}\n");
    let units = ["k3s.service", "k3s-agent.service"];
    units.iter().fold(machine, |machine, unit| {
        machine.file(&format!("/etc/systemd/system/{unit}.d/90-slow.conf"), &slow, 0o644)
    })
}

/// As [`bare`], from an image of one's own, with K3s's program in it: nothing is downloaded, which is what most cases are not
/// about.
pub fn with_k3s(bed: &Bed, releases: &Releases, disk: Option<&Disk>) -> Result<Machine> {
    with_k3s_as(bed, releases, NODE, ADDRESS, disk)
}

/// The same under another name, at another address.
pub fn with_k3s_as(bed: &Bed, releases: &Releases, name: &str, address: &str, disk: Option<&Disk>) -> Result<Machine> {
    built(bed, releases, name, address, disk).shipped(k3s()?.path(), "/usr/local/bin/k3s").start()
}

/// Writes settings as cloud-init does.
pub fn configure(machine: &dyn System, settings: &str) -> Result<()> {
    machine.put("/etc/bowline/config.d/10-node.toml", settings.as_bytes(), 0o600)
}

/// The whole way without cloud-init: settings, package, and the wait until the node is ready.
pub fn install_and_wait(machine: &Machine, settings: &str) -> Result<()> {
    configure(machine, settings)?;
    machine.install(&deb()?)?;
    ready(machine)
}

/// Waits until Bowline says that the node is ready.
pub fn ready(machine: &Machine) -> Result<()> {
    let mut last = String::new();
    let asked = machine.wait_for("Bowline to say that the node is ready", FIRST_BOOT, || {
        let status = machine.run("bowline status --wait-ready 30s")?;
        let ready = status.success();
        last = status.stdout;
        Ok(ready)
    });
    asked.with_context(|| last)
}

/// What `bowline status --json` says. It has the documented form.
pub fn report(machine: &dyn System) -> Result<serde_json::Value> {
    json(machine, "status", "report")
}

/// What a command says with `--json`. It has the documented form of this name.
pub fn json(machine: &dyn System, command: &str, form: &str) -> Result<serde_json::Value> {
    let said = machine.run(&format!("bowline {command} --json"))?;
    bowline_schema::read(form, &said.stdout)
        .map_err(|fault| anyhow::anyhow!("bowline {command}: {fault}\n{}", said.stderr))
}

/// The Node, as the API has it.
pub fn node(machine: &Machine) -> Result<serde_json::Value> {
    kube::node(machine, NODE)?.with_context(|| format!("there is no Node {NODE}"))
}

/// The main pid of a unit.
pub fn pid(machine: &Machine, unit: &str) -> Result<String> {
    Ok(machine.ok(&format!("systemctl show -p MainPID --value {unit}"))?.trim().to_string())
}

/// The most memory that the daemon has ever held, in units of a million bytes.
pub fn peak_memory(machine: &Machine) -> Result<f64> {
    let status = machine.read(&format!("/proc/{}/status", pid(machine, "bowline")?))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let Some(Ok(kilobytes)) = peak.map(str::parse::<f64>) else { anyhow::bail!("no VmHWM in {status}") };
    Ok(kilobytes * 1024.0 / 1e6)
}
