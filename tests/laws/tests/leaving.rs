//! A server that was told to leave waits while the others are not ready to take it out, and stays if it is told so meanwhile.

use bowline_engine::{CapabilityState, Engine, Outcome};
use bowline_host::sim::{SimHost, WorldAnswer};
use bowline_join::files::LEAVING;
use bowline_laws::{agent, member_case, run_for, simulate};
use bowline_ports::Change;
use std::sync::Arc;
use std::time::Duration;

const SERVER: &str = "10.0.1.9:7470";
const PATIENCE: Duration = Duration::from_secs(75);
const NOT_YET: &str = r#"{"version": 1, "code": "not-ready", "message": "the Node n1 is being removed", "retry-after": 1,
    "now": 1800000000}"#;

/// Whether the others are being asked at this moment.
fn asks(engine: &Engine) -> bool {
    let steps = engine.report().capabilities.iter().flat_map(|capability| &capability.steps);
    steps.filter(|step| step.running.is_some()).any(|step| step.what.ends_with("to take n1 out of the cluster"))
}

#[test]
fn a_server_waits_to_be_taken_out_and_stays_if_it_is_told_so_while_it_asks() {
    let case = member_case();
    simulate(async {
        let host = SimHost::new(&case.world);
        let granted = case.world.answers[SERVER].clone();
        assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
        host.answers(SERVER, vec![WorldAnswer::Says { status: 503, body: NOT_YET.into() }]);
        host.put_secret(LEAVING, &format!(r#"{{"since": 1800000000, "issuers": ["{SERVER}"]}}"#));
        let mut reports = Vec::new();
        assert_eq!(run_for(&case, &host, &mut reports, PATIENCE).await, Some(Outcome::Waiting));
        let last = reports.last().unwrap();
        let join = last.capabilities.iter().find(|capability| capability.name == "join").unwrap();
        assert_ne!(join.state, CapabilityState::Failing, "{join:?}");
        let wait = &join.waits[0];
        assert!(wait.why.ends_with("the Node n1 is being removed"), "{wait:?}");
        assert!(last.at - wait.since >= 60, "it has waited since the first answer: {wait:?}");

        let change: Arc<dyn Change> = Arc::new(host.clone());
        let mut engine = agent(&case);
        while !asks(&engine) {
            engine.turn(&change).await;
            if !asks(&engine) {
                engine.next().await;
            }
        }
        host.delete(LEAVING);
        while asks(&engine) {
            engine.next().await;
            engine.turn(&change).await;
        }
        assert_eq!(host.text(LEAVING), None, "the answer does not undo what a person said");
        host.answers(SERVER, granted);
        assert_eq!(run_for(&case, &host, &mut Vec::new(), PATIENCE).await, Some(Outcome::Converged));
    });
}
