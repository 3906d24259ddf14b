//! The host name while cloud-init may still set it: a machine that is made from an image has that of the image until then, and its
//! Node would have it for good.

use crate::{Facts, Node};
use bowline_engine::{Conditions, Wait};
use serde_json::Value;
use std::time::Duration;

/// Where cloud-init says what it is at: a link that it makes at each boot to a file that it replaces as a whole.
pub(crate) const STATUS: &str = "/run/cloud-init/status.json";
/// For how long it is waited for: one that hangs keeps no cluster from starting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The stage that cloud-init is at, or comes to next, as long as it may set the host name: in both, and not later.
pub(crate) fn stage(status: &[u8]) -> Option<&'static str> {
    let status: Value = serde_json::from_slice(status).ok()?;
    let v1 = status.get("v1")?;
    let untold = |stage: &str, what: &str| v1[stage][what].is_null();
    match v1.get("stage")? {
        Value::String(stage) => ["init-local", "init"].into_iter().find(|name| name == stage),
        // Between the two it waits for the network.
        Value::Null if !untold("init-local", "finished") => {
            (untold("init", "start") && untold("modules-config", "start")).then_some("init")
        }
        _ => None,
    }
}

impl Node {
    /// Waits for the host name that cloud-init is to set, where the Node will be called by that; and whether it still has time to.
    pub(crate) fn awaited_name(&self, facts: &Facts, now: &Conditions) -> Option<(Wait, bool)> {
        let stage = facts.naming.filter(|_| self.kubernetes && self.spec.name.is_none() && facts.seen.is_none())?;
        let what = "the host name that cloud-init sets";
        let name = &facts.host_name;
        let wait = Wait::new(
            "name",
            what,
            format!(
                "cloud-init may set another one than {name} in its stage {stage}, and the Node keeps its first name"
            ),
        );
        let overdue = format!(
            "{name} is taken as it is: `name` in [node] says another one; `cloud-init status --long` tells what is in its way"
        );
        let in_time = now.waited("name", what) < PATIENCE;
        Some((wait.deadline(PATIENCE, overdue).poll(Duration::from_secs(1)), in_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{facts, node};
    use bowline_engine::Capability;

    /// As cloud-init writes it, from 22 to 25.
    fn status(stage: &str, [local, init, config]: [&str; 3]) -> String {
        let part = |times: &str| format!(r#"{{"errors": [], "recoverable_errors": {{}}, {times}}}"#);
        format!(
            r#"{{"v1": {{"datasource": null, "init": {}, "init-local": {}, "modules-config": {}, "modules-final": {},
            "stage": {stage}}}}}"#,
            part(init),
            part(local),
            part(config),
            part(NO)
        )
    }

    const NO: &str = r#""start": null, "finished": null"#;
    const NOW: &str = r#""start": 4.2, "finished": null"#;
    const DONE: &str = r#""start": 4.2, "finished": 5.1"#;

    #[test]
    fn the_host_name_may_be_set_until_the_second_stage_is_over() {
        for (stage, times, said) in [
            ("\"init-local\"", [NOW, NO, NO], Some("init-local")),
            ("null", [DONE, NO, NO], Some("init")),
            ("\"init\"", [DONE, NOW, NO], Some("init")),
            ("null", [DONE, DONE, NO], None),
            ("\"modules-config\"", [DONE, DONE, NOW], None),
            // systemd left the second stage out of the boot.
            ("\"modules-config\"", [DONE, NO, NOW], None),
            ("null", [DONE, NO, DONE], None),
            ("null", [NO, NO, NO], None),
        ] {
            assert_eq!(super::stage(status(stage, times).as_bytes()), said, "{stage} {times:?}");
        }
        for none in ["", "half {", "{}", "[1]", r#"{"v1": {}}"#, r#"{"v1": {"stage": 7}}"#] {
            assert_eq!(super::stage(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn the_name_of_an_image_is_no_nodes_name_while_cloud_init_may_set_another() {
        let mut facts = Facts { naming: Some("init"), ..facts() };
        let first = node(None).plan(&facts, &Conditions::default());
        let wait = first.waits.iter().find(|wait| wait.item == "name").unwrap();
        assert!(!first.conditions.contains_key("name") && wait.why.contains("than K3s-Control in its stage init"));
        // One that hangs.
        let waited = Conditions::default().after("name", &wait.what, PATIENCE);
        let late = node(None).plan(&facts, &waited);
        assert_eq!(late.conditions["name"], "k3s-control");
        assert!(late.waits.iter().any(|wait| wait.item == "name"), "what is in its way is told further");
        // A name that is not the image's.
        let mut named = node(None);
        named.spec.name = Some("n1".into());
        let plan = named.plan(&facts, &Conditions::default());
        assert!(plan.conditions["name"] == "n1" && plan.waits.is_empty());
        facts.seen = Some("n2".into());
        let plan = node(None).plan(&facts, &Conditions::default());
        assert!(plan.conditions["name"] == "n2" && plan.waits.is_empty());
        // A name that no Node may have is not refused before its time.
        let facts = Facts { naming: Some("init-local"), host_name: "localhost".into(), ..crate::tests::facts() };
        assert!(node(None).plan(&facts, &Conditions::default()).refusals.is_empty());
    }
}
