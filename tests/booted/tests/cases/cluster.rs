//! K3s on its node: restarted for a changed reason only, adopted as it is, left alone where an administrator decided,
//! and told with its own words when it does not stay up.

use anyhow::{Result, ensure};
use bowline_booted::told::{no_longer_tells, now, tells};
use bowline_booted::{NODE, configure, deb, install_and_wait, node, pid, ready, releases, report, settings, with_k3s};
use bowline_testbed::{K3S_VERSION, Machine, case};
use serde_json::Value;
use std::time::Duration;

#[test]
fn k3s_is_restarted_for_a_changed_option_once_and_for_nothing_else() -> Result<()> {
    case("k3s-changes", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        let first = settings::server(&releases);
        install_and_wait(&machine, &first)?;
        let k3s = pid(&machine, "k3s")?;

        // Another version is for later.
        configure(&machine, &first.replace(K3S_VERSION, "v1.34.2+k3s1"))?;
        tells(
            &machine,
            &[&format!(
                "the settings say v1.34.2+k3s1, K3s {K3S_VERSION} runs: upgrading comes with a later version of \
                 Bowline, nothing is done"
            )],
        )?;
        ready(&machine)?;
        assert_eq!(pid(&machine, "k3s")?, k3s);

        // A changed option: once, with its reason.
        let second = format!("{first}[cluster.config]\ndisable = [\"servicelb\"]\n");
        configure(&machine, &second)?;
        machine.wait_for("the restart", Duration::from_secs(30), || Ok(restarts(&machine)? == 1))?;
        ready(&machine)?;
        let restarted = pid(&machine, "k3s")?;
        assert_ne!(restarted, k3s);
        let journal = machine.journal("bowline")?;
        ensure!(journal.contains("done: write /etc/rancher/k3s/config.yaml.d/50-bowline.yaml"), "{journal}");
        ensure!(journal.contains("restart K3s (changed: disable)"), "the reason is not told:\n{journal}");
        ensure!(!journal.contains("still waiting"), "nothing was overdue:\n{journal}");
        machine.run("bowline apply")?;
        machine.ok("systemctl restart bowline")?;
        ready(&machine)?;
        assert_eq!((pid(&machine, "k3s")?, restarts(&machine)?), (restarted.clone(), 1));

        // An administrator's stop is respected, whatever happens to Bowline.
        machine.ok("systemctl stop k3s")?;
        let stopped = ["K3s to be started again by hand", "`systemctl start k3s.service` starts it"];
        tells(&machine, &stopped)?;
        let scrape = machine.ok("curl -sSf http://127.0.0.1:9787/metrics")?;
        ensure!(scrape.contains("bowline_k3s_installed 1\n") && scrape.contains("bowline_k3s_active 0\n"), "{scrape}");
        machine.ok("systemctl restart bowline")?;
        machine.run("bowline apply --wait 2s")?;
        tells(&machine, &stopped)?;
        assert_eq!(machine.run("systemctl is-active k3s")?.stdout.trim(), "inactive");
        machine.ok("systemctl start k3s")?;
        ready(&machine)?;

        // Also when it was killed for that, and has failed for systemd.
        machine.put("/run/systemd/system/k3s.service.d/killed.conf", "[Service]\nKillSignal=SIGKILL\n", 0o644)?;
        machine.ok("systemctl daemon-reload && systemctl stop k3s")?;
        tells(&machine, &["K3s to be started again by hand", "did not end well (signal)"])?;
        assert_eq!(machine.run("systemctl is-active k3s")?.stdout.trim(), "failed");
        Ok(())
    })
}

