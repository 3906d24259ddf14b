//! The options of K3s on which all servers of a cluster must agree. The first server has them; who joins takes them
//! over where its own settings say nothing, and is refused where they say something else.
//!
//! K3s compares most of them itself and ends with "critical configuration value mismatch" (contract A8).

use bowline_enroll::wire::Agreed;
use bowline_settings::{Cidr, ConfigScalar, ConfigValue, usual_network};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `[cluster.config]`.
type Config = BTreeMap<String, ConfigValue>;

/// Options with a default of K3s's own, besides those that go by the kind of the node's address.
const DEFAULTS: [(&str, &str); 4] = [
    ("cluster-domain", "cluster.local"),
    ("flannel-backend", "vxlan"),
    ("egress-selector-mode", "agent"),
    // K3s before 1.32.4 knows no other, nor the option: it is written only where it is another.
    (PROVIDER, "aescbc"),
];

/// Told always: builds that did not compare it told nothing of it, and their answers are on record. Where it is not told it is not
/// known, and K3s compares it.
const PROVIDER: &str = "secrets-encryption-provider";

/// Options that are false, or nothing (but for what [`DEFAULTS`] says), unless somebody sets them.
const FURTHER: [&str; 10] = [
    "disable-cloud-controller",
    "disable-helm-controller",
    "disable-network-policy",
    "egress-selector-mode",
    "embedded-registry",
    "flannel-external-ip",
    "flannel-ipv6-masq",
    "secrets-encryption",
    PROVIDER,
    "supervisor-metrics",
];

const DISABLE: &str = "disable";
const DNS: &str = "cluster-dns";

/// What a server with these options asks of others, with K3s's own defaults on a node with an address of IPv4 or IPv6.
pub fn agreed(config: &Config, ipv6: bool) -> Agreed {
    let text = |key: &str| own(config, key).unwrap_or_else(|| default(key, ipv6));
    let dns = || dns_of(&text("service-cidr")).unwrap_or_else(|| default(DNS, ipv6));
    let further = |key: &str| own(config, key).or_else(|| (key == PROVIDER).then(|| default(key, ipv6)));
    Agreed {
        cluster_cidr: text("cluster-cidr"),
        service_cidr: text("service-cidr"),
        cluster_dns: own(config, DNS).unwrap_or_else(dns),
        cluster_domain: text("cluster-domain"),
        disable: own(config, DISABLE)
            .filter(|all| !all.is_empty())
            .map_or_else(Vec::new, |all| all.split(',').map(String::from).collect()),
        flannel_backend: text("flannel-backend"),
        options: FURTHER.iter().filter_map(|key| Some(((*key).to_owned(), further(key)?))).collect(),
    }
}

/// An option on which these settings and the cluster differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The option.
    pub option: String,
    /// What the settings say.
    pub ours: String,
    /// What the cluster has.
    pub theirs: String,
}

/// What is set here and is otherwise in the cluster.
pub fn differences(config: &Config, told: &Agreed) -> Vec<Difference> {
    let mut all = Vec::new();
    for (option, theirs) in spread(told) {
        if let Some(ours) = own(config, &option).filter(|ours| *ours != theirs) {
            all.push(Difference { option, ours, theirs });
        }
    }
    for option in FURTHER.into_iter().filter(|option| *option != PROVIDER) {
        let unset = !told.options.contains_key(option);
        let nothing = |ours: &String| ours == "false" || is_default(option, ours);
        if let Some(ours) = own(config, option).filter(|ours| unset && !nothing(ours)) {
            all.push(Difference { option: option.into(), ours, theirs: "not set".into() });
        }
    }
    all
}

/// Of pods or services with a network of IPv4 and one of IPv6, the option and both. K3s starts with these only on a node with addresses
/// of both kinds, and a node has one address here.
pub fn two_networks(told: &Agreed) -> Option<(String, String)> {
    spread(told).into_iter().find(|(option, value)| usual_network(option, false).is_some() && value.contains(','))
}

