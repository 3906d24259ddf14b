//! What people are told to do works on the machine that they are told it of.

use super::*;
use bowline_ports::UNINSTALLING_ERASES;

#[test]
fn what_removes_k3s_is_on_the_machine() {
    let by_hand = "[Service]\nExecStart=/usr/local/bin/k3s agent\n";
    let hint = |unit: String| {
        let facts = Facts { other_role: Some(unit), ..fresh() };
        plan(&spec(""), &facts, &all()).refusals.remove(0).hint
    };
    let theirs =
        format!("remove it (`k3s-agent-uninstall.sh`) if this machine is to be a server; {UNINSTALLING_ERASES}");
    assert_eq!(hint(by_hand.into()), theirs);
    let ours = "remove it (`systemctl disable --now k3s-agent.service && rm -f /etc/systemd/system/k3s-agent.service \
                /etc/rancher/k3s/config.yaml.d/50-bowline.yaml /var/lib/bowline/k3s-node /var/lib/bowline/node-name && systemctl daemon-reload && systemctl reboot`) if this machine is to be a server";
    assert_eq!(hint(unit_text(Role::Agent)), ours);
}

/// Of a K3s under a name of its own nothing is written over or beside it.
#[test]
fn what_has_a_name_of_its_own_is_refused_with_what_makes_it_fit() {
    let named = Facts { named: Some("k3s-main.service".into()), ..fresh() };
    let plan = plan(&spec(""), &named, &all());
    assert!(plan.steps.is_empty() && plan.waits.is_empty(), "{plan:?}");
    let refusal = &plan.refusals[0];
    assert_eq!(refusal.why, "K3s is installed on this machine under another name (k3s-main.service)");
    assert!(refusal.hint.contains("`systemctl disable --now k3s-main.service && mv "), "{}", refusal.hint);
    assert_eq!(plan.conditions[condition::K3S_ELSEWHERE], "k3s-main.service", "the servers are not asked for it");
    let named = Facts { named: Some("k3s-a\\x2db.service".into()), ..fresh() };
    let hint = &super::plan(&spec(""), &named, &all()).refusals[0].hint;
    assert!(hint.contains("`systemctl disable --now 'k3s-a\\x2db.service' && mv "), "{hint}");
}

#[test]
fn a_server_out_of_etcd_is_removed_by_what_is_on_the_machine() {
    let hint = |unit: String| {
        let out = Facts { node: None, removed: true, unit_file: Some(unit), ..up() };
        plan(&spec(""), &out, &all()).refusals.remove(0).hint
    };
    let ours = hint(unit_text(Role::Server));
    assert!(ours.contains("then run `systemctl disable --now k3s.service && rm -f "), "{ours}");
    let foreign = hint("[Service]\nExecStart=/usr/local/bin/k3s server\n".into());
    let end = format!("take [cluster] out of the settings, then run `k3s-uninstall.sh`; {UNINSTALLING_ERASES}");
    assert!(foreign.ends_with(&end), "{foreign}");
    assert!(!ours.contains("erases"), "{ours}");
}

/// Nothing that the servers see has its member: no Node names it.
#[test]
fn a_server_whose_name_etcd_still_has_is_told_what_takes_it_out() {
    let said = |line: &str| {
        let mut facts = Facts { node: None, last_lines: vec![line.into()], ..up() };
        (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "auto-restart".into());
        plan(&spec(""), &facts, &all()).waits.remove(0).overdue
    };
    let words = "time=\"t\" level=fatal msg=\"ETCD join failed: duplicate node name found, please use a unique name for this node\"";
    assert!(said(words).contains("“A server whose name etcd still has”"), "{}", said(words));
    let newer = "level=fatal msg=\"/var/lib/rancher/k3s/server/tls/server-ca.key newer than datastore and could cause a cluster outage. \
                 Remove the file(s) from disk and restart to be recreated from datastore.\"";
    assert!(said(newer).contains("move them away (`mv`)"), "{}", said(newer));
    assert!(said("level=fatal msg=\"no such flag\"").starts_with("fix what it names"));
}

/// `k3s token rotate` on another server: with that token the others let it in again.
#[test]
fn a_server_with_a_token_of_before_asks_for_another() {
    let line =
        "level=fatal msg=\"starting kubernetes: bootstrap data already found and encrypted with different token\"";
    let mut facts = Facts { node: None, last_lines: vec![line.into()], ..up() };
    (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "auto-restart".into());
    let member = Cluster { token: Some("/etc/rancher/k3s/bowline-token".into()), ..spec("") };
    let now = all_with(&[("enrolled", "ab"), ("k3s-servers", "https://10.0.1.11:6443")]);
    assert!(plan(&member, &facts, &now).conditions["k3s-join"].ends_with("with different token"));
}