#[test]
fn labels_are_kept_and_those_of_others_left_alone() -> Result<()> {
    case("labels", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        let first = settings::server(&releases);
        install_and_wait(&machine, &first)?;
        let k3s = pid(&machine, "k3s")?;

        // Somebody else has an opinion on one of them: that one stays theirs, the others are set.
        machine.ok(&format!("k3s kubectl label node {NODE} zone=b"))?;
        configure(&machine, &first.replace("role = \"control-plane\", ", "team = \"a\", zone = \"a\", "))?;
        tells(
            &machine,
            &["refused: set zone=a: zone=b is kept by kubectl-label", &format!("`kubectl label node {NODE} zone-`")],
        )?;
        machine.wait_for("the other labels", Duration::from_secs(10), || Ok(label(&machine, "team")? == "a"))?;
        assert_eq!(label(&machine, "role")?, Value::Null, "a label that left the settings leaves the Node");
        assert_eq!(label(&machine, "zone")?, "b");
        assert_eq!(machine.run("bowline status")?.code, 1);
        machine.ok(&format!("k3s kubectl label node {NODE} zone-"))?;
        machine.run("bowline apply --wait 5s")?;
        ready(&machine)?;
        assert_eq!(label(&machine, "zone")?, "a");

        // What is taken away comes back, at the latest with the next look at the Node.
        machine.ok(&format!("k3s kubectl label node {NODE} team-"))?;
        machine.wait_for("the label to be back", Duration::from_secs(90), || Ok(label(&machine, "team")? == "a"))?;
        assert_eq!(pid(&machine, "k3s")?, k3s, "no restart for labels");
        assert_eq!(restarts(&machine)?, 0);
        Ok(())
    })
}

#[test]
fn a_server_keeps_its_taints_and_leaves_those_of_others_alone() -> Result<()> {
    case("server-taints", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        let server =
            settings::server(&releases).replace("role = \"server\"\n", "role = \"server\"\nstartup-taint = true\n");
        let with = |taints: &str| format!("{server}taints = [{taints}]\n");
        install_and_wait(&machine, &with("\"dedicated=db:NoSchedule\", \"slow:PreferNoSchedule\""))?;
        let has = |taint: &str| Ok(taints(&machine)?.iter().any(|one| one == taint));
        ensure!(has("dedicated=db:NoSchedule")? && has("slow=:PreferNoSchedule")?, "{:?}", taints(&machine)?);
        ensure!(!has("bowline/initializing=:NoSchedule")?, "a Ready server has no startup taint");
        let journal = machine.journal("bowline")?;
        ensure!(journal.contains("bowline/initializing:NoSchedule removed"), "it had none before:\n{journal}");

        // Somebody else's stays, one that left the settings goes, another one changes.
        machine.ok(&format!("k3s kubectl taint node {NODE} theirs=x:NoSchedule"))?;
        configure(&machine, &with("\"dedicated=web:NoSchedule\", \"theirs=y:NoSchedule\""))?;
        tells(&machine, &["refused: set the taint theirs=y:NoSchedule: theirs=x:NoSchedule is kept by somebody else"])?;
        machine.wait_for("the changed taint", Duration::from_secs(10), || has("dedicated=web:NoSchedule"))?;
        ensure!(has("theirs=x:NoSchedule")? && !has("slow=:PreferNoSchedule")?, "{:?}", taints(&machine)?);
        configure(&machine, &server)?;
        ready(&machine)?;
        // The node controller takes its own away a moment after a Node is Ready.
        machine.wait_for("the others' taint to be the only one", Duration::from_secs(10), || {
            Ok(taints(&machine)? == ["theirs=x:NoSchedule"])
        })?;
        assert_eq!(restarts(&machine)?, 0, "no restart for taints");
        Ok(())
    })
}

