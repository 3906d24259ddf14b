//! A server whose data are in etcd.

use super::*;

const ETCD: &str = "datastore = \"etcd\"\n";

fn member() -> Facts {
    let config = config_text(&spec(ETCD).spec, &own(None), None, BTreeMap::new());
    Facts { etcd: true, config: Some(config), ..up() }
}

fn moved() -> Conditions {
    all_with(&[("address", "10.0.2.10")])
}

/// K3s takes a new address to no member that is there: it would wait for etcd to know it, for ever.
#[test]
fn one_that_has_another_address_stays_as_it_is_and_says_what_to_do() {
    for active in [ActiveState::Active, ActiveState::Activating] {
        let mut facts = member();
        facts.unit.active = active;
        let stays = plan(&spec(ETCD), &facts, &moved());
        assert!(said(&stays).is_empty(), "{:?}", said(&stays));
        let [refusal] = &stays.refusals[..] else { panic!("{:?}", stays.refusals) };
        assert!(refusal.why.starts_with("its configuration has 10.0.1.10, and "), "{refusal:?}");
        assert!(refusal.hint.contains("“A server with another address”"), "{refusal:?}");
    }
    assert!(plan(&spec(ETCD), &member(), &all()).refusals.is_empty());
}

#[test]
fn without_data_in_etcd_or_out_of_it_another_address_is_an_option_like_others() {
    let changed = "restart K3s (changed: advertise-address, cluster-init, node-ip)";
    let no_data = said(&plan(&spec(""), &Facts { etcd: false, ..member() }, &moved()));
    assert_eq!(no_data.last().unwrap(), changed);
    // It joins anew, and K3s sets its data aside.
    let mut joins = spec(ETCD);
    joins.token = Some("/etc/rancher/k3s/bowline-token".into());
    let mut out = Facts { node: None, removed: true, ..member() };
    (out.unit.active, out.unit.result) = (ActiveState::Inactive, "exec-condition".into());
    let more = [("address", "10.0.2.10"), ("enrolled", "ab"), ("k3s-servers", "https://10.0.1.11:6443")];
    let anew = plan(&joins, &out, &all_with(&more));
    assert!(anew.refusals.is_empty() && said(&anew)[0].contains("node-ip"), "{anew:?}");
}

/// Others have taken it out of etcd meanwhile, which its K3s does not know: at an address that the machine has no more it would not
/// come up to be told.
#[test]
fn one_that_was_let_in_after_it_had_given_way_gets_its_address() {
    let joins = Cluster { token: Some("/etc/rancher/k3s/bowline-token".into()), ..spec(ETCD) };
    let reason = "it was let in with the address 10.0.2.10";
    let restart = Some(Restart { start: true, ..Restart::of(reason) });
    let mut gave_way = Facts { node: None, node_seen: None, restart, ..member() };
    (gave_way.unit.active, gave_way.unit.file_state) = (ActiveState::Inactive, "disabled".into());
    let more = [("address", "10.0.2.10"), ("enrolled", "ab"), ("k3s-servers", "https://10.0.1.11:6443")];
    let comes = plan(&joins, &gave_way, &all_with(&more));
    assert!(comes.refusals.is_empty(), "{:?}", comes.refusals);
    let [configures, enables, starts] = &said(&comes)[..] else { panic!("{:?}", said(&comes)) };
    assert!(configures.contains("node-ip") && enables.starts_with("enable k3s.service"), "{configures}, {enables}");
    assert_eq!(starts, &format!("restart K3s ({reason})"));
}

#[test]
fn where_k3s_is_to_run_no_etcd_another_address_is_an_option_like_others() {
    let none = spec("[cluster.config]\ndisable-etcd = true\n");
    assert!(plan(&none, &member(), &moved()).refusals.is_empty());
    // The data that are there count for more than this one: K3s uses them.
    let endpoint = spec("[cluster.config]\ndatastore-endpoint = \"postgres://db/k3s\"\n");
    assert_eq!(plan(&endpoint, &member(), &moved()).refusals.len(), 1);
}

/// Such as one whose data came with a volume: its configuration was another machine's.
#[test]
fn one_that_etcd_does_not_know_says_so_while_it_comes_up() {
    let words = "Failed to test data store connection: this server is a not a member of the etcd cluster. Found \
                 [n1-1a=https://10.0.1.10:2380], expect: n1-1a=https://10.0.2.10:2380";
    let mut facts = Facts { node: None, api_error: Some("connection refused".into()), ..member() };
    (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "start".into());
    facts.last_lines = vec![format!("time=\"t\" level=info msg=\"{words}\""), "{\"level\":\"info\"}".into()];
    let waits = plan(&spec(ETCD), &facts, &all()).waits;
    assert_eq!((waits[0].what.as_str(), &waits[0].why), (READY, &format!("K3s does not come up; it says: {words}")));
    assert!(waits[0].overdue.contains("“A server with another address”"), "{waits:?}");
}

/// A server that comes up says what its API server thinks of others: nothing is asked of the servers for that.
#[test]
fn what_a_server_says_while_it_comes_up_is_no_reason_to_ask_to_be_let_in() {
    let joins = Cluster { token: Some("/etc/rancher/k3s/bowline-token".into()), ..spec(ETCD) };
    let mut facts = Facts { node: None, last_lines: vec!["invalid bearer token".into()], ..member() };
    (facts.unit.active, facts.unit.sub) = (ActiveState::Activating, "start".into());
    let now = all_with(&[("enrolled", "ab"), ("k3s-servers", "https://10.0.1.11:6443")]);
    assert!(!plan(&joins, &facts, &now).conditions.contains_key("k3s-join"));
    facts.unit.restarts = 1;
    assert!(plan(&joins, &facts, &now).conditions.contains_key("k3s-join"));
}

/// K3s goes by what is there: without `cluster-init` it would be restarted, and do what it did.
#[test]
fn its_data_stay_in_etcd_whatever_the_settings_say_later() {
    let sqlite = plan(&spec("datastore = \"sqlite\"\n"), &member(), &all());
    assert!(said(&sqlite).is_empty(), "{:?}", said(&sqlite));
    let [note] = &sqlite.notes[..] else { panic!("{:?}", sqlite.notes) };
    assert!(note.text.ends_with("this server's data are in etcd: there they stay"), "{note:?}");
    // As a build that did not heed the data has written it; where nothing is there, it says where the data are.
    let without = config_text(&spec("").spec, &own(None), None, BTreeMap::new());
    let stays = plan(&spec(""), &Facts { config: Some(without), ..member() }, &all());
    assert!(said(&stays).is_empty() && stays.notes.len() == 1, "{stays:?}");
    let anew = plan(&spec(""), &Facts { config: None, ..member() }, &all());
    assert!(said(&anew).iter().any(|step| step.contains("cluster-init")), "{:?}", said(&anew));
    assert!(plan(&spec(ETCD), &member(), &all()).notes.is_empty());
    // What K3s's own options say of it stands.
    let own = plan(&spec("[cluster.config]\ndatastore-endpoint = \"etcd\"\n"), &member(), &all());
    assert!(own.notes.is_empty() && said(&own).last().unwrap().contains("cluster-init"), "{own:?}");
}
