//! Machines as cases use them: they boot, answer, keep their files and their disks.

use std::time::{Duration, Instant};

use anyhow::Result;
use bowline_testbed::{Bed, Os, case, say};

#[test]
fn a_machine_boots_and_keeps_its_files_over_a_reboot() -> Result<()> {
    case("boots", |bed| {
        // The first on this host builds the base.
        bed.machine("first").start()?.destroy()?;
        let started = Instant::now();
        let m = bed.machine("control").address("10.0.1.10").start()?;
        say(&format!("took commands after {:?}", started.elapsed()));
        assert_eq!(m.wait_booted()?, "running", "{}", m.ok("systemctl --failed")?);
        say(&format!("running after {:?}", started.elapsed()));
        assert_eq!(m.ok("hostname")?.trim(), "control");
        m.put("/etc/bowline/config.d/10.toml", "x = 1\n", 0o600)?;
        assert_eq!(m.ok("stat -c %a:%U /etc/bowline/config.d/10.toml")?.trim(), "600:root");
        m.put("/var/lib/rancher/kept", "yes", 0o644)?;
        let rebooting = Instant::now();
        m.reboot()?;
        say(&format!("rebooted in {:?}", rebooting.elapsed()));
        assert_eq!(m.read("/etc/bowline/config.d/10.toml")?, "x = 1\n");
        assert_eq!(m.read("/var/lib/rancher/kept")?, "yes");
        m.recreate()?;
        assert!(m.read("/var/lib/rancher/kept").is_err());
        assert!(m.read("/etc/bowline/config.d/10.toml").is_err());
        Ok(())
    })
}

#[test]
fn a_disk_is_known_by_its_link_and_outlives_the_machine() -> Result<()> {
    case("disks", |bed| {
        let disk = bed.disk("12345678", "1G")?;
        let m = bed.machine("kafka").address("10.0.1.20").disk(&disk).start()?;
        assert_eq!(m.wait_booted()?, "running");
        let link = disk.link();
        m.ok(&format!(
            "mkfs.ext4 -q {link} && mkdir -p /mnt/data && mount {link} /mnt/data && echo kept > /mnt/data/file"
        ))?;
        m.ok(&format!("systemctl is-active $(systemd-escape --path --suffix=device {link})"))?;
        assert_eq!(m.ok("ls /dev/disk/by-id")?.trim(), "scsi-0HC_Volume_12345678", "no other disk has a name here");
        m.recreate()?;
        m.ok(&format!("mkdir -p /mnt/data && mount {link} /mnt/data"))?;
        assert_eq!(m.read("/mnt/data/file")?, "kept\n");
        m.ok("umount /mnt/data")?;
        m.detach(&disk)?;
        assert!(!m.run(&format!("test -e {link}"))?.success());
        let hash = disk.sha256()?;
        disk.resize("2G")?;
        assert_ne!(disk.sha256()?, hash);
        m.attach(&disk)?;
        m.wait_for("the link", Duration::from_secs(5), || Ok(m.run(&format!("test -b {link}"))?.success()))?;
        assert_eq!(m.ok(&format!("blockdev --getsize64 {link}"))?.trim(), "2147483648");
        m.destroy()
    })
}

#[test]
fn a_machine_can_not_touch_the_host() -> Result<()> {
    case("host-is-safe", |bed: &Bed| {
        let m = bed.machine("m").address("10.0.1.10").start()?;
        let before = std::time::SystemTime::now();
        assert!(!m.run("date -s 2001-01-01")?.success());
        assert!(before.elapsed()?.as_secs() < 60);
        assert!(!m.run("echo 1 > /proc/sys/kernel/panic_on_oops && sysctl -w kernel.pid_max=40000")?.success());
        m.ok("ls /sys/block/vda && ! test -e /dev/vda || ! ls /sys/block/vda")?;
        // Neither a unit nor a command may read a disk of the host, not even through a node of its own making.
        let majors = "awk '/Block/ {b = 1; next} b && $2 != \"loop\" {print $1}' /proc/devices";
        let read = format!(
            "for major in $({majors}); do mknod /root/disk$major b $major 0; ! head -c 1 /root/disk$major || exit 1; done 2>/dev/null"
        );
        m.ok(&read)?;
        m.ok(&format!("systemd-run --quiet --wait --pipe sh -c '{}'", read.replace('\'', "'\\''").replace('$', "$$")))?;
        Ok(())
    })
}

