//! The list of claims, as text of at most 80 columns and as JSON.

use crate::show;
use bowline_enroll::claim::Refused;
use bowline_enroll::key::PublicKey;
use bowline_enroll::refusals::{Proven, Unproven};
use bowline_enroll::{Code, NodeName, Role};
use bowline_issuer::nodes::{Holder, Holders};
use bowline_ports::text::age;
use serde::Serialize;
use std::net::IpAddr;

const WIDTH: usize = 80;

/// The list as JSON. All times are seconds since 1970.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Table<'a> {
    nodes: Vec<Row<'a>>,
    /// Sentences about claims that cannot be read.
    unreadable: &'a [String],
    /// Who was refused a name that nobody holds, the latest first.
    refused: &'a [Proven],
    /// Which addresses asked without a ticket that fits, the latest first.
    unproven: &'a [Unproven],
    /// How often others did, of which no more is known.
    unproven_others: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a NodeName,
    role: Role,
    /// The machine's public key.
    machine: PublicKey,
    /// Since when it holds the name.
    since: u64,
    /// When it got its last credential.
    issued: u64,
    from: IpAddr,
    addresses: &'a [IpAddr],
    /// `registered`, `pending`, `missing` or `revoked`.
    node: &'static str,
    /// When the name was revoked.
    revoked: Option<u64>,
    refused: &'a [Refused],
}

impl<'a> Table<'a> {
    pub(super) fn of(holders: &'a Holders) -> Self {
        let row = |holder: &'a Holder| {
            let claim = &holder.claim;
            Row {
                name: &claim.name,
                role: claim.role,
                machine: claim.machine_key,
                since: claim.since,
                issued: claim.issued,
                from: claim.from,
                addresses: &claim.addresses,
                node: holder.standing.as_str(),
                revoked: claim.revoked.as_ref().map(|revoked| revoked.at),
                refused: &claim.refused,
            }
        };
        Self {
            nodes: holders.all.iter().map(row).collect(),
            unreadable: &holders.unreadable,
            refused: &holders.refused.proven,
            unproven: &holders.refused.unproven,
            unproven_others: holders.refused.others,
        }
    }
}

/// The list for people: who holds which name; beneath, who was refused, the newest first; and who has no ticket.
pub(super) fn text(holders: &Holders, now: u64) -> String {
    let ago = |at: u64| age(now.saturating_sub(at).cast_signed());
    let mut rows = Vec::new();
    let mut refused = Vec::new();
    for Holder { claim, standing } in &holders.all {
        let (role, since, from) = (claim.role.to_string(), ago(claim.since), claim.from.to_string());
        rows.push(vec![claim.name.to_string(), role, claim.machine_key.short(), since, from, standing.to_string()]);
        let row = |old: &Refused| (old.at, row_of(&claim.name, ago(old.at), old.from, &old.machine, old.code));
        refused.extend(claim.refused.iter().map(row));
    }
    let of_nobody = &holders.refused.proven;
    refused.extend(of_nobody.iter().map(|o| (o.at, row_of(&o.name, ago(o.at), o.from, &o.machine, o.code))));
    refused.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let refused: Vec<_> = refused.into_iter().map(|(_, row)| row).collect();
    let unproven = holders.refused.unproven.iter().map(|one| {
        let times = one.times.to_string();
        vec![one.from.to_string(), ago(one.at), times, one.role.to_string(), one.name.to_string()]
    });
    let unproven: Vec<_> = unproven.collect();

    let mut out = if rows.is_empty() {
        "nobody holds a name yet\n".to_owned()
    } else {
        lines(&["NAME", "ROLE", "MACHINE", "SINCE", "FROM", "NODE"], &rows)
    };
    if !refused.is_empty() {
        out.push_str("\nrefused:\n");
        out.push_str(&lines(&["NAME", "AGO", "FROM", "MACHINE", "WHY"], &refused));
    }
    if !unproven.is_empty() {
        out.push_str("\nasked without a valid ticket:\n");
        out.push_str(&lines(&["FROM", "AGO", "TIMES", "AS", "NAME"], &unproven));
        if holders.refused.others > 0 {
            out.push_str(&format!("and {} times from other addresses\n", holders.refused.others));
        }
    }
    for sentence in &holders.unreadable {
        out.push_str(&format!("\n{}\n", show::folded(&format!("not listed: {sentence}"), 0, 4)));
    }
    out
}

fn row_of(name: &NodeName, ago: String, from: IpAddr, machine: &str, code: Code) -> Vec<String> {
    // It is the text of an object that others may have written.
    let machine: String = machine.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let machine = if machine.is_empty() { "-".to_owned() } else { machine };
    vec![name.to_string(), ago, from.to_string(), machine, code.to_string()]
}

