//! What can go wrong while K3s is downloaded: each fault has its message and is one finding of `bowline doctor`, nothing
//! unverified is ever in place, and what the message asks for mends it. No K3s runs here: the program is a stub, which
//! starts for ever.

use anyhow::{Context, Result, ensure};
use bowline_booted::findings::{nothing_found, remedy, the_finding};
use bowline_booted::looks::SOON;
use bowline_booted::told::{now, tells, tells_within};
use bowline_booted::{bare, configure, deb, releases_with, report};
use bowline_testbed::{Bed, Cast, Disk, Fault, K3S_VERSION, Machine, Releases, case_of};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const BINARY: &str = "/usr/local/bin/k3s";
/// What is there of it while it comes.
const PART: &str = "k3s.bowline-part";
/// The check that a failing download is a finding of.
const DOWNLOAD: &str = "cluster: k3s/binary";
/// Takes all but so many MiB of the disk that the program comes to.
const FILL: &str = "free=$(df --output=avail -B1M /usr/local/bin | tail -1); \
                    fallocate -l $((free - $1))M /usr/local/bin/filler";
/// Takes every block that is left.
const FILL_UP: &str = "cat /dev/zero > /usr/local/bin/filler-of-the-rest; true";
/// Large enough for a fault in the middle, small enough for a test.
const SIZE: usize = 12 << 20;

