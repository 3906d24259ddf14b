//! What a server keeps with its data.

use super::*;

fn theirs(facts: &Facts) -> Option<Agreed> {
    facts.enrolled.as_ref().map(|enrolled| enrolled.agreed.clone())
}

/// The machine was recreated, or Bowline installed anew, and the data are on a volume: K3s would compare nothing by itself.
#[test]
fn a_member_that_was_let_in_by_nobody_goes_on_with_what_the_servers_agreed_on() {
    let agreed = theirs(&let_in(facts()));
    let member = Facts { joined: true, agreed, ..facts() };
    let goes_on = plan(&spec(""), &member, &now());
    assert_eq!(goes_on.conditions["k3s-founds"], "yes");
    assert_eq!(goes_on.conditions["k3s-options"], "{\"cluster-cidr\":\"10.52.0.0/16\"}");
    assert_eq!(goes_on.conditions["cluster-cidr"], "10.52.0.0/16", "the guard closes ports to these pods");
    assert!(steps(&goes_on).is_empty());
}

#[test]
fn it_is_kept_once_there_are_data_and_whenever_it_changed() {
    assert_eq!(steps(&plan(&spec(""), &let_in(facts()), &now())), ["node"], "there are no data yet");
    let member = Facts { joined: true, ..let_in(facts()) };
    assert!(steps(&plan(&spec(""), &member, &now())).contains(&"agreed"));
    let kept = Facts { agreed: theirs(&member), ..member.clone() };
    assert!(!steps(&plan(&spec(""), &kept, &now())).contains(&"agreed"));
    let other = Facts { agreed: Some(agreed(&BTreeMap::new())), ..member };
    assert!(steps(&plan(&spec(""), &other, &now())).contains(&"agreed"));
}
