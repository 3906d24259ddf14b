//! The name goes back to the servers, and what they gave is forgotten.

use super::{Heard, ask, last, node_name, secrets};
use crate::Join;
use crate::exchange::Exchange;
use crate::files::{ANSWERED, ENROLLED, LAST_TRY, LEAVING, Last, Left, NODE_SAID, TOKEN, is_member, left};
use bowline_enroll::Code;
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{LeaveRequest, RefusalBody, parse_leave_answer};
use bowline_ports::{Change, ErrorKind, PortError, forget_name, write_json};
use bowline_settings::Role;
use std::net::IpAddr;
use std::path::Path;

/// Gives the name back, from that address. What the servers gave is forgotten last: until then it is asked again.
pub(crate) async fn leave(
    spec: &Join,
    host: &dyn Change,
    name: &str,
    issuers: &[String],
    from: Option<IpAddr>,
) -> Result<(), PortError> {
    let (ticket, key) = secrets(spec, host, name).await?;
    let request = LeaveRequest {
        version: bowline_enroll::wire::VERSION,
        role: spec.role,
        name: node_name(name)?,
        machine_key: key.public(),
    };
    let exchange = Exchange { purpose: Purpose::Leave, ticket, key };
    match ask(host, issuers, request.to_body(), &exchange, from).await? {
        Err(silence) => not_yet(host, silence).await,
        Ok(Heard { by: server, answer, .. }) => match parse_leave_answer(answer.status, &answer.body) {
            Ok(Ok(_)) => given_back(host, None).await,
            // There is nothing to give back.
            Ok(Err(refusal)) if refusal.code == Code::NotClaimed && spec.role == Role::Agent => forget(host).await,
            // The servers know this machine by no name any more, and take nothing out for it: what is left is to stop.
            Ok(Err(refusal)) if matches!(refusal.code, Code::ClaimedElsewhere | Code::Revoked | Code::NotClaimed) => {
                if spec.role == Role::Server && !is_out(spec, host, &refusal.code).await? {
                    return Err(member(&server, name, &refusal));
                }
                given_back(host, Some(refusal.message)).await
            }
            Ok(Err(refusal)) => not_yet(host, last(&server, &refusal)).await,
            Err(error) => Err(PortError::new(ErrorKind::Invalid, format!("{server}: {error}"))),
        },
    }
}

/// Whether a server is no member of etcd any more, though the servers have taken nothing out for it: its claim tells nothing of
/// its member, and to stop a member may cost the others their quorum.
async fn is_out(spec: &Join, host: &dyn Change, code: &Code) -> Result<bool, PortError> {
    if !is_member(host).await? {
        return Ok(true);
    }
    // One that is down leaves no mark, and cannot be stopped. Where nobody has its name, the servers say so when its Node is gone.
    let down = host.unit(spec.role.service()).await?.active.is_down();
    Ok(down && *code != Code::NotClaimed)
}

/// It may be a member still, which is taken out with its Node.
fn member(server: &str, name: &str, refusal: &RefusalBody) -> PortError {
    let text = format!("{server} says: {}; and this server may be a member of etcd still", refusal.message);
    let unless = match refusal.code {
        Code::ClaimedElsewhere => format!("if no other machine runs as {name}, "),
        _ => String::new(),
    };
    PortError::new(ErrorKind::Busy, text).hint(format!(
        "{unless}run `kubectl delete node {name}` on another server: that takes it out of etcd, and it then leaves by itself"
    ))
}

/// Writes down what is in the way: the servers are asked again.
async fn not_yet(host: &dyn Change, last: Last) -> Result<(), PortError> {
    let last = Some(Last { at: host.clock().await?.uptime, ..last });
    note(host, |left| Left { last, ..left }).await
}

/// Changes the note that it leaves, unless it was told to stay while the servers were asked.
async fn note(host: &dyn Change, with: impl FnOnce(Left) -> Left) -> Result<(), PortError> {
    match host.read(Path::new(LEAVING)).await? {
        Some(file) => write_json(host, LEAVING, &with(left(&file)), 0o600).await,
        None => Ok(()),
    }
}

/// Writes down that it holds no name any more, and what the servers said where they gave nothing back.
async fn given_back(host: &dyn Change, refused: Option<String>) -> Result<(), PortError> {
    let given_back = Some(host.clock().await?.unix);
    note(host, |left| Left { given_back, refused, last: None, ..left }).await?;
    forget(host).await
}

/// Forgets what the servers gave.
async fn forget(host: &dyn Change) -> Result<(), PortError> {
    forget_name(host).await?;
    for file in [TOKEN, NODE_SAID, LAST_TRY, ANSWERED, ENROLLED] {
        host.remove(Path::new(file)).await?;
    }
    Ok(())
}
