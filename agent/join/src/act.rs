//! The conversations with the servers. What they refuse is written down, and shown as a wait: to be refused is no
//! failure of this machine.

use crate::Join;
use crate::exchange::{Exchange, password_hash};
use crate::facts::{fingerprint, read_ticket, removed};
use crate::files::{
    ENROLLED, Enrolled, GAVE_WAY, GAVE_WAY_SPARE, HELD, LAST_TRY, Last, MACHINE_KEY, NODE_SAID, PASSWORD, TOKEN, Told,
    gave_way, held, is_member,
};
use crate::machine_key;
use crate::why::{Unanswered, Why};
use bowline_enroll::key::{MachineKey, Ticket};
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{EnrollAnswer, EnrollRequest, Grant, Labels, RefusalBody, Versions, parse_enroll_answer};
use bowline_enroll::{Code, NodeName};
use bowline_ports::records::{Moment, Restart};
use bowline_ports::{
    ActiveState, Change, ErrorKind, MARK, PortError, UNITS, configured, forget_name, read_json, write_json,
};
use bowline_settings::Role;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod ask;
mod asked;
mod copy;
mod leave;
mod node;
use ask::{Heard, ask};
pub(crate) use asked::{forget, stop_to_join};
pub(crate) use copy::{replace_key, stop_copy};
pub(crate) use leave::leave;
pub(crate) use node::{About, ask_for_node};

pub(crate) async fn make_password(host: &dyn Change) -> Result<(), PortError> {
    let mut bytes = [0; 16];
    host.random(&mut bytes).await?;
    host.write(Path::new(PASSWORD), format!("{}\n", hex::encode(bytes)).as_bytes(), 0o600).await
}

/// Asks each server in turn until one gives a proven answer.
pub(crate) async fn enroll(
    spec: &Join,
    host: &dyn Change,
    name: &str,
    address: &str,
    issuers: &[String],
    labels: &BTreeMap<String, String>,
) -> Result<(), PortError> {
    let (ticket, key) = secrets(spec, host, name).await?;
    let used = fingerprint(&ticket);
    let password = text(host, PASSWORD).await?;
    let mut salt = [0; 8];
    host.random(&mut salt).await?;
    // Looked at now: a volume with the data may have been mounted since the plan was made.
    let fresh = spec.role == Role::Agent || !is_member(host).await?;
    let request = EnrollRequest {
        version: bowline_enroll::wire::VERSION,
        role: spec.role,
        name: node_name(name)?,
        machine_key: key.public(),
        addresses: address.parse().into_iter().collect(),
        fresh,
        labels: Labels(labels.clone()),
        taints: spec.taints.clone(),
        versions: versions(spec),
        node_password_hash: Some(password_hash(password.trim(), salt)?),
    };
    let exchange = Exchange { purpose: Purpose::Enroll, ticket, key };
    let answered = ask(host, issuers, request.to_body(), &exchange, address.parse().ok()).await?;
    // Who may found and was answered knows that there is a cluster, until it is in. What was answered counts on a full disk, too.
    let noted = match (spec.spec.init, fresh, &answered) {
        (Some(_), true, Ok(heard)) => asked::was_answered(spec, host, &heard.by).await,
        _ => Ok(()),
    };
    let last = match answered {
        Err(silence) => silence,
        Ok(Heard { by: server, answer, told }) => match parse_enroll_answer(answer.status, &answer.body) {
            Ok(EnrollAnswer::Granted(_)) if fresh && asked::has_founded(spec, host).await? => return Ok(()),
            Ok(EnrollAnswer::Granted(grant)) => {
                noted?;
                return keep(spec, host, (name, address), &used, *grant, told).await;
            }
            Ok(EnrollAnswer::Refused(refusal)) => last(&server, &refusal),
            Err(error) => {
                let message = format!("{server}: {error}");
                let code = Why::Unanswered(Unanswered::BadAnswer);
                Last { code, message, at: 0, again: 10, silent_since: None, asked: Vec::new() }
            }
        },
    };
    let at = host.clock().await?.uptime;
    let before: Option<Last> = read_json(host, LAST_TRY).await?;
    let asked = spec.asked();
    let silent_since = match last.code {
        Why::NO_ANSWER => before.filter(|b| b.asked == asked).and_then(|b| b.silent_since).or(Some(at)),
        _ => None,
    };
    // Who founds asks until K3s is started.
    let wait =
        spec.spec.init.zip(silent_since).filter(|(wait, since)| at.saturating_sub(*since) >= wait.duration().as_secs());
    let again = if wait.is_some() { FOUNDER_ASKS.as_secs() } else { last.again };
    let last = Last { at, again, silent_since, asked, ..last };
    write_json(host, LAST_TRY, &last, 0o600).await.and(noted)
}

