//! The power goes at random moments, while disks are formatted, mounted and grown. After each cut the machine finds its way
//! by itself, and every file that was synced before is there.

use anyhow::{Context, Result, anyhow, ensure};
use bowline_booted::looks::{BLANK_ONLY, SOON, volume_on};
use bowline_booted::{configure, deb};
use bowline_testbed::{Bed, Cast, Disk, Drive, System, VirtualMachine, case_of, say};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many cuts there are in all; `POWER_CUTS` says otherwise.
const CUTS: u64 = 10;
/// Each machine has so many: its disks become more with each.
const EACH: u64 = 6;
/// And so many more, if none of them came while an ext4 was half made. (An XFS was in none of eight that came inside its mkfs: it
/// is one from its first bytes on, or blank still.)
const MORE: u64 = 4;
/// How long a machine may take to be as it should be after a boot.
const READY: Duration = Duration::from_secs(600);

const MKFS: &str = "mkfs began";
/// What goes on when the power goes: how it is called, since when, as a shell condition (`$v` is the round's new volume), and
/// how long it may take, in milliseconds. They have their turns.
const MOMENTS: [(&str, &str, u64); 4] = [
    ("the settings came", "true", 3000),
    (MKFS, "pgrep -x 'mkfs[.](ext4|xfs)' || mountpoint -q /mnt/$v", 1500),
    ("the mount unit came", "[ -e /etc/systemd/system/mnt-$v.mount ]", 600),
    ("growth began", "ls /run/bowline/jobs/grow-data-*.order.json 2>&1", 600),
];

/// Of two filesystems, each with its own machine.
struct Kind {
    name: &'static str,
    size: &'static str,
    /// How many of ten cuts it has.
    share: u64,
    /// How fast the new disk is written, in bytes a second, so that making the filesystem takes a second or two.
    speed: u64,
}

#[test]
fn power_cuts_with_ext4() -> Result<()> {
    power_cuts(&Kind { name: "ext4", size: "64M", share: 6, speed: 300_000 })
}

#[test]
fn power_cuts_with_xfs() -> Result<()> {
    power_cuts(&Kind { name: "xfs", size: "320M", share: 4, speed: 3_000_000 })
}

fn power_cuts(kind: &Kind) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64 % 1_000_000;
    let mut left = number("POWER_CUTS").unwrap_or(CUTS) * kind.share / 10;
    let mut seed = number("POWER_CUT_SEED").unwrap_or(now);
    ensure!(left > 0, "POWER_CUTS is at least 3");
    while left > 0 {
        let cuts = left.min(EACH);
        let machine = format!("{cuts} cuts with POWER_CUT_SEED={seed}");
        case_of(Cast::VIRTUAL.patient(), &format!("power-cuts-{}", kind.name), |bed| {
            Site::new(bed, kind, seed)?.cuts(cuts).context(machine)
        })?;
        (left, seed) = (left - cuts, seed + 1);
    }
    Ok(())
}

/// One machine, its disks, and what is on them for certain.
struct Site<'a> {
    bed: &'a Bed,
    kind: &'a Kind,
    vm: VirtualMachine,
    random: u64,
    settings: String,
    /// It is there from the start, grows with each round and is written to all the time.
    data: Disk,
    /// Files that were synced, with their checksums.
    synced: BTreeMap<String, String>,
}

