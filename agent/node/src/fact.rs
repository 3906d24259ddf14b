//! The facts that labels are made of, as conditions for those who set the labels.

use crate::{Action, Asked, CloudFacts, Facts, INSTANCE_DATA, Node, cloud};
use bowline_engine::{Plan, Wait};
use bowline_ports::{ErrorKind, Inspect, PortError, condition};
use bowline_settings::{ExternalAddress, Fact, facts_of};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// PCI's devices, by their addresses.
const PCI: &str = "/sys/bus/pci/devices";
/// What a machine that was stopped may have another one of when it is started.
pub(crate) const MOVING: [Fact; 2] = [Fact::PublicIpv4, Fact::InstanceType];
/// For this much uptime cloud-init may still be about to tell something.
const FIRST_BOOT: Duration = Duration::from_secs(600);

impl Node {
    /// Whether a label is made of this fact.
    pub(crate) fn uses(&self, fact: Fact) -> bool {
        facts_of(&self.spec.labels).contains(&fact)
    }

    /// What the settings need.
    fn needed(&self) -> BTreeSet<Fact> {
        let mut needed = facts_of(&self.spec.labels);
        if self.spec.external_address == Some(ExternalAddress::PublicIpv4) {
            needed.insert(Fact::PublicIpv4);
        }
        needed
    }

    /// Whether some of that may be another at each boot.
    pub(crate) fn needs_moving(&self) -> bool {
        MOVING.iter().any(|fact| self.needed().contains(fact))
    }

    /// What the settings need of the cloud and nobody has told yet, or may tell otherwise since this boot.
    fn lacking(&self, facts: &Facts) -> Vec<Fact> {
        let known = facts.known();
        let of_the_cloud = |fact: &Fact| !matches!(fact, Fact::Address | Fact::Gpu);
        let lacks = |fact: &Fact| {
            told(*fact, facts, known.as_ref()).is_none()
                || (MOVING.contains(fact) && known.is_some() && !facts.told_now())
        };
        self.needed().into_iter().filter(|fact| of_the_cloud(fact) && lacks(fact)).collect()
    }

    /// Asks the metadata service, while something is not known that the settings need and that it may tell, and what may have
    /// changed once a boot: until it answers, what was kept is taken. Whatever it answers, and that it does not, is no reason not to
    /// look at the rest.
    pub(crate) async fn ask(&self, host: &dyn Inspect, facts: &Facts) -> Result<Option<Asked>, PortError> {
        let (lacking, network) = (self.lacking(facts), self.awaited_network(facts).is_some());
        if lacking.is_empty() && !network {
            return Ok(None);
        }
        let Some(cloud) = cloud::detect(host).await? else { return Ok(None) };
        let may_tell = network || lacking.iter().any(|fact| !cloud.never.contains(fact));
        let said = if !may_tell {
            Ok(None)
        } else if facts.addresses.iter().all(|address| address.address.is_loopback()) {
            Err(PortError::new(ErrorKind::Unreachable, "this machine has no address yet"))
        } else {
            cloud::ask(host, cloud).await.map(Some)
        };
        Ok(Some(Asked { cloud: cloud.name, said }))
    }

    /// When the metadata service is asked again that has not answered since this boot, while what it told last is taken.
    pub(crate) fn asks_again(&self, facts: &Facts) -> Option<Duration> {
        let silent = facts.asked.as_ref().is_some_and(|asked| asked.said.is_err());
        let soon = facts.clock.uptime < FIRST_BOOT.as_secs();
        (silent && self.needs_moving()).then(|| Duration::from_secs(if soon { 5 } else { 60 }))
    }

    /// States each fact that a label is made of, or waits for it.
    pub(crate) fn facts(&self, facts: &Facts, plan: &mut Plan<Action>) {
        let known = facts.known();
        for fact in facts_of(&self.spec.labels) {
            let cloud = known.as_ref();
            let value = match fact {
                Fact::Address => plan.conditions.get(condition::ADDRESS).cloned(),
                fact => told(fact, facts, cloud),
            };
            if let Some(value) = value {
                plan.state(fact.condition(), value);
                continue;
            }
            let why = match (fact, cloud, silence(facts)) {
                // Waited for by itself.
                (Fact::Address, ..) => continue,
                (Fact::Gpu, ..) => "there is no display or 3D controller on PCI".to_string(),
                (_, _, Some(silence)) => silence,
                (_, Some(cloud), None) => {
                    format!("what cloud-init says of this machine ({}) does not have it", cloud.cloud)
                }
                (_, None, None) => format!("there is nothing of a cloud in {INSTANCE_DATA} (yet)"),
            };
            let wait = Wait::new(fact.condition(), format!("the fact {fact}"), why).deadline(
                Duration::from_secs(300),
                format!("in [node] labels, write the value itself in place of {fact}, or remove that label"),
            );
            let unheard = cloud.is_none() || facts.asked.as_ref().is_some_and(|asked| asked.said.is_err());
            let soon = fact != Fact::Gpu && unheard && facts.clock.uptime < FIRST_BOOT.as_secs();
            plan.waits.push(wait.poll(Duration::from_secs(if soon { 2 } else { 60 })));
        }
    }
}

