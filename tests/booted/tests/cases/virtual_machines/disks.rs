//! One machine and the disks that a cloud gives it and takes from it.

use anyhow::{Context, Result, bail};
use bowline_booted::looks::{BLANK_ONLY, SOON, Stand, node_of, until, until_ready, volume_on};
use bowline_booted::{configure, deb};
use bowline_testbed::{Bed, Cast, Disk, Drive, System, VirtualMachine, case_of, say};

/// What Oracle's images have, in two lines.
const ORACLE: &str = r#"
SUBSYSTEM=="block", ENV{ID_VENDOR}=="ORACLE", ENV{DEVTYPE}=="disk", SYMLINK+="oracleoci/$env{ID_SCSI_SERIAL}"
SUBSYSTEM=="block", ENV{ID_VENDOR}=="ORACLE", ENV{DEVTYPE}=="partition", SYMLINK+="oracleoci/$env{ID_SCSI_SERIAL}%n"
"#;

/// Writes files until `/run/go` goes away, each synced before its checksum is noted.
const WRITER: &str = r#"
touch /run/go && cd "$1" && while [ -e /run/go ]; do
    n=$((n + 1)) && head -c 100000 /dev/urandom >file$n && sync file$n && md5sum file$n >>/run/sums.$2 && sleep 0.2 || exit
done
touch /run/ended.$2"#;

/// A machine, and the settings that it has.
struct Site<'a> {
    bed: &'a Bed,
    vm: VirtualMachine,
    settings: String,
}

#[test]
fn disks_are_plugged_in_pulled_out_grown_misnamed_and_broken() -> Result<()> {
    case_of(Cast::VIRTUAL.patient(), "virtual-disks", |bed| {
        let mut site = Site { bed, vm: bed.virtual_machine("n1", &deb()?)?, settings: String::new() };
        site.a_disk_that_is_pulled_out_and_plugged_in_again().context("hot-plug")?;
        site.one_that_a_pod_keeps().context("kept by a pod")?;
        site.one_of_oracles().context("Oracle's")?;
        site.links_that_lead_to_each_other_s_disk().context("links")?;
        site.growth_while_files_are_written().context("growth")?;
        site.a_disk_that_only_says_that_it_grew().context("a unit attention")?;
        site.a_copy_that_is_there_at_a_boot().context("a copy")?;
        site.disks_that_can_not_be_read().context("read errors")?;
        site.errors_that_make_one_read_only().context("errors")?;
        site.a_process_that_wants_too_much().context("memory")
    })
}

