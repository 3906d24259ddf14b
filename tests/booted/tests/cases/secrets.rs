//! Law `secrets_stay_in_files` on a booted machine: every output of a node with secrets in its settings, while it comes
//! up and when it is ready.

use anyhow::{Result, ensure};
use bowline_booted::{VOLUME, configure, deb, ready, releases, settings, with_k3s};
use bowline_testbed::{Machine, case};

/// Two secrets as K3s takes them, with nothing in common.
const SECRETS: [&str; 2] = ["s3cr3t-do-not-show-server", "h1dden-agent-password-0815"];

/// Looks all the time for processes that have a secret on their command line or in their environment. The patterns come
/// from a file, so that the watcher does not find itself.
const WATCH: &str = r#"
while :; do
    grep -laFf /root/secrets /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null |
        while read -r file; do echo "$file: $(tr '\0' ' ' < "${file%/*}/cmdline")" >> /root/seen; done
    echo >> /root/rounds
    sleep 0.05
done
"#;

/// What people, scripts and scrapers read.
const OUTPUTS: [&str; 22] = [
    "journalctl --no-pager --all --output=json",
    "bowline plan",
    "bowline plan --json",
    "bowline status",
    "bowline status --json",
    "bowline config",
    "bowline config --json",
    "bowline check",
    "bowline doctor",
    "bowline doctor --json",
    "bowline volumes",
    "bowline volumes --json",
    "bowline usage",
    "bowline usage --json",
    "bowline nodes",
    "bowline nodes --json",
    "bowline metrics",
    "bowline apply --wait 5s",
    "curl -sS http://127.0.0.1:9787/metrics http://127.0.0.1:9787/ http://127.0.0.1:9787/readyz",
    "systemctl show --all --no-pager '*'",
    "systemctl status --full --no-pager --lines=100 bowline k3s",
    "dmesg",
];

/// No output of this machine shows one of these.
pub(crate) fn stay_out_of_outputs(machine: &Machine, secrets: &[&str]) -> Result<()> {
    for command in OUTPUTS {
        none_of(secrets, command, &machine.run(command)?.to_string())?;
    }
    none_of(secrets, "the console", &machine.console()?)?;
    let processes = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'";
    none_of(secrets, "a process", &machine.run(processes)?.stdout)
}

fn none_in(what: &str, text: &str) -> Result<()> {
    none_of(&SECRETS, what, text)
}

fn none_of(secrets: &[&str], what: &str, text: &str) -> Result<()> {
    for secret in secrets {
        if let Some(at) = text.find(secret) {
            let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
            ensure!(false, "{what} shows {secret} after: {around}");
        }
    }
    Ok(())
}

#[test]
fn secrets_stay_in_files_that_only_root_reads() -> Result<()> {
    case("secrets", |bed| {
        let releases = releases(bed)?;
        let disk = bed.disk(VOLUME, "512M")?;
        let machine = with_k3s(bed, &releases, Some(&disk))?;
        watch(&machine, &SECRETS)?;
        let [token, agent_token] = SECRETS;
        let secrets = format!("[cluster.config]\ntoken = \"{token}\"\nagent-token = \"{agent_token}\"\n");
        configure(&machine, &format!("{}{}{secrets}", settings::server(&releases), settings::volume()))?;
        machine.install(&deb()?)?;
        ready(&machine)?;
        // K3s has them, so what follows shows something.
        assert!(machine.read("/var/lib/rancher/k3s/server/token")?.contains(token));
        stay_out_of_outputs(&machine, &SECRETS)?;

        // A mistake beside a secret is shown without it.
        for (name, text) in [
            ("an open string", format!("[cluster.config]\ntoken = \"{token}\n")),
            ("a wrong type", format!("[cluster.config]\ntoken = [[\"{token}\"]]\n")),
            ("an unknown key", format!("[cluster]\ntokken = \"{token}\"\n")),
            (
                "a wrong value",
                format!("[cluster]\nrole = \"{token}\"\n[cluster.config]\nagent-token = \"{agent_token}\"\n"),
            ),
            ("twice", format!("[cluster.config]\ntoken = \"{token}\"\ntoken = \"{agent_token}\"\n")),
            ("other characters", format!("[cluster.config]\ntoken = \"{token}\\q\"\n")),
            ("no quotes", format!("[cluster.config]\ntoken = {token}\n")),
        ] {
            machine.put("/root/wrong.toml", &text, 0o600)?;
            let said = machine.run("bowline check /root/wrong.toml")?;
            ensure!(said.code == 2, "{name}: {said}");
            if name != "a wrong value" {
                none_in(name, &said.to_string())?;
            }
        }
        // So it is where a running Bowline does not take it.
        let broken = format!("[cluster.config]\nagent-token = \"{agent_token}\n");
        machine.put("/etc/bowline/config.d/90-broken.toml", broken, 0o600)?;
        let complained = "journalctl -u bowline | grep -q 'changed settings are not used'";
        machine
            .wait_for("the complaint", std::time::Duration::from_secs(10), || Ok(machine.run(complained)?.success()))?;
        for command in
            ["journalctl --no-pager --all --output=json", "bowline status", "bowline status --json", "bowline plan"]
        {
            none_in(command, &machine.run(command)?.to_string())?;
        }

        // A file that others can read is refused while it has a secret; of one that is not in its place yet it is told.
        let settings = "/etc/bowline/config.d/10-node.toml";
        machine.ok(&format!(
            "rm /etc/bowline/config.d/90-broken.toml; cp {settings} /root/open.toml; chmod 644 {settings} /root/open.toml"
        ))?;
        for (command, code) in [("bowline check", 2), ("bowline check /root/open.toml", 0)] {
            let said = machine.run(command)?;
            ensure!(said.code == code && said.to_string().contains("600"), "{said}");
            none_in(command, &said.to_string())?;
        }
        machine.ok(&format!("chmod 600 {settings}"))?;

        let mut holders = only_root_reads_them(&machine)?;
        holders.retain(|file| !file.starts_with("/var/lib/rancher"));
        assert_eq!(holders, [settings, "/etc/rancher/k3s/config.yaml.d/50-bowline.yaml"]);
        // What is said of leaving, and when it is not possible.
        for command in ["bowline leave --timeout 30s", "bowline leave --undo"] {
            none_in(command, &machine.run(command)?.to_string())?;
        }
        nobody_showed_them(&machine)
    })
}

/// From here on no process may have one of these on its command line or in its environment.
pub(crate) fn watch(machine: &Machine, secrets: &[&str]) -> Result<()> {
    machine.put("/root/secrets", secrets.join("\n") + "\n", 0o600)?;
    machine.put("/root/watch", WATCH, 0o700)?;
    machine.ok("systemd-run --quiet --unit=watch sh /root/watch").map(drop)
}

/// None had since then.
pub(crate) fn nobody_showed_them(machine: &Machine) -> Result<()> {
    ensure!(machine.read("/root/rounds")?.len() > 20, "the watcher did not look");
    ensure!(!machine.run("test -e /root/seen")?.success(), "seen in:\n{}", machine.read("/root/seen")?);
    Ok(())
}

/// Every file of the machine with a secret in it (those of [`watch`]) belongs to root and is closed to others, or lies in a folder
/// that is: which they are.
pub(crate) fn only_root_reads_them(machine: &Machine) -> Result<Vec<String>> {
    let folders = "/etc /run /var /usr/local /tmp /opt /srv /home";
    let found = machine.ok(&format!("grep -rlaFf /root/secrets --devices=skip {folders} 2>/dev/null || true"))?;
    let mut holders = Vec::new();
    for file in found.lines() {
        // As somebody who is nobody, who may enter whatever lets him.
        let open =
            machine.run(&format!("setpriv --reuid=65534 --regid=65534 --clear-groups -- cat '{file}' > /dev/null"))?;
        ensure!(!open.success(), "everybody can read {file}");
        let closed = machine.ok(&format!("stat -c '%a %U' '{file}'"))?;
        ensure!(
            closed.trim() == "600 root" || closed.trim() == "400 root" || file.starts_with("/var/log/journal"),
            "{file}: {closed}"
        );
        holders.push(file.to_string());
    }
    holders.sort();
    Ok(holders)
}
