//! The shipped cloud-init document on machines where something is in its way.

use anyhow::Result;
use bowline_booted::clock::synchronised;
use bowline_booted::{ADDRESS, FIRST_BOOT, NODE, VOLUME, deb, document, node, ready, releases};
use bowline_testbed::{Bed, MachineBuilder, Releases, case};
use std::time::{Duration, Instant};

/// What an image's own unattended-upgrades does at the first boot: takes all of apt's locks before cloud-init has begun,
/// and gives them back SECONDS later, and not before it was looked at.
const UPGRADES: &str = "\
import fcntl, os, sys, time
locks = [open(p, 'w') for p in ('/var/lib/apt/lists/lock', '/var/lib/dpkg/lock-frontend', '/var/lib/dpkg/lock', '/var/cache/apt/archives/lock')]
for lock in locks:
    fcntl.lockf(lock, fcntl.LOCK_EX)
open('/run/upgrades-hold', 'w').close()
time.sleep(int(sys.argv[1]))
while not os.path.exists('/run/upgrades-seen'): time.sleep(0.1)
os.remove('/run/upgrades-hold')
";

/// A key that signed nothing here.
const OTHER_KEY: &str = "\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEXgvhABYJKwYBBAHaRw8BAQdAMjgmSYtBcERpR55GG2zfKJ51APj7fZLtZykw
oFXxOOy0DVNvbWVib2R5IGVsc2WIkAQTFggAOBYhBH76uQ8KDLY5MADSPqB4Dg2R
FZIkBQJeC+EAAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJEKB4Dg2RFZIk
4LsBAJVLAmEzBHYmLNSvbZlnlEStmpqSJiRMNyAkfeA2E6bjAQD/MIfXfvxu+OwE
IEF86xR6Sc9qbLUpjlZNzHxJPuW3Ag==
=faYN
-----END PGP PUBLIC KEY BLOCK-----";

fn vm(bed: &Bed, releases: &Releases, key: Option<&str>) -> Result<MachineBuilder> {
    let repository = bed.apt_repository(&[&deb()?])?;
    let mut document = document::fill_in(&repository, releases);
    if let Some(key) = key {
        let indented = |key: &str| key.trim_end().replace('\n', "\n      ");
        assert!(document.contains(&indented(repository.key())));
        document = document.replace(&indented(repository.key()), &indented(key));
    }
    Ok(synchronised(bed.machine(NODE).address(ADDRESS)).cloud_init(&document))
}

fn gets_through_a_lock_of(case_name: &str, seconds: u64) -> Result<()> {
    case(case_name, |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let unit = format!(
            "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\n[Service]\nType=exec\n             ExecStart=/usr/bin/python3 /usr/lib/upgrades {seconds}\n             ExecStartPost=/bin/sh -c 'until test -e /run/upgrades-hold; do sleep 0.05; done'\n"
        );
        let first = "[Unit]\nWants=apt-daily-upgrade-now.service\nAfter=apt-daily-upgrade-now.service\n";
        let begun = Instant::now();
        let machine = vm(bed, &releases, None)?
            .disk(&disk)
            .file("/usr/lib/upgrades", UPGRADES, 0o644)
            .file("/etc/systemd/system/apt-daily-upgrade-now.service", unit, 0o644)
            .file("/etc/systemd/system/cloud-init.service.d/case.conf", first, 0o644)
            .start()?;
        // cloud-init itself is not held up, and nothing in it fails.
        let said = machine.wait_cloud_init()?;
        assert_eq!(said.errors, Vec::<String>::new(), "{}", machine.read("/var/log/cloud-init.log")?);
        assert!(machine.run("test -e /run/upgrades-hold")?.success(), "the lock went before cloud-init was done");
        machine.wait_for("the reason on the console", Duration::from_secs(30), || {
            Ok(machine.console()?.contains("Could not get lock"))
        })?;
        assert!(!machine.run("test -e /usr/bin/bowline")?.success());
        machine.ok("touch /run/upgrades-seen")?;
        let limit = Duration::from_secs(seconds) + FIRST_BOOT;
        machine
            .wait_for("bowline to be installed", limit, || Ok(machine.run("systemctl is-active bowline")?.success()))?;
        assert!(
            begun.elapsed() > Duration::from_secs(seconds) && !machine.run("test -e /run/upgrades-hold")?.success()
        );
        ready(&machine)?;
        assert_eq!(node(&machine)?["metadata"]["labels"]["role"], "control-plane");

        // Secrets may stand in the settings; and the installation is never heard of again.
        assert_eq!(machine.ok("stat -c '%a %U' /etc/bowline/config.d/10-node.toml")?.trim(), "600 root");
        for kept in ["/var/lib/cloud/instance/user-data.txt", "/var/lib/cloud/instance/cloud-config.txt"] {
            assert_eq!(machine.ok(&format!("stat -c %a {kept}"))?.trim(), "600", "{kept}");
        }
        let unit = "bowline-install.service";
        machine.wait_for("the end of the installation", Duration::from_secs(10), || {
            Ok(machine.run(&format!("systemctl is-active {unit}"))?.stdout.trim() == "inactive")
        })?;
        assert_eq!(machine.run(&format!("systemctl is-enabled {unit}"))?.stdout.trim(), "disabled");
        Ok(())
    })
}

