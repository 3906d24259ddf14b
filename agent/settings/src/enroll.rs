//! Reads `[enroll]`: whom a server lets into its cluster.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::complaint::{Complaint, quote};
use crate::duration::Span;
use crate::join::ENROLL_PORT;
use crate::labels;
use crate::model::Role;
use crate::net::{Cidr, Listen, ListenHost};
use crate::node::{node_name, read_taints};
use crate::pattern::Pattern;
use crate::persistent::claim_pattern;
use crate::reader::{Reader, Section, dotted};
use crate::source::Spot;
use crate::taint::Taint;
use crate::tree::{Item, Kind};

pub(crate) const KEYS: [&str; 5] = ["listen", "grace", "only-claimed", "remove-gone-after", "allow"];
pub(crate) const RULE_KEYS: [&str; 9] =
    ["name", "nodes", "role", "from", "grant", "permit", "taints", "permit-taints", "permit-claims"];

/// A kubelet may miss three renewals of its Lease before anybody doubts it.
const LEAST_GRACE: Span = Span::from_secs(40);

/// `[enroll]`: whom a server lets into its cluster, and how careful it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Enroll {
    /// Where joiners are answered; never empty.
    pub listen: Vec<Listen>,
    /// How long a node's Lease stands still before another machine may have its
    /// name from another address; at least 40 seconds.
    pub grace: Span,
    /// Whether Nodes that kubelets create must carry the startup taint, which only
    /// claimed names lose.
    pub only_claimed: bool,
    /// After how long the Node of a machine that is gone is removed, longer than
    /// `grace`. None: never.
    pub remove_gone_after: Option<Span>,
    /// `[[enroll.allow]]`, in the order of their first mention; names are unique.
    /// The first that fits decides. None that fits: no entry.
    pub allow: Vec<EnrollRule>,
}

impl Default for Enroll {
    fn default() -> Self {
        Self {
            listen: vec![Listen { host: ListenHost::NodeAddress, port: ENROLL_PORT }],
            grace: Span::from_secs(60),
            only_claimed: false,
            remove_gone_after: None,
            allow: Vec::new(),
        }
    }
}

/// One `[[enroll.allow]]`: who may come in, and as what.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EnrollRule {
    /// Its own name, for merging and for messages.
    pub name: String,
    /// Which node names; for servers one exactly.
    pub nodes: Pattern,
    /// As what.
    pub role: Role,
    /// From which networks, never empty; for servers single addresses only.
    pub from: Vec<Cidr>,
    /// Labels that such a node always gets.
    pub grant: BTreeMap<String, String>,
    /// Keys of labels that such a node may ask for.
    pub permit: Vec<Pattern>,
    /// Taints that such a node always gets.
    pub taints: Vec<Taint>,
    /// Keys of taints that such a node may ask for.
    pub permit_taints: Vec<Pattern>,
    /// `NAMESPACE/NAME` of the PersistentVolumeClaims that such a node may have volumes for.
    pub permit_claims: Vec<Pattern>,
}

/// Reads the table. None when it is not there.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>) -> Option<Enroll> {
    let section = reader.section(root, "enroll")?;
    reader.known(&section, &KEYS, &[]);
    let mut enroll = Enroll::default();
    if let Some(listen) = listen(reader, &section) {
        enroll.listen = listen;
    }
    enroll.grace = reader.with(&section, "grace", grace).unwrap_or(enroll.grace);
    enroll.only_claimed = reader.boolean(&section, "only-claimed").unwrap_or_default();
    enroll.remove_gone_after = reader.parsed(&section, "remove-gone-after");
    if let (Some(after), Some(item)) = (enroll.remove_gone_after, section.get("remove-gone-after"))
        && reader.whole
        && after <= enroll.grace
    {
        let complaint = Complaint::new(format!(
            "a machine counts as gone after {} (`enroll.grace`), and its Node would be removed after {after} already",
            enroll.grace
        ));
        reader.complain(item.at, &section.key("remove-gone-after"), complaint.suggest("\"1h\", or more"));
    }
    enroll.allow = rules(reader, &section);
    Some(enroll)
}