#[test]
fn a_bad_option_is_told_in_k3ss_own_words_and_corrected() -> Result<()> {
    case("bad-option", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        let with =
            |option: &str| format!("{}[cluster.config]\nkubelet-arg = [\"{option}\"]\n", settings::server(&releases));
        configure(&machine, &with("no-such-flag=1"))?;
        machine.install(&deb()?)?;
        tells(&machine, &["still waiting for K3s to stay up: it ended with status 1", "it said:", "no-such-flag"])?;
        let line = tells(&machine, &["K3s to stay up"])?;
        ensure!(!line.contains("level="), "its words, not its log's form: {line}");
        assert_eq!(machine.run("bowline status")?.code, 1);
        configure(&machine, &with("max-pods=50"))?;
        ready(&machine)?;
        assert_eq!(node(&machine)?["status"]["capacity"]["pods"], "50");
        let journal = machine.journal("bowline")?;
        ensure!(journal.contains("restart K3s (changed: kubelet-arg)"), "{journal}");
        assert_eq!(now(&machine)?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_k3s_that_somebody_installed_by_hand_is_adopted_or_refused() -> Result<()> {
    case("adopted-k3s", |bed| {
        let releases = releases(bed)?;
        let machine = with_k3s(bed, &releases, None)?;
        machine.ok(&format!(
            "curl -sSf --cacert /etc/bowline/mirror-ca.pem -o /usr/local/bin/k3s {}/{}/k3s && chmod 755 /usr/local/bin/k3s",
            releases.url(),
            K3S_VERSION.replace('+', "%2B")
        ))?;
        // With INSTALL_K3S_NAME=main. What the refusal says makes it one that is adopted.
        machine.put("/etc/systemd/system/k3s-main.service", BY_HAND, 0o644)?;
        machine.ok("systemctl daemon-reload && systemctl enable --now k3s-main")?;
        configure(&machine, &settings::server(&releases))?;
        machine.install(&deb()?)?;
        let refused = tells(&machine, &["K3s is installed on this machine under another name (k3s-main.service)"])?;
        ensure!(!machine.run("ls -A /etc/rancher/k3s/config.yaml.d")?.stdout.contains("bowline"), "something is there");
        let command = refused.split('`').nth(1).unwrap_or_default();
        ensure!(command.starts_with("systemctl disable --now k3s-main.service && mv "), "{refused}");
        machine.ok(command)?;
        ready(&machine)?;
        let k3s = pid(&machine, "k3s")?;
        let before = files(&machine)?;

        let other = settings::server(&releases).replace(K3S_VERSION, "v1.33.5+k3s1");
        configure(&machine, &other)?;
        tells(
            &machine,
            &[
                &format!(
                    "refused: adopt K3s: K3s {K3S_VERSION} is installed here by somebody else, and the settings say v1.33.5+k3s1"
                ),
                "change the settings to what is installed, or uninstall that K3s (`k3s-uninstall.sh`)",
            ],
        )?;
        configure(&machine, &settings::server(&releases))?;
        ready(&machine)?;
        let note = format!("K3s {K3S_VERSION} was installed by somebody else: adopted without a restart");
        tells(&machine, &[&note])?;
        let plan = machine.run("bowline plan")?;
        ensure!(plan.stdout.contains("note    k3s: K3s v1.34.1+k3s1 was installed by somebody else"), "{plan}");
        assert_eq!(label(&machine, "role")?, "control-plane");
        assert_eq!(pid(&machine, "k3s")?, k3s);
        assert_eq!(files(&machine)?, before, "its unit and configuration stay as they are");

        // An agent is no server.
        machine.put("/etc/systemd/system/k3s-agent.service", BY_HAND.replace(" server", " agent"), 0o644)?;
        machine.ok("systemctl daemon-reload")?;
        machine.run("bowline apply")?;
        tells(
            &machine,
            &[
                "refused: run K3s as a server: K3s is installed on this machine as an agent (k3s-agent.service)",
                "remove it (`k3s-agent-uninstall.sh`) if this machine is to be a server",
            ],
        )?;
        machine.ok("rm /etc/systemd/system/k3s-agent.service; systemctl daemon-reload")?;
        machine.run("bowline apply")?;
        no_longer_tells(&machine, "as an agent")?;
        ready(&machine)?;
        assert_eq!(pid(&machine, "k3s")?, k3s);
        assert_eq!(report(&machine)?["conditions"]["k3s"], "active");
        Ok(())
    })
}

/// As K3s's own installer writes it.
const BY_HAND: &str = "\
[Unit]
Description=Lightweight Kubernetes
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
KillMode=process
Delegate=yes
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart=/usr/local/bin/k3s \\
    server \\
\t'--node-ip=10.0.1.10' \\

";

fn label(machine: &Machine, key: &str) -> Result<Value> {
    Ok(node(machine)?["metadata"]["labels"][key].clone())
}

/// The Node's taints, as `key=value:effect`.
fn taints(machine: &Machine) -> Result<Vec<String>> {
    let node = node(machine)?;
    let all = node["spec"]["taints"].as_array().into_iter().flatten();
    let text = |taint: &Value, key: &str| taint[key].as_str().unwrap_or_default().to_owned();
    Ok(all.map(|t| format!("{}={}:{}", text(t, "key"), text(t, "value"), text(t, "effect"))).collect())
}

/// How often Bowline has restarted K3s.
fn restarts(machine: &Machine) -> Result<usize> {
    Ok(machine.journal("bowline")?.matches("done: restart K3s").count())
}

/// What of K3s's own is there, and since when.
fn files(machine: &Machine) -> Result<String> {
    machine.ok("find /etc/systemd/system/k3s* /etc/rancher /usr/local/bin ! -type d -printf '%p %T@\\n' | sort")
}
