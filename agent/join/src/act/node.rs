//! What is asked of the servers for this machine's Node.

use super::ask::keep_time;
use super::{Heard, ask, node_name, secrets, versions};
use crate::Join;
use crate::exchange::Exchange;
use crate::files::{ENROLLED, Enrolled, NODE_SAID, Said};
use bowline_enroll::decide::JOIN_RENEW;
use bowline_enroll::persistent::Wish;
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{Labels, NodeRequest, Phase, parse_node_answer};
use bowline_ports::{Change, ErrorKind, PortError, read_json, write_json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Until a server asks for its turn again that got no answer.
const SOON: Duration = Duration::from_secs(10);

/// What is asked for a Node.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// The node's address.
    pub(crate) address: &'a str,
    /// All of it, as a hash.
    pub(crate) asked: &'a str,
    /// What the Node has of it, as a hash.
    pub(crate) beside: &'a str,
    /// Everything of its own is in place.
    pub(crate) settled: bool,
    /// The labels that it would have.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// The persistent volumes that it would have.
    pub(crate) persistent: &'a [Wish],
}

/// Asks for what only servers may do to this Node.
pub(crate) async fn ask_for_node(
    spec: &Join,
    host: &dyn Change,
    name: &str,
    issuers: &[String],
    about: About<'_>,
) -> Result<(), PortError> {
    let (ticket, key) = secrets(spec, host, name).await?;
    let request = NodeRequest {
        version: bowline_enroll::wire::VERSION,
        role: spec.role,
        name: node_name(name)?,
        machine_key: key.public(),
        phase: if about.settled { Phase::Settled } else { Phase::Initializing },
        labels: Labels(about.labels.clone()),
        taints: spec.taints.clone(),
        persistent_volumes: about.persistent.to_vec(),
        versions: versions(spec),
    };
    let exchange = Exchange { purpose: Purpose::Node, ticket, key };
    let answered = ask(host, issuers, request.to_body(), &exchange, about.address.parse().ok()).await?;
    let at = host.clock().await?.uptime;
    let briefly = about.asked.is_empty();
    let mut said = match briefly {
        true => Said { at, refused: None, trouble: None, ..before(host).await? },
        false => Said { asked: about.asked.into(), beside: about.beside.into(), at, ..Said::default() },
    };
    match answered {
        Err(silence) if briefly => return soon_again(host, silence.message).await,
        Err(silence) => return Err(PortError::new(ErrorKind::Unreachable, silence.message)),
        Ok(Heard { by: server, answer, told }) => match parse_node_answer(answer.status, &answer.body) {
            Ok(Ok(answer)) => {
                keep_time(host, told).await?;
                if !briefly {
                    (said.labels, said.taints, said.cut) = (answer.labels.0, answer.taints, answer.cut);
                }
                learn(host, answer.issuers).await?;
            }
            Ok(Err(refusal)) if refusal.retry_after.is_some() && briefly => {
                return soon_again(host, format!("{server}: {}", refusal.message)).await;
            }
            Ok(Err(refusal)) if refusal.retry_after.is_some() => {
                return Err(PortError::new(ErrorKind::Busy, format!("{server}: {}", refusal.message)));
            }
            Ok(Err(refusal)) => said.refused = Some((refusal.code, refusal.message)),
            Err(error) if briefly => return soon_again(host, format!("{server}: {error}")).await,
            Err(error) => return Err(PortError::new(ErrorKind::Invalid, format!("{server}: {error}"))),
        },
    }
    write_json(host, NODE_SAID, &said, 0o600).await
}

/// What they said before.
async fn before(host: &dyn Change) -> Result<Said, PortError> {
    Ok(read_json(host, NODE_SAID).await?.unwrap_or_default())
}

/// Whatever is in the way of an answer, a server asks for its turn again before that is over: failures wait ever longer.
async fn soon_again(host: &dyn Change, trouble: String) -> Result<(), PortError> {
    // As if it had been asked so long ago that it is due then.
    let at = (host.clock().await?.uptime + SOON.as_secs()).saturating_sub(JOIN_RENEW.as_secs());
    let said = Said { at, trouble: Some(trouble), ..before(host).await? };
    write_json(host, NODE_SAID, &said, 0o600).await
}

/// Remembers the servers that let nodes in by now: those of the day when it was let in may be gone one day.
async fn learn(host: &dyn Change, issuers: Vec<String>) -> Result<(), PortError> {
    let enrolled: Option<Enrolled> = read_json(host, ENROLLED).await?;
    match enrolled {
        Some(enrolled) if !issuers.is_empty() && enrolled.issuers != issuers => {
            write_json(host, ENROLLED, &Enrolled { issuers, ..enrolled }, 0o600).await
        }
        _ => Ok(()),
    }
}