#[test]
fn a_sandboxed_unit_may_use_its_disk_and_a_waiting_mount_starts_when_it_comes() -> Result<()> {
    case("hot-plug", |bed| {
        let disk = bed.disk("4711", "1G")?;
        disk.mkfs("xfs")?;
        let m = bed.machine("m").address("10.0.1.10").start()?;
        let link = disk.link();
        let unit = format!("[Mount]\nWhat={link}\nWhere=/var/lib/rancher/volume\nType=xfs\n");
        m.put("/etc/systemd/system/var-lib-rancher-volume.mount", unit, 0o644)?;
        m.ok("systemctl daemon-reload && systemctl start --no-block var-lib-rancher-volume.mount")?;
        m.attach(&disk)?;
        m.wait_for("the mount", Duration::from_secs(5), || {
            Ok(m.run("mountpoint -q /var/lib/rancher/volume")?.success())
        })?;
        let sandbox = "--property=DevicePolicy=closed --property='DeviceAllow=block-loop rw'";
        m.ok(&format!("systemd-run --quiet --wait --pipe {sandbox} blkid -p {link}"))?;
        assert_eq!(m.ok(&format!("blkid -o value -s TYPE {link}"))?.trim(), "xfs");
        m.detach(&disk)?;
        m.wait_for("the unmount", Duration::from_secs(5), || {
            Ok(!m.run("mountpoint -q /var/lib/rancher/volume")?.success())
        })
    })
}

#[test]
fn disks_can_be_given_any_past() -> Result<()> {
    case("disk-pasts", |bed| {
        let disk = bed.disk("1", "20G")?;
        let blank = disk.sha256()?;
        disk.fill(1 << 30, 100, 7)?;
        assert_ne!(disk.sha256()?, blank);
        disk.fill(1 << 30, 100, 0)?;
        assert_eq!(disk.sha256()?, blank, "zeros are zeros, written or not");
        let m = bed.machine("m").disk(&disk).start()?;
        let kind = || m.ok(&format!("blkid -p -o export {} || true", disk.link()));
        assert_eq!(kind()?, "");
        disk.partition()?;
        assert!(kind()?.contains("PTTYPE=gpt"));
        for filesystem in ["ext4 -F", "xfs -f", "btrfs -f"] {
            disk.mkfs(filesystem)?;
            assert!(
                kind()?.contains(&format!("TYPE={}", filesystem.split(' ').next().unwrap_or_default())),
                "{}",
                kind()?
            );
        }
        Ok(())
    })
}

#[test]
fn debian_13_boots_too() -> Result<()> {
    case("trixie", |bed| {
        let disk = bed.disk("12345678", "1G")?;
        let m =
            bed.machine("m").os(Os::Trixie).address("10.0.1.10").disk(&disk).cloud_init("#cloud-config\n").start()?;
        assert_eq!(m.wait_cloud_init()?.errors, Vec::<String>::new());
        assert_eq!(m.wait_booted()?, "running", "{}", m.ok("systemctl --failed --full")?);
        assert!(m.read("/etc/os-release")?.contains("VERSION_CODENAME=trixie"));
        m.ok(&format!("test -b {}", disk.link()))?;
        m.reboot()?;
        m.detach(&disk)?;
        m.attach(&disk)?;
        m.wait_for("the link", Duration::from_secs(5), || Ok(m.run(&format!("test -b {}", disk.link()))?.success()))
    })
}

#[test]
fn a_machine_suits_kubernetes() -> Result<()> {
    case("kubernetes", |bed| {
        let m = bed.machine("m").address("10.0.1.10").start()?;
        let settings = m.ok("cd /proc/sys; cat vm/overcommit_memory kernel/panic kernel/panic_on_oops")?;
        assert_eq!(settings, "1\n10\n1\n", "what the kubelet insists on");
        m.ok("test -r /dev/kmsg && ip route show default | grep -q 10.0.1.1")?;
        m.ok("systemctl start containerd && ctr plugins ls | grep -E 'snapshotter.*overlayfs.*ok'")?;
        m.ok("mkdir -p /var/lib/bundle/bin && cp /bin/busybox /var/lib/bundle/bin")?;
        let run = "ctr run --rm --rootfs";
        let hello = m.ok(&format!("{run} --memory-limit 50000000 /var/lib/bundle one /bin/busybox echo hello"))?;
        assert_eq!(hello, "hello\n");
        m.ok(&format!("{run} --privileged /var/lib/bundle two /bin/busybox true"))?;
        Ok(())
    })
}