/// Columns as wide as they need to be. Where a line would be too wide for the page, names have lines of their own.
fn lines(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let fits = |gap: usize| widths.iter().sum::<usize>() + gap * head.len().saturating_sub(1) <= WIDTH;
    let stacked = !fits(2);
    let gap = if stacked { " " } else { "  " };
    let mut out = String::new();
    for row in all {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 && stacked {
                out.push_str(&format!("{cell}\n"));
                line.push_str("  ");
                continue;
            }
            line.push_str(&format!("{cell:<width$}{gap}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bowline_enroll::Claim;
    use bowline_enroll::claim::Revoked;
    use bowline_enroll::key::MachineKey;
    use bowline_enroll::refusals::Refusals;
    use bowline_issuer::nodes::Standing;

    pub(in crate::cli::nodes) fn claim(name: &str) -> Claim {
        let (key, from) = (MachineKey::from_seed(&[0x42; 32]).public(), "10.0.1.7".parse().unwrap());
        Claim { addresses: vec![from], ..Claim::new(NodeName::new(name).unwrap(), Role::Agent, key, from, 1000) }
    }

    fn refused(at: u64, from: &str) -> Refused {
        let machine = "0a1b2c3d4e5f\x1b[2J".to_owned();
        Refused { at, from: from.parse().unwrap(), code: Code::ClaimedElsewhere, machine }
    }

    fn holders(from: &str) -> Holders {
        let first = Claim { role: Role::Server, since: 0, ..claim("k3s-trading-dev-control") };
        let second = Claim {
            from: from.parse().unwrap(),
            refused: vec![refused(900_000, from), refused(990_000, from)],
            ..claim("k3s-trading-dev-kafka-0")
        };
        let all = vec![
            Holder { claim: first, standing: Standing::Registered },
            Holder { claim: second, standing: Standing::Pending },
        ];
        Holders { all, ..Holders::default() }
    }

    #[test]
    fn who_holds_what_and_who_was_refused() {
        let wanted = "\
NAME                     ROLE    MACHINE       SINCE   FROM      NODE
k3s-trading-dev-control  server  2152f8d19b79  11d13h  10.0.1.7  registered
k3s-trading-dev-kafka-0  agent   2152f8d19b79  11d13h  10.0.1.7  pending

refused:
NAME                     AGO    FROM      MACHINE       WHY
k3s-trading-dev-kafka-0  2h46m  10.0.1.7  0a1b2c3d4e5f  claimed-elsewhere
k3s-trading-dev-kafka-0  1d3h   10.0.1.7  0a1b2c3d4e5f  claimed-elsewhere
";
        assert_eq!(text(&holders("10.0.1.7"), 1_000_000), wanted);
    }

    #[test]
    fn the_longest_names_and_addresses_fit_the_page() {
        let long = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff";
        let mut holders = holders(long);
        holders.all[0].claim.name = NodeName::new(&"n".repeat(63)).unwrap();
        holders.refused = of_nobody(long);
        let text = text(&holders, 1_000_000);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.matches(long).count(), 5, "{text}");
        assert!(text.contains(&format!("\n{}\n  server ", "n".repeat(63))), "{text}");
    }

    #[test]
    fn nobody_and_what_can_not_be_read() {
        let holders = Holders { unreadable: vec!["ConfigMap bowline/claim.a: newer".into()], ..Holders::default() };
        assert_eq!(text(&holders, 1), "nobody holds a name yet\n\nnot listed: ConfigMap bowline/claim.a: newer\n");
    }

    #[test]
    fn json_has_the_whole_key_and_times() {
        let mut holders = holders("10.0.1.7");
        holders.all.remove(0);
        holders.all[0].claim.refused.truncate(1);
        holders.all[0].claim.refused[0].machine = "0a1b2c3d4e5f".into();
        let wanted = serde_json::json!({
            "nodes": [{
                "name": "k3s-trading-dev-kafka-0",
                "role": "agent",
                "machine": "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12",
                "since": 1000,
                "issued": 1000,
                "from": "10.0.1.7",
                "addresses": ["10.0.1.7"],
                "node": "pending",
                "revoked": null,
                "refused": [{
                    "at": 900_000, "from": "10.0.1.7", "code": "claimed-elsewhere", "machine": "0a1b2c3d4e5f"
                }],
            }],
            "unreadable": [],
            "refused": [],
            "unproven": [],
            "unproven-others": 0,
        });
        assert_eq!(serde_json::to_value(Table::of(&holders)).unwrap(), wanted);
        holders.all[0].claim.revoked = Some(Revoked { at: 2000, keys: Vec::new() });
        holders.unreadable.push("ConfigMap bowline/claim.a: newer".into());
        for one in [wanted, serde_json::to_value(Table::of(&holders)).unwrap()] {
            bowline_schema::fits("nodes", &one).unwrap();
        }
    }

    fn of_nobody(from: &str) -> Refusals {
        let mut refused = Refusals::default();
        refused.refused(Proven {
            name: NodeName::new("worker-9").unwrap(),
            role: Role::Agent,
            at: 999_940,
            from: from.parse().unwrap(),
            code: Code::OutsideRules,
            machine: String::new(),
        });
        let name = NodeName::new("k3s-trading-dev-kafka-7").unwrap();
        for at in [999_000, 999_990] {
            refused.without_ticket(from.parse().unwrap(), (Role::Agent, &name), at);
        }
        refused.others = 12;
        refused
    }

    #[test]
    fn who_was_refused_a_name_that_nobody_holds_and_who_has_no_ticket() {
        let holders = Holders { refused: of_nobody("10.0.1.9"), ..Holders::default() };
        let wanted = "\
nobody holds a name yet

refused:
NAME      AGO  FROM      MACHINE  WHY
worker-9  1m   10.0.1.9  -        outside-rules

asked without a valid ticket:
FROM      AGO  TIMES  AS     NAME
10.0.1.9  10s  2      agent  k3s-trading-dev-kafka-7
and 12 times from other addresses
";
        assert_eq!(text(&holders, 1_000_000), wanted);
        let wanted = serde_json::json!({
            "nodes": [], "unreadable": [],
            "refused": [{
                "name": "worker-9", "role": "agent", "at": 999_940, "from": "10.0.1.9", "code": "outside-rules",
                "machine": "",
            }],
            "unproven": [{
                "from": "10.0.1.9", "at": 999_990, "times": 2, "name": "k3s-trading-dev-kafka-7", "role": "agent",
            }],
            "unproven-others": 12,
        });
        assert_eq!(serde_json::to_value(Table::of(&holders)).unwrap(), wanted);
        bowline_schema::fits("nodes", &wanted).unwrap();
    }
}