/// Keeps a grant: the token last, so that what is there is whole.
async fn keep(
    spec: &Join,
    host: &dyn Change,
    (name, address): (&str, &str),
    ticket: &str,
    grant: Grant,
    told: Option<Told>,
) -> Result<(), PortError> {
    let service = spec.role.service();
    let unit = host.unit(service).await?;
    let before: Option<Enrolled> = read_json(host, ENROLLED).await?;
    if unit.active == ActiveState::Active && before.is_some_and(|before| Some(before.ca.as_str()) != grant.ca_hash()) {
        Restart::of("its cluster was made anew, with another CA").put_on_record(host).await?;
    }
    let unix = host.clock().await?.unix;
    let removed = match spec.role {
        Role::Server => removed(host).await?,
        Role::Agent => None,
    };
    let lasts = grant.token_lasts.and_then(|seconds| i64::try_from(seconds).ok());
    let enrolled = Enrolled {
        name: name.into(),
        role: spec.role.as_str().into(),
        ticket: ticket.into(),
        expires: lasts.map(|lasts| unix.saturating_add(lasts)),
        ca: grant.ca_hash().unwrap_or_default().to_string(),
        issuers: grant.issuers,
        servers: grant.servers,
        kubernetes: grant.kubernetes,
        agreed: grant.agreed,
        at: unix,
        after: None,
    };
    host.write(Path::new(TOKEN), format!("{}\n", grant.token.expose()).as_bytes(), 0o600).await?;
    write_json(host, ENROLLED, &enrolled, 0o600).await?;
    // Who answered stays on record until it is in.
    host.remove(Path::new(LAST_TRY)).await?;
    host.remove(Path::new(NODE_SAID)).await?;
    // K3s's certificates do not forgive another clock here.
    ask::keep_time(host, told).await?;
    let gave_way = gave_way(host).await?;
    let out = removed.is_some();
    let ours = ours(host, service).await?;
    // K3s would come up as the Node that it is configured as, which may be another machine's by now.
    let renamed = configured(host, "node-name").await?.is_some_and(|there| there != name);
    // At an address that this machine has no more a server's K3s does not even find out that it is no member of etcd.
    let moved = spec.role == Role::Server && configured(host, "node-ip").await?.is_some_and(|there| there != address);
    let as_it_is = !renamed && !moved;
    // Before its unit has the gate and its configuration a server to join, a boot would begin a second cluster.
    if !out && as_it_is && gave_way.as_ref().is_some_and(|file| file.content == WAS_ENABLED) {
        host.enable(service).await?;
    }
    if out && ours {
        let start = gave_way.is_some() && !unit.active.is_up();
        // One that is started meanwhile, such as by a boot, joins anew as it is.
        let written = Some(Moment::now(host).await?);
        let restart = Restart { start, written, ..Restart::of("it was taken out of etcd, and joins anew") };
        restart.put_on_record(host).await?;
    }
    if out {
        // Not before its restart is on record: it is not asked again for the same reason.
        write_json(host, ENROLLED, &Enrolled { after: removed, ..enrolled }, 0o600).await?;
    }
    if !as_it_is && !out && gave_way.is_some() && !unit.active.is_up() {
        let how = if renamed { format!("as {name}") } else { format!("with the address {address}") };
        let restart = Restart::of(format!("it was let in {how}"));
        Restart { start: true, ..restart }.put_on_record(host).await?;
    }
    match unit.active {
        // For the same reason only `cluster` starts it, by that record; a K3s of somebody else is started by them.
        _ if out => {}
        // K3s reads the token at its start only.
        ActiveState::Activating => host.restart_no_block(service).await?,
        // It was stopped here. One that is still on its way down is started when it is.
        state if gave_way.is_some() && as_it_is && !state.is_up() => host.start_no_block(service).await?,
        _ => {}
    }
    // Last: as long as it is there, this is done again.
    host.remove(Path::new(GAVE_WAY_SPARE)).await?;
    host.remove(Path::new(GAVE_WAY)).await
}

/// Whether Bowline wrote the unit, be it an earlier one that knew of no gate.
async fn ours(host: &dyn Change, service: &str) -> Result<bool, PortError> {
    let unit = host.read(&Path::new(UNITS).join(service)).await?;
    Ok(unit.is_some_and(|unit| unit.text().starts_with(MARK)))
}

/// Until the next try of who founds a cluster and could not yet start K3s.
const FOUNDER_ASKS: Duration = Duration::from_secs(5);

