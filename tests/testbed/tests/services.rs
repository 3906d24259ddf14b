//! What a bed serves to its machines: files with faults to order, packages, user data, and their Prometheus.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use bowline_testbed::{Bed, Fault, case, say};

const TAG: &str = "v1.34.1+k3s1";

#[test]
fn the_release_page_has_k3s_s_layout_and_faults_to_order() -> Result<()> {
    case("release-page", |bed| {
        let releases = bed.releases()?;
        let binary = bed.dir().join("k3s");
        fs::write(&binary, vec![7; 300_000])?;
        let hash = releases.publish(TAG, &binary)?;
        let m = bed.machine("m").address("10.0.1.10").file("/ca.pem", releases.ca_pem(), 0o644).start()?;
        let url = format!("{}/v1.34.1%2Bk3s1", releases.url());
        let get =
            |options: &str, asset: &str| m.run(&format!("curl -sS --fail --cacert /ca.pem {options} {url}/{asset}"));

        let sums = get("", "sha256sum-amd64.txt")?;
        assert!(sums.stdout.contains(&format!("{hash}  k3s\n")), "{sums}");
        assert!(get("-o /k3s", "k3s")?.success());
        assert_eq!(m.ok("sha256sum < /k3s")?.split(' ').next(), Some(hash.as_str()));
        assert_eq!(releases.count(TAG, "k3s").bytes, 300_000);
        assert!(get("-o /part -r 100000-", "k3s")?.success());
        assert_eq!(m.ok("stat -c %s /part")?.trim(), "200000");
        assert_eq!(get("", "k3s-armhf")?.code, 22, "nothing else is there");
        assert_eq!(m.run(&format!("curl -sS {url}/k3s"))?.code, 60, "its CA is no public one");

        releases.fault(TAG, "k3s", Fault::Status(404));
        assert_eq!(get("", "k3s")?.code, 22);
        releases.fault(TAG, "k3s", Fault::Truncated(1000));
        let cut = get("-o /cut", "k3s")?;
        assert!([18, 56].contains(&cut.code), "{cut}");
        releases.fault(TAG, "k3s", Fault::Corrupt);
        assert!(get("-o /k3s", "k3s")?.success());
        assert_ne!(m.ok("sha256sum < /k3s")?.split(' ').next(), Some(hash.as_str()));
        releases.fault(TAG, "k3s", Fault::Hang(1000));
        assert_eq!(get("-o /k3s --max-time 10", "k3s")?.code, 28);
        releases.fault(TAG, "k3s", Fault::Slow(300_000));
        let started = Instant::now();
        assert!(get("-o /k3s", "k3s")?.success());
        assert!(started.elapsed() > Duration::from_millis(800));
        releases.mend(TAG, "k3s");
        assert!(get("-o /k3s", "k3s")?.success());
        assert_eq!(releases.count(TAG, "k3s").requests, 8);
        Ok(())
    })
}

/// A package with one file.
fn small_package(bed: &Bed) -> Result<std::path::PathBuf> {
    let tree = bed.dir().join("small");
    fs::create_dir_all(tree.join("DEBIAN"))?;
    fs::create_dir_all(tree.join("usr/share/small"))?;
    fs::write(tree.join("usr/share/small/text"), "small\n")?;
    let control = "Package: bed-small\nVersion: 1\nArchitecture: all\nSection: misc\nPriority: optional\nMaintainer: Bed <bed@bed.test>\nDescription: small\n";
    fs::write(tree.join("DEBIAN/control"), control)?;
    let package = bed.dir().join("bed-small_1_all.deb");
    assert!(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&tree)
            .arg(&package)
            .output()?
            .status
            .success()
    );
    Ok(package)
}

#[test]
fn cloud_init_installs_from_the_bed_s_signed_repository() -> Result<()> {
    case("cloud-init", |bed| {
        let repository = bed.apt_repository(&[&small_package(bed)?])?;
        let key: String = repository.key().lines().map(|line| format!("        {line}\n")).collect();
        let source = repository.source_line("signed-by=$KEY_FILE");
        let user_data = format!(
            "#cloud-config\napt:\n  sources:\n    bed:\n      source: \"{source}\"\n      key: |\n{key}\
             package_update: true\npackages: [bed-small]\nwrite_files:\n- path: /etc/bowline/config.d/10.toml\n  permissions: '0600'\n  content: |\n    x = 1\n"
        );
        let started = Instant::now();
        let m = bed.machine("vm").address("10.0.1.10").cloud_init(&user_data).start()?;
        let result = m.wait_cloud_init()?;
        say(&format!("cloud-init done after {:?}", started.elapsed()));
        assert_eq!(result.errors, Vec::<String>::new(), "{}", m.read("/var/log/cloud-init.log")?);
        assert_eq!(m.read("/usr/share/small/text")?, "small\n");
        assert_eq!(m.ok("stat -c %a /etc/bowline/config.d/10.toml")?.trim(), "600");
        assert_eq!(m.wait_booted()?, "running", "{}", m.ok("systemctl --failed --full")?);
        Ok(())
    })
}

#[test]
fn prometheus_scrapes_inside_the_machine() -> Result<()> {
    case("prometheus", |bed| {
        let m = bed.machine("m").address("10.0.1.10").start()?;
        let config = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: self\n  static_configs: [{targets: ['127.0.0.1:9090']}]\n";
        let prometheus = m.start_prometheus(config)?;
        let up = prometheus.wait_query("up{job='self'} == 1", Duration::from_secs(10))?;
        assert_eq!((up.len(), up[0].1), (1, 1.0));
        m.wait_for("the target to be up", Duration::from_secs(10), || Ok(prometheus.targets()?[0]["health"] == "up"))?;
        Ok(())
    })
}

#[test]
fn a_cut_link_is_cut_and_comes_back() -> Result<()> {
    case("links", |bed| {
        let m = bed.machine("m").address("10.0.1.10").start()?;
        let other = bed.machine("other").address("10.0.1.11").start()?;
        let ping = || other.run("ping -c 1 -W 1 10.0.1.10");
        assert!(ping()?.success());
        m.cut_link()?;
        assert!(!ping()?.success());
        m.restore_link()?;
        m.wait_for("the link to be back", Duration::from_secs(10), || Ok(ping()?.success()))
    })
}

#[test]
fn a_binary_as_large_as_k3s_comes_quickly() -> Result<()> {
    case("large-binary", |bed| {
        let releases = bed.releases()?;
        let binary = bed.dir().join("k3s");
        fs::File::create(&binary)?.set_len(150 << 20)?;
        releases.publish(TAG, &binary)?;
        let m = bed.machine("m").address("10.0.1.10").file("/ca.pem", releases.ca_pem(), 0o644).start()?;
        let started = Instant::now();
        m.ok(&format!("curl -sSf --cacert /ca.pem -o /dev/null {}/v1.34.1%2Bk3s1/k3s", releases.url()))?;
        say(&format!("150 MiB over TLS in {:?}", started.elapsed()));
        assert!(started.elapsed() < Duration::from_secs(120), "a slow double would hold up every case");
        Ok(())
    })
}