/// Since 1.32 K3s repeats what the server says, without the address and the number.
#[test]
fn a_k3s_that_is_refused_says_so_in_the_words_of_its_release() {
    let refused = |line: &str| {
        let mut facts = Facts { node: None, last_lines: vec![line.into(), "something else".into()], ..up() };
        (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "auto-restart".into());
        let member = Cluster { token: Some("/etc/rancher/k3s/bowline-token".into()), ..spec("") };
        plan(&member, &facts, &all_with(&[("enrolled", "ab")])).conditions.get("k3s-join").cloned()
    };
    for says in [
        "Waiting to retrieve agent configuration; server is not ready: failed to retrieve configuration from server: not authorized",
        "Error: preparing server: failed to bootstrap cluster data: forbidden",
        "starting kubernetes: preparing server: failed to bootstrap cluster data: failed to validate server configuration: not authorized",
        "server is not ready: failed to retrieve configuration from server: https://127.0.0.1:6444/v1-k3s/config: 401 Unauthorized",
    ] {
        assert_eq!(refused(&format!("time=\"t\" level=info msg=\"{says}\"")).as_deref(), Some(says));
    }
    for others in [
        "level=error msg=\"Sending HTTP/1.1 403 response to 10.0.1.30:41234: forbidden\"",
        "E0101 10:00:00.000000 1 reflector.go:205] failed to list *v1.Node: nodes is forbidden",
        "level=warning msg=\"failed to bootstrap cluster data: forbidden fruit\"",
    ] {
        assert_eq!(refused(others), None, "{others}");
    }
}

#[test]
fn data_without_their_token_are_told_of_with_where_the_token_is() {
    let said = |words: &str| words::remedy(&[format!("level=fatal msg=\"{words}\"")], "k3s.service");
    let other =
        said("starting kubernetes: preparing server: bootstrap data already found and encrypted with different token");
    assert!(other.contains("put back all of it") && other.contains("“Backup”"), "{other}");
    assert!(said("something else").contains("journalctl -u k3s.service"));
}

#[test]
fn what_servers_do_not_have_alike_is_named() {
    let mut facts = Facts { node: None, ..up() };
    (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "auto-restart".into());
    facts.last_lines = [
        "level=warning msg=\"critical configuration mismatched: secrets-encryption-provider\"",
        "level=info msg=\"something else\"",
        "level=fatal msg=\"starting kubernetes: critical configuration value mismatch between servers\"",
    ]
    .map(String::from)
    .into();
    let why = plan(&spec(""), &facts, &all()).waits.remove(0).why;
    let words = "critical configuration mismatched: secrets-encryption-provider | starting kubernetes: critical configuration value";
    assert!(why.contains(words), "{why}");
}

/// The server that let it in was destroyed since: another one may take it. What else keeps K3s down none of them cures.
#[test]
fn a_server_that_does_not_reach_the_one_that_it_joins_says_so() {
    let refused = |server: &str| {
        format!(
            "level=fatal msg=\"starting kubernetes: preparing server: failed to get CA certs: Get \\\"{server}/cacerts\\\": \
             dial tcp: connect: connection refused\""
        )
    };
    let joins = "https://10.0.1.11:6443";
    let member = Cluster { token: Some("/etc/rancher/k3s/bowline-token".into()), ..spec("") };
    let now = all_with(&[("enrolled", "ab"), ("k3s-servers", "https://10.0.1.11:6443,https://10.0.1.12:6443")]);
    let unreached = |lines: &[String]| {
        let mut facts = Facts { node: None, last_lines: lines.to_vec(), ..up() };
        (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "auto-restart".into());
        plan(&member, &facts, &now).conditions.get(condition::K3S_UNREACHED).cloned()
    };
    assert!(unreached(&[refused(joins)]).unwrap().ends_with("connection refused"));
    assert_eq!(unreached(&[refused("https://127.0.0.1:2379")]), None, "its own etcd comes up");
    assert_eq!(unreached(&["level=fatal msg=\"unknown flag --disabel\"".into()]), None);
    let namesake = "level=fatal msg=\"ETCD join failed: duplicate node name found\"";
    assert_eq!(unreached(&[refused(joins), namesake.into()]), None);
}

