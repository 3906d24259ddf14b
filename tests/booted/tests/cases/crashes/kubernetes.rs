//! The agent killed after each step by which K3s comes and changes, and after each by which its Node gets labels.

use super::{RESTART, made};
use anyhow::{Context, Result, ensure};
use bowline_booted::kube::{get, is_ready};
use bowline_booted::looks::{Stand, install, stand};
use bowline_booted::pair::{KEY_FILE, server_settings};
use bowline_booted::{FIRST_BOOT, KEY, NODE, VOLUME, bare, configure, node, ready, releases, report, settings};
use bowline_testbed::{K3S_VERSION, Machine, case};

/// What is on the machine when a step has just been done: names, and conditions that the shell itself can look at.
const FIRST: [(&str, &str); 15] = [
    ("gate written", "[ -e /etc/systemd/system/k3s.service.d/50-bowline-volume-data.conf ]"),
    ("machine key made", "[ -e /var/lib/bowline/machine.key ]"),
    ("download ordered", "[ -e /run/bowline/jobs/fetch-k3s.order.json ]"),
    ("staged", "[ -e /usr/local/bin/k3s.bowline-VERSION ]"),
    ("installed", "[ -e /usr/local/bin/k3s ] && [ ! -e /usr/local/bin/k3s.bowline-VERSION ]"),
    ("kubectl linked", "[ -L /usr/local/bin/kubectl ]"),
    ("crictl linked", "[ -L /usr/local/bin/crictl ]"),
    // The bed has a `ctr` of its own.
    ("unit written", "[ -e /etc/systemd/system/k3s.service ]"),
    ("guard ordered", "[ -e /var/lib/bowline/guard.json ]"),
    ("ports closed", "[ -e /run/bowline-guard/closed.json ]"),
    ("volume mounted", "[ -d /mnt/data/lost+found ]"),
    ("configured", "[ -e /etc/rancher/k3s/config.yaml.d/50-bowline.yaml ]"),
    ("enabled", "[ -L /etc/systemd/system/multi-user.target.wants/k3s.service ]"),
    // systemd's own note that it has been started.
    ("started", "[ -L /run/systemd/units/invocation:k3s.service ]"),
    ("Node on record", "[ -e /var/lib/bowline/k3s-node ]"),
];

/// A change of its configuration, for which it is restarted.
const CHANGED: [(&str, &str); 3] = [
    ("restart on record", "[ -e /var/lib/bowline/intents/k3s-restart.json ]"),
    ("configured anew", "[[ $(</etc/rancher/k3s/config.yaml.d/50-bowline.yaml) == *servicelb* ]]"),
    (
        "restarted",
        "[[ $(</etc/rancher/k3s/config.yaml.d/50-bowline.yaml) == *servicelb* ]] && \
         [ ! -e /var/lib/bowline/intents/k3s-restart.json ]",
    ),
];