/// What keys that only a server may set begin with.
const RESERVED: [&str; 2] = ["node-role.kubernetes.io", "node-restriction.kubernetes.io"];

fn grace(text: &str) -> Result<Span, Complaint> {
    let span: Span = text.parse()?;
    if span < LEAST_GRACE {
        return Err(Complaint::new(format!(
            "a living node may be silent for {LEAST_GRACE}: a shorter `grace` than that would replace it"
        ))
        .suggest("\"60s\", the usual one, or more"));
    }
    Ok(span)
}

fn listen<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Option<Vec<Listen>> {
    let list = reader.texts(section, "listen", |text| Listen::parse(text, ENROLL_PORT))?;
    let path = section.key("listen");
    let item = section.get("listen")?;
    if matches!(&item.kind, Kind::List(items) if items.is_empty()) {
        let complaint = Complaint::new("a server that listens nowhere lets in nobody");
        reader.complain(item.at, &path, complaint.suggest("[\"{address}:7470\"], or remove the line"));
    }
    for (index, (place, at)) in list.iter().enumerate() {
        if list.iter().take(index).any(|(other, _)| other == place) {
            reader.complain(*at, &path, Complaint::new(format!("{place} is in the list twice")));
        }
        if matches!(place.host, ListenHost::Ip(address) if address.is_unspecified()) {
            let message = format!("{place} is every address of this machine, also those that face the internet");
            reader.warn(*at, &path, Complaint::new(message).suggest("\"{address}:7470\""));
        }
    }
    (!list.is_empty()).then(|| list.into_iter().map(|(place, _)| place).collect())
}

fn rules<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> Vec<EnrollRule> {
    let path = section.key("allow");
    let mut seen: BTreeMap<&str, Spot> = BTreeMap::new();
    let mut rules = Vec::new();
    for item in reader.list(section, "allow", "tables").unwrap_or_default() {
        let Some(table) = item.table() else {
            let message = format!("an [[enroll.allow]] is {}, expected a table", item.kind.noun());
            reader.complain(item.at, &path, Complaint::new(message));
            continue;
        };
        let name = table.get("name");
        let text = name.and_then(Item::text);
        let place = text.map_or(path.clone(), |name| dotted(&path, name));
        let rule = Section { path: place, at: item.at, table };
        // As with volumes: without a name files cannot be laid over each other.
        if name.is_none() {
            let complaint = Complaint::new("this [[enroll.allow]] has no name").suggest("add name = \"workers\"");
            reader.complain(item.at, &path, complaint);
        }
        rules.extend(one(reader, &rule));
        never_reached(reader, &rules, &rule);
        if let (Some(text), Some(name)) = (text, name) {
            match seen.get(text) {
                Some(first) => {
                    let complaint = Complaint::new(format!("two rules of one file have the name {}", quote(text)));
                    reader.contradiction(name.at, *first, &rule.key("name"), complaint);
                }
                None => drop(seen.insert(text, name.at)),
            }
        }
    }
    rules
}

fn one<'a>(reader: &mut Reader<'a>, rule: &Section<'a>) -> Option<EnrollRule> {
    reader.known(rule, &RULE_KEYS, &[]);
    reader.missing(rule, "nodes", "nodes = \"worker-*\"");
    reader.missing(rule, "role", "role = \"agent\"");
    reader.missing(rule, "from", "from = \"10.0.1.0/24\", with your own network");
    let name = reader.with(rule, "name", rule_name);
    let nodes = reader.with(rule, "nodes", Pattern::of_nodes);
    let role = reader.choice(rule, "role", &[("server", Role::Server), ("agent", Role::Agent)], &[]);
    let from = networks(reader, rule);
    let grant = labels::read(reader, rule, "grant", labels::Facts::Others);
    let permit = reader.texts(rule, "permit", |text| {
        let pattern: Pattern = text.parse()?;
        if pattern.is_exact() {
            labels::check_key(text)?;
            if let Some(prefix) = RESERVED.iter().find(|prefix| **prefix == text) {
                return Err(Complaint::new(format!("{} is the first half of keys", quote(text)))
                    .suggest(format!("\"{prefix}/*\"")));
            }
        }
        Ok(pattern)
    });
    let taints = read_taints(reader, rule, "taints");
    let permit_taints: Option<Vec<(Pattern, Spot)>> = reader.texts(rule, "permit-taints", str::parse);
    let permit_claims = reader.texts(rule, "permit-claims", claim_pattern);
    if reader.whole && role == Some(Role::Server) {
        exact(reader, rule, nodes.as_ref(), from.as_deref().unwrap_or_default());
        if let Some(item) = rule.get("permit-claims") {
            let complaint = Complaint::new("a server makes its persistent volumes by itself").suggest("remove it");
            reader.complain(item.key, &rule.key("permit-claims"), complaint);
        }
    }
    Some(EnrollRule {
        name: name?,
        nodes: nodes?,
        role: role?,
        from: from.filter(|list| !list.is_empty())?.into_iter().map(|(network, _)| network).collect(),
        grant,
        permit: permit.unwrap_or_default().into_iter().map(|(pattern, _)| pattern).collect(),
        taints,
        permit_taints: permit_taints.unwrap_or_default().into_iter().map(|(pattern, _)| pattern).collect(),
        permit_claims: permit_claims.unwrap_or_default().into_iter().map(|(pattern, _)| pattern).collect(),
    })
}

