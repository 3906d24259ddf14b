//! The name goes back to the servers, and what they gave is forgotten.

use super::{ask, node_name, secrets, write};
use crate::Join;
use crate::exchange::Exchange;
use crate::files::{ENROLLED, LAST, LEFT, Left, SAID, TOKEN};
use bowline_enroll::Code;
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{LeaveRequest, parse_leave_answer};
use bowline_ports::{Change, ErrorKind, NODE_NAME, PortError};
use bowline_settings::Role;
use std::path::Path;

/// Gives the name back. What the servers gave is forgotten last: until then it is asked again.
pub(crate) async fn leave(spec: &Join, host: &dyn Change, name: &str, issuers: &[String]) -> Result<(), PortError> {
    let (ticket, key) = secrets(spec, host, name).await?;
    let request = LeaveRequest {
        version: bowline_enroll::wire::VERSION,
        role: spec.role,
        name: node_name(name)?,
        machine_key: key.public(),
    };
    let exchange = Exchange { purpose: Purpose::Leave, ticket, key };
    match ask(host, issuers, request.to_body(), &exchange).await? {
        Err(silence) => Err(PortError::new(ErrorKind::Unreachable, silence.message)),
        Ok((server, answer)) => match parse_leave_answer(answer.status, &answer.body) {
            Ok(Ok(_)) => given_back(host).await,
            // There is nothing to give back.
            Ok(Err(refusal)) if refusal.code == Code::NotClaimed && spec.role == Role::Agent => forget(host).await,
            // The servers know this machine by no name any more, and take nothing out for it: what is left is to stop.
            Ok(Err(refusal)) if matches!(refusal.code, Code::ClaimedElsewhere | Code::Revoked | Code::NotClaimed) => {
                given_back(host).await
            }
            Ok(Err(refusal)) => Err(PortError::new(ErrorKind::Busy, format!("{server} says: {}", refusal.message))),
            Err(error) => Err(PortError::new(ErrorKind::Invalid, format!("{server}: {error}"))),
        },
    }
}

/// Writes down that it holds no name any more.
async fn given_back(host: &dyn Change) -> Result<(), PortError> {
    let file = host.read(Path::new(LEFT)).await?;
    let left: Left = file.and_then(|f| serde_json::from_slice(&f.content).ok()).unwrap_or_default();
    let given_back = Some(host.clock().await?.unix);
    write(host, LEFT, &Left { given_back, ..left }, 0o600).await?;
    forget(host).await
}

/// Forgets what the servers gave.
async fn forget(host: &dyn Change) -> Result<(), PortError> {
    // Without the first this machine is free to come in under another name.
    for file in [NODE_NAME, TOKEN, SAID, LAST, ENROLLED] {
        host.remove(Path::new(file)).await?;
    }
    Ok(())
}
