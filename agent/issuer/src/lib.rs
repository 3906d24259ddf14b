//! What a server answers to machines that come in. Each request is its own bounded look, decision and act.
//!
//! - `read`: what the Kubernetes API knows of a name.
//! - `acts`: the decisions of `bowline-enroll`, carried out.
//! - `object`: claims, tokens and the like as API objects.
//! - `events`: what `kubectl describe node` tells of it.
//! - `leases`: how long a Lease has stood still, by this issuer's own clock.
//! - [`policy`]: only names that were let in lose the startup taint.
//! - `sweep`: what it does without being asked.
//! - `tokens`: whose tokens have served.
//! - `refusals`: who was refused a name that nobody holds.
//! - `volumes`: persistent volumes of nodes.
//! - [`nodes`]: who holds which name, and `revoke`.

mod acts;
mod clock;
mod events;
mod leases;
pub mod nodes;
mod object;
pub mod policy;
mod read;
mod refusals;
mod sweep;
mod tokens;
mod volumes;

use bowline_enroll::claim::Claim;
use bowline_enroll::decide::{self, Decision, Order};
use bowline_enroll::facts::Facts;
use bowline_enroll::key::ClusterKeys;
use bowline_enroll::persistent::Wish;
use bowline_enroll::proof::{self, Headers, Proven, Purpose};
use bowline_enroll::wire::{self, Agreed, EnrollRequest, LeaveRequest, NodeRequest, RefusalBody, WireError};
use bowline_enroll::{Act, Code, NodeName, Refusal, Role, Secret};
use bowline_ports::{ErrorKind, Objects, PortError, Write};
use bowline_settings::Enroll;
use clock::Clock;
use events::{About, Events, Reason};
use leases::Leases;
use refusals::Noted;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
pub use sweep::{Members, Rest, SWEEP_IDLE, SWEEP_PENDING};
use tokens::Tokens;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use volumes::Of;

/// The journal's message id of a machine that was let in.
pub const GRANTED: &str = "6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b01";
/// The journal's message id of a machine that was refused.
pub const REFUSED: &str = "6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b02";

/// The journal's message id of requests whose proof was wrong: one line for each address and minute at most.
pub const NOT_PROVEN: &str = "6a1d3f0c5e0b4b6f9a4c1f7f2d8e9b03";

/// Every path and result that there can be, for metrics: what is done there, or the word of a refusal.
pub fn results() -> impl Iterator<Item = (&'static str, &'static str)> {
    let results = |purpose| std::iter::once(done(purpose)).chain(Code::ALL.map(Code::as_str));
    Purpose::ALL.into_iter().flat_map(move |purpose| results(purpose).map(move |result| (purpose.as_str(), result)))
}

/// What is done for who is not refused.
fn done(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Enroll => "granted",
        Purpose::Node => "kept",
        Purpose::Leave => "left",
    }
}

/// What this server knows of its own cluster without the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The name of this server.
    pub name: NodeName,
    /// Its address.
    pub address: IpAddr,
    /// The port on which it answers.
    pub port: u16,
    /// The port of its API server.
    pub api_port: u16,
    /// SHA-256 of the cluster's CA, 64 hexadecimal digits.
    pub ca_hash: String,
    /// The server token in its full form.
    pub server_token: Secret,
    /// Its data is in embedded etcd, which further servers can join.
    pub etcd: bool,
    /// The settings to agree on.
    pub agreed: Agreed,
    /// The release that it runs.
    pub kubernetes: String,
}

/// A request as it came in.
#[derive(Debug)]
pub struct Asked<'a> {
    /// From where.
    pub peer: IpAddr,
    /// The channel binding of the connection.
    pub binding: [u8; 32],
    /// The path.
    pub path: &'a str,
    /// The two headers; empty where they are missing.
    pub headers: Headers,
    /// The body.
    pub body: &'a [u8],
}

/// What goes back.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON; may have a token in it.
    pub body: Vec<u8>,
    /// The proof; `None` where there is no ticket to prove with.
    pub proof: Option<String>,
    /// The proof of the request was wrong.
    pub wrong: bool,
    /// What it was, for metrics: `granted`, `kept`, `left`, or the word of the refusal.
    pub result: &'static str,
}

/// Which Leases stand still, and since when.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Leases>>);