impl<'a> Site<'a> {
    fn new(bed: &'a Bed, kind: &'a Kind, seed: u64) -> Result<Site<'a>> {
        let data = bed.disk("56000", kind.size)?;
        let vm = bed.virtual_machine("n1", &deb()?)?;
        vm.plug(&data)?;
        let settings = volume_on(&data, "data", &kind.keys());
        let mut site = Site { bed, kind, vm, random: seed ^ kind.speed, settings, data, synced: BTreeMap::new() };
        configure(&site.vm, &site.settings)?;
        site.ready()?;
        site.write("data", "first")?;
        Ok(site)
    }

    fn cuts(&mut self, cuts: u64) -> Result<()> {
        let first = self.random(MOMENTS.len() as u64);
        let mut half_made = 0;
        for round in 0..cuts + MORE {
            let mut turn = MOMENTS[usize::try_from((first + round) % MOMENTS.len() as u64)?];
            if round >= cuts {
                match MOMENTS.iter().find(|(moment, ..)| *moment == MKFS && half_made == 0) {
                    Some(moment) if self.kind.name == "ext4" => turn = *moment,
                    _ => break,
                }
            }
            let (moment, begun, lasts) = turn;
            // Those beyond are spread evenly over it.
            let after = if round < cuts { self.random(lasts) } else { lasts * (round - cuts + 1) / (MORE + 1) };
            let after = Duration::from_millis(after);
            let cut = format!("cut {round}, {after:?} after {moment}");
            let found = self.round(round, begun, after).with_context(|| cut.clone())?;
            half_made += u64::from(found.half_made);
            say(&format!("power-cuts-{}: {cut}: {found}", self.kind.name));
        }
        ensure!(half_made > 0 || self.kind.name != "ext4", "no cut came while a filesystem was half made");
        Ok(())
    }

    /// A new disk is plugged in, another one grows, files are written, the power goes; and all is well at the next boot.
    fn round(&mut self, round: u64, begun: &str, after: Duration) -> Result<Found> {
        let name = format!("new{round}");
        let disk = self.bed.disk(&format!("5610{round}"), self.kind.size)?;
        self.settings.push_str(&volume_on(&disk, &name, &self.kind.keys()));
        let (before, grown) = (self.space()?, self.data.size()? + (64 << 20));
        let blank = disk.sha256()?;
        self.write("data", &format!("{round}-before"))?;
        self.vm.plug(Drive::new(&disk).writing(self.kind.speed))?;
        self.vm.resize(&self.data, &grown.to_string())?;
        configure(&self.vm, &self.settings)?;
        let begun = format!("v={name}; until {begun}; do sleep 0.02; done >/dev/null");
        self.vm.run_with(&begun, b"", SOON)?;
        let vm = self.vm.clone();
        let cut = std::thread::spawn(move || {
            std::thread::sleep(after);
            vm.power_cut()
        });
        let mut files = 0;
        while self.vm.is_running() {
            match self.write("data", &format!("{round}-{files}")) {
                Ok(()) => files += 1,
                Err(error) if self.vm.is_running() => return Err(error),
                Err(_) => break,
            }
        }
        cut.join().map_err(|_| anyhow!("the one who cuts the power panicked"))??;
        let half_made = disk.sha256()? != blank && disk.tool("blkid -p \"$1\"").is_err();

        self.vm.throttle(&disk, 0)?;
        self.vm.boot()?;
        self.ready()?;
        self.all_is_there()?;
        self.samples_go_on()?;
        let space = self.space()?;
        ensure!(space > before + (32 << 20), "{space} bytes on a disk of {grown}, and {before} before");
        self.write(&name, "first")?;
        let jobs = "journalctl -qb -o cat -u 'bowline-*' | grep -oE '^Started bowline-(mkfs|grow)' | sort -u";
        Ok(Found { files, half_made, afterwards: self.vm.run(jobs)?.stdout.replace("\n", " ") })
    }

    /// Writes a file, syncs it, and remembers it then.
    fn write(&mut self, volume: &str, name: &str) -> Result<()> {
        let file = format!("/mnt/{volume}/{name}");
        let text = format!("{file} {}\n", self.random(u64::MAX)).repeat(2000);
        let said = self.vm.run_with(
            &format!("cat > {file} && sync {file} && sync /mnt/{volume} && md5sum {file}"),
            text.as_bytes(),
            SOON,
        )?;
        ensure!(said.success(), "{said}");
        let sum = said.stdout.split_whitespace().next().unwrap_or_default().to_string();
        self.synced.insert(file, sum);
        Ok(())
    }

    fn all_is_there(&self) -> Result<()> {
        let list: String = self.synced.iter().map(|(file, sum)| format!("{sum}  {file}\n")).collect();
        let said = self.vm.run_with("md5sum --quiet --check", list.as_bytes(), SOON)?;
        ensure!(said.success(), "of {} files that were synced: {said}", self.synced.len());
        Ok(())
    }

    /// How full the disks were is still known: at most the sample that was being written is not.
    fn samples_go_on(&self) -> Result<()> {
        let anew = self.vm.run("journalctl -qb -o cat -u bowline | grep -F 'begins anew'")?;
        ensure!(!anew.success(), "the samples are lost: {anew}");
        self.vm.ok("test -s /var/lib/bowline/samples")?;
        Ok(())
    }

    fn space(&self) -> Result<u64> {
        Ok(self.vm.ok("findmnt -bno SIZE /mnt/data")?.trim().parse()?)
    }

    fn ready(&self) -> Result<()> {
        let status = format!("bowline status --wait-ready {}s", READY.as_secs());
        let said = self.vm.run_with(&status, b"", READY)?;
        ensure!(said.success(), "not ready after {READY:?}: {said}");
        Ok(())
    }

    /// The next number below `end`, by the seed (splitmix64).
    fn random(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What a cut met.
struct Found {
    /// How many files were written and synced until it came.
    files: u64,
    /// Bytes of the new filesystem were on the disk, and not yet all that make it one.
    half_made: bool,
    /// The work of the next boot.
    afterwards: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, half_made, afterwards } = self;
        let inside = if *half_made { "inside mkfs; " } else { "" };
        write!(f, "{inside}{files} files meanwhile; done afterwards: {afterwards}")
    }
}

impl Kind {
    fn keys(&self) -> String {
        format!("filesystem = \"{}\"\n{BLANK_ONLY}", self.name)
    }
}