/// What the cluster has otherwise than K3s by itself and the settings do not mention: to be set as well.
pub fn taken_over(config: &Config, told: &Agreed) -> Config {
    let mut all = Config::new();
    for (option, theirs) in spread(told) {
        if own(config, &option).is_some() || is_default(&option, &theirs) {
            continue;
        }
        let value = match (option.as_str(), theirs.as_str()) {
            (DISABLE, list) => ConfigValue::Many(list.split(',').map(|part| ConfigScalar::Text(part.into())).collect()),
            (_, "true") => ConfigValue::One(ConfigScalar::Bool(true)),
            (_, "false") => ConfigValue::One(ConfigScalar::Bool(false)),
            (_, text) => ConfigValue::One(ConfigScalar::Text(text.into())),
        };
        all.insert(option, value);
    }
    all
}

/// Option and value; lists with commas.
fn spread(agreed: &Agreed) -> Vec<(String, String)> {
    let named = [
        ("cluster-cidr", agreed.cluster_cidr.clone()),
        ("service-cidr", agreed.service_cidr.clone()),
        (DNS, agreed.cluster_dns.clone()),
        ("cluster-domain", agreed.cluster_domain.clone()),
        ("flannel-backend", agreed.flannel_backend.clone()),
        (DISABLE, agreed.disable.join(",")),
    ];
    // An option that has a field of its own is that one, whatever else is told.
    let further = agreed.options.iter().filter(|(key, _)| !named.iter().any(|(name, _)| name == key));
    let further: Vec<_> = further.map(|(key, value)| (key.clone(), value.clone())).collect();
    let all = named.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(further);
    let all = all.map(|(key, value)| {
        let value = normal(&key, [value.as_str()]);
        (key, value)
    });
    all.collect()
}

/// A value as it is compared: lists with commas, without spaces, and where their order says nothing in one order.
fn normal<'a>(key: &str, texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = texts.into_iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    all.retain(|part| !part.is_empty());
    if key == DISABLE {
        all.sort_unstable();
        all.dedup();
    }
    if usual_network(key, false).is_some() {
        // As K3s reads them.
        let network =
            |text: &&str| Cidr::masked(text).map_or_else(|| (*text).to_owned(), |network| network.to_string());
        return all.iter().map(network).collect::<Vec<_>>().join(",");
    }
    all.join(",")
}

/// The resolvers that K3s makes where nobody names them: the tenth address of each network of services (K3s:
/// `pkg/cli/server/server.go`). `None` where one is no network.
fn dns_of(service_cidr: &str) -> Option<String> {
    let tenth = |network: &str| -> Option<String> {
        let (address, prefix) = network.trim().split_once('/')?;
        let prefix: u32 = prefix.parse().ok()?;
        let host = |bits: u32| bits.saturating_sub(prefix);
        Some(match address.parse().ok()? {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(host(32)).unwrap_or(0);
                Ipv4Addr::from((u32::from(address) & mask).checked_add(10)?).to_string()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(host(128)).unwrap_or(0);
                Ipv6Addr::from((u128::from(address) & mask).checked_add(10)?).to_string()
            }
        })
    };
    let all: Option<Vec<_>> = service_cidr.split(',').map(tenth).collect();
    all.map(|all| all.join(","))
}

/// K3s's own value of an option; the empty text is nothing.
fn default(option: &str, ipv6: bool) -> String {
    if option == DNS {
        return usual_network("service-cidr", ipv6).and_then(dns_of).unwrap_or_default();
    }
    let other = || DEFAULTS.iter().find(|(name, _)| *name == option).map(|(_, default)| *default);
    usual_network(option, ipv6).or_else(other).unwrap_or_default().to_owned()
}

/// Whether it is K3s's own value on a node of some kind: all nodes of a cluster are of one.
fn is_default(option: &str, value: &str) -> bool {
    [false, true].iter().any(|ipv6| default(option, *ipv6) == value)
}