#[test]
fn what_the_release_page_does_wrong_is_named_and_goes_when_it_is_mended() -> Result<()> {
    case_of(Cast::PLAIN, "download-faults", |bed| {
        let site = Site::new(bed)?;
        let (machine, _disk) = with_a_disk(bed, &site)?;
        fill(&machine, 10)?;
        configure(&machine, &site.settings(""))?;
        machine.install(&deb()?)?;
        tells(
            &machine,
            &[
                "failed: download https://10.0.1.1/",
                "/usr/local/bin has no room: ",
                " MiB free, 13 MiB needed",
                "make 13 MiB of room on the filesystem of /usr/local/bin",
            ],
        )?;
        nothing_is_left(&machine)?;
        let finding = the_finding(&machine, "space on /usr/local/bin", "K3s with its download needs 500")?;
        ensure!(remedy(&finding).starts_with("free 4"), "{finding}");
        machine.ok("rm /usr/local/bin/filler")?;
        mended(&machine, &site)?;

        for (fault, asset, message) in [
            (Fault::Corrupt, "k3s", "has the wrong checksum: SHA-256"),
            (Fault::Truncated(5 << 20), "k3s", "/k3s was cut off after 5 MiB of 12 MiB"),
            (Fault::Status(404), "k3s", "/k3s: HTTP 404 Not Found → does that version exist there?"),
            (Fault::Status(404), "sha256sum-amd64.txt", "/sha256sum-amd64.txt: HTTP 404 Not Found"),
            (Fault::Status(503), "k3s", "HTTP 503 Service Unavailable → the server has a problem of its own"),
        ] {
            again(&machine, &site, || site.releases.fault(K3S_VERSION, asset, fault))?;
            let line = tells(&machine, &["failed: download https://10.0.1.1/", message])?;
            if fault == Fault::Corrupt {
                ensure!(line.contains(&format!("instead of {}", site.sha256)), "{line}");
            }
            nothing_is_left(&machine)?;
            let finding = the_finding(&machine, DOWNLOAD, message.split(" → ").next().unwrap_or_default())?;
            ensure!(remedy(&finding).ends_with("at once with `bowline apply`"), "{finding}");
            site.releases.mend(K3S_VERSION, asset);
            mended(&machine, &site)?;
        }
        Ok(())
    })
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_download_leaves_nothing_half_there() -> Result<()> {
    case_of(Cast::PLAIN, "download-fills-the-disk", |bed| {
        let site = Site::new(bed)?;
        let (machine, _disk) = with_a_disk(bed, &site)?;
        site.releases.fault(K3S_VERSION, "k3s", Fault::Slow(128 << 10));
        configure(&machine, &site.settings(""))?;
        machine.install(&deb()?)?;
        machine.wait_for("the download to be under way", Duration::from_secs(20), || {
            Ok(site.releases.count(K3S_VERSION, "k3s").bytes >= 128 << 10)
        })?;
        ensure!(files(&machine)?.contains(&PART.into()), "there is room at first: {:?}", files(&machine)?);
        fill(&machine, 8)?;
        machine.ok(FILL_UP)?;
        // The next try says that there is no room for it.
        let words = "writing /usr/local/bin/k3s.bowline-part: No space left on device";
        machine.wait_for(words, SOON, || Ok(machine.journal("bowline")?.contains(words)))?;
        let sent = site.releases.count(K3S_VERSION, "k3s");
        ensure!(sent.bytes < SIZE as u64, "in the middle of it: {sent:?}");
        tells(
            &machine,
            &["failed: download https://10.0.1.1/", "make 13 MiB of room on the filesystem of /usr/local/bin"],
        )?;
        nothing_is_left(&machine)?;
        let started = machine.ok("systemctl show --property=ExecMainPID --value k3s")?;
        assert_eq!(started.trim(), "0", "nothing starts a K3s that is not there");
        the_finding(&machine, "space on /usr/local/bin", " are free, and K3s with its download needs 500")?;

        // Nobody has to tell it that there is room again.
        site.releases.mend(K3S_VERSION, "k3s");
        machine.ok("rm /usr/local/bin/filler*")?;
        installed_within(&machine, &site, Duration::from_secs(60))?;
        nothing_found(&machine, Duration::from_secs(20))
    })
}

#[test]
fn a_download_that_hangs_is_told_given_up_and_begun_again() -> Result<()> {
    case_of(Cast::PLAIN, "download-hangs", |bed| {
        let site = Site::new(bed)?;
        let machine = bare(bed, &site.releases, None)?;
        configure(&machine, &site.settings(""))?;
        site.releases.fault(K3S_VERSION, "k3s", Fault::Hang(5 << 20));
        machine.install(&deb()?)?;
        machine.wait_for("the download to be under way", Duration::from_secs(20), || {
            Ok(site.releases.count(K3S_VERSION, "k3s").bytes >= 5 << 20)
        })?;
        let began = Instant::now();
        // The next try gets no further than to the checksum.
        site.releases.fault(K3S_VERSION, "sha256sum-amd64.txt", Fault::Hang(0));

        // An agent that dies meanwhile interrupts nothing and asks for nothing twice.
        machine.kill("bowline")?;
        tells_within(
            &machine,
            Duration::from_secs(50),
            &["failed: download", "/k3s: no data for 30 s after 5 MiB of 12 MiB from 10.0.1.1"],
        )?;
        ensure!(began.elapsed() > Duration::from_secs(20), "given up after {:?}", began.elapsed());
        let finding = the_finding(&machine, DOWNLOAD, "/k3s: no data for 30 s after 5 MiB of 12 MiB")?;
        ensure!(remedy(&finding).contains("it is tried again by itself"), "{finding}");
        assert_eq!(site.releases.count(K3S_VERSION, "k3s").requests, 1, "one download, in spite of the kill");
        nothing_is_left(&machine)?;
        site.releases.mend(K3S_VERSION, "k3s");
        site.releases.mend(K3S_VERSION, "sha256sum-amd64.txt");
        // Nobody has to do anything: what did not answer is tried again soon.
        installed_within(&machine, &site, Duration::from_secs(60))?;
        nothing_found(&machine, Duration::from_secs(20))
    })
}

#[test]
fn corrected_settings_end_a_download_that_is_under_way() -> Result<()> {
    case_of(Cast::PLAIN, "download-corrected", |bed| {
        let site = Site::new(bed)?;
        let old = "v1.34.0+k3s1";
        site.releases.publish(old, &site.program)?;
        site.releases.fault(old, "k3s", Fault::Slow(64 << 10));
        let machine = bare(bed, &site.releases, None)?;
        configure(&machine, &site.settings("").replace(K3S_VERSION, old))?;
        machine.install(&deb()?)?;
        machine.wait_for("the download to be under way", Duration::from_secs(20), || {
            Ok(site.releases.count(old, "k3s").bytes >= 64 << 10)
        })?;
        configure(&machine, &site.settings(""))?;
        installed(&machine, &site)?;
        ensure!(site.releases.count(old, "k3s").bytes < SIZE as u64, "the slow one was waited for");
        Ok(())
    })
}

#[test]
fn whom_a_mirror_is_and_what_is_pinned_decide_what_is_installed() -> Result<()> {
    case_of(Cast::PLAIN, "download-mirrors", |bed| {
        let site = Site::new(bed)?;
        let machine = bare(bed, &site.releases, None)?;
        machine.install(&deb()?)?;

        // An authority that did not sign the mirror's certificate, and a file that is none.
        let other = bed.run(&["sh", "-c", OTHER_CA])?.stdout;
        machine.put("/etc/bowline/other-ca.pem", other, 0o644)?;
        configure(&machine, &site.settings("").replace("mirror-ca.pem", "other-ca.pem"))?;
        tells(
            &machine,
            &["the certificate of 10.0.1.1 is signed by an authority that is not trusted here", "name the CA file"],
        )?;
        configure(&machine, &site.settings("").replace("mirror-ca.pem", "no-ca.pem"))?;
        tells(&machine, &["reading the CA file /etc/bowline/no-ca.pem: No such file or directory"])?;
        nothing_is_left(&machine)?;
        configure(&machine, &site.settings(""))?;
        installed(&machine, &site)?;

        // Plain http with a pinned sum, from a name that nobody knows at first.
        let plain = |sum: &str| {
            site.settings(&format!("sha256 = {{ amd64 = \"{sum}\" }}\n"))
                .replace("https://10.0.1.1/", "http://mirror.test/")
                .replace("ca-file = \"/etc/bowline/mirror-ca.pem\"\n", "")
        };
        configure(&machine, &plain(&"a".repeat(64)))?;
        tells(&machine, &["refused: run K3s: /usr/local/bin/k3s has another SHA-256 than `sha256` in the settings"])?;
        machine.ok(&format!("rm {BINARY}"))?;
        tells(&machine, &["the name mirror.test cannot be resolved", "does DNS work here?"])?;
        let finding = the_finding(&machine, "release source", "resolving mirror.test: ")?;
        ensure!(remedy(&finding).starts_with("give the machine a name server that answers"), "{finding}");
        machine.put("/srv/dns.py", NAME_SERVER, 0o644)?;
        machine.ok("systemd-run --quiet --unit=dns python3 /srv/dns.py")?;
        machine.ok("until ss -lun | grep -q ':53 '; do sleep 0.1; done")?;
        machine.ok("rm -f /etc/resolv.conf; echo nameserver 127.0.0.1 > /etc/resolv.conf; bowline apply; true")?;
        tells(&machine, &["has the wrong checksum: SHA-256", &format!("instead of {}", "a".repeat(64))])?;
        nothing_is_left(&machine)?;
        configure(&machine, &plain(&site.sha256))?;
        installed(&machine, &site)?;

        // Another sum for what is installed already: said, and nothing replaced.
        configure(&machine, &plain(&"b".repeat(64)))?;
        tells(&machine, &["refused: run K3s: /usr/local/bin/k3s has another SHA-256 than `sha256` in the settings"])?;
        configure(&machine, &plain(&site.sha256))?;
        installed(&machine, &site)?;

        // A folder of this machine, first without the file and then with one that was damaged on its way.
        let asked = site.releases.count(K3S_VERSION, "k3s").requests;
        let folder = site.settings("").replace(&site.releases.url(), "file:/srv/k3s");
        configure(&machine, &folder.replace("ca-file = \"/etc/bowline/mirror-ca.pem\"\n", ""))?;
        machine.ok(&format!("systemctl reload bowline && rm {BINARY}"))?;
        tells(&machine, &[&format!("reading /srv/k3s/{K3S_VERSION}/sha256sum-amd64.txt: No such file or directory")])?;
        let mut damaged = fs::read(&site.program)?;
        damaged[SIZE - 1] ^= 1;
        machine.put(&format!("/srv/k3s/{K3S_VERSION}/k3s"), damaged, 0o644)?;
        let sums = format!("{}  k3s\n", site.sha256);
        machine.put(&format!("/srv/k3s/{K3S_VERSION}/sha256sum-amd64.txt"), sums, 0o644)?;
        machine.run("bowline apply")?;
        tells(&machine, &[&format!("/srv/k3s/{K3S_VERSION}/k3s has the wrong checksum")])?;
        nothing_is_left(&machine)?;
        machine.put(&format!("/srv/k3s/{K3S_VERSION}/k3s"), fs::read(&site.program)?, 0o644)?;
        mended(&machine, &site)?;
        assert_eq!(site.releases.count(K3S_VERSION, "k3s").requests, asked, "nothing came over the network");
        Ok(())
    })
}

/// A name server that knows one name, whatever it is asked for.
const NAME_SERVER: &str = r#"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
while True:
    asked, who = server.recvfrom(512)
    end = asked.index(0, 12) + 5
    ipv4 = asked[end - 4 : end] == b"\0\1\0\1"
    said = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 0, 1, 1]) if ipv4 else b""
    head = asked[:2] + b"\x81\x80\0\1\0" + bytes([ipv4]) + b"\0\0\0\0"
    server.sendto(head + asked[12:end] + said, who)
