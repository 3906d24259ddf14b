//! Servers of the cluster, as the world says that they answer.

use super::SimHost;
use super::state::State;
use super::world::WorldAnswer;
use bowline_ports::{Answered, Ask, ErrorKind, Fut, PortError, Proofs};
use serde_json::Value;
use std::time::Duration;

/// There is no TLS here: every connection has this binding.
const BINDING: [u8; 32] = [7; 32];
/// What a node asks for itself.
const NODE: &str = "/v1/node";
/// As long as the real host waits for an answer.
const SILENCE: Duration = Duration::from_secs(15);

impl SimHost {
    pub(super) fn exchange<'a>(&'a self, ask: &'a Ask, proofs: &'a dyn Proofs) -> Fut<'a, Answered> {
        Box::pin(async move {
            let Ask { server, .. } = ask;
            let _ = proofs.request(&BINDING, &ask.body);
            let answer = self.change("ask", |_| {}, move |state| Ok(next(state, ask))).await?;
            let error = match answer {
                Some(WorldAnswer::Says { status, body }) => return Ok(Answered { status, body: body.into_bytes() }),
                Some(WorldAnswer::LetsIn { enroll, node }) => {
                    let body = if ask.path == NODE { node } else { enroll };
                    return Ok(Answered { status: 200, body: body.into_bytes() });
                }
                Some(WorldAnswer::Silent) => {
                    tokio::time::sleep(SILENCE).await;
                    let message = format!("{server}: no answer within {} s", SILENCE.as_secs());
                    PortError::new(ErrorKind::Busy, message)
                }
                Some(WorldAnswer::Nameless) => {
                    let message = format!("resolving {server}: Temporary failure in name resolution");
                    PortError::new(ErrorKind::NotFound, message)
                }
                Some(WorldAnswer::NoWay) => {
                    let message = format!("this machine has no way to {server}: Network is unreachable");
                    PortError::new(ErrorKind::Other, message)
                }
                Some(WorldAnswer::Unproven) => PortError::new(
                    ErrorKind::Denied,
                    format!(
                        "the answer of {server} is not proven: something else answers there, or the cluster key differs"
                    ),
                ),
                Some(WorldAnswer::Unreachable) | None => {
                    PortError::new(ErrorKind::Unreachable, format!("no connection to {server}: Connection refused"))
                }
            };
            Err(error)
        })
    }
}

fn next(state: &mut State, ask: &Ask) -> Option<WorldAnswer> {
    let answers = state.answers.get_mut(&ask.server)?;
    let mut answer = if answers.len() > 1 { Some(answers.remove(0)) } else { answers.first().cloned() };
    if !matches!(answer, None | Some(WorldAnswer::Unreachable | WorldAnswer::Nameless | WorldAnswer::NoWay)) {
        state.asked.push(ask.clone());
    }
    if let Some(WorldAnswer::LetsIn { node, .. }) = answer.as_ref().filter(|_| ask.path == NODE) {
        state.give(node, &ask.body);
    }
    if let Some(WorldAnswer::LetsIn { enroll, node }) = &mut answer {
        let passed = state.began.elapsed().as_secs();
        (*enroll, *node) = (later(enroll, passed), later(node, passed));
    }
    answer
}

/// What is said so many seconds after the world began: the servers' clocks go on.
fn later(body: &str, passed: u64) -> String {
    let Ok(mut said) = serde_json::from_str::<Value>(body) else { return body.into() };
    let Some(now) = said["now"].as_u64() else { return body.into() };
    said["now"] = (now + passed).into();
    said.to_string()
}

impl State {
    /// What the servers do to a Node that asks: they set its labels, and end the startup taint once all is in place.
    fn give(&mut self, answer: &str, request: &[u8]) {
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
        let (answer, request) = (json(answer.as_bytes()), json(request));
        let Some(node) = &mut self.node else { return };
        for (key, value) in answer["labels"].as_object().into_iter().flatten() {
            node.labels.insert(key.clone(), value.as_str().unwrap_or_default().into());
            node.managers.insert(key.clone(), vec!["bowline-issuer".into()]);
        }
        if request["phase"] == "settled" {
            node.taints.retain(|taint| !taint.starts_with("bowline/initializing"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Fault, FaultMode, World};
    use bowline_ports::Change;

    struct Blind;
    impl Proofs for Blind {
        fn request(&self, _: &[u8; 32], _: &[u8]) -> Vec<(&'static str, String)> {
            Vec::new()
        }
        fn answer(&self, _: &[u8; 32], _: u16, _: &[u8], _: &[u8], _: &str) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn servers_answer_as_the_world_says() {
        let says = |status| WorldAnswer::Says { status, body: "{}".into() };
        let host = SimHost::new(&World::default());
        let (unproven, silent, away) = (WorldAnswer::Unproven, WorldAnswer::Silent, WorldAnswer::Unreachable);
        host.answers("s:7470", vec![away, unproven, silent, says(409), says(200)]);
        let ask = Ask { server: "s:7470".into(), path: "/v1/enroll".into(), body: Vec::new(), from: None };
        let elsewhere = Ask { server: "t:7470".into(), ..ask.clone() };
        let kind = async |ask: &Ask| host.ask(ask, &Blind).await.map(|a| a.status).map_err(|e| e.kind);
        assert_eq!(kind(&elsewhere).await, Err(ErrorKind::Unreachable));
        assert_eq!(kind(&ask).await, Err(ErrorKind::Unreachable));
        assert_eq!(kind(&ask).await, Err(ErrorKind::Denied));
        assert_eq!(kind(&ask).await, Err(ErrorKind::Busy));
        host.arm(Fault::at_change(0, FaultMode::FailBefore));
        assert_eq!(kind(&ask).await, Err(ErrorKind::Other));
        assert_eq!(kind(&ask).await, Ok(409));
        assert_eq!(kind(&ask).await, Ok(200));
        assert_eq!(kind(&ask).await, Ok(200), "the last answer again and again");
        assert_eq!(host.asked().len(), 5);
    }

    #[test]
    fn the_clocks_of_servers_go_on() {
        assert_eq!(later(r#"{"now": 7, "version": 1}"#, 5), r#"{"now":12,"version":1}"#);
        assert_eq!(later("{}", 5), "{}");
        assert_eq!(later("no JSON", 5), "no JSON");
    }

    #[test]
    fn answers_are_written_in_toml_or_json() {
        let text = r#"["silent", {"says": {"status": 200, "body": "{}"}}]"#;
        let answers: Vec<WorldAnswer> = serde_json::from_str(text).unwrap();
        assert_eq!(answers[0], WorldAnswer::Silent);
    }
}