impl Watch {
    /// Whether it is the same one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Answers machines that come in.
pub struct Issuer<O> {
    settings: Enroll,
    keys: ClusterKeys,
    own: Own,
    objects: O,
    leases: Watch,
    events: Mutex<Events>,
    untold: Notify,
    places: Semaphore,
    /// Claims with persistent volumes, as the last sweep saw them.
    kept: Mutex<Vec<Claim>>,
    noted: Mutex<Noted>,
    unnoted: Notify,
    tokens: Mutex<Tokens>,
    minted: Notify,
    members: Mutex<Option<(Members, Instant)>>,
    clock: Clock,
}

/// How many requests are decided and carried out at a time. The others wait, holding their bodies alone: five hundred
/// machines at once would otherwise open thousands of connections to the API, which serves them no sooner for that.
const AT_ONCE: usize = 16;
/// How often one request looks at most, when what it decided by has moved before it could act.
const LOOKS: usize = 3;

/// Why a request gets no answer but a refusal.
enum Stop {
    Refused(Refusal),
    /// What was looked at has moved: another look tells.
    Moved,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<O: Objects> Issuer<O> {
    /// An issuer over the API of its cluster.
    pub fn new(settings: Enroll, keys: ClusterKeys, own: Own, objects: O) -> Self {
        Self {
            settings,
            keys,
            own,
            objects,
            leases: Watch::default(),
            events: Mutex::default(),
            untold: Notify::new(),
            places: Semaphore::new(AT_ONCE),
            kept: Mutex::default(),
            noted: Mutex::default(),
            unnoted: Notify::new(),
            tokens: Mutex::default(),
            minted: Notify::new(),
            members: Mutex::default(),
            clock: Clock::default(),
        }
    }

    /// The same, which goes on watching where an earlier issuer of this server stopped.
    pub fn watching(self, leases: &Watch) -> Self {
        Self { leases: leases.clone(), ..self }
    }

    /// Answers one request. `unix` is this server's clock, `random` unguessable bytes for a token.
    pub async fn answer(&self, asked: Asked<'_>, unix: u64, random: &[u8; 24]) -> Answer {
        let bare = |status| Answer { status, body: Vec::new(), proof: None, wrong: false, result: "bad-request" };
        let Some(purpose) = Purpose::of_path(asked.path) else { return bare(404) };
        // Without a role and a name there is no ticket to prove an answer with.
        let Ok(who) = wire::peek(asked.body) else { return Answer { wrong: true, ..bare(400) } };
        let of = (who.role, &who.name);
        let proven = proof::verify(&self.keys, purpose, &asked.binding, asked.body, of, &asked.headers);
        let Some(proven) = proven else {
            self.without_ticket(asked.peer, of, unix);
            let (status, body) = RefusalBody::of(&Refusal::not_let_in(), unix);
            // The same for names that nobody knows: every name has a ticket.
            let ticket = self.keys.ticket(who.role, &who.name);
            let proof = ticket.map(|t| proof::answer(purpose, &asked.binding, status, asked.body, &body, &t));
            return Answer { status, body, proof, wrong: true, result: Code::NotLetIn.as_str() };
        };
        // Proven ones alone wait for a place, so that wrong proofs keep nobody out. It is never closed.
        let _place = self.places.acquire().await;
        let (status, body, result) = match self.decide(purpose, &proven, &asked, unix, random).await {
            Ok(body) => (200, body, done(purpose)),
            Err(refusal) => {
                let (status, body) = RefusalBody::of(&refusal, unix);
                (status, body, refusal.code.as_str())
            }
        };
        let proof = proof::answer(purpose, &asked.binding, status, asked.body, &body, proven.ticket());
        Answer { status, body, proof: Some(proof), wrong: false, result }
    }

    /// Looks, decides and acts; again from a new look when something moved in between, be it by this very decision:
    /// labels that were set give a Node another version than its taints were decided by.
    async fn decide(
        &self,
        purpose: Purpose,
        proven: &Proven,
        asked: &Asked<'_>,
        unix: u64,
        random: &[u8; 24],
    ) -> Result<Vec<u8>, Refusal> {
        let mut result = Err(Stop::Moved);
        for _ in 0..LOOKS {
            result = self.once(purpose, proven, asked, unix, random).await;
            if !matches!(result, Err(Stop::Moved)) {
                break;
            }
        }
        result.map_err(|stop| {
            let refusal = match stop {
                Stop::Refused(refusal) => refusal,
                Stop::Moved => decide::failed(),
            };
            let (role, name, peer) = (proven.role(), proven.name(), asked.peer);
            tracing::info!(message_id = REFUSED, node = %name, "{}: {role} {name} from {peer}: {refusal}", asked.path);
            refusal
        })
    }

    async fn once(
        &self,
        purpose: Purpose,
        proven: &Proven,
        asked: &Asked<'_>,
        unix: u64,
        random: &[u8; 24],
    ) -> Result<Vec<u8>, Stop> {
        let malformed = |error: WireError| {
            let refusal = Refusal::new(Code::BadRequest, error.to_string());
            self.refused(proven, asked.peer, &refusal, None, unix);
            refusal
        };
        let grace = self.settings.grace.duration();
        let order = Order { rules: &self.settings.allow, grace, proven, peer: asked.peer };
        let name = proven.name();
        let about = |key| About { proven, purpose, key, peer: asked.peer, unix };
        match purpose {
            Purpose::Enroll => {
                let request = EnrollRequest::parse(asked.body).map_err(malformed)?;
                let facts = self.facts(proven.role(), name, unix, &[]).await?;
                let decision = decide::enroll(&order, &request, &facts, random);
                let grant = self.carry_out(&about(request.machine_key), &facts, decision).await?;
                Ok(grant.to_body())
            }
            Purpose::Node => {
                let request = NodeRequest::parse(asked.body).map_err(malformed)?;
                let facts = self.facts(proven.role(), name, unix, &request.persistent_volumes).await?;
                let answer =
                    self.carry_out(&about(request.machine_key), &facts, decide::node(&order, &request, &facts)).await?;
                Ok(answer.to_body())
            }
            Purpose::Leave => {
                let request = LeaveRequest::parse(asked.body).map_err(malformed)?;
                let facts = self.facts(proven.role(), name, unix, &[]).await?;
                let answer = self
                    .carry_out(&about(request.machine_key), &facts, decide::leave(&order, &request, &facts))
                    .await?;
                Ok(answer.to_body())
            }
        }
    }

    async fn carry_out<T>(&self, about: &About<'_>, facts: &Facts, decision: Decision<T>) -> Result<T, Stop> {
        let queue = |reason, refusal| {
            let Some(node) = &facts.node else { return };
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.add(&self.own, about, node, (reason, refusal), Instant::now().into_std());
            self.untold.notify_one();
        };
        match decision {
            Decision::Refuse { refusal, note, .. } => {
                if let Some(note) = note {
                    // To have it written down is worth a try, and no more.
                    let _ = self.act(&note).await;
                } else if facts.claim.is_none() || refusal.code == Code::BadRequest {
                    self.refused(about.proven, about.peer, &refusal, Some(&about.key), about.unix);
                }
                queue(Reason::Refused, Some(&refusal));
                Err(refusal.into())
            }
            Decision::Again { acts, refusal } => match self.all(&acts).await {
                Err(error) if error.kind == ErrorKind::Changed => Err(Stop::Moved),
                Err(_) => Err(refusal.into()),
                Ok(()) => {
                    queue(Reason::of_removal(about.purpose), None);
                    Err(refusal.into())
                }
            },
            Decision::Answer { acts, answer } => {
                self.all(&acts).await.map_err(|error| match error.kind {
                    ErrorKind::Changed => Stop::Moved,
                    _ => decide::failed().into(),
                })?;
                self.given(&acts, facts);
                if about.purpose == Purpose::Node && facts.node.is_some() {
                    self.served(about.proven.name());
                }
                if !acts.is_empty() {
                    queue(Reason::of(about.purpose), None);
                    let (proven, peer, path) = (about.proven, about.peer, about.purpose.path());
                    let (role, name) = (proven.role(), proven.name());
                    tracing::info!(message_id = GRANTED, node = %name, "{path}: {role} {name} from {peer}: granted");
                }
                Ok(*answer)
            }
        }
    }

    /// Does acts in their order, up to the first that fails.
    async fn all(&self, acts: &[Act]) -> Result<(), PortError> {
        for act in acts {
            self.act(act).await.inspect_err(|error| tracing::warn!("could not {act}: {error}"))?;
        }
        Ok(())
    }

    async fn act(&self, act: &Act) -> Result<(), PortError> {
        acts::act(&self.objects, act).await
    }

    /// Returns when there is something to [`tell`](Self::tell).
    pub async fn untold(&self) {
        self.untold.notified().await;
    }

    /// Writes Events about what was answered: apart from the requests, which wait for none of it. One that cannot
    /// be written is dropped.
    pub async fn tell(&self) {
        let next = || self.events.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(event) = next() {
            if let Err(error) = self.objects.write(events::EVENTS, Write::Create(&event)).await {
                tracing::debug!("an Event is not written: {error}");
            }
        }
    }

    /// Everything about a name, read now.
    async fn facts(&self, role: Role, name: &NodeName, unix: u64, wishes: &[Wish]) -> Result<Facts, Refusal> {
        let facts = read::facts(&self.objects, &self.own, &self.leases.0, (role, name), unix, Of::Wishes(wishes)).await;
        let facts = facts.map(|facts| Facts { synchronised: self.is_synchronised(unix), ..facts });
        facts.map_err(|error| {
            let text = error.in_full();
            // An API that is away is told where K3s is looked at; here everybody who asks would tell it again.
            if matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout) {
                tracing::debug!("cannot decide about {name}: {text}");
            } else {
                tracing::warn!("cannot decide about {name}: {text}");
            }
            if error.kind == ErrorKind::Invalid {
                return Refusal::new(Code::NotReady, error.message).retry(Duration::from_secs(60));
            }
            decide::unreadable()
        })
    }
}