#[test]
fn a_package_lock_held_longer_than_cloud_init_waits_is_waited_for() -> Result<()> {
    gets_through_a_lock_of("package-lock", 45)
}

#[test]
#[ignore = "six minutes: make soak"]
fn a_package_lock_held_for_five_minutes_is_waited_for() -> Result<()> {
    gets_through_a_lock_of("package-lock-long", 300)
}

#[test]
fn what_nobody_can_mend_stands_on_the_console_until_it_is_mended() -> Result<()> {
    case("wrong-apt-key", |bed| {
        let releases = releases(bed)?;
        let machine = vm(bed, &releases, Some(OTHER_KEY))?.start()?;
        assert_eq!(machine.wait_cloud_init()?.errors, Vec::<String>::new());
        machine.wait_for("the reason on the console", Duration::from_secs(60), || {
            Ok(machine.console()?.contains("NO_PUBKEY"))
        })?;
        assert!(!machine.run("test -e /usr/bin/bowline")?.success());
        // The person who reads it puts the right key there, and does nothing else.
        machine.put("/etc/apt/keyrings/bowline.asc", bed.apt_repository(&[])?.key(), 0o644)?;
        machine.wait_for("bowline to be installed", FIRST_BOOT, || {
            Ok(machine.run("systemctl is-active bowline")?.success())
        })?;
        assert_eq!(machine.ok("stat -c %a /etc/bowline/config.d/10-node.toml")?.trim(), "600");
        Ok(())
    })
}

#[test]
fn a_source_of_the_image_that_is_gone_is_told_of_and_keeps_nothing_from_being_installed() -> Result<()> {
    case("dead-apt-source", |bed| {
        let releases = releases(bed)?;
        let machine = vm(bed, &releases, None)?;
        let gone = format!(
            "Types: deb\nURIs: {}\nSuites: gone\nComponents: main\nSigned-By: /etc/apt/keyrings/bowline.asc\n",
            bed.apt_repository(&[])?.url()
        );
        let machine = machine.file("/etc/apt/sources.list.d/other.sources", gone, 0o644).start()?;
        assert_eq!(machine.wait_cloud_init()?.errors, Vec::<String>::new());
        machine.wait_for("bowline to be installed", FIRST_BOOT, || {
            Ok(machine.run("systemctl is-active bowline")?.success())
        })?;
        assert!(machine.console()?.contains("does not have a Release file"), "{}", machine.console()?);
        let unit = "bowline-install.service";
        machine.wait_for("the end of the installation", Duration::from_secs(10), || {
            Ok(machine.run(&format!("systemctl is-enabled {unit}"))?.stdout.trim() == "disabled")
        })?;
        Ok(())
    })
}
