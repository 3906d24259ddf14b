//! The files of a machine that comes in.

use crate::why::Why;
use bowline_enroll::Code;
use bowline_enroll::token::LIFETIME;
use bowline_enroll::wire::{Agreed, Cut};
use bowline_ports::{File, Inspect, K3S_ETCD_TOMBSTONE, PortError, UNITS, is_anothers};
use bowline_settings::Taint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

/// The machine key: who this machine is. Made once, 0600, never leaves the machine.
pub const MACHINE_KEY: &str = "/var/lib/bowline/machine.key";
/// What the firmware calls the machine whose key that is: a copy of the disk has the key, too.
pub const MACHINE_KEY_OF: &str = "/var/lib/bowline/machine.key.of";
/// The token that K3s comes in with. It stays there when it has served: its `K10HASH` pins the cluster's CA.
pub const TOKEN: &str = "/etc/rancher/k3s/bowline-token";
/// What the servers said when they let this machine in ([`Enrolled`]), without the token; and its copy beside a server's data.
pub use bowline_ports::{ENROLLED, ENROLLED_WITH_DATA};
/// That this machine was told to leave ([`Left`]).
pub const LEAVING: &str = "/var/lib/bowline/left";
/// A drop-in of K3s's unit, by which nothing starts it as long as [`LEAVING`] is there.
pub fn held(service: &str) -> String {
    format!("{UNITS}/{service}.d/50-bowline-leaving.conf")
}
/// Its text.
pub const HELD: &str = "# Written by Bowline: this machine was told to leave its cluster.\n\
     [Unit]\nConditionPathExists=!/var/lib/bowline/left\n\
     [Service]\nExecCondition=/bin/sh -c '[ ! -e /var/lib/bowline/left ]'\n";
/// What came of the last try, until the next boot.
pub const LAST_TRY: &str = "/run/bowline/enroll.json";
/// That a server of the cluster answered this one, which may found ([`AnsweredBy`]): it founds none until it was let in, over
/// reboots, too.
pub const ANSWERED: &str = "/var/lib/bowline/answered";
/// What the servers said of this node's own labels and taints, until the next boot.
pub const NODE_SAID: &str = "/run/bowline/node.json";
/// What the servers' clock said ([`Told`]), until the next boot.
pub const SERVERS_CLOCK: &str = "/run/bowline/servers-clock.json";
/// That Bowline stopped K3s because another machine has the name; until the servers let this one in. A server that was
/// replaced must know it after a boot, too: its data are those of no member of the cluster, and it founds no other.
pub const GAVE_WAY: &str = "/var/lib/bowline/gave-way";
/// The same where the disk of that one takes nothing, until the next boot.
pub const GAVE_WAY_SPARE: &str = "/run/bowline/gave-way";
/// K3s's own node password.
pub const PASSWORD: &str = "/etc/rancher/node/password";
/// The kubelet's certificate: K3s makes it when it has come in.
pub const KUBELET_CERTIFICATE: &str = "/var/lib/rancher/k3s/agent/client-kubelet.crt";

/// Embedded etcd's data: a server that has it is a member of its cluster ([`is_member`]).
pub use bowline_ports::K3S_ETCD_DATA as ETCD_DATA;
/// All that K3s keeps on a server.
pub use bowline_ports::K3S_SERVER as SERVER_DATA;
/// K3s's own token file on servers: it has come up.
pub const SERVER_TOKEN: &str = "/var/lib/rancher/k3s/server/token";

/// Whether this server is a member of its cluster's etcd: it has the data, and was not taken out or replaced.
///
/// # Errors
/// It cannot be looked at.
pub async fn is_member(host: &dyn Inspect) -> Result<bool, PortError> {
    let there = |path: &'static str| async move { Ok::<_, PortError>(host.meta(Path::new(path)).await?.is_some()) };
    Ok(there(ETCD_DATA).await? && !there(K3S_ETCD_TOMBSTONE).await? && gave_way(host).await?.is_none())
}

/// What stands on record of K3s's being stopped for another machine; `None`: nothing.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn gave_way(host: &dyn Inspect) -> Result<Option<File>, PortError> {
    match host.read(Path::new(GAVE_WAY_SPARE)).await? {
        None => host.read(Path::new(GAVE_WAY)).await,
        file => Ok(file),
    }
}

