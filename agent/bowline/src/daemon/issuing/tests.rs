//! When a server answers.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use super::*;
use bowline_settings::SourceFile;

#[test]
fn a_member_answers_before_its_api_does() {
    let text = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                key-file = \"/etc/bowline/cluster.key\"\n[enroll]\n[[enroll.allow]]\nname = \"kafka\"\nnodes = \"kafka-*\"\n\
                role = \"agent\"\nfrom = [\"10.0.1.0/24\"]\n";
    let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
    let settings = bowline_settings::load(&[file]).unwrap().settings;
    let conditions = |more: &[(&str, &str)]| {
        let all = [("name", "control"), ("address", "10.0.1.10")].iter().chain(more);
        all.map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>()
    };
    let is_wanted = |more: &[(&str, &str)], open, member: Option<&str>| {
        wanted(&settings, &conditions(more), open, member.map(String::from)).is_some()
    };
    assert!(!is_wanted(&[], false, None), "a machine without anything");
    assert!(is_wanted(&[], false, Some("ab")), "its API is not up, or has no quorum");
    assert!(is_wanted(&[("node", "registered")], false, None));
    assert!(is_wanted(&[("k3s", "active")], true, None) && !is_wanted(&[("k3s", "installed")], true, None));
    assert!(!is_wanted(&[("leaving", "yes")], true, Some("ab")));
}
