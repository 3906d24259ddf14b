//! Many machines that come in at once, each with an address, a key and a ticket of its own, over the real protocol.
//!
//! They run in the bed's network, where their addresses are, and nowhere else.

use anyhow::{Context, Result, bail, ensure};
use bowline_booted::KEY;
use bowline_enroll::key::{ClusterKeys, MachineKey, Ticket};
use bowline_enroll::proof::Purpose;
use bowline_enroll::wire::{EnrollAnswer, EnrollRequest, Labels, PasswordHash, VERSION, Versions, parse_enroll_answer};
use bowline_enroll::{NodeName, Role};
use bowline_host::real::door::ask_over;
use bowline_join::Exchange;
use bowline_ports::Ask;
use bowline_testbed::Bed;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The network of the joiners, behind the bed's bridge.
pub(crate) const NETWORK: &str = "10.0.2.0/23";
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 0);
/// For each connection; a joiner has as long.
const CONNECT: Duration = Duration::from_secs(3);
/// How often one tries, and how long it waits in between. Whoever needed a second try is counted as failed.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Machines that are ready to ask.
pub(crate) struct Joiners(Vec<Joiner>);

struct Joiner {
    source: Ipv4Addr,
    server: SocketAddr,
    ticket: Ticket,
    key: MachineKey,
    body: Vec<u8>,
}

/// How it went.
pub(crate) struct Served {
    /// From the first connection to the last answer, in seconds.
    pub(crate) seconds: f64,
    /// From its own first connection to its grant, of each, sorted.
    pub(crate) each: Vec<f64>,
    /// Tries that brought no grant.
    pub(crate) failed: usize,
    /// What the first of them got instead.
    pub(crate) first_failure: Option<String>,
}

/// Gives the bed's end of the bridge the addresses of so many joiners. Once a bed.
pub(crate) fn addresses(bed: &Bed, count: u32) -> Result<()> {
    let batch = bed.dir().join("joiners");
    let lines: String = (0..count).map(|at| format!("address add {}/32 dev br0\n", source(at))).collect();
    std::fs::write(&batch, lines)?;
    let said = bed.run(&["ip", "-batch", batch.to_str().context("a path that is no text")?])?;
    ensure!(said.success(), "{said}");
    Ok(())
}

fn source(at: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + at)
}

impl Joiners {
    /// As many, who turn to these servers by turns. All that takes long is done here.
    pub(crate) fn new(prefix: &str, count: u32, servers: &[SocketAddr]) -> Result<Self> {
        let keys = ClusterKeys::parse(KEY).map_err(anyhow::Error::msg)?;
        let mut random = std::fs::File::open("/dev/urandom")?;
        let mut seed = || -> Result<[u8; 32]> {
            let mut seed = [0; 32];
            random.read_exact(&mut seed)?;
            Ok(seed)
        };
        let joiner = |at: u32| -> Result<Joiner> {
            let name = NodeName::new(&format!("{prefix}-{at}")).map_err(anyhow::Error::msg)?;
            let (source, key) = (source(at), MachineKey::from_seed(&seed()?));
            // What scrypt makes of a password looks like random bytes, and an issuer sees to its form alone.
            let hash: String = hex::encode([seed()?, seed()?].concat()).chars().take(85).collect();
            let hash = format!("$1:{at:016x}:15:8:1:{hash}A");
            let request = EnrollRequest {
                version: VERSION,
                role: Role::Agent,
                name: name.clone(),
                machine_key: key.public(),
                addresses: vec![source.into()],
                fresh: true,
                labels: Labels::default(),
                taints: Vec::new(),
                versions: Versions { bowline: env!("CARGO_PKG_VERSION").into(), kubernetes: None },
                node_password_hash: Some(PasswordHash::parse(&hash).map_err(anyhow::Error::msg)?),
            };
            let server = servers.get(at as usize % servers.len()).copied().context("no server")?;
            let ticket = keys.ticket(Role::Agent, &name).context("no key")?;
            Ok(Joiner { source, server, ticket, key, body: request.to_body() })
        };
        Ok(Self((0..count).map(joiner).collect::<Result<_>>()?))
    }

    /// All ask at once, and go on until all are served.
    pub(crate) fn ask(self, bed: &Bed) -> Result<Served> {
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
    /// The second at which it was served, and what came of every try before.
    async fn until_served(self, begun: Instant) -> Result<(f64, Vec<String>)> {
        let Self { source, server, ticket, key, body } = self;
        let ask = Ask { server: server.to_string(), path: Purpose::Enroll.path().into(), body };
        let exchange = Exchange { purpose: Purpose::Enroll, ticket, key };
        let mut failures = Vec::new();
        for _ in 0..TRIES {
            match once(source, server, &ask, &exchange).await {
                Ok(()) => return Ok((begun.elapsed().as_secs_f64(), failures)),
                Err(error) => failures.push(format!("{error:#}")),
            }
            sleep(PAUSE).await;
        }
        bail!("{source} was never served: {}", failures.join("; "))
    }
}

async fn once(source: Ipv4Addr, server: SocketAddr, ask: &Ask, exchange: &Exchange) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = timeout(CONNECT, socket.connect(server)).await.context("no connection in time")??;
    let answer = ask_over(stream, ask, exchange).await.map_err(|error| anyhow::anyhow!(error.message))?;
    match parse_enroll_answer(answer.status, &answer.body)? {
        EnrollAnswer::Granted(_) => Ok(()),
        EnrollAnswer::Refused(refusal) => bail!("{}: {}", refusal.code, refusal.message),
    }
}