/// What is in [`GAVE_WAY`] where K3s was enabled when it was stopped.
const WAS_ENABLED: &[u8] = b"enabled\n";

/// Nothing starts K3s any more, systemd itself included, as long as this machine is to leave.
pub(crate) async fn hold(spec: &Join, host: &dyn Change) -> Result<(), PortError> {
    host.write(Path::new(&held(spec.role.service())), HELD.as_bytes(), 0o644).await?;
    host.reload_units().await
}

/// The end of that.
pub(crate) async fn release(spec: &Join, host: &dyn Change) -> Result<(), PortError> {
    host.remove(Path::new(&held(spec.role.service()))).await?;
    host.reload_units().await
}

/// Stops K3s. What its pods run is not touched: K3s leaves them alone when it stops.
pub(crate) async fn stop(spec: &Join, host: &dyn Change) -> Result<(), PortError> {
    let service = spec.role.service();
    // Also where it cannot be disabled, as on a disk that became read-only.
    let disabled = host.remove(&wanted(service)).await;
    let stopped = host.stop_no_block(service).await;
    // Or systemd says that it is enabled still, when the machine is let in again.
    let told = host.reload_units().await;
    stopped.and(disabled).and(told)
}

/// The link by which it is enabled.
fn wanted(service: &str) -> PathBuf {
    Path::new(UNITS).join("multi-user.target.wants").join(service)
}

/// Stops K3s and forgets what the servers gave: another machine has the name, and two kubelets would fight over one
/// Node. It asks again as a machine that comes in, and waits for as long as the other one lives. K3s stops last: whoever
/// was interrupted finds it running.
pub(crate) async fn give_way(spec: &Join, host: &dyn Change, message: &str) -> Result<(), PortError> {
    // Whoever is interrupted finds out once only whether it was enabled.
    if gave_way(host).await?.is_none() {
        let enabled = host.meta(&wanted(spec.role.service())).await?.is_some();
        let content = if enabled { WAS_ENABLED } else { b"" };
        // A full disk is no reason to go on running: the other machine's kubelet has the same Node.
        if host.write(Path::new(GAVE_WAY), content, 0o600).await.is_err() {
            host.write(Path::new(GAVE_WAY_SPARE), content, 0o600).await?;
            // Over a boot, too, where a rename takes no room: that it is there says most.
            let _ = host.rename(Path::new(ENROLLED), Path::new(GAVE_WAY), 0o600).await;
        }
    }
    let at = host.clock().await?.uptime;
    let code = Why::Refused(Code::ClaimedElsewhere);
    let asked = spec.asked();
    write_json(
        host,
        LAST_TRY,
        &Last { code, message: message.into(), at, again: 15, silent_since: None, asked },
        0o600,
    )
    .await?;
    // Whatever of this the disk does not take, K3s stops.
    let mut done = forget_name(host).await;
    for file in [TOKEN, NODE_SAID, ENROLLED] {
        done = done.and(host.remove(Path::new(file)).await);
    }
    stop(spec, host).await.and(done)
}

fn last(server: &str, refusal: &RefusalBody) -> Last {
    Last {
        code: Why::Refused(refusal.code),
        message: format!("{server} says: {}", refusal.message),
        at: 0,
        // The others were asked, too: one whose API comes up is asked again as soon as one that is silent.
        again: if refusal.is_starting() { 2 } else { refusal.retry_after.unwrap_or(15).clamp(1, 60) },
        silent_since: None,
        asked: Vec::new(),
    }
}

async fn secrets(spec: &Join, host: &dyn Change, name: &str) -> Result<(Ticket, MachineKey), PortError> {
    let invalid = |why: String| PortError::new(ErrorKind::Invalid, why);
    let ticket = read_ticket(spec, host, name).await?.map_err(|none| invalid(none.why).hint(none.hint))?;
    let gone = || PortError::new(ErrorKind::Changed, format!("{MACHINE_KEY} is gone"));
    let key = machine_key::read(host).await?.ok_or_else(gone)?;
    Ok((ticket, key))
}

async fn text(host: &dyn Change, path: &str) -> Result<String, PortError> {
    let gone = || PortError::new(ErrorKind::Changed, format!("{path} is gone"));
    Ok(host.read(Path::new(path)).await?.ok_or_else(gone)?.text())
}

fn node_name(name: &str) -> Result<NodeName, PortError> {
    NodeName::new(name).map_err(|why| PortError::new(ErrorKind::Invalid, format!("{name}: {why}")))
}

fn versions(spec: &Join) -> Versions {
    Versions { bowline: spec.version.clone(), kubernetes: spec.kubernetes.clone() }
}
