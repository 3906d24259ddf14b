//! `make demo`: five blank machines get the shipped cloud-init document, each with its own small settings, and become a
//! cluster: a control node, scraped by a Prometheus of its own, and four agents that come in with nothing but a ticket. Some
//! are destroyed and recreated under the same names, the control node is rebooted, Bowline on it killed, and all is as before.
//!
//! - `checks`: what is checked, told and written down.
//! - `cluster`: the agents.
//!
//! Everything is real but what the Makefile names first as a stand-in. Every check lands in `target/demo/report.json`.

use anyhow::{Context, Result, bail};
use bowline_booted::{FIRST_BOOT, VOLUME, deb, document, hetzner, node, pid, ready, releases};
use bowline_testbed::{Bed, Machine};
use checks::{Demo, indent, tell, title};
use serde_json::Value;
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod checks;
mod cluster;

/// The scrape configuration that the package ships.
const SCRAPE: &str = "/usr/share/bowline/prometheus/scrape.yml";

fn main() -> Result<ExitCode> {
    let missing = Bed::check_host();
    if !missing.is_empty() {
        for one in &missing {
            tell(&format!("this host lacks {}: {}", one.what, one.remedy));
        }
        bail!("the demo boots machines of its own, and needs what is named above");
    }
    let bed = Bed::new("demo")?;
    let mut demo = Demo::default();
    let story = story(&bed, &mut demo);
    if let Err(error) = &story {
        bed.save_evidence(&format!("{error:#}"));
        demo.check("the demo reaches its end", || bail!("{error:#}"));
    }
    if let (true, Ok(enter)) = (keep(), &story) {
        let end = bed.keep()?;
        tell("\nThe machines are left running (their release page and apt repository end with this program).");
        tell(&format!("Enter the control node:\n    {enter}\nEnd them:\n    {end}\n"));
    }
    demo.finish()
}

fn keep() -> bool {
    std::env::var_os("KEEP").is_some_and(|value| !value.is_empty())
}

