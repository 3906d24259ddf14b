//! The issuer of a server: it answers as soon as the API does, and for as long as the settings say so. A member of a cluster
//! answers before, too: what it says then is that it cannot decide, which keeps others from founding a second one.

mod doors;
mod failed;
mod own;

use bowline_engine::CapabilityReport;
use bowline_enroll::Secret;
use bowline_enroll::key::{ClusterKeys, MachineKey};
use bowline_enroll::proof::{Headers, Purpose};
use bowline_host::real::door::{Answerer, Asked, Counters, Reply};
use bowline_host::real::{ObjectApi, RealHost};
use bowline_issuer::{Issuer, Rest, SWEEP_IDLE, SWEEP_PENDING, Watch};
use bowline_metrics::Enrolments;
use bowline_ports::{Change, ErrorKind, Inspect, PortError, condition, k3s_admin_kubeconfig};
use bowline_settings::{Cluster, Enroll, Role, Settings};
use doors::Doors;
use failed::{ELSEWHERE, Failed, NOBODY, TRY_AGAIN};
use own::{machine_key, own};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Until the next sweep while other servers wait for this one to be up.
const SWEEP_AWAITED: Duration = Duration::from_secs(2);
/// After an answer, until what it left is cleaned up.
const SWEEP_AFTER_ANSWER: Duration = Duration::from_secs(20);
/// Between two looks at the persistent volumes of nodes, where there are some: one read each.
const VOLUMES_EVERY: Duration = Duration::from_secs(120);
/// From the first of several refusals until they are written down, and from then until the next ones are.
const REFUSALS_GATHER: Duration = Duration::from_secs(10);
const REFUSALS_APART: Duration = Duration::from_secs(50);

/// The issuer, when this node has one.
pub(crate) struct Issuing {
    enrolments: Enrolments,
    served: Option<Served>,
    /// New settings are no reason to watch all Leases anew. Behind closed doors nobody watches, and the API may be away.
    watch: Watch,
    /// The names of the keys that count.
    keys: Vec<String>,
    /// What is wrong with the key file since.
    key_trouble: Option<String>,
    doors: Option<Doors>,
    /// Who cleans up, looks for Nodes, writes Events and notes refusals.
    helpers: Vec<JoinHandle<()>>,
    failed: Option<Failed>,
}

#[derive(Clone, PartialEq)]
struct Served {
    enroll: Enroll,
    cluster: Cluster,
    name: String,
    address: IpAddr,
    /// The server token of the cluster whose data this machine has: after `k3s token rotate` it is another one.
    member_of: Option<Secret>,
}

/// All that can be counted, at zero.
pub(crate) fn enrolments() -> Result<Enrolments, bowline_metrics::Error> {
    Enrolments::new(bowline_issuer::results(), Counters::ENDS)
}

impl Issuing {
    /// No doors yet. They are counted for as long as the daemon lives, however often they open.
    pub(crate) fn new(enrolments: Enrolments) -> Self {
        let (helpers, watch) = (Vec::new(), Watch::default());
        Self {
            enrolments,
            served: None,
            keys: Vec::new(),
            key_trouble: None,
            doors: None,
            helpers,
            watch,
            failed: None,
        }
    }

    /// The counters, where the settings make an issuer.
    pub(crate) fn counted(&self, settings: &Settings) -> Option<Enrolments> {
        issues(settings).map(|_| self.enrolments.clone())
    }

    /// Opens or closes the doors as the settings and the node stand.
    pub(crate) async fn adjust(
        &mut self,
        settings: &Settings,
        conditions: &BTreeMap<String, String>,
        host: &Arc<RealHost>,
    ) {
        let member_of = match issues(settings) {
            // What cannot be read now is as it was.
            Some(_) => match own::member_of(host).await {
                Ok(member_of) => member_of,
                Err(_) => self.served.as_ref().and_then(|served| served.member_of.clone()),
            },
            None => None,
        };
        let wanted = wanted(settings, conditions, self.served.is_some(), member_of);
        // What is not wanted any more is not tried again.
        if wanted.is_none() {
            self.failed = None;
        }
        let same = wanted == self.served && !self.other_keys(host).await;
        if wanted.is_some() && self.due().is_some_and(|left| !left.is_zero()) {
            return;
        }
        if same {
            // One that could not be opened is tried again; the others stay as they are.
            if self.failed.is_some()
                && let Some(doors) = &mut self.doors
            {
                let opened = doors.open().await;
                self.failed = opened.err().map(|error| Failed::again(self.failed.take(), ELSEWHERE, error));
            }
            return;
        }
        self.close().await;
        let Some(wanted) = wanted else {
            self.watch = Watch::default();
            return;
        };
        match self.open(&wanted, host).await {
            Ok(opened) => {
                self.failed = opened.err().map(|error| Failed::again(self.failed.take(), ELSEWHERE, error));
                self.served = Some(wanted);
            }
            Err(error) => {
                self.failed = Some(Failed::again(self.failed.take(), NOBODY, error));
                self.watch = Watch::default();
            }
        }
    }

