//! A bed: one case's network, folder, disks and machines, and their common end.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::builder::MachineBuilder;
use crate::cache::Artefact;
use crate::cgroup::Layout;
use crate::disk::Disk;
use crate::host::{self, Missing};
use crate::machine::Machine;
use crate::places::{self, Cast};
use crate::run::{self, Output};
use crate::system::System;
use crate::vm::VirtualMachine;
use crate::web::Web;
use crate::{Os, base, evidence, say};

/// The address of the bed itself: the machines' default route, and where its servers listen.
pub const GATEWAY: &str = "10.0.1.1";

/// One case's own world: a network namespace with a bridge, a folder, disks and machines. Dropping it ends all of it.
pub struct Bed {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) case: String,
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) layout: Layout,
    /// The namespace as a path that `nsenter` and `setns` take.
    pub(crate) network: PathBuf,
    machines: Mutex<Vec<Machine>>,
    virtual_machines: Mutex<Vec<VirtualMachine>>,
    made: AtomicUsize,
    bases: Mutex<BTreeMap<Os, Arc<Artefact>>>,
    web: Mutex<Option<Arc<Web>>>,
    end: Mutex<End>,
}

/// What is needed to end the bed.
#[derive(Default)]
struct End {
    keeper: Option<Child>,
    owned: Option<File>,
    keep: bool,
}

impl Bed {
    /// What this host lacks for booted tests, each with its remedy; empty where all is there.
    pub fn check_host() -> Vec<Missing> {
        host::check()
    }

    /// Makes the world of `case`. Leftovers of beds whose owners are gone are ended first.
    pub fn new(case: &str) -> Result<Bed> {
        let missing = host::check();
        if !missing.is_empty() {
            let list: String = missing.iter().map(|one| format!("\n  - {one}")).collect();
            bail!("this host cannot boot the testbed's machines yet:{list}");
        }
        if case.is_empty()
            || case.len() > 40
            || !case.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            bail!("a case's name is up to 40 of a-z, 0-9 and '-': {case:?}");
        }
        let layout = Layout::detect()?;
        let beds = host::beds_folder();
        fs::create_dir_all(&beds)?;
        let creating = creation_lock(&beds)?;
        sweep(&beds)?;
        let id = random_hex(3)?;
        let dir = beds.join(format!("{case}-{id}"));
        fs::create_dir(&dir)?;
        for folder in ["disks", "machines"] {
            fs::create_dir(dir.join(folder))?;
        }
        let owned = File::create(dir.join("lock"))?;
        owned.lock()?;
        fs::write(dir.join("owner"), std::process::id().to_string())?;
        fs::write(dir.join("keeper.sh"), include_str!("keeper.sh"))?;
        fs::write(dir.join("names"), "")?;
        fs::write(dir.join("cgroups"), "")?;
        drop(creating);

        let mut keeper = Command::new("unshare")
            .args(["--net", "sh"])
            .arg(dir.join("keeper.sh"))
            .arg("hold")
            .arg(&dir)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let network = PathBuf::from(format!("/proc/{}/ns/net", keeper.id()));
        let ready = read_line(&mut keeper)?;
        let end = Mutex::new(End { keeper: Some(keeper), owned: Some(owned), keep: false });
        let case = case.to_owned();
        let (machines, virtual_machines) = (Mutex::default(), Mutex::default());
        let (bases, web) = (Mutex::default(), Mutex::default());
        let bed = Bed {
            inner: Arc::new(Inner {
                case,
                id,
                dir,
                layout,
                network,
                machines,
                virtual_machines,
                made: AtomicUsize::new(0),
                bases,
                web,
                end,
            }),
        };
        if ready.trim() != "ready" {
            bail!("the bed's network could not be made (is the kernel's bridge there?)");
        }
        Ok(bed)
    }

    /// The name of the case.
    pub fn case(&self) -> &str {
        &self.inner.case
    }

    /// The bed's folder, which goes with it.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// A new blank disk of this size (`"20G"`, sparse). It outlives the machines that it is attached to.
    pub fn disk(&self, serial: &str, size: &str) -> Result<Disk> {
        Disk::create(&self.inner, serial, size)
    }

    /// A disk with this serial number that holds what an image does.
    pub fn disk_with(&self, serial: &str, image: &Path) -> Result<Disk> {
        let disk = self.disk(serial, &fs::metadata(image)?.len().to_string())?;
        disk.holds(image)?;
        Ok(disk)
    }

    /// A machine to be: choose what it has, then `start()` it.
    pub fn machine(&self, name: &str) -> MachineBuilder {
        MachineBuilder::new(&self.inner, name)
    }

    /// Runs a program of the host inside the bed's network, where the machines' addresses are.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        run::run(Command::new("nsenter").arg(self.inner.net_option()).arg("--").args(command), &[], run::LIMIT)
    }

    /// Runs something on a thread inside the bed's network, where the machines' addresses are, and waits for it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        run::within(&self.inner.network, work)
    }

    /// The bed's web server on [`GATEWAY`], started when first asked for.
    pub fn web(&self) -> Result<Arc<Web>> {
        let mut web = lock(&self.inner.web);
        match &*web {
            Some(web) => Ok(Arc::clone(web)),
            None => Ok(Arc::clone(web.insert(Arc::new(Web::start(&self.inner.network, &self.inner.dir)?)))),
        }
    }

    /// Saves journal, console, plan and status of every machine, and says where. A panic does this by itself.
    pub fn save_evidence(&self, why: &str) {
        let machines = lock(&self.inner.machines).clone();
        let virtual_machines = lock(&self.inner.virtual_machines).clone();
        let booted = machines.iter().map(|machine| machine as &dyn System);
        let booted: Vec<_> = booted.chain(virtual_machines.iter().map(|machine| machine as &dyn System)).collect();
        evidence::save(&self.inner.case, why, &booted);
    }

    /// Lets everything run on when this value goes, and returns the command that ends it then.
    pub fn keep(&self) -> Result<String> {
        let mut end = lock(&self.inner.end);
        end.keep = true;
        let keeper = end.keeper.as_ref().ok_or_else(|| anyhow!("the bed has no keeper"))?;
        Ok(format!("kill {}", keeper.id()))
    }
}