/// What a server said when it let this machine in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Enrolled {
    /// The name that it came in under.
    pub name: String,
    /// In which role (`agent`, `server`).
    pub role: String,
    /// Which ticket, by a hash that tells nothing about it.
    pub ticket: String,
    /// Seconds since 1970, by this machine's clock, when the token is worth nothing but its hash; `None`: never.
    pub expires: Option<i64>,
    /// Where issuers answer, `ADDRESS:PORT`.
    pub issuers: Vec<String>,
    /// K3s's servers, `https://ADDRESS:6443`.
    pub servers: Vec<String>,
    /// The release that the servers run.
    pub kubernetes: String,
    /// SHA-256 of the cluster's CA.
    pub ca: String,
    /// The settings to agree on.
    pub agreed: Agreed,
    /// Seconds since 1970, by this machine's clock, when it was let in.
    #[serde(default)]
    pub at: i64,
    /// A server that was let in to join anew: when K3s had noticed that it was taken out of etcd, in nanoseconds since 1970. It is
    /// let in once for each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
}

/// Who answered a server that may found, and what the settings were then: with other servers it is about another cluster. A name
/// and a key may change within the same one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredBy {
    /// Who, `ADDRESS:PORT`.
    pub by: String,
    /// All that the settings named then.
    pub servers: Vec<String>,
}

impl AnsweredBy {
    /// Whether it is about the cluster of these settings: one of these servers was among those. What cannot be read is about any.
    pub(crate) fn is_about(&self, servers: &[String]) -> bool {
        servers.iter().any(|server| self.servers.contains(server)) || *self == Self::default()
    }
}

/// That this machine was told to leave, and how far it got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Left {
    /// Seconds since 1970.
    pub since: i64,
    /// What the firmware calls this machine: one that is made of a copy of its disk was told nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// A server's: where the others answer, `ADDRESS:PORT`. Its own door closes.
    pub issuers: Vec<String>,
    /// Seconds since 1970 when the servers had taken its Node, and a server's member of etcd, out of the cluster; or had refused to,
    /// since its name was another machine's, nobody's, or revoked.
    pub given_back: Option<i64>,
    /// What they said when they refused.
    pub refused: Option<String>,
    /// What came of asking last, as long as they have not taken it out.
    pub last: Option<Last>,
    /// Its pods were moved away before, and its Node takes no new ones.
    pub drained: bool,
}

/// That this machine was told to leave: the note of another one, of whose disk this one's is a copy, is none. Where it makes no
/// sense, that it is there is what counts.
///
/// # Errors
/// It cannot be read.
pub async fn leaving(host: &dyn Inspect) -> Result<Option<Left>, PortError> {
    let Some(file) = host.read(Path::new(LEAVING)).await? else { return Ok(None) };
    let left = left(&file);
    let anothers = is_anothers(host, left.machine.as_deref().unwrap_or_default()).await?;
    Ok(Some(left).filter(|_| !anothers))
}

pub(crate) fn left(file: &File) -> Left {
    serde_json::from_slice(&file.content).unwrap_or_default()
}

/// What a server's clock said, in a proven answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Seconds since 1970, by the server.
    pub unix: u64,
    /// Seconds since boot, here, when it was said.
    pub uptime: u64,
    /// Which server, `ADDRESS:PORT`.
    #[serde(default)]
    pub by: String,
    /// Those that answered before it, and whose clock is another one; only where its own is this machine's.
    #[serde(default)]
    pub odd: Vec<Odd>,
    /// For how many seconds the servers are not asked only for the time, where their clock is not this machine's ([`ASK_TIME`]).
    #[serde(default)]
    pub again: u64,
}

/// A server whose clock is neither another server's nor this machine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odd {
    /// `ADDRESS:PORT`.
    pub server: String,
    /// By how many seconds it is ahead of that one's; negative: behind.
    pub ahead: i64,
}

/// By how many seconds a server's clock and this machine's, or another server's, may differ. Less than a token lasts: one that a
/// server made whose clock is so far behind still lives for a minute by the right time, and K3s comes in by it within seconds.
pub(crate) const SKEW: u64 = 120;
const _: () = assert!(SKEW + 60 <= LIFETIME.as_secs());

/// They are asked for the time again after so many seconds: theirs may have been the wrong one. As long as they say the same, it
/// takes longer each time: somebody has to set this machine's clock first.
pub(crate) const ASK_TIME: RangeInclusive<u64> = 60..=600;
/// By how many seconds a clock may seem another one, and be the same: an answer takes so long.
const SAME: u64 = 5;

impl Told {
    /// The same, with when they are asked again, by what was said before.
    pub(crate) fn after(self, before: Option<&Self>) -> Self {
        let same = before.filter(|before| before.odd(&self).ahead.unsigned_abs() <= SAME);
        let again = match same {
            None => *ASK_TIME.start(),
            Some(before) if self.uptime.saturating_sub(before.uptime) < before.again => before.again,
            Some(before) => before.again.saturating_mul(2),
        };
        Self { again: again.clamp(*ASK_TIME.start(), *ASK_TIME.end()), ..self }
    }

