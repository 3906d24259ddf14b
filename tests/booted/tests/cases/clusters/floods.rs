//! Floods against the issuer of a booted server: who is good comes in meanwhile, and what the daemon takes is bounded.

use anyhow::{Context, Result, bail, ensure};
use bowline_booted::hetzner::ticket;
use bowline_booted::joiners::{self, Joiner, NETWORK, connect_within, source};
use bowline_booted::pair::{agent_settings, begin, in_place, server};
use bowline_booted::{ADDRESS, KEY, peak_memory, pid, releases, with_k3s_as};
use bowline_enroll::wire::EnrollAnswer;
use bowline_host::real::door::handshake;
use bowline_testbed::{Cast, Machine, case_of, open_files, say};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const RULES: &str = "[[enroll.allow]]\nname = \"workers\"\nnodes = \"worker-*\"\nrole = \"agent\"\n\
     from = [\"10.0.1.0/24\", \"NETWORK\"]\n";
/// Where the floods come from; the first is a good node's too.
const SOURCES: u32 = 500;
/// Those who flood wait for their connections as long as it takes: thousands of them come at once, on a host that is busy too.
const PATIENT: Duration = Duration::from_secs(60);
const IDLE_EACH: u32 = 20;
const SLOW_EACH: u32 = 3;
/// Another cluster key than the cluster's.
const WRONG_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000001";
/// Wrong proofs on their way at once, for each of the two halves: of the good node's address, and of all others.
const AT_ONCE: usize = 100;
/// How soon a good one is served on a busy machine, and when it asks again where its connection was closed.
const SERVED: Duration = Duration::from_secs(40);
const AGAIN: Duration = Duration::from_millis(500);
/// What the daemon may take, in MB (1024 connections with some 30 kB each, and its own), and the files that it may have open.
const MEGABYTES: f64 = 60.0;
const OPEN_FILES: usize = 1024 + 100;

#[test]
fn good_nodes_come_in_through_floods() -> Result<()> {
    case_of(Cast::cluster(1, 1), "floods", |bed| {
        open_files(20_000)?;
        let releases = releases(bed)?;
        let server = server(bed, &releases, &RULES.replace("NETWORK", NETWORK))?;
        let agent = with_k3s_as(bed, &releases, "worker-0", "10.0.1.30", None)?;
        joiners::addresses(bed, SOURCES)?;
        bed.within(|| {
            let flood = Flood { issuer: SocketAddr::new(ADDRESS.parse()?, 7470), server: &server };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let idle = runtime.block_on(flood.idle())?;
            begin(&agent, &agent_settings(&releases, &ticket("worker-0"), "", ""))?;
            in_place(&server, &agent, "worker-0", |_| true)?;
            drop(idle);
            runtime.block_on(flood.slow())?;
            runtime.block_on(flood.wrong(5_000))
        })
    })
}

#[test]
#[ignore = "five minutes: make soak"]
fn good_nodes_come_in_through_a_hundred_thousand_wrong_proofs() -> Result<()> {
    case_of(Cast::SERVER, "floods-long", |bed| {
        let releases = releases(bed)?;
        let server = server(bed, &releases, &RULES.replace("NETWORK", NETWORK))?;
        joiners::addresses(bed, SOURCES)?;
        bed.within(|| {
            let flood = Flood { issuer: SocketAddr::new(ADDRESS.parse()?, 7470), server: &server };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(flood.wrong(100_000))
        })
    })
}

struct Flood<'a> {
    issuer: SocketAddr,
    server: &'a Machine,
}