/// Says that an earlier rule takes all that the last one would: the first that fits decides.
fn never_reached<'a>(reader: &mut Reader<'a>, rules: &[EnrollRule], at: &Section<'a>) {
    let Some((last, earlier)) = rules.split_last().filter(|_| reader.whole) else { return };
    // A `*` of the later pattern is taken by a `*` only: what fits the pattern's own text fits all that it stands for.
    let within = |network: &Cidr, all: &Cidr| all.prefix() <= network.prefix() && all.contains(network.address());
    let covers = |rule: &&EnrollRule| {
        rule.role == last.role
            && rule.nodes.matches(last.nodes.as_str())
            && last.from.iter().all(|network| rule.from.iter().any(|all| within(network, all)))
    };
    if let Some(rule) = earlier.iter().find(covers).filter(|rule| rule.name != last.name) {
        let message = format!("this rule is never reached: the rule {} before it takes the same", quote(&rule.name));
        reader.warn(at.at, &at.path, Complaint::new(message).suggest("put the narrower rule first"));
    }
}

fn rule_name(text: &str) -> Result<String, Complaint> {
    if labels::is_subdomain(text) && text.len() <= 63 {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(format!(
        "{} is not a name for a rule: lower-case letters, digits, and `-` between them",
        quote(text)
    )))
}

/// One network, or a list of them.
fn networks<'a>(reader: &mut Reader<'a>, rule: &Section<'a>) -> Option<Vec<(Cidr, Spot)>> {
    let item = rule.get("from")?;
    if item.text().is_some() {
        return reader.parsed(rule, "from").map(|network| vec![(network, item.at)]);
    }
    if matches!(&item.kind, Kind::List(items) if items.is_empty()) {
        let complaint = Complaint::new("a rule without a network lets in nobody");
        reader.complain(item.at, &rule.key("from"), complaint.suggest("\"10.0.1.0/24\", with your own network"));
    }
    reader.texts(rule, "from", str::parse)
}

/// A server gets the token to everything: no pattern and no network is narrow enough.
fn exact<'a>(reader: &mut Reader<'a>, rule: &Section<'a>, nodes: Option<&Pattern>, from: &[(Cidr, Spot)]) {
    if let (Some(nodes), Some(item)) = (nodes, rule.get("nodes")) {
        let path = rule.key("nodes");
        if nodes.is_exact() {
            reader.made(node_name(nodes.as_str()), item.at, &path);
        } else {
            let message = format!("a server is let in by its exact name only, and {} has a `*`", quote(nodes.as_str()));
            reader.complain(item.at, &path, Complaint::new(message).suggest("write one [[enroll.allow]] a server"));
        }
    }
    for (network, at) in from {
        if !network.is_single() {
            let message = format!("a server is let in from exact addresses only, and {network} is a network");
            let suggestion = "write the server's own address, such as from = \"10.0.1.11\"";
            reader.complain(*at, &rule.key("from"), Complaint::new(message).suggest(suggestion));
        }
    }
}