    /// How many seconds this machine's clock is ahead of the server's; negative when it is behind. Seconds since boot go
    /// on alike, whoever sets the clock.
    pub fn ahead(&self, clock: &bowline_ports::Clock) -> i64 {
        let server = self.unix.saturating_add(clock.uptime.saturating_sub(self.uptime));
        clock.unix.saturating_sub_unsigned(server)
    }

    /// Whether that is too far.
    pub(crate) fn is_off(&self, clock: &bowline_ports::Clock) -> bool {
        self.ahead(clock).unsigned_abs() > SKEW
    }

    /// Beside what another server said, with which this machine agrees.
    pub(crate) fn odd(&self, right: &Self) -> Odd {
        let since = |told: &Self| i64::try_from(told.unix).unwrap_or(i64::MAX).saturating_sub_unsigned(told.uptime);
        Odd { server: self.by.clone(), ahead: since(self).saturating_sub(since(right)) }
    }
}

/// What came of asking, when it was not to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Last {
    /// Why it was not.
    pub code: Why,
    /// Why, for people.
    pub message: String,
    /// Seconds since boot when it was.
    pub at: u64,
    /// Seconds until the next try.
    pub again: u64,
    /// Seconds since boot when asking began without an answer since; `None` when somebody has answered.
    #[serde(default)]
    pub silent_since: Option<u64>,
    /// The servers that the settings named: the silence of others says nothing.
    #[serde(default)]
    pub asked: Vec<String>,
}

/// What the servers said of this node's labels and taints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Said {
    /// What was asked for, and of which Node, as a hash.
    pub asked: String,
    /// What the Node had of that when it was asked for, as a hash: what was not given may be free by now.
    #[serde(default)]
    pub beside: String,
    /// Labels that the servers see to.
    pub labels: BTreeMap<String, String>,
    /// Taints that the servers see to.
    pub taints: Vec<Taint>,
    /// What they do not give.
    pub cut: Vec<Cut>,
    /// Seconds since boot.
    pub at: u64,
    /// A refusal of the whole: its word and its sentence.
    pub refused: Option<(Code, String)>,
    /// What was in the way of an answer since.
    #[serde(default)]
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::Clock;

    #[test]
    fn a_clock_that_is_set_is_no_longer_off() {
        let told = Told { unix: 1_000_000, uptime: 100, ..Told::default() };
        let clock = |unix, uptime| Clock { unix, synchronised: true, uptime, awake: uptime };
        assert_eq!(told.ahead(&clock(1_000_000 - 365, 100)), -365);
        assert_eq!(told.ahead(&clock(1_000_060 - 365, 160)), -365, "a minute later as far off");
        assert_eq!(told.ahead(&clock(1_000_060, 160)), 0, "set right");
        assert_eq!(told.ahead(&clock(i64::MIN, 160)), i64::MIN);
        assert!(told.is_off(&clock(1_000_000 - 121, 100)) && !told.is_off(&clock(1_000_000 + 120, 100)));
    }

    #[test]
    fn clocks_of_servers_are_compared_whenever_they_were_heard() {
        let told = |unix, uptime, by: &str| Told { unix, uptime, by: by.into(), ..Told::default() };
        let odd = told(999_400, 100, "a:7470").odd(&told(1_000_003, 103, "b:7470"));
        assert_eq!(odd, Odd { server: "a:7470".into(), ahead: -600 });
        assert_eq!(told(u64::MAX, 100, "a:7470").odd(&told(0, 103, "b:7470")).ahead, i64::MAX);
        // As an earlier Bowline wrote it.
        assert_eq!(serde_json::from_str::<Told>(r#"{"unix": 7, "uptime": 3}"#).unwrap(), told(7, 3, ""));
    }

    #[test]
    fn servers_that_say_the_same_time_are_asked_ever_more_seldom() {
        let told = |unix, uptime| Told { unix, uptime, ..Told::default() };
        let mut last = told(1_000, 0).after(None);
        let mut asked = vec![last.again];
        for _ in 0..5 {
            let at = last.uptime + last.again;
            last = told(1_002 + at, at).after(Some(&last));
            asked.push(last.again);
        }
        assert_eq!(asked, [60, 120, 240, 480, 600, 600]);
        // Asked for something else meanwhile, and by a clock that was set.
        let soon = last.uptime + 5;
        assert_eq!(told(1_002 + soon, soon).after(Some(&last)).again, 600);
        assert_eq!(told(1_010 + soon, soon).after(Some(&last)).again, 60);
    }
}