"#;

const OTHER_CA: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 \
                        -subj /CN=other -keyout /dev/null 2> /dev/null";

/// A release page with a stub of K3s on it.
struct Site {
    releases: Releases,
    program: PathBuf,
    sha256: String,
}

impl Site {
    fn new(bed: &Bed) -> Result<Site> {
        let program = bed.dir().join("k3s-stub");
        let says = format!("echo 'k3s version {K3S_VERSION} (00000000)'");
        let mut text = format!("#!/bin/sh\n[ \"$1\" = server ] && exec sleep 9999\n{says}\nexit\n").into_bytes();
        text.resize(SIZE, b'\n');
        fs::write(&program, text)?;
        let (releases, sha256) = releases_with(bed, &program)?;
        Ok(Site { releases, program, sha256 })
    }

    /// A server that never says that it is up.
    fn settings(&self, more: &str) -> String {
        format!(
            "[cluster]\ndistribution = \"k3s\"\nversion = \"{K3S_VERSION}\"\nrole = \"server\"\n\
             mirror = \"{}\"\nca-file = \"/etc/bowline/mirror-ca.pem\"\n{more}[node]\naddress = \"10.0.1.0/24\"\n",
            self.releases.url()
        )
    }
}

/// A machine whose `/usr/local/bin` is a filesystem of its own.
fn with_a_disk(bed: &Bed, site: &Site) -> Result<(Machine, Disk)> {
    let disk = bed.disk("91000", "700M")?;
    disk.mkfs("ext4")?;
    let machine = bare(bed, &site.releases, Some(&disk))?;
    // What is kept back for root would be used by downloads too.
    let mount = "tune2fs -m 0 $1 && mount $1 /usr/local/bin && rmdir /usr/local/bin/lost+found";
    machine.ok(&format!("sh -c '{mount}' mount {}", disk.link()))?;
    Ok((machine, disk))
}