/// What the settings say of an option, as it is compared; `KEY+` adds to it.
fn own(config: &Config, key: &str) -> Option<String> {
    let one = |value: &ConfigScalar| match value {
        ConfigScalar::Text(text) => text.clone(),
        ConfigScalar::Bool(yes) => yes.to_string(),
        ConfigScalar::Integer(number) => number.to_string(),
        // None of these is a secret, and none may become known by being compared.
        ConfigScalar::Secret(_) => String::new(),
    };
    let said: Vec<&ConfigValue> = [config.get(key), config.get(&format!("{key}+"))].into_iter().flatten().collect();
    if said.is_empty() {
        return None;
    }
    let texts = |value: &ConfigValue| match value {
        ConfigValue::One(value) => vec![one(value)],
        ConfigValue::Many(values) => values.iter().map(one).collect(),
    };
    let all: Vec<String> = said.into_iter().flat_map(texts).collect();
    Some(normal(key, all.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, ConfigValue)]) -> Config {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    fn text(text: &str) -> ConfigValue {
        ConfigValue::One(ConfigScalar::Text(text.into()))
    }

    fn list(all: &[&str]) -> ConfigValue {
        ConfigValue::Many(all.iter().map(|text| ConfigScalar::Text((*text).into())).collect())
    }

    #[test]
    fn what_k3s_does_by_itself_is_agreed_on_without_being_set() {
        let told = agreed(&Config::new(), false);
        assert_eq!(told.cluster_cidr, "10.42.0.0/16");
        assert!(differences(&Config::new(), &told).is_empty() && taken_over(&Config::new(), &told).is_empty());
        let same = config(&[("cluster-cidr", text("10.42.0.0/16")), ("disable", list(&[]))]);
        assert!(differences(&same, &told).is_empty() && taken_over(&same, &told).is_empty());
    }

    #[test]
    fn on_ipv6_k3s_has_other_networks() {
        let told = agreed(&Config::new(), true);
        assert_eq!(
            [&told.cluster_cidr, &told.service_cidr, &told.cluster_dns],
            ["fd00:42::/56", "fd00:43::/112", "fd00:43::a"]
        );
        assert!(differences(&Config::new(), &told).is_empty() && taken_over(&Config::new(), &told).is_empty());
    }

    #[test]
    fn resolvers_follow_from_the_network_of_services() {
        let dns = |service: &str| agreed(&config(&[("service-cidr", text(service))]), false).cluster_dns;
        assert_eq!(agreed(&Config::new(), false).cluster_dns, "10.43.0.10");
        assert_eq!(dns("10.53.7.0/16"), "10.53.0.10");
        assert_eq!(dns("10.53.0.0/16,fd00:43::/112"), "10.53.0.10,fd00:43::a");
        assert_eq!(dns("no network"), "10.43.0.10");
        // Who names what K3s makes of it says nothing else.
        let told = agreed(&config(&[("service-cidr", text("10.53.0.0/16"))]), false);
        let same = config(&[("service-cidr", text("10.53.0.0/16")), ("cluster-dns", text("10.53.0.10"))]);
        assert!(differences(&same, &told).is_empty());
        // What is behind the prefix says nothing to K3s.
        assert!(differences(&config(&[("service-cidr", text("10.53.0.1/16"))]), &told).is_empty());
    }

    #[test]
    fn what_is_not_set_here_is_taken_over() {
        let first = config(&[
            ("cluster-cidr", text("10.52.0.0/16")),
            ("disable", list(&["traefik", "servicelb"])),
            ("secrets-encryption", ConfigValue::One(ConfigScalar::Bool(true))),
            ("secrets-encryption-provider", text("aescbc")),
        ]);
        let told = agreed(&first, false);
        let taken = taken_over(&Config::new(), &told);
        assert_eq!(
            serde_json::json!(taken),
            serde_json::json!({ "cluster-cidr": "10.52.0.0/16", "disable": ["servicelb", "traefik"], "secrets-encryption": true })
        );
        let secretbox = agreed(&config(&[("secrets-encryption-provider", text("secretbox"))]), false);
        let taken = taken_over(&Config::new(), &secretbox);
        assert_eq!(serde_json::json!(taken), serde_json::json!({ "secrets-encryption-provider": "secretbox" }));
        assert!(differences(&first, &secretbox).iter().any(|it| it.option == "secrets-encryption-provider"));
        let others = config(&[("secrets-encryption-provider", text("secretbox"))]);
        let [difference] = &differences(&others, &agreed(&Config::new(), false))[..] else { panic!("one differs") };
        assert_eq!((difference.ours.as_str(), difference.theirs.as_str()), ("secretbox", "aescbc"));
        // In another order, or as one text, it is the same.
        let other = config(&[("disable", text("servicelb, traefik"))]);
        assert!(differences(&other, &told).is_empty());
        assert_eq!(taken_over(&other, &told).len(), 2);
    }

    /// As `enrolled.json` of a member has it that was let in before this was compared.
    #[test]
    fn what_earlier_builds_did_not_tell_is_not_known() {
        let mut told = agreed(&Config::new(), false);
        assert!(told.options.remove("secrets-encryption-provider").is_some());
        let ours = config(&[("secrets-encryption-provider", text("secretbox"))]);
        assert!(differences(&ours, &told).is_empty() && taken_over(&ours, &told).is_empty());
    }

    #[test]
    fn lists_are_the_same_however_they_are_written() {
        let told = Agreed {
            disable: ["traefik", "", "servicelb", "traefik"].map(String::from).into(),
            cluster_cidr: " 10.42.0.0/16, fd00::/56".into(),
            // What has a field of its own is not told twice.
            options: BTreeMap::from([("cluster-cidr".into(), "10.99.0.0/16".into())]),
            ..agreed(&Config::new(), false)
        };
        let taken = taken_over(&Config::new(), &told);
        assert_eq!(
            serde_json::json!(taken),
            serde_json::json!({ "cluster-cidr": "10.42.0.0/16,fd00::/56", "disable": ["servicelb", "traefik"] })
        );
        assert!(differences(&taken, &told).is_empty() && taken_over(&taken, &told).is_empty());
        let within = config(&[
            ("disable", list(&["traefik,servicelb", ""])),
            ("cluster-cidr", list(&["10.42.0.0/16", "fd00::/56"])),
        ]);
        assert!(differences(&within, &told).is_empty());
        assert_eq!(agreed(&within, false).disable, ["servicelb", "traefik"]);
        // What is added counts as well.
        let added = config(&[("disable", text("traefik")), ("disable+", list(&["servicelb"]))]);
        assert_eq!(agreed(&added, false).disable, ["servicelb", "traefik"]);
        assert!(
            differences(&added, &agreed(&within, false)).is_empty()
                && !taken_over(&added, &told).contains_key("disable")
        );
    }

    #[test]
    fn a_second_network_is_told() {
        let told = |options: &[(&str, ConfigValue)]| two_networks(&agreed(&config(options), false));
        assert_eq!(told(&[("cluster-cidr", text("10.52.0.0/16")), ("disable", list(&["traefik", "servicelb"]))]), None);
        let both = "10.53.0.0/16,fd00:43::/112";
        for written in [text(both), list(&["10.53.0.0/16", " fd00:43::/112"])] {
            assert_eq!(told(&[("service-cidr", written)]), Some(("service-cidr".into(), both.into())));
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let told = agreed(&config(&[("service-cidr", text("10.53.0.0/16"))]), false);
        let ours = config(&[
            ("service-cidr", text("10.99.0.0/16")),
            ("disable", list(&["traefik"])),
            ("embedded-registry", ConfigValue::One(ConfigScalar::Bool(true))),
            ("disable-helm-controller", ConfigValue::One(ConfigScalar::Bool(false))),
            ("egress-selector-mode", text("agent")),
            ("supervisor-metrics", ConfigValue::One(ConfigScalar::Bool(true))),
        ]);
        let said: Vec<_> = differences(&ours, &told).into_iter().map(|d| (d.option, d.ours, d.theirs)).collect();
        let wanted = [
            ("service-cidr", "10.99.0.0/16", "10.53.0.0/16"),
            ("disable", "traefik", ""),
            ("embedded-registry", "true", "not set"),
            ("supervisor-metrics", "true", "not set"),
        ];
        assert_eq!(said, wanted.map(|(a, b, c)| (a.into(), b.into(), c.into())));
    }
}