/// Runs one case of one server in a bed of its own: an error or a panic in `body` leaves its evidence.
pub fn case(name: &str, body: impl FnOnce(&Bed) -> Result<()>) -> Result<()> {
    case_of(Cast::SERVER, name, body)
}

/// The same with other machines: it waits until the host can bear them beside those of other cases.
pub fn case_of(cast: Cast, name: &str, body: impl FnOnce(&Bed) -> Result<()>) -> Result<()> {
    let _places = places::take(cast);
    let begin = Instant::now();
    let bed = Bed::new(name)?;
    let result = body(&bed);
    if let Err(error) = &result {
        bed.save_evidence(&format!("{error:#}"));
    }
    say(&format!("{name} took {:.0?}", begin.elapsed()));
    result
}

impl Inner {
    pub(crate) fn net_option(&self) -> String {
        format!("--net={}", self.network.display())
    }

    /// The root file system of new machines, built when first needed.
    pub(crate) fn base(&self, os: Os) -> Result<Arc<Artefact>> {
        let mut bases = lock(&self.bases);
        if let Some(base) = bases.get(&os) {
            return Ok(Arc::clone(base));
        }
        let base = Arc::new(base::get(os)?);
        bases.insert(os, Arc::clone(&base));
        Ok(base)
    }

    /// A name for one more machine that is unique on the host.
    pub(crate) fn next_id(&self) -> String {
        format!("{}-{}", self.id, self.made.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn add_machine(&self, machine: &Machine) {
        lock(&self.machines).push(machine.clone());
    }

    pub(crate) fn add_virtual_machine(&self, machine: &VirtualMachine) {
        lock(&self.virtual_machines).push(machine.clone());
    }

    pub(crate) fn remove_machine(&self, name: &str) {
        lock(&self.machines).retain(|machine| machine.name() != name);
    }

    /// Notes for the keeper what will be ours, before it exists.
    pub(crate) fn record(&self, file: &str, line: &str) -> Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.dir.join(file))?;
        Ok(writeln!(file, "{line}")?)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.save_evidence("the test panicked");
        }
        let machines = std::mem::take(&mut *lock(&self.inner.machines));
        let virtual_machines = std::mem::take(&mut *lock(&self.inner.virtual_machines));
        if let Some(web) = lock(&self.inner.web).take() {
            web.stop();
        }
        let mut end = lock(&self.inner.end);
        let Some(mut keeper) = end.keeper.take() else { return };
        let stdin = keeper.stdin.take();
        if end.keep {
            // Nobody may sweep between our lock and the keeper's.
            let creating = creation_lock(&host::beds_folder());
            drop(end.owned.take());
            stdin.map(|mut stdin| stdin.write_all(b"keep\n").ok());
            read_line(&mut keeper).ok();
            drop(creating);
            return;
        }
        drop(end.owned.take());
        drop(stdin);
        let mut complaints = String::new();
        if let Some(stdout) = &mut keeper.stdout {
            stdout.read_to_string(&mut complaints).ok();
        }
        let ended = keeper.wait().is_ok_and(|status| status.success());
        if !ended || !complaints.is_empty() {
            say(&format!("the bed {} did not end well: {complaints}", self.inner.dir.display()));
        }
        machines.iter().for_each(Machine::reap);
        virtual_machines.iter().for_each(VirtualMachine::reap);
    }
}

/// Held while a bed comes into being, and while others are swept.
fn creation_lock(beds: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(beds.join(".lock"))?;
    file.lock()?;
    Ok(file)
}

fn read_line(keeper: &mut Child) -> Result<String> {
    let mut line = String::new();
    if let Some(stdout) = &mut keeper.stdout {
        BufReader::with_capacity(16, stdout).read_line(&mut line)?;
    }
    Ok(line)
}

/// Ends the beds below `beds` whose owners are gone: an owner and a living keeper hold the bed's lock, which the kernel takes from the dead.
fn sweep(beds: &Path) -> Result<()> {
    for entry in fs::read_dir(beds)? {
        let dir = entry?.path();
        let Ok(lock) = File::open(dir.join("lock")) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        drop(lock);
        // Its keeper may be at it this moment: whoever is second finds nothing to do.
        let script = dir.join("keeper.sh");
        let mut command = Command::new("sh");
        command.arg(&script).arg("end").arg(&dir).current_dir("/");
        let said = run::run(&mut command, &[], Duration::from_secs(60))?;
        if !said.success() || !said.stdout.is_empty() {
            say(&format!("a leftover bed could not be ended: {}: {said}", dir.display()));
        }
    }
    Ok(())
}

/// The value behind a mutex, also after another thread's panic: ending the bed must still work then.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut buffer)).context("/dev/urandom")?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Waits until `child` has ended, and says whether it has.
pub(crate) fn wait_child(child: &mut Child, limit: Duration) -> Result<bool> {
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > limit {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}