/// Leaves so many MiB of room where the program comes to.
fn fill(machine: &Machine, mebibytes: u32) -> Result<()> {
    machine.ok(&format!("sh -c '{FILL}' fill {mebibytes}")).map(drop)
}

/// Takes the binary away, and has the next download meet a fault.
fn again(machine: &Machine, site: &Site, fault: impl FnOnce()) -> Result<()> {
    // It may try by itself right after.
    let before = asked(site);
    fault();
    let begun = Instant::now();
    machine.run(&format!("rm {BINARY}; bowline apply"))?;
    // It may have seen by itself, too, that the binary is gone; and what fails is tried again after twelve seconds.
    let (attempts, by_itself) = (asked(site) - before, 1 + begun.elapsed().as_secs() / 12);
    ensure!((1..=1 + by_itself).contains(&attempts), "one attempt, not {attempts}");
    Ok(())
}

fn asked(site: &Site) -> u64 {
    site.releases.count(K3S_VERSION, "sha256sum-amd64.txt").requests
}

/// What people do after they mended something, and its effect.
fn mended(machine: &Machine, site: &Site) -> Result<()> {
    machine.run("bowline apply")?;
    installed(machine, site)?;
    nothing_found(machine, Duration::from_secs(20))
}

/// Waits until the right binary is in place, and nothing but it; K3s itself is started.
fn installed(machine: &Machine, site: &Site) -> Result<()> {
    installed_within(machine, site, Duration::from_secs(15))
}

/// The same with another patience.
fn installed_within(machine: &Machine, site: &Site, patience: Duration) -> Result<()> {
    machine
        .wait_for("the binary", patience, || {
            let sum = machine.run(&format!("sha256sum {BINARY}"))?.stdout;
            Ok(sum.starts_with(&site.sha256) && !now(machine)?.iter().any(|line| line.contains("download")))
        })
        .with_context(|| format!("{:?}", now(machine)))?;
    let mode = machine.ok(&format!("stat -c '%a %U' {BINARY}"))?;
    ensure!(mode.trim() == "755 root", "{mode}");
    ensure!(files(machine)? == ["crictl", "k3s", "kubectl"], "{:?}", files(machine)?);
    tells(machine, &["waiting for the Node to be Ready: K3s is starting"])?;
    ensure!(report(machine)?["overall"] == "converging", "{:?}", now(machine)?);
    Ok(())
}

fn nothing_is_left(machine: &Machine) -> Result<()> {
    let there: Vec<_> = files(machine)?.into_iter().filter(|name| name.starts_with("k3s")).collect();
    ensure!(there.is_empty(), "left behind: {there:?}");
    Ok(())
}

fn files(machine: &Machine) -> Result<Vec<String>> {
    Ok(machine.ok("ls -A /usr/local/bin")?.split_whitespace().map(String::from).collect())
}
