//! A bed leaves nothing behind, however its test ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_testbed::{Bed, say, wait_for};

/// What can be seen of a bed from outside.
struct Traces {
    dir: PathBuf,
    network: String,
}

impl Traces {
    fn of(bed: &Bed) -> Result<Traces> {
        let network = bed.run(&["readlink", "/proc/self/ns/net"])?.stdout.trim().to_owned();
        Ok(Traces { dir: bed.dir().to_owned(), network })
    }

    /// Everything of the bed that is still there.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        if self.dir.exists() {
            left.push(self.dir.display().to_string());
        }
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = name.rsplit('-').next().unwrap_or_default().to_owned();
        for pid in fs::read_dir("/proc")?.flatten().map(|entry| entry.path()) {
            let network = fs::read_link(pid.join("ns/net")).unwrap_or_default();
            let command = fs::read_to_string(pid.join("cmdline")).unwrap_or_default();
            if network == Path::new(&self.network) || command.contains(&name) {
                left.push(format!("process {}: {command:?}", pid.display()));
            }
            // A thread of a web server may still be inside.
            for task in fs::read_dir(pid.join("task")).into_iter().flatten().flatten() {
                if fs::read_link(task.path().join("ns/net")).is_ok_and(|network| network == Path::new(&self.network)) {
                    left.push(format!("thread {}", task.path().display()));
                }
            }
        }
        let find = ["/sys/fs/cgroup", "/run/systemd/nspawn", "-name", &format!("*{id}-[0-9]*")];
        let found = Command::new("find").args(find).output()?;
        left.extend(String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned));
        for (program, option) in [("losetup", "--all"), ("cat", "/proc/self/mountinfo")] {
            let said = Command::new(program).arg(option).output()?;
            let lines = String::from_utf8_lossy(&said.stdout).into_owned();
            left.extend(lines.lines().filter(|line| line.contains(&name)).map(str::to_owned));
        }
        Ok(left)
    }

    fn assert_gone(&self) -> Result<()> {
        let mut left = Vec::new();
        wait_for("the bed to be gone", Duration::from_secs(10), || {
            left = self.left()?;
            Ok(left.is_empty())
        })
        .with_context(|| format!("{left:#?}"))
    }
}

/// A bed with everything that could be left behind.
fn full_bed(case: &str) -> Result<(Bed, Traces)> {
    let bed = Bed::new(case)?;
    let disk = bed.disk("12345678", "1G")?;
    let machine = bed.machine("m").address("10.0.1.10").disk(&disk).start()?;
    // A machine may be up before its udev has come to every disk.
    let there = || Ok(machine.run(&format!("test -b {}", disk.link()))?.success());
    machine.wait_for("its disk", Duration::from_secs(30), there)?;
    machine.ok(&format!("mkfs.ext4 -q {0} && mount {0} /mnt", disk.link()))?;
    machine.ok("systemd-run --quiet --property=KillMode=none sleep 1000; setsid sleep 1000 >/dev/null 2>&1 &")?;
    bed.web()?.put("/x", "x");
    assert_eq!(machine.ok("curl -sf http://10.0.1.1/x")?, "x");
    let traces = Traces::of(&bed)?;
    assert!(traces.left()?.len() > 10, "{:#?}", traces.left()?);
    Ok((bed, traces))
}

#[test]
fn a_dropped_bed_is_gone() -> Result<()> {
    let (bed, traces) = full_bed("ends-dropped")?;
    drop(bed);
    traces.assert_gone()
}

#[test]
fn a_destroyed_machine_is_gone_before_its_bed() -> Result<()> {
    let bed = Bed::new("ends-destroyed")?;
    let disk = bed.disk("12345678", "1G")?;
    let machine = bed.machine("m").disk(&disk).start()?;
    let leader = machine.leader()?;
    machine.destroy()?;
    assert!(!Path::new(&format!("/proc/{leader}/exe")).exists());
    let loops = Command::new("losetup").arg("--associated").arg(bed.dir().join("disks/12345678.img")).output()?;
    assert_eq!(String::from_utf8_lossy(&loops.stdout), "");
    bed.machine("m").disk(&disk).start()?;
    Ok(())
}

#[test]
fn a_kept_bed_lives_until_it_is_told() -> Result<()> {
    let (bed, traces) = full_bed("ends-kept")?;
    let end = bed.keep()?;
    drop(bed);
    let lived = Bed::new("ends-sweeper").and_then(|sweeper| {
        drop(sweeper);
        traces.left()
    });
    // Also when that failed.
    assert!(Command::new("sh").args(["-c", &end]).status()?.success());
    let lived = lived?;
    assert!(lived.len() > 10, "{lived:#?}");
    traces.assert_gone()
}

#[test]
fn a_panic_cleans_up_and_leaves_evidence() -> Result<()> {
    let mut traces = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let (_bed, seen) = full_bed("ends-panic").unwrap();
        traces = Some(seen);
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    traces.context("the bed was not made")?.assert_gone()?;
    let evidence = Path::new("../../target/testbed/ends-panic");
    let journal = fs::read_to_string(evidence.join("m/journal.txt"))?;
    assert!(journal.contains("systemd[1]"), "{journal}");
    assert!(evidence.join("m/console.txt").exists());
    Ok(fs::remove_dir_all(evidence)?)
}

#[test]
#[ignore = "run by the_bed_of_a_killed_owner_is_gone, which kills it"]
fn owner() {
    let (_bed, traces) = full_bed("ends-killed").unwrap();
    say(&format!("owner: {} {}", traces.dir.display(), traces.network));
    // Until whoever started it ends.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

fn start_owner() -> Result<(std::process::Child, Traces)> {
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", "owner", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut said = String::new();
    for line in BufReader::new(owner.stderr.take().context("no stderr")?).lines() {
        let line = line?;
        if let Some((dir, network)) = line.strip_prefix("testbed: owner: ").and_then(|rest| rest.split_once(' ')) {
            return Ok((owner, Traces { dir: dir.into(), network: network.to_owned() }));
        }
        said.push_str(&line);
    }
    anyhow::bail!("the owner did not come up: {said}")
}

#[test]
fn the_bed_of_a_killed_owner_is_gone() -> Result<()> {
    let (mut owner, traces) = start_owner()?;
    owner.kill()?;
    owner.wait()?;
    traces.assert_gone()
}

#[test]
fn the_next_bed_ends_what_a_killed_keeper_left() -> Result<()> {
    let (mut owner, traces) = start_owner()?;
    // The keeper of this bed, and no other: it has the bed's folder on its command line.
    let of_bed = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("keeper.sh\0hold") && command.contains(&*traces.dir.to_string_lossy())
    };
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", owner.id()))?;
    let others = fs::read_dir(format!("/proc/{}/task", owner.id()))?.flatten().map(|task| task.path().join("children"));
    let all: String = others.filter_map(|file| fs::read_to_string(file).ok()).chain([children]).collect();
    let keeper = all.split_whitespace().filter_map(|pid| pid.parse().ok()).find(of_bed).context("no keeper")?;
    // Beds of other tests begin meanwhile.
    let nobody_sweeps = fs::File::open(traces.dir.with_file_name(".lock"))?;
    nobody_sweeps.lock()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(keeper)?), nix::sys::signal::Signal::SIGKILL)?;
    owner.kill()?;
    owner.wait()?;
    assert!(!traces.left()?.is_empty());
    drop(nobody_sweeps);
    drop(Bed::new("ends-sweeper")?);
    traces.assert_gone()
}
