//! `make demo`: five blank machines get the shipped cloud-init document, each with its own small settings, and become a
//! cluster: a control node, scraped by a local Prometheus, and four agents that come in with nothing but a ticket. Some are
//! destroyed and recreated under the same names, the control node is rebooted, its agent killed, and all is as before.
//!
//! - `checks`: what is checked, told and written down.
//! - `cluster`: the agents.
//!
//! Everything is real but what the Makefile names first as a stand-in. Every check lands in `target/demo/report.json`.

use anyhow::{Context, Result, bail};
use bowline_booted::{FIRST_BOOT, VOLUME, deb, document, hetzner, node, pid, ready, releases};
use bowline_testbed::{Bed, Machine};
use checks::{Demo, indent, tell, title};
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
    title("The package is built, and put into a signed apt repository beside a release page of K3s");
    let package = deb()?;
    tell(&indent(&format!("{}", package.file_name().unwrap_or_default().to_string_lossy())));
    let releases = releases(bed)?;
    let repository = bed.apt_repository(&[&package])?;

    title("The cloud-init document of packaging/cloud-init, with the values of this place filled in");
    let filled = document::fill_in(&repository, &releases);
    let (diff, bodies) = document::diff(&filled).into_iter().partition::<Vec<_>, _>(|line| !is_key_body(line));
    tell(&indent(&diff.join("\n")));
    tell(&indent(&format!("  (and {} lines of the two keys' own text)", bodies.len())));

    title("The control node has more, in files: a cluster key, and whom it lets in");
    tell(&indent(hetzner::CONTROL));
    title("An agent has these settings in the same document, and no token: a ticket for its name alone");
    let (name, ..) = hetzner::AGENTS[0];
    tell(&indent(&hetzner::agent_settings(&releases, name, None)));

    title("Five blank machines boot, with blank disks; nobody logs in");
    let disk = bed.disk(VOLUME, "20G")?;
    let begun = Instant::now();
    let machine = hetzner::control(bed, &filled, &disk)?;
    let boot = |agent| hetzner::agent(bed, &releases, &filled, agent);
    let agents = hetzner::AGENTS.into_iter().map(boot).collect::<Result<Vec<_>>>()?;
    demo.check("the package installs itself by cloud-init", || {
        machine.wait_for("bowline to be active", FIRST_BOOT, || {
            Ok(machine.run("systemctl is-active --quiet bowline")?.success())
        })?;
        machine.ok("dpkg-query --show bowline")
    });
    demo.check("the control node becomes Ready by itself", || {
        follow(&machine, begun)?;
        ready(&machine)?;
        Ok(format!("{:.1} s after the machine began to boot", begun.elapsed().as_secs_f64()))
    });
    cluster::tied(&machine, &agents, begun, demo);
    cluster::recreated(&machine, &agents, demo)?;
    cluster::scraped(&machine, &agents, demo);
    cluster::scraped_by_a_pod(&machine, &agents, demo);
    title("The control node itself");
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
        nothing_to_do(&machine)
    });

    title("Its agent is killed");
    let k3s = pid(&machine, "k3s")?;
    machine.kill("bowline")?;
    demo.check("after the kill all is as before, and K3s did not notice", || {
        ready(&machine)?;
        same("K3s's process", &k3s, &pid(&machine, "k3s")?)?;
        nothing_to_do(&machine)
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
    demo.check("nothing is left to do", || nothing_to_do(machine));
    tell(&indent(&machine.run("bowline plan")?.stdout));
    tell(&indent(&machine.run("bowline status")?.stdout));

    title("The node and its labels");
    demo.check("the Node has its labels and its role", || {
        let node = node(machine)?;
        let labels = &node["metadata"]["labels"];
        for (key, value) in [("role", "control-plane"), ("node-role.kubernetes.io/ingress", "true")] {
            if labels[key] != value {
                bail!("{key} is {}, wanted {value}", labels[key]);
            }
        }
        Ok(labels.to_string())
    });
    tell(&indent(&machine.ok("k3s kubectl get nodes -o wide --show-labels")?));

    title("The volume");
    demo.check("the blank disk was formatted and is mounted", || {
        let text = machine.ok("findmnt -o TARGET,SOURCE,FSTYPE,LABEL,SIZE /mnt/data")?;
        if text.contains("ext4") { Ok(text) } else { bail!("{text}") }
    });
    demo.check("Kubernetes cannot start without it", || {
        let text = machine
            .ok("systemctl show -p RequiresMountsFor,Asserts k3s; systemctl cat k3s | grep -A9 bowline-volume")?;
        if text.contains("AssertPathIsMountPoint=/mnt/data") { Ok(text) } else { bail!("{text}") }
    });
    tell(&indent(&machine.ok("bowline volumes")?));
    Ok(())
}

fn scrape(machine: &Machine, demo: &mut Demo) {
    title("The local Prometheus, with the scrape configuration of the package");
    demo.check("Prometheus sees the node ready and its filesystems", || {
        let prometheus = machine.start_prometheus(&machine.read(SCRAPE)?)?;
        let ready = prometheus.wait_query("bowline_node_ready == 1", Duration::from_secs(60))?;
        let size = prometheus.query("bowline_filesystem_size_bytes{mountpoint=\"/mnt/data\"}")?;
        let (labels, bytes) = size.first().context("no size of /mnt/data")?;
        Ok(format!("{ready:?}\n{labels:?} {bytes}"))
    });
    if let Ok(text) = machine.ok("curl -sSf http://127.0.0.1:9787/metrics | grep -E '^bowline_(node_|boot_phase|filesystem_(size|available)_bytes)'") {
        tell(&indent(&text));
    }
}