/// Kills the agent once for each step, as soon as it is done, in whichever order they are. The next one is that of an agent that
/// came after the kill.
const KILLER: &str = r#"
killed=$1
shift
agent=0
# Pauses are a read of what never says anything: a process for each would be slower than what it waits for.
exec {silence}<> <(:)
next() {
    last=$agent
    while [ "$agent" = 0 ] || [ "$agent" = "$last" ]; do
        agent=$(systemctl show -P MainPID bowline)
    done
}
next
while [ $# -gt 0 ]; do
    name=$1 step=$2
    shift 2
    if eval "$step"; then
        kill -9 "$agent"
        echo "$name" >> "$killed"
        next
    else
        set -- "$@" "$name" "$step"
        read -rt 0.0002 -u "$silence"
    fi
done
"#;

#[test]
fn killed_after_each_step_it_makes_the_same_node_and_nothing_twice() -> Result<()> {
    case("killed-after-steps-of-k3s", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = bare(bed, &releases, Some(&disk))?;
        machine.put("/etc/systemd/system/bowline.service.d/quick.conf", RESTART, 0o644)?;
        machine.put("/usr/local/sbin/killer", KILLER, 0o755)?;
        machine.put(KEY_FILE, format!("{KEY}\n"), 0o600)?;
        let rules = "[[enroll.allow]]\nname = \"none\"\nnodes = \"none-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n";
        let first = format!("{}{}", server_settings(&releases, rules), settings::volume());

        let steps = FIRST.map(|(name, step)| (name, step.replace("VERSION", K3S_VERSION)));
        kill_after(&machine, "first", &steps)?;
        install(&machine, &first)?;
        let mut kills = all_killed(&machine, "first", &steps)?;
        // The labels are the API's: looked for from here. They are there before Bowline has heard that they are.
        machine.wait_for("the labels", FIRST_BOOT, || has_label(&machine, "control-plane"))?;
        kills += kill(&machine)?;
        ready(&machine)?;
        as_undisturbed(&machine, kills)?;
        ensure!(releases.count(K3S_VERSION, "k3s").requests == 1, "downloaded once, with {kills} kills");
        ensure!(made(&machine, "data")? == 1, "formatted once");
        ensure!(starts(&machine)? == 1, "K3s was started once, with {kills} kills");

        // Another label, then another option.
        let (old, new) = ("role = \"control-plane\", ", "role = \"kept\", ");
        ensure!(first.contains(old), "{first}");
        let second = first.replace(old, new);
        configure(&machine, &second)?;
        machine.wait_for("the other label", FIRST_BOOT, || has_label(&machine, "kept"))?;
        kills += kill(&machine)?;
        ready(&machine)?;
        as_undisturbed(&machine, kills)?;
        ensure!(starts(&machine)? == 1, "a label is no reason for a restart");

        let steps = CHANGED.map(|(name, step)| (name, step.to_owned()));
        kill_after(&machine, "changed", &steps)?;
        configure(&machine, &format!("{second}[cluster.config]\ndisable = [\"servicelb\"]\n"))?;
        kills += all_killed(&machine, "changed", &steps)?;
        machine.wait_for("the Node after the restart", FIRST_BOOT, || Ok(is_ready(&node(&machine)?)))?;
        ready(&machine)?;
        as_undisturbed(&machine, kills)?;
        ensure!(starts(&machine)? == 2, "restarted once, with {kills} kills");
        Ok(())
    })
}

/// Has the agent killed after each of these steps, by a program of the machine's own.
fn kill_after(machine: &Machine, name: &str, steps: &[(&str, String)]) -> Result<()> {
    let words: Vec<_> = steps.iter().map(|(name, step)| format!("'{name}' '{step}'")).collect();
    machine
        .ok(&format!(
            "systemd-run -q --unit killer-{name} bash /usr/local/sbin/killer /run/killed-{name} {}",
            // systemd would take it for variables of its own.
            words.join(" ").replace('$', "$$")
        ))
        .map(drop)
}

/// Waits until it was; how often.
fn all_killed(machine: &Machine, name: &str, steps: &[(&str, String)]) -> Result<usize> {
    let mut killed = String::new();
    let count = |text: &str| text.lines().count();
    machine
        .wait_for("the agent to be killed after each step", FIRST_BOOT, || {
            killed = machine.run(&format!("cat /run/killed-{name}"))?.stdout;
            Ok(count(&killed) == steps.len())
        })
        .with_context(|| format!("so far after:\n{killed}"))?;
    Ok(count(&killed))
}

/// Kills it once more.
fn kill(machine: &Machine) -> Result<usize> {
    machine.kill("bowline").map(|_| 1)
}

fn has_label(machine: &Machine, role: &str) -> Result<bool> {
    // The API may be down for a moment.
    let node = get(machine, &format!("/api/v1/nodes/{NODE}")).ok().flatten().unwrap_or_default();
    Ok(node["metadata"]["labels"]["role"] == role)
}

/// How often systemd started K3s.
fn starts(machine: &Machine) -> Result<u32> {
    let count = machine.ok("journalctl --sync; journalctl -q -o cat -u k3s | grep -c '^Starting k3s.service'")?;
    Ok(count.trim().parse()?)
}

/// All is as a run that nobody disturbed leaves it, and the agent was killed so often.
fn as_undisturbed(machine: &Machine, kills: usize) -> Result<()> {
    machine.wait_for("nothing to do", FIRST_BOOT, || Ok(machine.run("bowline plan --exit-code")?.code == 0))?;
    ensure!(stand(&report(machine)?, "data") == Stand::Ready, "the volume");
    let left = "find /etc /usr/local/bin /var/lib/bowline -name '*.bowline-tmp' -o -name 'k3s.bowline-*' -o -path '*/intents/*'";
    ensure!(machine.ok(left)?.is_empty(), "something was left: {}", machine.ok(left)?);
    let restarts = machine.ok("systemctl show -P NRestarts bowline; systemctl show -P NRestarts k3s")?;
    ensure!(restarts == format!("{kills}\n0\n"), "Bowline and K3s were restarted so often: {restarts:?}");
    Ok(())
}