impl Site<'_> {
    fn has(&mut self, volume: &str) -> Result<()> {
        self.settings.push_str(volume);
        configure(&self.vm, &self.settings)
    }

    fn a_disk_that_is_pulled_out_and_plugged_in_again(&mut self) -> Result<()> {
        let disk = self.bed.disk("52000", "64M")?;
        self.has(&volume_on(&disk, "data", BLANK_ONLY))?;
        let vm = &self.vm;
        until(vm, "data", "waited for", |s| matches!(s, Stand::Waiting(..)))?;
        vm.plug(&disk)?;
        until_ready(vm, "data")?;
        vm.ok("echo kept > /mnt/data/file && sync /mnt/data/file")?;

        // By the machine's own clock: to ask it takes longer on a busy host than to tell takes it.
        let seconds = |text: String| -> Result<f64> {
            Ok(text.trim_start_matches(['[', ' ']).split([' ', ']']).next().unwrap_or_default().parse()?)
        };
        let pulled = seconds(vm.read("/proc/uptime")?)?;
        vm.unplug(&disk)?;
        let missed = |s: &Stand| matches!(s, Stand::Waiting(what, _) if what.contains(&disk.link()));
        until(vm, "data", "missed", missed)?;
        let lines = "journalctl --sync; journalctl -qb -o short-monotonic -u bowline";
        let told = seconds(vm.ok(&format!("{lines} | grep 'waiting for the disk' | tail -n 1"))?)?;
        assert!(pulled < told && told - pulled < 4.0 * SOON.as_secs_f64(), "pulled at {pulled} s, told at {told} s");
        vm.ok("! bowline status | grep -q '^ready'")?;
        assert!(!vm.run("cat /mnt/data/file")?.success(), "no ghost of the volume is left");

        vm.plug(&disk)?;
        until_ready(vm, "data")?;
        assert_eq!(vm.read("/mnt/data/file")?, "kept\n");
        Ok(())
    }

    /// What stands in for a pod has mounts of its own, in a cgroup as the kubelet makes them.
    fn one_that_a_pod_keeps(&mut self) -> Result<()> {
        let disk = self.bed.disk("52001", "320M")?;
        self.vm.plug(&disk)?;
        self.has(&volume_on(&disk, "kept", &format!("filesystem = \"xfs\"\n{BLANK_ONLY}")))?;
        let vm = &self.vm;
        until_ready(vm, "kept")?;
        vm.ok("echo kept > /mnt/kept/file && sync /mnt/kept/file && touch /mnt/kept/dirty")?;
        vm.ok("mkdir -p /var/log/pods/default_kafka-0_aa-1 /sys/fs/cgroup/kubepods/podaa-1 && \
             (nohup unshare -m --propagation private sleep infinity >/dev/null 2>&1 & \
             echo $! > /sys/fs/cgroup/kubepods/podaa-1/cgroup.procs) && \
             until [ \"$(cat /proc/$(cat /sys/fs/cgroup/kubepods/podaa-1/cgroup.procs)/comm)\" = sleep ]; do sleep 0.1; done")?;
        vm.unplug(&disk)?;
        until(vm, "kept", "missed", |s| matches!(s, Stand::Waiting(..)))?;
        vm.plug(&disk)?;
        let fits = |s: &Stand| matches!(s, Stand::Failing(error, _) if error.contains("one with its UUID still is; pods still"));
        let failing = until(vm, "kept", "held", fits)?;
        let Stand::Failing(error, hint) = &failing else { bail!("{failing:?}") };
        assert!(error.contains("default/kafka-0 (/dev/"), "{error}");
        assert!(hint.contains("that is no damage") && !hint.contains("-L"), "{hint}");
        vm.ok("bowline status --json | grep -q 'pods to let go of /dev/'")?;

        vm.ok("kill $(cat /sys/fs/cgroup/kubepods/podaa-1/cgroup.procs); bowline apply --wait 1s || true")?;
        until_ready(vm, "kept")?;
        assert_eq!(vm.read("/mnt/kept/file")?, "kept\n");
        Ok(())
    }

    fn one_of_oracles(&mut self) -> Result<()> {
        let (disk, link) = (self.bed.disk("oraclevds", "64M")?, "/dev/oracleoci/oraclevds");
        self.vm.put("/etc/udev/rules.d/99-systemoci-persistent-names.rules", ORACLE.as_bytes(), 0o644)?;
        self.has(&volume_on(&disk, "scratch", BLANK_ONLY).replace(&disk.link(), link))?;
        self.vm.plug(Drive::new(&disk).called("ORACLE", "BlockVolume", "oraclevds"))?;
        until_ready(&self.vm, "scratch")?;
        self.vm.ok(&format!("test $(findmnt -no SOURCE /mnt/scratch) = $(readlink -f {link})")).map(drop)
    }

    /// As Oracle's do. QEMU's disks have the kernel ask them anew; one of the kernel's own makes says it with the next request alone.
    fn a_disk_that_only_says_that_it_grew(&mut self) -> Result<()> {
        let vm = &self.vm;
        let made = "/sys/bus/pseudo/drivers/scsi_debug";
        vm.ok("modprobe scsi_debug dev_size_mb=8 virtual_gb=1 && udevadm settle")?;
        let disk = vm.ok(&format!("ls {made}/adapter*/host*/target*/*/block"))?.trim().to_string();
        let gigabytes =
            |count: u64| Ok(vm.read(&format!("/sys/block/{disk}/size"))?.trim() == (count << 21).to_string());
        assert!(gigabytes(1)?);
        vm.ok(&format!("echo 2 > {made}/virtual_gb && dd if=/dev/{disk} of=/dev/null iflag=direct count=1"))?;
        vm.wait_for("the kernel to see its size", SOON, &mut || gigabytes(2))?;
        vm.ok("udevadm settle && modprobe -r scsi_debug").map(drop)
    }

    fn links_that_lead_to_each_other_s_disk(&mut self) -> Result<()> {
        let (one, other) = (self.bed.disk("53001", "64M")?, self.bed.disk("53002", "64M")?);
        let both = [&one, &other];
        for disk in both {
            self.vm.plug(disk)?;
            self.vm.ok(&format!("until [ -b {} ]; do sleep 0.1; done", disk.link()))?;
        }
        self.vm.ok(&format!(
            "udevadm settle; one=$(readlink {0}) && other=$(readlink {1}) && ln -sfn $other {0} && ln -sfn $one {1}",
            one.link(),
            other.link()
        ))?;
        let blank = both.map(Disk::sha256);
        self.has(&(volume_on(&one, "one", BLANK_ONLY) + &volume_on(&other, "other", BLANK_ONLY)))?;
        for (name, disk) in [("one", &one), ("other", &other)] {
            let refused = until(&self.vm, name, "refused", |s| matches!(s, Stand::Refused(..)))?;
            let Stand::Refused(why, hint) = &refused else { bail!("{refused:?}") };
            assert!(why.contains(&format!("{} leads to /dev/", disk.link())), "{why}");
            assert!(why.contains("its name has the serial of another disk: /dev/"), "{why}");
            assert!(hint.contains("udevadm trigger --settle") && hint.ends_with("nothing was touched"), "{hint}");
        }
        for (disk, blank) in both.iter().zip(blank) {
            assert_eq!(disk.sha256()?, blank?, "{disk}");
        }
        // As the hint says.
        self.vm.ok("udevadm trigger --settle")?;
        for (name, disk) in [("one", &one), ("other", &other)] {
            until_ready(&self.vm, name)?;
            self.vm.ok(&format!("lsblk -dno SERIAL $(findmnt -no SOURCE /mnt/{name}) | grep -qx {}", disk.serial()))?;
        }
        Ok(())
    }

    fn disks_that_can_not_be_read(&mut self) -> Result<()> {
        let (start, middle) = (self.bed.disk("54001", "64M")?, self.bed.disk("54002", "64M")?);
        let blank = [start.sha256()?, middle.sha256()?];
        self.vm.plug(Drive::new(&start).unreadable_at(64 << 10))?;
        // Where no look comes by: only what proves the disk blank reads it.
        self.vm.plug(Drive::new(&middle).unreadable_at((41 << 20) + 12288))?;
        self.has(&(volume_on(&start, "start", BLANK_ONLY) + &volume_on(&middle, "middle", BLANK_ONLY)))?;
        let refused = until(&self.vm, "start", "refused", |s| matches!(s, Stand::Refused(..)))?;
        let Stand::Refused(why, hint) = &refused else { bail!("{refused:?}") };
        assert!(why.contains(" cannot be read: "), "{why}");
        assert_eq!(hint, "look at `dmesg`: the disk may be failing");
        let failing = until(&self.vm, "middle", "to fail", |s| matches!(s, Stand::Failing(..)))?;
        let Stand::Failing(error, hint) = &failing else { bail!("{failing:?}") };
        assert!(error.contains("was not formatted: it cannot be read ("), "{error}");
        assert!(hint.starts_with("nothing was written"), "{hint}");
        assert_eq!([start.sha256()?, middle.sha256()?], blank, "nothing was written");

        // Each read that fails is counted, and told.
        let before = self.failed(&middle)?;
        let sector = ((41 << 20) + 12288) / 4096;
        self.vm.ok(&format!(
            "! dd if={} of=/dev/null bs=4096 skip={sector} count=1 iflag=direct 2>/dev/null",
            middle.link()
        ))?;
        let told = "the failed read to be told";
        self.vm.wait_for(told, SOON, &mut || Ok(self.failed(&middle)? > before))?;
        assert!(self.failed(&start)? > 0);
        Ok(())
    }

    /// As an ext4 on Debian's images (`errors=remount-ro`) meets nonsense on its disk; the kernel has a way to test that.
    fn errors_that_make_one_read_only(&mut self) -> Result<()> {
        let disk = self.bed.disk("56001", "64M")?;
        self.vm.plug(&disk)?;
        let options = "options = [\"errors=remount-ro\"]\nrepair = \"safe\"";
        self.has(&volume_on(&disk, "torn", &format!("{options}\n{BLANK_ONLY}")))?;
        let vm = &self.vm;
        until_ready(vm, "torn")?;
        vm.ok("echo kept > /mnt/torn/file && sync /mnt/torn/file")?;
        let node = node_of(vm, &disk)?;
        let labels = format!("{{mountpoint=\"/mnt/torn\",device=\"{node}\",fstype=\"ext4\"}} ");
        let readonly = || self.told(&format!("bowline_filesystem_readonly{labels}"));
        assert_eq!(readonly()?, 0);

        vm.ok(&format!("echo torn > /sys/fs/ext4/{}/trigger_fs_error", node.trim_start_matches("/dev/")))?;
        let fits = |s: &Stand| matches!(s, Stand::Refused(why, _) if why.ends_with("/mnt/torn is mounted read-only"));
        let refused = until(vm, "torn", "refused", fits)?;
        let Stand::Refused(_, hint) = &refused else { bail!("{refused:?}") };
        assert!(hint.contains("unmount it: Bowline checks it and mounts it again"), "{hint}");
        assert!(!vm.run("echo more > /mnt/torn/more")?.success(), "it is");
        vm.wait_for("it to be told", SOON, &mut || Ok(readonly()? == 1))?;
        let errors = || self.told(&format!("bowline_filesystem_errors_total{labels}"));
        vm.wait_for("its errors to be counted", SOON, &mut || Ok(errors()? > 0))?;

        // As the hint says.
        vm.ok(
            "for _ in 1 2 3 4 5 6 7 8 9 10; do umount /mnt/torn && break; sleep 0.5; done; ! mountpoint -q /mnt/torn",
        )?;
        until_ready(vm, "torn")?;
        assert_eq!(vm.read("/mnt/torn/file")?, "kept\n");
        assert!(vm.run("echo more > /mnt/torn/more")?.success());
        vm.wait_for("it to be sound again", SOON, &mut || Ok((readonly()?, errors()?) == (0, 0)))
    }

    fn growth_while_files_are_written(&mut self) -> Result<()> {
        let disks = [("ext4", self.bed.disk("55001", "64M")?), ("xfs", self.bed.disk("55002", "320M")?)];
        for (name, disk) in &disks {
            self.vm.plug(disk)?;
            self.has(&volume_on(disk, name, &format!("filesystem = \"{name}\"\n{BLANK_ONLY}")))?;
        }
        for (name, _) in &disks {
            until_ready(&self.vm, name)?;
            let writer = format!("nohup sh -c '{WRITER}' writer /mnt/{name} {name} >/dev/null 2>&1 &");
            self.vm.ok(&writer)?;
            self.vm.ok(&format!("until [ -s /run/sums.{name} ]; do sleep 0.1; done"))?;
        }
        let failed_before = [self.failed(&disks[0].1)?, self.failed(&disks[1].1)?];
        for (name, disk) in &disks {
            let before = self.space(name)?;
            self.vm.resize(disk, &(disk.size()? + (128 << 20)).to_string())?;
            self.vm.wait_for(&format!("{name} to have grown"), SOON, &mut || {
                Ok(self.space(name)? > before + (100 << 20))
            })?;
            until_ready(&self.vm, name)?;
            self.vm.ok(&format!(
                "sum=$(wc -l </run/sums.{name}); until [ $(wc -l </run/sums.{name}) -gt $sum ]; do sleep 0.1; done"
            ))?;
        }
        // One that is only described, and is to stay as it is.
        let fixed = self.bed.disk("55003", "64M")?;
        self.vm.plug(&fixed)?;
        let described = "match = { vendor = \"HC\", serial = \"*55003\" }\ngrowth = false";
        self.has(&format!("[[volume]]\nname = \"fixed\"\nmount = \"/mnt/fixed\"\n{described}\n{BLANK_ONLY}\n"))?;
        until_ready(&self.vm, "fixed")?;
        let before = self.space("fixed")?;
        self.vm.resize(&fixed, &(fixed.size()? + (128 << 20)).to_string())?;
        let told = "bowline status --json | grep -q 'growth = false'";
        self.vm.wait_for("it to be told that it stays", SOON, &mut || Ok(self.vm.run(told)?.success()))?;
        until_ready(&self.vm, "fixed")?;
        assert_eq!(self.space("fixed")?, before);
        // That it grew, and that another came, a disk says by a command that fails: less often than BowlineDiskErrors wants.
        for ((name, disk), before) in disks.iter().zip(failed_before) {
            let more = self.failed(disk)?.saturating_sub(before);
            say(&format!("{name} grew: {more} failed commands"));
            assert!(more < 5, "{name}: {more}");
        }
        // What was written before, meanwhile and after, as the disks have it.
        self.vm
            .ok("rm /run/go; until [ -e /run/ended.ext4 ] && [ -e /run/ended.xfs ]; do sleep 0.1; done; sync; echo 3 > /proc/sys/vm/drop_caches")?;
        for (name, _) in &disks {
            self.vm.ok(&format!("cd /mnt/{name} && md5sum --quiet --check /run/sums.{name}"))?;
        }
        Ok(())
    }

    /// A snapshot that was restored, say, and udev has the UUID lead to it.
    fn a_copy_that_is_there_at_a_boot(&mut self) -> Result<()> {
        let (disk, copy) = (self.bed.disk("57001", "64M")?, self.bed.disk("57002", "64M")?);
        self.vm.plug(&disk)?;
        self.has(&volume_on(&disk, "copied", BLANK_ONLY))?;
        until_ready(&self.vm, "copied")?;
        let prefers = "SUBSYSTEM==\"block\", ENV{ID_SERIAL}==\"0HC_Volume_57002\", OPTIONS+=\"link_priority=100\"\n";
        self.vm.put("/etc/udev/rules.d/99-copy.rules", prefers.as_bytes(), 0o644)?;
        self.vm.plug(&copy)?;
        self.vm.ok(&format!("until [ -b {} ]; do sleep 0.1; done", copy.link()))?;
        self.vm.ok(&format!("sync && dd if={} of={} bs=1M conv=fsync", disk.link(), copy.link()))?;
        self.vm.ok("echo kept > /mnt/copied/file && sync /mnt/copied/file")?;
        self.vm.power_cut()?;
        let before = [disk.sha256()?, copy.sha256()?];

        self.vm.boot()?;
        let refused = until(&self.vm, "copied", "refused", |s| matches!(s, Stand::Refused(..)))?;
        let Stand::Refused(why, hint) = &refused else { bail!("{refused:?}") };
        assert!(
            why.contains("has the same filesystem UUID") && hint.starts_with("detach the copy, or "),
            "{refused:?}"
        );
        let failed = "systemctl is-failed bowline-check-mnt-copied.service";
        self.vm.wait_for(failed, SOON, &mut || Ok(self.vm.run(failed)?.success()))?;
        self.vm.ok("! mountpoint -q /mnt/copied")?;
        let said = "journalctl --sync; journalctl -qb -o cat -u bowline-check-mnt-copied | grep -q '^Several disks have this filesystem'";
        self.vm.ok(said)?;
        assert_eq!([disk.sha256()?, copy.sha256()?], before, "neither was written to, as a mount does");

        self.vm.unplug(&copy)?;
        until_ready(&self.vm, "copied")?;
        assert_eq!(self.vm.read("/mnt/copied/file")?, "kept\n");
        Ok(())
    }

    fn a_process_that_wants_too_much(&self) -> Result<()> {
        let killed = || self.told("bowline_oom_kills_total ");
        let before = killed()?;
        self.vm.ok("! systemd-run --quiet --wait -p MemoryMax=20M tail /dev/zero")?;
        self.vm.wait_for("the killed process to be told", SOON, &mut || Ok(killed()? > before))
    }

    /// Commands to a disk that failed, as the metrics say.
    fn failed(&self, disk: &Disk) -> Result<u64> {
        let node = node_of(&self.vm, disk)?;
        self.told(&format!("bowline_disk_io_errors_total{{device=\"{}\"}} ", node.trim_start_matches("/dev/")))
    }

    /// The value of a series, of a machine without curl. What is counted is read again after 14 seconds.
    fn told(&self, series: &str) -> Result<u64> {
        let ask = "exec 3<>/dev/tcp/127.0.0.1/9787 && printf \"GET /metrics HTTP/1.0\\r\\n\\r\\n\" >&3 && cat <&3";
        let text = self.vm.ok(&format!("bash -c '{ask}'"))?;
        let count = text.lines().find_map(|line| line.strip_prefix(series));
        Ok(count.with_context(|| format!("no {series}"))?.trim().parse()?)
    }

    fn space(&self, name: &str) -> Result<u64> {
        Ok(self.vm.ok(&format!("findmnt -bno SIZE /mnt/{name}"))?.trim().parse()?)
    }
}
