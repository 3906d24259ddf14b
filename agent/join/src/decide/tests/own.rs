//! What an agent asks for its own Node.

use super::*;
use bowline_enroll::wire::Cut;

#[test]
fn persistent_volumes_are_asked_for_and_asked_for_again_while_they_are_not_given() {
    let toml = "[[volume]]\nname = \"data\"\nserial = \"4711\"\nmount = \"/mnt/data\"\n\
                persistent-volume = { claim = \"kafka/data-kafka-0\" }\n";
    let volumes = of_server(toml).volumes;
    let agent = Join { role: Role::Agent, persistent: volumes, ..spec("") };
    let [name, address, labels] = [("name", "kafka-0"), ("address", "10.0.1.20"), ("labels", "applied")];
    let there = Conditions::from_pairs([name, address, labels, ("volume-size/data", "1024")]);
    let node = Facts { node: Some(a_node()), ..inside() };
    let first = plan(&agent, &node, &there);
    let Action::AskForNode { asked, beside, persistent, .. } = &first.steps[0].action else { panic!("{first:?}") };
    let [wish] = &persistent[..] else { panic!("{persistent:?}") };
    assert_eq!((wish.name.as_str(), wish.capacity), ("kafka-0.data", Some(1024)));
    // Its disk is not there yet, which is something else to ask for.
    let absent = plan(&agent, &node, &Conditions::from_pairs([name, address, labels]));
    let Action::AskForNode { asked: other, persistent, .. } = &absent.steps[0].action else { panic!("{absent:?}") };
    assert!(persistent[0].capacity.is_none() && other != asked);

    let cut = vec![Cut {
        what: "the PersistentVolume kafka-0.data".into(),
        why: "the rule does not permit it".into(),
        ..Cut::default()
    }];
    let told = |at: u64| said(asked, None).map(|said| Said { cut: cut.clone(), beside: beside.clone(), at, ..said });
    let refused = plan(&agent, &Facts { said: told(90), ..node.clone() }, &there);
    assert_eq!(refused.refusals[0].why, "the rule does not permit it");
    assert!(refused.steps.is_empty() && refused.waits[0].poll == Some(Duration::from_secs(50)), "{refused:?}");
    let later = plan(&agent, &Facts { said: told(90), uptime: 150, ..node.clone() }, &there);
    assert_eq!(steps(&later), ["node"], "the rule may be another one by now");
    let given = plan(&agent, &Facts { said: told(90).map(|said| Said { cut: Vec::new(), ..said }), ..node }, &there);
    assert!(given.steps.is_empty() && given.waits.is_empty(), "{given:?}");
}
