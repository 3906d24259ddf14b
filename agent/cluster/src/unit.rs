//! The service, with the settings that K3s's own installer gives it (contract: K3s `install.sh`).

use crate::{CONFIG_FILE, NODE_SEEN};
use bowline_ports::{ENROLLED, ENROLLED_WITH_DATA, K3S_ETCD_DATA, K3S_ETCD_TOMBSTONE, K3S_SERVER};
use bowline_ports::{MARK, NODE_NAME, UNINSTALLING_ERASES, UNITS};
use bowline_settings::Role;
use std::path::{Path, PathBuf};

/// The unit file, where K3s's installer writes it.
pub fn unit_file(role: Role) -> PathBuf {
    Path::new(UNITS).join(role.service())
}

/// The commands that take K3s off this machine, by the text of its unit file: the scripts of K3s's installer are there
/// only where that installed it. Without those its data stay, and its pods run until the reboot that is part of it.
pub fn remover(role: Role, unit: &str) -> String {
    let (service, file) = (role.service(), unit_file(role));
    match (unit.starts_with(MARK), role) {
        (true, _) => format!(
            "systemctl disable --now {service} && rm -f {} {CONFIG_FILE} {NODE_SEEN} {NODE_NAME} && systemctl daemon-reload && systemctl reboot",
            file.display()
        ),
        (false, Role::Server) => "k3s-uninstall.sh".into(),
        (false, Role::Agent) => "k3s-agent-uninstall.sh".into(),
    }
}

/// What to heed before [`remover`] is run, after its `; `; nothing where volumes stay as they are.
pub fn caution(unit: &str) -> String {
    if unit.starts_with(MARK) { String::new() } else { format!("; {UNINSTALLING_ERASES}") }
}

/// Whether K3s has a server to join.
const JOINS: &str = r#"grep -qsE "^.?server.?:" /etc/rancher/k3s/config.yaml /etc/rancher/k3s/config.yaml.d/*.y*ml"#;
/// That what K3s has of a cluster here is of one that it was to found and that has no data yet, beneath [`K3S_SERVER`].
const FOUNDING: &str = "bowline-founding";
/// Where what K3s has of a cluster that never was is kept, beneath [`K3S_SERVER`].
const ASIDE: &str = "bowline-set-aside";

/// The whole text of the unit file.
///
/// `Type=notify` with `TimeoutStartSec=0` means that a start that waits for the unit never returns while K3s cannot
/// come up: it is always queued. `KillMode=process` leaves pods running across restarts.
///
/// A server that was taken out of etcd founds at its next start, unless it has a server to join: with the authorities that it
/// has, and so a second cluster that looks like the first. systemd does not start it before its configuration names one, and
/// does not try again (`exec-condition`); before 251, as in Ubuntu 22.04, it tries every 5 s (`auto-restart`), and counts that as
/// restarts.
///
/// A server that was started to found a cluster, and then joins another one before etcd has data, has authorities of its own by now.
/// K3s ends for ever at those that are newer than the cluster's (its `ReconcileBootstrapData`): they are set aside, and K3s gets the
/// cluster's. A mark tells them from those: it is made before K3s has any to found with, and goes last, so that whatever is
/// interrupted is done again. Where K3s has data, in SQLite as well, there is a cluster, which nothing may hide: the mark goes alone.
///
/// When a server is up, it keeps beside its data what it has agreed on with the others: the machine that gets these data next, on
/// a volume, is a member that nobody lets in, and K3s compares nothing then.
pub fn unit_text(role: Role) -> String {
    let (service, verb) = (role.service(), role.as_str());
    let gate = match role {
        Role::Server => {
            format!("ExecCondition=/bin/sh -c '[ ! -e {K3S_ETCD_TOMBSTONE} ] || \\\n    {JOINS}'\n")
        }
        Role::Agent => String::new(),
    };
    let aside = match role {
        Role::Server => format!(
            "ExecStartPre=-/bin/sh -c 'if [ -e {K3S_ETCD_DATA} ] || [ -e {K3S_ETCD_TOMBSTONE} ] || [ -e {K3S_SERVER}/db/state.db ]; \\\n    \
                 then rm -f {K3S_SERVER}/{FOUNDING}; \\\n    \
                 elif ! {JOINS}; \\\n    \
                 then [ -e {K3S_SERVER}/tls/server-ca.key ] || {{ mkdir -p -m 700 {K3S_SERVER} && : >{K3S_SERVER}/{FOUNDING}; }}; \\\n    \
                 elif [ -e {K3S_SERVER}/{FOUNDING} ]; then cd {K3S_SERVER} && mkdir -p -m 700 {ASIDE} && ls -d cred tls 2>/dev/null | \\\n    \
                 xargs -r mv -t \"$(mktemp -d -p {ASIDE})\" && rm -f {FOUNDING}; fi'\n"
        ),
        Role::Agent => String::new(),
    };
    let keep = match role {
        Role::Server => format!(
            "ExecStartPost=-/bin/sh -c 'umask 077; rm -f {K3S_SERVER}/{FOUNDING}; [ ! -e {ENROLLED} ] || \\\n    \
                 {{ cp {ENROLLED} {ENROLLED_WITH_DATA}.new && sync {ENROLLED_WITH_DATA}.new && mv {ENROLLED_WITH_DATA}.new {ENROLLED_WITH_DATA}; }}'\n"
        ),
        Role::Agent => String::new(),
    };
    format!(
        "\
# Written by Bowline from [cluster]; change the settings, or add a drop-in of your own.
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io man:bowline(1)
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/{service}.env
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
{gate}ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
{aside}ExecStart=/usr/local/bin/k3s {verb}
{keep}"
    )
}