    /// Whether the key file has other keys by now. One that cannot be read changes nothing, and is told.
    async fn other_keys(&mut self, host: &Arc<RealHost>) -> bool {
        let Some(served) = &self.served else { return false };
        match keys(served, host).await {
            Ok(keys) => {
                self.key_trouble = None;
                let now = names(&keys);
                if now != self.keys {
                    tracing::info!("the cluster key was changed: {} in its file, which count from now on", now.len());
                }
                now != self.keys
            }
            Err(error) => {
                let text = format!("{error}; the keys that were there before still count");
                if self.key_trouble.as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
                self.key_trouble = Some(text);
                false
            }
        }
    }

    /// What the report says: nothing while there is nobody to let in, or the doors are open.
    pub(crate) fn report(&self) -> Option<CapabilityReport> {
        self.failed.as_ref().map(Failed::report)
    }

    /// When the next try is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.failed.as_ref().map(Failed::left)
    }

    async fn close(&mut self) {
        for helper in self.helpers.drain(..) {
            helper.abort();
        }
        if let Some(doors) = self.doors.take() {
            doors.close().await;
        }
        // Nobody counts any more.
        self.enrolments.members(None);
        self.served = None;
    }

    /// What came of opening the doors, where one is open at least.
    async fn open(&mut self, wanted: &Served, host: &Arc<RealHost>) -> Result<Result<(), PortError>, PortError> {
        let keys = keys(wanted, host).await?;
        self.keys = names(&keys);
        let machine = machine_key(host, &wanted.cluster).await?;
        let own = own(wanted, host).await?;
        let (name, address) = (own.name.clone(), own.address);
        let issuer = Issuer::new(wanted.enroll.clone(), keys, own, host.objects(k3s_admin_kubeconfig()));
        let up = Duration::from_secs(host.clock().await?.uptime);
        let issuer = issuer.watching(&self.watch).up_for(up);
        let enrolments = self.enrolments.clone();
        let desk = Arc::new(Desk { issuer, host: Arc::clone(host), enrolments, asked: Notify::new() });
        let addresses = wanted.enroll.listen.iter().filter_map(|listen| listen.resolve(Some(address))).collect();
        let mut doors = Doors::new(name.to_string(), addresses, Arc::clone(&desk) as Arc<dyn Answerer>);
        let opened = doors.open().await;
        if doors.are_shut() {
            opened.clone()?;
        }
        self.doors = Some(doors);
        self.helpers = vec![
            tokio::spawn(tell(Arc::clone(&desk))),
            tokio::spawn(note(Arc::clone(&desk))),
            tokio::spawn(tokens(Arc::clone(&desk))),
            tokio::spawn(sweep(desk, machine)),
        ];
        Ok(opened)
    }
}

/// What makes an issuer of a node.
fn issues(settings: &Settings) -> Option<(&Cluster, &Enroll)> {
    let cluster = settings.cluster.as_ref().filter(|cluster| cluster.role == Role::Server)?;
    Some((cluster, settings.enroll.as_ref()?))
}

/// What is to be served, and whether it is. It begins when the API has told about this server's own Node, and goes on when
/// the API is too busy to tell; on a machine with the data of a cluster it does not wait for that.
fn wanted(
    settings: &Settings,
    conditions: &BTreeMap<String, String>,
    open: bool,
    member_of: Option<Secret>,
) -> Option<Served> {
    let (cluster, enroll) = issues(settings)?;
    let active = conditions.get(condition::K3S).is_some_and(|k3s| k3s == "active");
    if !(member_of.is_some() || open && active) {
        conditions.get(condition::NODE)?;
    }
    if conditions.get(condition::LEAVING).is_some_and(|leaving| leaving == "yes") {
        return None;
    }
    Some(Served {
        enroll: enroll.clone(),
        cluster: cluster.clone(),
        name: conditions.get(condition::NAME)?.clone(),
        address: conditions.get(condition::ADDRESS)?.parse().ok()?,
        member_of,
    })
}

async fn keys(wanted: &Served, host: &RealHost) -> Result<ClusterKeys, PortError> {
    let nowhere = || PortError::new(ErrorKind::Invalid, "no `cluster.key-file`");
    crate::key::read(host, wanted.cluster.join.key_file.as_deref().ok_or_else(nowhere)?).await
}

fn names(keys: &ClusterKeys) -> Vec<String> {
    keys.iter().map(|key| key.id()).collect()
}

/// Who answers at the doors.
struct Desk {
    issuer: Issuer<ObjectApi>,
    host: Arc<RealHost>,
    enrolments: Enrolments,
    asked: Notify,
}

impl Desk {
    /// This server's clock, in seconds since 1970, as the issuer is told it.
    async fn unix(&self) -> u64 {
        self.host.clock().await.map_or(0, |clock| self.hand_on(&clock))
    }