impl Flood<'_> {
    /// Ten thousand connections that say nothing. They stay for as long as the value does, or until the server closes them.
    async fn idle(&self) -> Result<Vec<tokio::net::TcpStream>> {
        let issuer = self.issuer;
        let mut all = JoinSet::new();
        for at in 0..SOURCES {
            all.spawn(async move {
                let mut streams = Vec::new();
                for _ in 0..IDLE_EACH {
                    streams.push(connect_within(PATIENT, source(at), issuer).await?);
                }
                anyhow::Ok(streams)
            });
        }
        let mut streams = Vec::new();
        while let Some(some) = all.join_next().await {
            streams.extend(some??);
        }
        ensure!(streams.len() == 10_000, "{} connections", streams.len());
        self.good("worker-idle-0", 0).await?;
        self.good("worker-idle-1", SOURCES - 1).await?;
        self.bounded("ten thousand idle connections")?;
        Ok(streams)
    }

    /// Requests whose heads come byte by byte, more of them than there are seats: the server ends every one.
    async fn slow(&self) -> Result<()> {
        let mut all = JoinSet::new();
        for at in 0..SOURCES * SLOW_EACH {
            let issuer = self.issuer;
            all.spawn(async move {
                let stream = connect_within(PATIENT, source(at % SOURCES), issuer).await?;
                // Who has to give its seat to another one is ended as well.
                let Ok(mut tls) = handshake("the issuer", stream).await else { return Ok(false) };
                let head =
                    "POST /v1/enroll HTTP/1.1\r\nhost: issuer\r\nx: ".bytes().chain(std::iter::repeat_n(b'a', 1000));
                let dribble = async {
                    for byte in head {
                        let mut answer = [0; 16];
                        tls.write_all(&[byte]).await?;
                        // A pause, unless the server ends it.
                        if let Ok(ended) = timeout(Duration::from_millis(200), tls.read(&mut answer)).await {
                            ensure!(matches!(ended, Ok(0) | Err(_)), "half a request was answered");
                            break;
                        }
                    }
                    Ok(())
                };
                match timeout(PATIENT * 2, dribble).await.context("it may go on and on")? {
                    Err(error) if !error.is::<std::io::Error>() => Err(error),
                    _ => Ok(true),
                }
            });
        }
        for number in 0..3 {
            sleep(Duration::from_secs(1)).await;
            self.good(&format!("worker-slow-{number}"), number).await?;
        }
        let mut slow = 0_u32;
        while let Some(ended) = all.join_next().await {
            slow += u32::from(ended??);
        }
        say(&format!("{slow} of {} came as far as their heads", SOURCES * SLOW_EACH));
        ensure!(slow >= SOURCES, "only {slow} heads came slowly: nothing was tried");
        self.bounded("slow heads")
    }

    /// Proofs by another cluster key, half of them from the good node's address.
    async fn wrong(&self, count: usize) -> Result<()> {
        let before = self.refused()?;
        let begun = Instant::now();
        let all: Vec<_> = (0..SOURCES)
            .map(|at| Joiner::new(&format!("worker-wrong-{at}"), source(at), self.issuer, WRONG_KEY).map(Arc::new))
            .collect::<Result<_>>()?;
        let (same, others) = all.split_at(1);
        let mut flood = JoinSet::new();
        for who in [same.to_vec(), others.to_vec()] {
            let sent = Arc::new(AtomicUsize::new(0));
            for _ in 0..AT_ONCE {
                let (who, sent) = (who.clone(), Arc::clone(&sent));
                flood.spawn(async move {
                    loop {
                        let number = sent.fetch_add(1, Relaxed);
                        if number >= count / 2 {
                            return anyhow::Ok(());
                        }
                        // Nobody waits for the answer, which comes late; half of them long enough for a busy machine to look at them.
                        let patience = Duration::from_millis(if number % 2 == 0 { 1500 } else { 6000 });
                        let asked = timeout(patience, who[number % who.len()].once()).await;
                        ensure!(!matches!(asked, Ok(Ok(_))), "a wrong proof was answered with a right one");
                    }
                });
            }
        }
        let mut good = 0;
        while !flood.is_empty() || good < 3 {
            self.good(&format!("worker-good-{good}"), 0).await?;
            good += 1;
            sleep(AGAIN / 2).await;
            while let Some(ended) = flood.try_join_next() {
                ended??;
            }
        }
        let refused = self.refused()? - before;
        say(&format!("{refused} wrong proofs and {good} good ones in {:.1} s", begun.elapsed().as_secs_f64()));
        // A connection that was pushed out never came to its proof.
        ensure!(refused >= count / 5, "{refused} of {count} were looked at");
        self.bounded("wrong proofs")
    }

    /// A good node at one of the addresses is let in soon, though perhaps not at its first try.
    async fn good(&self, name: &str, at: u32) -> Result<()> {
        let joiner = Joiner::new(name, source(at), self.issuer, KEY)?;
        let begun = Instant::now();
        loop {
            match timeout(SERVED, joiner.once()).await.with_context(|| format!("{name}: not served in time"))? {
                Ok(EnrollAnswer::Granted(_)) => return Ok(()),
                Ok(EnrollAnswer::Refused(refusal)) => bail!("{name}: {}: {}", refusal.code, refusal.message),
                Err(error) if begun.elapsed() >= SERVED => return Err(error).context(name.to_owned()),
                Err(error) => say(&format!("{name} asks again: {error:#}")),
            }
            sleep(AGAIN).await;
        }
    }

    /// Wrong proofs that the issuer has seen so far.
    fn refused(&self) -> Result<usize> {
        let metrics = self.server.ok("curl -fsS http://127.0.0.1:9787/metrics")?;
        let of = |end: &str| {
            let series = format!("bowline_enroll_connections_total{{end=\"{end}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<usize>().ok()).unwrap_or(0)
        };
        Ok(of("wrong") + of("unanswered"))
    }

    fn bounded(&self, what: &str) -> Result<()> {
        let files = self.server.ok(&format!("ls /proc/{}/fd | wc -l", pid(self.server, "bowline")?))?;
        let files: usize = files.trim().parse()?;
        ensure!(files <= OPEN_FILES, "{what}: {files} files are open");
        let memory = peak_memory(self.server)?;
        ensure!(memory <= MEGABYTES, "{what}: {memory:.1} MB");
        say(&format!("{what}: {files} files open, at most {memory:.1} MB"));
        Ok(())
    }
}
