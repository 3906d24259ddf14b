//! Virtual machines: what can be done to one from outside, and that nothing of it stays.

use std::time::{Duration, Instant};
use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use bowline_testbed::{Cast, Drive, System, case_of, package, say, wait_for};

fn deb() -> Result<PathBuf> {
    env::var_os("BOWLINE_DEB").map_or_else(|| Ok(package()?.path().to_owned()), |path| Ok(path.into()))
}

#[test]
fn disks_come_go_grow_and_fail_and_the_power_too() -> Result<()> {
    let mut dir = None;
    case_of(Cast::VIRTUAL, "virtual", |bed| {
        dir = Some(bed.dir().to_owned());
        let begin = Instant::now();
        let (disk, bad) = (bed.disk("51000", "64M")?, bed.disk("51001", "64M")?);
        let vm = bed.virtual_machine("n1", &deb()?)?;
        say(&format!("booted after {:?}", begin.elapsed()));
        assert_eq!(vm.run_with("cat; echo no >&2; exit 3", b"in\0put", Duration::from_secs(60))?.stdout, "in\0put");
        assert_eq!(vm.run_with("sleep 50", b"", Duration::from_secs(1))?.code, 124);
        assert_eq!(vm.ok("ls /sys/class/net")?, "lo\nnowhere\n");

        vm.plug(&disk)?;
        vm.plug(Drive::new(&bad).called("ORACLE", "BlockVolume", "bad").unreadable_at(1 << 20))?;
        let there = |path: &str| format!("until [ -b {path} ]; do sleep 0.1; done; readlink -f {path}");
        let node = vm.ok(&there(&disk.link()))?.trim().to_owned();
        vm.ok(&there("/dev/disk/by-id/scsi-0ORACLE_BlockVolume_bad"))?;
        let read = |at: &str| vm.run(&format!("dd if=/dev/disk/by-id/scsi-0ORACLE_BlockVolume_bad of=/dev/null {at}"));
        assert!(read("bs=4k count=256")?.success());
        assert!(read("bs=4k skip=255 count=2 iflag=direct")?.stderr.contains("Input/output error"));

        // ext4 writes its journal after five seconds by itself, and a slow machine takes longer up to the power cut.
        vm.ok(&format!(
            "mkfs.ext4 -q {node} && mount -o commit=86400 {node} /mnt && echo kept > /mnt/a && sync && echo lost > /mnt/b"
        ))?;
        vm.resize(&disk, "96M")?;
        vm.ok(&format!("until [ $(blockdev --getsize64 {}) = $((96 << 20)) ]; do sleep 0.1; done", node))?;
        vm.power_cut()?;
        assert!(!vm.is_running());
        assert_eq!(disk.size()?, 96 << 20);
        vm.boot()?;
        say(&format!("booted again after {:?}", begin.elapsed()));
        vm.ok(&format!("until mount {} /mnt; do sleep 0.1; done", disk.link()))?;
        assert_eq!(vm.ok("ls /mnt")?, "a\nlost+found\n");
        vm.unplug(&disk)?;
        vm.ok(&format!("while [ -e {} ]; do sleep 0.1; done", disk.link()))?;
        assert!(!vm.run("ls /mnt/lost+found && echo x > /mnt/c && sync -f /mnt")?.success(), "it is gone");
        vm.throttle(&bad, 100_000)?;
        let begin = Instant::now();
        vm.ok("dd if=/dev/zero of=/dev/disk/by-id/scsi-0ORACLE_BlockVolume_bad bs=64k count=8 oflag=direct")?;
        assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
        vm.throttle(&bad, 0)?;
        vm.power_off()
    })?;
    let dir = dir.context("no bed")?;
    assert!(!dir.exists());
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Whoever makes a bed beside this looks after those that nobody holds, for a moment.
    wait_for("every process of the bed to be gone", Duration::from_secs(10), || {
        for process in fs::read_dir("/proc")?.flatten() {
            let command = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            ensure!(!command.contains(&name), "{command}");
        }
        Ok(true)
    })
}