    /// Tells the issuer whether the clock is synchronised; what it says is the result.
    fn hand_on(&self, clock: &bowline_ports::Clock) -> u64 {
        self.issuer.set_synchronised(clock.synchronised);
        u64::try_from(clock.unix).unwrap_or_default()
    }
}

impl Answerer for Desk {
    fn serves(&self, path: &str) -> bool {
        Purpose::of_path(path).is_some()
    }

    fn answer(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        Box::pin(async move {
            let mut random = [0; 24];
            let (clock, filled) = tokio::join!(self.host.clock(), self.host.random(&mut random));
            let (Ok(clock), Ok(())) = (clock, filled) else {
                return Reply { status: 500, proof: None, body: Vec::new(), wrong: false };
            };
            let headers =
                Headers { proof: asked.proof.unwrap_or_default(), signature: asked.signature.unwrap_or_default() };
            let (peer, binding) = (asked.peer, asked.binding);
            let purpose = Purpose::of_path(&asked.path);
            let asked = bowline_issuer::Asked { peer, binding, path: &asked.path, headers, body: &asked.body };
            let answer = self.issuer.answer(asked, self.hand_on(&clock), &random).await;
            if let Some(purpose) = purpose {
                self.enrolments.answered(purpose.as_str(), answer.result);
            }
            if !answer.wrong {
                self.asked.notify_one();
            }
            Reply { status: answer.status, proof: answer.proof, body: answer.body, wrong: answer.wrong }
        })
    }

    fn ended(&self, end: &'static str) {
        self.enrolments.ended(end);
    }
}

/// Writes Events as they come up.
async fn tell(desk: Arc<Desk>) {
    loop {
        desk.issuer.untold().await;
        desk.issuer.tell().await;
    }
}

/// Notes who was refused, for `bowline nodes`: once a minute at most, however many there are.
async fn note(desk: Arc<Desk>) {
    loop {
        desk.issuer.unnoted().await;
        tokio::time::sleep(REFUSALS_GATHER).await;
        if let Err(error) = desk.issuer.note(desk.unix().await).await {
            tracing::debug!("who was refused is not noted: {error}");
        }
        tokio::time::sleep(REFUSALS_APART).await;
    }
}

/// Looks for the Nodes of tokens that live: only while there are some.
async fn tokens(desk: Arc<Desk>) {
    loop {
        let Some(due) = desk.issuer.nodes_due() else {
            desk.issuer.minted().await;
            continue;
        };
        tokio::time::sleep(due).await;
        if let Err(error) = desk.issuer.look_for_nodes(desk.unix().await).await {
            tracing::debug!("looking for the Nodes of those who were let in: {error}");
        }
    }
}

/// Cleans up now and then, and a while after somebody asked.
async fn sweep(desk: Arc<Desk>, machine: MachineKey) {
    let key = machine.public();
    let (mut begun, mut moved) = (false, 0);
    loop {
        let swept = desk.issuer.sweep(&key, desk.unix().await).await;
        let members = desk.issuer.members();
        desk.enrolments.members(members.map(|members| (members.expected, members.missing)));
        begun |= members.is_some();
        let rest = rest(swept, begun, &mut moved);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = volumes(&desk) => {}
            () = desk.asked.notified() => tokio::time::sleep(SWEEP_AFTER_ANSWER.min(rest)).await,
        }
    }
}

/// How long until the next sweep. `moved`: how many in a row met a conflict.
fn rest(swept: Result<Rest, PortError>, begun: bool, moved: &mut u32) -> Duration {
    let conflict = swept.as_ref().is_err_and(|error| error.kind == ErrorKind::Changed);
    *moved = if conflict { *moved + 1 } else { 0 };
    match swept {
        Ok(Rest::Long) => SWEEP_IDLE,
        Ok(Rest::Soon) => SWEEP_PENDING,
        Ok(Rest::Moment) => SWEEP_AWAITED,
        // The API is not up yet, has not written its credentials, or is without a quorum: nobody is let in meanwhile.
        Err(error) if !begun || matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout) => {
            tracing::debug!("cleaning up after those who were let in: {error}");
            if begun { TRY_AGAIN } else { SWEEP_AWAITED }
        }
        // Another server, or a request, was first, perhaps with this and then with that: another look tells. What stays is told.
        Err(_) if (1..5).contains(moved) => SWEEP_AWAITED,
        Err(error) => {
            tracing::warn!("cleaning up after those who were let in: {error}");
            SWEEP_PENDING
        }
    }
}

/// Looks after the persistent volumes of nodes; without any, this waits for ever.
async fn volumes(desk: &Desk) {
    if !desk.issuer.has_volumes() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(VOLUMES_EVERY).await;
        if let Err(error) = desk.issuer.look_after_volumes(desk.unix().await).await {
            tracing::warn!("looking after the persistent volumes of nodes: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