/// A line of base64: of a certificate or key, which nobody reads.
fn is_key_body(line: &str) -> bool {
    let text = line.trim_start_matches("+ ").trim();
    text.is_empty() || text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

/// The whole story; returns the command by which the control node is entered.
fn story(bed: &Bed, demo: &mut Demo) -> Result<String> {
    title("The package is built, and put into a signed apt repository beside a stand-in for K3s's release page");
    let package = deb()?;
    tell(&indent(&format!("{}", package.file_name().unwrap_or_default().to_string_lossy())));
    let releases = releases(bed)?;
    let repository = bed.apt_repository(&[&package])?;

    title("The cloud-init document of packaging/cloud-init, with the values of this place filled in");
    let filled = document::fill_in(&repository, &releases);
    let (diff, bodies) = document::diff(&filled).into_iter().partition::<Vec<_>, _>(|line| !is_key_body(line));
    tell(&indent(&diff.join("\n")));
    tell(&indent(&format!(
        "  (and {} lines of base64: the mirror's certificate and the repository's key)",
        bodies.len()
    )));

    title("The control node has more, in files: a cluster key, and whom it lets in");
    tell(&indent(hetzner::CONTROL));
    title("An agent has these settings in the same document, and no token: a ticket for its name alone");
    let (name, _, volume) = hetzner::AGENTS[0];
    tell(&indent(&hetzner::agent_settings(&releases, name, volume)));

    title("Five new machines boot, four of them with a blank disk; nobody logs in");
    let disk = bed.disk(VOLUME, "20G")?;
    let begun = Instant::now();
    let machine = hetzner::control(bed, &filled, &disk)?;
    let boot = |agent| hetzner::agent(bed, &releases, &filled, agent);
    let agents = hetzner::AGENTS.into_iter().map(boot).collect::<Result<Vec<_>>>()?;
    demo.check("the package installs itself by cloud-init", || {
        machine.wait_for("bowline to be active", FIRST_BOOT, || {
            Ok(machine.run("systemctl is-active --quiet bowline")?.success())
        })?;
        let version = machine.ok("dpkg-query --showformat='${Package} ${Version}' --show bowline")?;
        Ok(format!("{version}, at most {:.1} s after it began to boot", begun.elapsed().as_secs_f64()))
    });
    demo.check("the control node becomes Ready by itself", || {
        follow(&machine, begun)?;
        ready(&machine)?;
        Ok(format!("{:.1} s after it began to boot", begun.elapsed().as_secs_f64()))
    });
    cluster::tied(&machine, &agents, begun, demo);
    cluster::recreated(&machine, &agents, demo)?;
    cluster::scraped(&machine, &agents, demo);
    cluster::scraped_by_a_pod(&machine, &agents, demo);
    show(&machine, demo)?;
    scrape(&machine, demo);

    title("The control node is rebooted");
    machine.ok("echo precious > /mnt/data/file && sync")?;
    let uid = || -> Result<String> { Ok(node(&machine)?["metadata"]["uid"].to_string()) };
    let (before, starts) = (uid()?, machine.ok("blkid -s UUID -o value $(findmnt -no SOURCE /mnt/data)")?);
    machine.reboot()?;
    demo.check("after the reboot all is as before", || {
        ready(&machine)?;
        same("the Node", &before, &uid()?)?;
        same("the filesystem", &starts, &machine.ok("blkid -s UUID -o value $(findmnt -no SOURCE /mnt/data)")?)?;
        same("the file on the volume", "precious\n", &machine.read("/mnt/data/file")?)?;
        Ok(format!("the same Node, filesystem and file; {}", nothing_to_do(&machine)?))
    });

    title("Bowline on the control node is killed (SIGKILL)");
    let k3s = pid(&machine, "k3s")?;
    machine.kill("bowline")?;
    demo.check("after the kill all is as before, and K3s kept its process", || {
        ready(&machine)?;
        same("K3s's process", &k3s, &pid(&machine, "k3s")?)?;
        Ok(format!("it is {}; {}", k3s.trim(), nothing_to_do(&machine)?))
    });
    machine.enter_command()
}

fn same(what: &str, before: &str, after: &str) -> Result<()> {
    if before == after { Ok(()) } else { bail!("{what} changed: {before} before, {after} after") }
}

fn nothing_to_do(machine: &Machine) -> Result<String> {
    let plan = machine.run("bowline plan --exit-code")?;
    if plan.code == 0 { Ok(plan.stdout) } else { bail!("there is something to do:\n{}", plan.stdout) }
}

/// Tells each change of the headline until the node is ready.
fn follow(machine: &Machine, begun: Instant) -> Result<()> {
    let mut last = String::new();
    while begun.elapsed() < FIRST_BOOT {
        let text = machine.ok("systemctl show -p StatusText --value bowline")?;
        if text != last {
            tell(&format!("    {:5.1} s  {}", begun.elapsed().as_secs_f64(), text.trim()));
            last = text;
        }
        if last.starts_with("ready") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("not ready after {} s:\n{}", FIRST_BOOT.as_secs(), machine.run("bowline status")?.stdout)
}

fn show(machine: &Machine, demo: &mut Demo) -> Result<()> {
    title("bowline plan, and bowline status");
    demo.check("bowline plan", || nothing_to_do(machine));
    tell(&indent(&machine.run("bowline status")?.stdout));

    title("The control node's labels");
    demo.check("the Node has its labels and its role", || {
        let node = node(machine)?;
        let labels = &node["metadata"]["labels"];
        for (key, value) in [("role", "control-plane"), ("node-role.kubernetes.io/ingress", "true")] {
            if labels[key] != value {
                bail!("{key} is {}, wanted {value}", labels[key]);
            }
        }
        let line = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
        Ok(labels.as_object().context("it has no labels")?.iter().map(line).collect::<Vec<_>>().join("\n"))
    });

    title("The volume");
    demo.check("the blank disk was formatted and is mounted", || {
        let text = machine.ok("findmnt -o TARGET,SOURCE,FSTYPE,LABEL,SIZE /mnt/data")?;
        if text.contains("ext4") { Ok(text) } else { bail!("{text}") }
    });
    demo.check("K3s's unit refuses to start unless /mnt/data is mounted", || {
        let unit = machine.ok("systemctl cat k3s")?;
        let lines = ["RequiresMountsFor=/mnt/data", "AssertPathIsMountPoint=/mnt/data"];
        match lines.iter().all(|line| unit.lines().any(|l| l == *line)) {
            true => Ok(lines.join("\n")),
            false => bail!("{unit}"),
        }
    });
    tell(
        "    These machines are containers on one kernel: each also sees the disks of the others, and this host's own.",
    );
    tell(&indent(&machine.ok("bowline volumes")?));
    Ok(())
}

fn scrape(machine: &Machine, demo: &mut Demo) {
    title("A Prometheus on the control node, with the shipped scrape configuration");
    demo.check("Prometheus sees the node ready and its filesystems", || {
        let prometheus = machine.start_prometheus(&machine.read(SCRAPE)?)?;
        let ready = prometheus.wait_query("bowline_node_ready == 1", Duration::from_secs(60))?;
        let size = prometheus.query("bowline_filesystem_size_bytes{mountpoint=\"/mnt/data\"}")?;
        let (labels, bytes) = size.first().context("no size of /mnt/data")?;
        let (instance, _) = ready.first().context("no node")?;
        Ok(format!("{instance} 1\n{labels} {bytes}"))
    });
    if let Ok(text) = machine.ok("curl -sSf http://127.0.0.1:9787/metrics | grep -E '^bowline_(node_|boot_phase|filesystem_(size|available)_bytes)'") {
        tell(&indent(&text));
    }
}
