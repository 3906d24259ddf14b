//! What `nft -j list table` lists (contract: libnftables-json(5)): tables of nftables' own. Those that iptables keeps there
//! have rules that only iptables can read; nothing is concluded from these.

use super::rules::{Action, Base, Fits, Number, Rule, Rules, Test, Word, network};
use bowline_ports::GUARD_TABLE;
use serde_json::Value;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Reads a listing, or says why it is none. Only what IPv6 packets, or IPv4 packets, go through.
pub(super) fn parse(text: &str, ipv6: bool) -> Result<Rules, String> {
    let whole: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let objects = whole["nftables"].as_array().ok_or("there is no list \"nftables\" in it")?;
    let family = if ipv6 { "ip6" } else { "ip" };
    let of = |object: &Value| {
        let (table, name) =
            (object["family"].as_str().unwrap_or_default(), object["table"].as_str().unwrap_or_default());
        // Bowline's own closes ports to pods, and to no machine.
        let counts = (table == family || table == "inet") && (table, name) != GUARD_TABLE;
        counts.then(|| format!("{table} {name}"))
    };
    let sets = Sets(objects);
    let mut rules = Rules::default();
    let mut bases = Vec::new();
    for object in objects {
        if let Some((table, chain)) = Some(&object["chain"]).and_then(|chain| Some((of(chain)?, chain))) {
            let name = chain["name"].as_str().unwrap_or_default();
            rules.chains.entry(format!("{table} {name}")).or_default();
            let hook = ["prerouting", "input"].iter().position(|hook| chain["hook"] == **hook);
            if let (Some(hook), "filter") = (hook, chain["type"].as_str().unwrap_or_default()) {
                let base = Base {
                    chain: format!("{table} {name}"),
                    table,
                    name: name.into(),
                    refuses: chain["policy"] == "drop",
                };
                bases.push((hook, chain["prio"].as_i64().unwrap_or_default(), base));
            }
        } else if let Some((table, rule)) = Some(&object["rule"]).and_then(|rule| Some((of(rule)?, rule))) {
            let chain = rule["chain"].as_str().unwrap_or_default();
            let text = format!("rule {} of `nft -a list chain {table} {chain}`", rule["handle"]);
            let into = rules.chains.entry(format!("{table} {chain}")).or_default();
            into.extend(expand(&rule["expr"], &table, &sets, &text));
        }
    }
    bases.sort_by_key(|(hook, priority, _)| (*hook, *priority));
    rules.bases = bases.into_iter().map(|(_, _, base)| base).collect();
    Ok(rules)
}

/// The listing, for its named sets and maps.
struct Sets<'a>(&'a [Value]);

impl Sets<'_> {
    /// What a set or a map of this name holds.
    fn elements(&self, table: &str, name: &str) -> Option<&Vec<Value>> {
        let (family, table) = table.split_once(' ')?;
        self.0.iter().find_map(|object| {
            let set = ["set", "map"].into_iter().map(|kind| &object[kind]).find(|set| set.is_object())?;
            let same = set["family"] == family && set["table"] == table && set["name"] == name;
            // An empty one is listed without elements.
            static NONE: Vec<Value> = Vec::new();
            same.then(|| set["elem"].as_array().unwrap_or(&NONE))
        })
    }
}

/// One rule, or one for each element of its verdict map.
fn expand(expressions: &Value, table: &str, sets: &Sets<'_>, text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut tests = Vec::new();
    for expression in expressions.as_array().into_iter().flatten() {
        let Some((kind, value)) = expression.as_object().and_then(|one| one.iter().next()) else {
            tests.push(Test::Always(Fits::Maybe));
            continue;
        };
        let add = |tests: Vec<Test>, action| Rule { tests, action, text: text.to_string() };
        match kind.as_str() {
            "match" => tests.extend(matched(&value["left"], &value["op"], &value["right"], table, sets)),
            "counter" | "log" | "comment" | "notrack" | "flow" | "tcp option" => {}
            "vmap" => {
                let named = value["data"].as_str().and_then(|name| sets.elements(table, name.strip_prefix('@')?));
                let pairs = named.or_else(|| value["data"]["set"].as_array());
                for pair in pairs.into_iter().flatten() {
                    let mut tests = tests.clone();
                    tests.extend(matched(&value["key"], &Value::from("=="), &pair[0], table, sets));
                    rules.push(add(tests, verdict(&pair[1], table).unwrap_or(Action::Unclear)));
                }
                if pairs.is_none() {
                    rules.push(add(tests.clone(), Action::Unclear));
                }
            }
            "mangle" if value["key"]["meta"]["key"] == "mark" => {
                let mark = value["value"].as_u64().and_then(|mark| u32::try_from(mark).ok());
                rules.push(add(tests.clone(), Action::Mark(mark.map(|mark| (mark, u32::MAX)))));
            }
            "mangle" => {}
            "queue" | "dnat" | "snat" | "masquerade" | "redirect" | "tproxy" | "synproxy" => {
                rules.push(add(tests.clone(), Action::Unclear));
            }
            "xt" if value["type"] == "target" => rules.push(add(tests.clone(), Action::Unclear)),
            _ => match verdict(expression, table) {
                Some(action) => rules.push(add(tests.clone(), action)),
                None => tests.push(Test::Always(Fits::Maybe)),
            },
        }
    }
    rules
}

