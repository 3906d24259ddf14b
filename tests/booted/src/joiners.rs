//! Machines that ask an issuer over the real protocol, each with an address, a key and a ticket of its own: hundreds that
//! come in at once, and those that attack.
//!
//! They run in the bed's network, where their addresses are, and nowhere else.

use crate::KEY;
use anyhow::{Context, Result, bail, ensure};
use bowline_enroll::key::{ClusterKeys, MachineKey};
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{EnrollAnswer, EnrollRequest, Labels, PasswordHash, VERSION, Versions, parse_enroll_answer};
use bowline_enroll::{NodeName, Role};
use bowline_host::real::door::ask_over;
use bowline_join::Exchange;
use bowline_ports::Ask;
use bowline_testbed::Bed;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The network of the joiners, behind the bed's bridge.
pub const NETWORK: &str = "10.0.2.0/23";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 0);
/// For each connection; a joiner has as long.
const CONNECT: Duration = Duration::from_secs(3);
/// How often one tries, and how long it waits in between. Whoever needed a second try is counted as failed.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Machines that are ready to ask.
pub struct Joiners(Vec<Joiner>);

/// One of them.
pub struct Joiner {
    source: Ipv4Addr,
    server: SocketAddr,
    ask: Ask,
    exchange: Exchange,
}

/// How it went.
pub struct Served {
    /// From the first connection to the last answer, in seconds.
    pub seconds: f64,
    /// From its own first connection to its grant, of each, sorted.
    pub each: Vec<f64>,
    /// Tries that brought no grant.
    pub failed: usize,
    /// What the first of them got instead.
    pub first_failure: Option<String>,
}

/// Gives the bed's end of the bridge the addresses of so many joiners. Once a bed.
pub fn addresses(bed: &Bed, count: u32) -> Result<()> {
    let batch = bed.dir().join("joiners");
    let lines: String = (0..count).map(|at| format!("address add {}/32 dev br0\n", source(at))).collect();
    std::fs::write(&batch, lines)?;
    let said = bed.run(&["ip", "-batch", batch.to_str().context("a path that is no text")?])?;
    ensure!(said.success(), "{said}");
    Ok(())
}

/// The address of one of them.
pub fn source(at: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + at)
}

impl Joiners {
    /// As many, who turn to these servers by turns. All that takes long is done here.
    pub fn new(prefix: &str, count: u32, servers: &[SocketAddr]) -> Result<Self> {
        let joiner = |at: u32| {
            let server = servers.get(at as usize % servers.len()).copied().context("no server")?;
            Joiner::new(&format!("{prefix}-{at}"), source(at), server, KEY)
        };
        Ok(Self((0..count).map(joiner).collect::<Result<_>>()?))
    }

    /// All ask at once, and go on until all are served.
    pub fn ask(self, bed: &Bed) -> Result<Served> {
        bed.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.all())
        })
    }

    async fn all(self) -> Result<Served> {
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for joiner in self.0 {
            all.spawn(joiner.until_served(begun));
        }
        let mut served = Served { seconds: 0.0, each: Vec::new(), failed: 0, first_failure: None };
        while let Some(joined) = all.join_next().await {
            let (after, failures) = joined??;
            served.each.push(after);
            served.failed += failures.len();
            served.first_failure = served.first_failure.or(failures.into_iter().next());
        }
        served.each.sort_by(f64::total_cmp);
        served.seconds = served.each.last().copied().unwrap_or_default();
        Ok(served)
    }
}

impl Joiner {
    /// An agent of this name and address with a machine key of its own. Its ticket follows from the cluster key.
    pub fn new(name: &str, source: Ipv4Addr, server: SocketAddr, cluster_key: &str) -> Result<Self> {
        let name = NodeName::new(name).map_err(anyhow::Error::msg)?;
        let keys = ClusterKeys::parse(cluster_key).map_err(anyhow::Error::msg)?;
        let ticket = keys.ticket(Role::Agent, &name).context("no key")?;
        let key = MachineKey::from_seed(&random()?);
        // What scrypt makes of a password looks like random bytes, and an issuer sees to its form alone.
        let hash: String = hex::encode([random()?, random()?].concat()).chars().take(85).collect();
        let hash = format!("$1:{:016x}:15:8:1:{hash}A", source.to_bits());
        let request = EnrollRequest {
            version: VERSION,
            role: Role::Agent,
            name,
            machine_key: key.public(),
            addresses: vec![source.into()],
            fresh: true,
            labels: Labels::default(),
            taints: Vec::new(),
            versions: Versions { bowline: env!("CARGO_PKG_VERSION").into(), kubernetes: None },
            node_password_hash: Some(PasswordHash::parse(&hash).map_err(anyhow::Error::msg)?),
        };
        let body = request.to_body();
        let ask = Ask { server: server.to_string(), path: Purpose::Enroll.path().into(), body, from: None };
        Ok(Self { source, server, ask, exchange: Exchange { purpose: Purpose::Enroll, ticket, key } })
    }

    /// A connection from its address.
    pub async fn connect(&self) -> Result<TcpStream> {
        connect(self.source, self.server).await
    }

    /// Asks once: what it is granted, or why not. An answer that is not proven is an error.
    pub async fn once(&self) -> Result<EnrollAnswer> {
        let stream = self.connect().await?;
        let answer =
            ask_over(stream, &self.ask, &self.exchange).await.map_err(|error| anyhow::anyhow!(error.message))?;
        Ok(parse_enroll_answer(answer.status, &answer.body)?)
    }

    /// The second at which it was served, and what came of every try before.
    async fn until_served(self, begun: Instant) -> Result<(f64, Vec<String>)> {
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            match self.once().await {
                Ok(EnrollAnswer::Granted(_)) => return Ok((begun.elapsed().as_secs_f64(), failures)),
                Ok(EnrollAnswer::Refused(refusal)) => failures.push(format!("{}: {}", refusal.code, refusal.message)),
                Err(error) => failures.push(format!("{error:#}")),
            }
            sleep(PAUSE).await;
        }
        bail!("{} was never served: {}", self.source, failures.join("; "))
    }
}

/// A connection from one of the addresses.
pub async fn connect(source: Ipv4Addr, server: SocketAddr) -> Result<TcpStream> {
    connect_within(CONNECT, source, server).await
}

/// The same for whoever can wait.
pub async fn connect_within(limit: Duration, source: Ipv4Addr, server: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;

    socket.bind((source, 0).into())?;
    Ok(timeout(limit, socket.connect(server)).await.context("no connection in time")??)
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("/dev/urandom")?;
    Ok(bytes)
}