/// The value of a fact, as far as the machine itself and its cloud tell it.
fn told(fact: Fact, facts: &Facts, cloud: Option<&CloudFacts>) -> Option<String> {
    match fact {
        Fact::Address => None,
        Fact::PublicIpv4 => public_ipv4(facts).map(|address| address.to_string()),
        Fact::Region => cloud?.region.clone(),
        Fact::Zone => cloud?.zone.clone(),
        Fact::InstanceId => cloud.map(|cloud| cloud.instance_id.clone()).filter(|id| !id.is_empty()),
        Fact::InstanceType => cloud?.instance_type.clone(),
        Fact::Gpu => facts.gpu.clone(),
    }
}

/// Why the metadata service has not told what is not known; `None` where it is not asked.
pub(crate) fn silence(facts: &Facts) -> Option<String> {
    let Asked { cloud, said } = facts.asked.as_ref()?;
    Some(match said {
        Ok(_) => format!("the metadata service of this cloud ({cloud}) does not have it"),
        Err(error) => format!("the metadata service of this cloud ({cloud}) has not told it yet: {error}"),
    })
}

/// Whether this cloud is known not to tell a fact of its machines.
pub(crate) fn never_told(facts: &Facts, fact: Fact) -> bool {
    facts.asked.as_ref().is_some_and(|asked| cloud::never_tells(asked.cloud, fact))
}

/// The public address: as the cloud tells it, else the only one of the interface with the default route that is public
/// (Hetzner's instance data does not tell it, and its machines have it themselves).
pub(crate) fn public_ipv4(facts: &Facts) -> Option<Ipv4Addr> {
    let told = facts.known().and_then(|cloud| cloud.public_ipv4);
    let way_out = |interface: &str| facts.default_route.as_deref() == Some(interface);
    let here = facts.addresses.iter().filter(|address| way_out(&address.interface));
    let mut own = here.filter_map(|address| match address.address {
        IpAddr::V4(address) => Some(address).filter(is_public),
        IpAddr::V6(_) => None,
    });
    told.or_else(|| own.next().filter(|_| own.next().is_none()))
}

/// Neither private (RFC 1918), shared by a carrier (RFC 6598), nor of this machine or network alone.
fn is_public(address: &Ipv4Addr) -> bool {
    let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
    let here = address.is_loopback() || address.is_link_local() || address.is_unspecified();
    !(address.is_private() || shared || here || address.is_multicast() || address.is_broadcast())
}

/// Vendor and device of the first 3D controller, or else of the first display controller: `10de-20b5`. A card that
/// only computes is the one that is meant, beside what shows the console.
pub(crate) async fn gpu(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    let mut display = None;
    for name in host.list(Path::new(PCI)).await?.unwrap_or_default() {
        let device = Path::new(PCI).join(name);
        let class = hex(host, &device.join("class")).await?.unwrap_or_default();
        let wanted = class.starts_with("0302") || (class.starts_with("03") && display.is_none());
        if !wanted {
            continue;
        }
        let numbers = (hex(host, &device.join("vendor")).await?, hex(host, &device.join("device")).await?);
        if let (Some(vendor), Some(number)) = numbers {
            display = Some(format!("{vendor}-{number}"));
            if class.starts_with("0302") {
                break;
            }
        }
    }
    Ok(display)
}

/// A number as sysfs writes it, without `0x`.
async fn hex(host: &dyn Inspect, path: &Path) -> Result<Option<String>, PortError> {
    let text = host.read(path).await?.map(|file| file.text().trim().to_lowercase());
    let digits = text.as_deref().and_then(|text| text.strip_prefix("0x"));
    Ok(digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())).map(String::from))
}