fn verdict(expression: &Value, table: &str) -> Option<Action> {
    let (kind, value) = expression.as_object()?.iter().next()?;
    let to = || value["target"].as_str().map(|chain| format!("{table} {chain}"));
    Some(match kind.as_str() {
        "accept" => Action::Accept,
        "drop" | "reject" => Action::Refuse,
        "return" => Action::Return,
        "continue" => Action::Pass,
        "jump" => Action::Jump(to()?),
        "goto" => Action::Goto(to()?),
        _ => return None,
    })
}

/// A comparison: with what it takes for granted, such as TCP where its port is looked at.
fn matched(left: &Value, op: &Value, right: &Value, table: &str, sets: &Sets<'_>) -> Vec<Test> {
    let not = *op == "!=";
    let unknown = vec![Test::Always(Fits::Maybe)];
    if !["==", "in", "!="].iter().any(|known| op == known) {
        return unknown;
    }
    let values = match right {
        Value::String(name) if name.starts_with('@') => match sets.elements(table, &name[1..]) {
            Some(elements) => elements.iter().collect(),
            None => return unknown,
        },
        right => listed(right),
    };
    let among = |what, words: Option<Vec<String>>| words.map(|words| Test::Among { what, words, not });
    let within = |what, ranges: Option<Vec<_>>| ranges.map(|ranges| Test::Within { what, ranges, not });
    let text = |values: &[&Value]| values.iter().map(|value| word(value)).collect::<Option<Vec<_>>>();
    let numbers = |values: &[&Value]| values.iter().map(|value| range(value)).collect::<Option<Vec<_>>>();
    let is = |what, word: &str| Test::Among { what, words: vec![word.into()], not: false };
    let (protocol, field) = (&left["payload"]["protocol"], left["payload"]["field"].as_str().unwrap_or_default());
    let mut all = Vec::new();
    let test = match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str(), protocol.as_str(), field) {
        (Some("l4proto"), ..) | (_, _, Some("ip"), "protocol") | (_, _, Some("ip6"), "nexthdr") => {
            among(Word::Protocol, text(&values))
        }
        (Some("iifname" | "iif"), ..) => among(Word::Interface, text(&values)),
        (Some("nfproto"), ..) => among(Word::Family, text(&values)),
        (Some("mark"), ..) => match values.as_slice() {
            [one] => one.as_u64().and_then(|mark| u32::try_from(mark).ok()).map(|value| Test::Mark {
                value,
                mask: u32::MAX,
                not,
            }),
            _ => None,
        },
        // A new one has no other status: `dnat` is what a service was translated to.
        (_, Some("state" | "status"), ..) => among(Word::State, text(&values)),
        (_, _, Some(family @ ("ip" | "ip6")), "saddr" | "daddr") => {
            all.push(is(Word::Family, if family == "ip" { "ipv4" } else { "ipv6" }));
            within(if field == "saddr" { Number::Source } else { Number::Destination }, numbers(&values))
        }
        (_, _, Some(transport @ ("tcp" | "udp" | "th")), "sport" | "dport") => {
            if transport != "th" {
                all.push(is(Word::Protocol, transport));
            }
            within(if field == "sport" { Number::SourcePort } else { Number::Port }, numbers(&values))
        }
        // Another header of a protocol, such as `icmpv6 type`: none but that protocol has it.
        (_, _, Some(other), _) if !["ip", "ip6", "th", "ether", "vlan"].contains(&other) => {
            all.push(is(Word::Protocol, other));
            None
        }
        // It is for this machine.
        _ if left["fib"]["result"] == "type" && left["fib"]["flags"] == "daddr" => text(&values)
            .map(|words| Test::Always(if words.contains(&"local".to_string()) != not { Fits::Yes } else { Fits::No })),
        _ => None,
    };
    all.push(test.unwrap_or(Test::Always(Fits::Maybe)));
    all
}

/// The values on the right, of which one has to fit.
fn listed(right: &Value) -> Vec<&Value> {
    match (right, right["set"].as_array()) {
        (_, Some(all)) | (Value::Array(all), None) => all.iter().collect(),
        _ => vec![right],
    }
}

/// An element of a set may have more about it than its value.
fn bare(value: &Value) -> &Value {
    if value["elem"].is_object() { &value["elem"]["val"] } else { value }
}

fn word(value: &Value) -> Option<String> {
    match bare(value) {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => match number.as_u64() {
            Some(6) => Some("tcp".into()),
            Some(17) => Some("udp".into()),
            other => other.map(|number| number.to_string()),
        },
        _ => None,
    }
}

/// A port, an address, a network, or a range of them.
fn range(value: &Value) -> Option<RangeInclusive<u128>> {
    let value = bare(value);
    let one = |value: &Value| match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(text) => text.parse::<IpAddr>().ok().map(super::rules::number),
        _ => None,
    };
    if let Some(prefix) = value.get("prefix") {
        let address: IpAddr = prefix["addr"].as_str()?.parse().ok()?;
        return Some(network(address, u8::try_from(prefix["len"].as_u64()?).ok()?));
    }
    match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => Some(one(first)?..=one(last)?),
        Some(_) => None,
        None => one(value).map(|number| number..=number),
    }
}
