//! What `iptables-save` lists: the chains that a packet for this machine goes through, and those that they lead to.

use super::rules::{Action, Base, Fits, Number, Rule, Rules, Test, Word, network};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Tables and chains, in the kernel's order. Where addresses are translated (`nat`) nothing is refused.
const WAY: [(&str, &str); 5] =
    [("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("mangle", "INPUT"), ("filter", "INPUT"), ("security", "INPUT")];
/// Targets after which the next rule is looked at, and that leave the mark alone.
const HARMLESS: [&str; 19] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "HL",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFLOG",
    "NOTRACK",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TOS",
    "TRACE",
    "TTL",
];
/// Matches that say nothing but by their options.
const PLAIN: [&str; 9] = ["tcp", "udp", "comment", "state", "conntrack", "multiport", "addrtype", "mark", "iprange"];

/// Reads a listing.
pub(super) fn parse(text: &str) -> Rules {
    let mut rules = Rules::default();
    let mut policies = Vec::new();
    let mut table = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            rules.chains.entry(key(table, name)).or_default();
            policies.push((key(table, name), policy == "DROP"));
        } else if line.starts_with("-A ") {
            let words = words(line);
            let chain = key(table, words.get(1).map_or("", String::as_str));
            rules.chains.entry(chain).or_default().push(rule(table, line, words.get(2..).unwrap_or_default()));
        }
    }
    for (table, chain) in WAY {
        let key = key(table, chain);
        if rules.chains.contains_key(&key) {
            let refuses = policies.iter().any(|(name, drops)| *name == key && *drops);
            rules.bases.push(Base { chain: key, table: table.into(), name: chain.into(), refuses });
        }
    }
    rules
}

fn key(table: &str, chain: &str) -> String {
    format!("{table} {chain}")
}

/// The words of a line; what is in quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, begun) = (!quoted, true),
            '\\' if quoted => word.extend(letters.next()),
            ' ' if !quoted => {
                if begun {
                    all.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        all.push(word);
    }
    all
}

fn rule(table: &str, line: &str, words: &[String]) -> Rule {
    let mut rule = Rule { tests: Vec::new(), action: Action::Pass, text: line.to_string() };
    let mut words = words.iter().map(String::as_str).peekable();
    let mut not = false;
    while let Some(option) = words.next() {
        if option == "!" {
            not = true;
            continue;
        }
        // What an option is followed by, up to the next one.
        let mut values = Vec::new();
        while let Some(value) = words.next_if(|word| !word.starts_with("--") && !is_short(word) && *word != "!") {
            values.push(value);
        }
        let value = values.first().copied().unwrap_or_default();
        match option {
            "-j" => {
                rule.action = target(table, value, words.by_ref());
                break;
            }
            "-g" => rule.action = Action::Goto(key(table, value)),
            "-m" if PLAIN.contains(&value) => {}
            "--comment" => {}
            "--tcp-flags" => rule.tests.push(constant(opens(&values) != not)),
            _ => rule.tests.push(test(option, value, not)),
        }
        not = false;
    }
    rule
}

fn is_short(word: &str) -> bool {
    word.len() == 2 && word.starts_with('-') && word.ends_with(|c: char| c.is_ascii_alphabetic())
}

fn target<'a>(table: &str, name: &str, options: impl Iterator<Item = &'a str>) -> Action {
    let options: Vec<_> = options.collect();
    let said = |option: &str| options.iter().position(|one| *one == option).and_then(|at| options.get(at + 1));
    match name {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" => Action::Refuse,
        "RETURN" => Action::Return,
        "MARK" => Action::Mark(said("--set-xmark").and_then(|text| value_and_mask(text))),
        "CONNMARK" if options.contains(&"--restore-mark") => Action::Mark(None),
        "CONNMARK" => Action::Pass,
        harmless if HARMLESS.contains(&harmless) => Action::Pass,
        // A chain; or another target, of which nothing is known, as of a chain that is not there.
        chain => Action::Jump(key(table, chain)),
    }
}

fn test(option: &str, value: &str, not: bool) -> Test {
    let within = |what, ranges: Option<Vec<_>>| match ranges {
        Some(ranges) => Test::Within { what, ranges, not },
        None => Test::Always(Fits::Maybe),
    };
    let among = |what, words: Vec<String>| Test::Among { what, words, not };
    match option {
        "-s" => within(Number::Source, addresses(value).map(|one| vec![one])),
        "-d" => within(Number::Destination, addresses(value).map(|one| vec![one])),
        "--src-range" => within(Number::Source, between(value).map(|one| vec![one])),
        "--dst-range" => within(Number::Destination, between(value).map(|one| vec![one])),
        "-i" => among(Word::Interface, vec![value.replace('+', "*")]),
        "-p" if ["all", "0"].contains(&value) => Test::Always(Fits::Yes),
        "-p" => among(Word::Protocol, vec![protocol(value).into()]),
        "--dport" | "--dports" => within(Number::Port, ports(value)),
        "--sport" | "--sports" => within(Number::SourcePort, ports(value)),
        "--state" | "--ctstate" => {
            among(Word::State, value.split(',').map(|state| state.to_ascii_lowercase()).collect())
        }
        // Of whom it is for and whom it comes from: this machine, and another.
        "--dst-type" => constant((value == "LOCAL") != not),
        "--src-type" => constant((value == "UNICAST") != not),
        "--mark" => match value_and_mask(value) {
            Some((value, mask)) => Test::Mark { value, mask, not },
            None => Test::Always(Fits::Maybe),
        },
        _ => Test::Always(Fits::Maybe),
    }
}

/// Whether `FIN,SYN,RST,ACK SYN` (which flags are looked at, and which of them are to be set) is true of a packet with the
/// flag SYN alone.
fn opens(flags: &[&str]) -> bool {
    let has = |at: usize| flags.get(at).is_some_and(|list| list.split(',').any(|flag| flag == "SYN" || flag == "ALL"));
    let others = flags.get(1).is_some_and(|set| set.split(',').any(|flag| flag != "SYN" && flag != "NONE"));
    has(0) == has(1) && !others
}

fn constant(fits: bool) -> Test {
    Test::Always(if fits { Fits::Yes } else { Fits::No })
}

fn protocol(name: &str) -> &str {
    match name {
        "6" => "tcp",
        "17" => "udp",
        name => name,
    }
}

/// `10.0.1.0/24`, `fd00::1`; no other masks than those of prefixes.
fn addresses(text: &str) -> Option<RangeInclusive<u128>> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok()?,
        None => 128,
    };
    Some(network(address, prefix))
}

/// `10.0.1.1-10.0.1.9`
fn between(text: &str) -> Option<RangeInclusive<u128>> {
    let (first, last) = text.split_once('-')?;
    let one = |text: &str| text.parse().ok().map(super::rules::number);
    Some(one(first)?..=one(last)?)
}

/// `22`, `2379:2380,6443`
fn ports(text: &str) -> Option<Vec<RangeInclusive<u128>>> {
    let range = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').map(range).collect()
}

/// `0x20000/0x20000`
fn value_and_mask(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}