#[test]
fn an_agent_of_somebody_else_has_the_script_of_agents() {
    let mut agent = spec("");
    agent.spec.role = Role::Agent;
    let unit = "[Service]\nExecStart=/usr/local/bin/k3s agent\n";
    let other = Facts { installed: Some("v1.30.0+k3s1".into()), unit_file: Some(unit.into()), ..up() };
    let hint = &plan(&agent, &other, &all()).refusals[0].hint;
    let end = format!("uninstall that K3s (`k3s-agent-uninstall.sh`); {UNINSTALLING_ERASES}");
    assert!(hint.ends_with(&end), "{hint}");
    let broken = Facts { installed: None, ..other };
    let hint = &plan(&agent, &broken, &all()).refusals[0].hint;
    assert!(hint.ends_with(&end), "{hint}");
}

/// Started with its old configuration it would found a cluster, with the authorities of the one that it is out of.
#[test]
fn a_server_out_of_etcd_is_started_once_its_configuration_has_a_server_to_join() {
    assert!(
        unit_text(Role::Server)
            .contains("\nExecCondition=/bin/sh -c '[ ! -e /var/lib/rancher/k3s/server/db/etcd/tombstone ]")
    );
    assert!(!unit_text(Role::Agent).contains("ExecCondition"));
    let mut joins = spec("");
    joins.token = Some("/etc/rancher/k3s/bowline-token".into());
    let mut out = Facts { node: None, removed: true, ..up() };
    (out.unit.active, out.unit.result) = (ActiveState::Inactive, "exec-condition".into());
    let waits = plan(&joins, &out, &all());
    assert!(said(&waits).is_empty() && waits.waits[0].what == "a credential of the cluster", "{waits:?}");
    let let_in = all_with(&[("enrolled", "ab"), ("k3s-servers", "https://10.0.1.11:6443")]);
    let starts = said(&plan(&joins, &out, &let_in));
    assert!(starts[0].starts_with("write ") && starts[0].contains("server, token-file"), "{starts:?}");
    assert_eq!(starts[1..], ["start K3s"]);
    // It gave way to another machine, with a unit of an earlier Bowline: it is started after all else.
    let reason = "it was taken out of etcd, and joins anew".to_string();
    let mut gave_way = Facts { restart: Some(Restart { start: true, ..Restart::of(reason) }), ..out.clone() };
    (gave_way.unit.result, gave_way.unit.file_state) = ("success".into(), "disabled".into());
    gave_way.unit_file = Some(format!("{}\n", unit_text(Role::Server)));
    let all_of_it = said(&plan(&joins, &gave_way, &let_in));
    assert_eq!(all_of_it[0], "write /etc/systemd/system/k3s.service");
    assert!(all_of_it[1].starts_with("write /etc/rancher/"), "{all_of_it:?}");
    let start = "restart K3s (it was taken out of etcd, and joins anew)";
    assert_eq!(all_of_it[2..], ["enable k3s.service for every boot", start]);
    // Somebody else stopped it: they start it, and it stays on record that it was let in.
    gave_way.restart = gave_way.restart.map(|restart| Restart { start: false, ..restart });
    let by_hand = plan(&joins, &gave_way, &let_in);
    assert!(said(&by_hand).len() == 3 && by_hand.waits[0].what == BY_HAND, "{by_hand:?}");
    // systemd before 251 looks at the gate every 5 s: it is held back all the same, and has not crashed.
    let mut again = out.clone();
    (again.unit.active, again.unit.sub, again.unit.restarts) = (ActiveState::Activating, "auto-restart".into(), 40);
    let waits = plan(&joins, &again, &all());
    assert!(waits.waits.len() == 1 && !waits.conditions.contains_key("k3s-crashes"), "{waits:?}");
    let again_let_in = plan(&joins, &again, &let_in);
    assert_eq!(said(&again_let_in), starts);
    assert!(again_let_in.waits.is_empty(), "{again_let_in:?}");
    again.unit.result = "exit-code".into();
    assert_eq!(
        plan(&joins, &again, &let_in).conditions["k3s-crashes"],
        "yes",
        "its gate opened, and it does not stay up"
    );
    // One of somebody else: nobody but them writes its configuration.
    let foreign = Facts { unit_file: Some("[Service]\nExecStart=/usr/local/bin/k3s server\n".into()), ..out };
    let mut stopped = foreign.clone();
    (stopped.unit.result, stopped.unit.started) = ("success".into(), true);
    let told = &plan(&joins, &stopped, &let_in).waits[0].overdue;
    assert!(told.contains("`token-file: ") && told.ends_with("`systemctl enable --now k3s.service`"), "{told}");
    let up = Facts { unit: up().unit, ..foreign };
    let told = &plan(&joins, &up, &let_in).refusals[0].hint;
    assert!(
        told.contains("`server: https://10.0.1.11:6443`") && told.ends_with("`systemctl restart k3s.service`"),
        "{told}"
    );
}
