//! The rules of this machine's firewall, as the tools list them that are installed here. To be read outside of the sandbox.

use super::tool::Tool;
use bowline_ports::{ErrorKind, GUARD_TABLE, PortError};
use serde_json::Value;
use std::time::Duration;

/// A node of a large cluster has tens of thousands of rules.
const LISTING: Duration = Duration::from_secs(15);

/// How a tool lists rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As `iptables-save` does.
    Iptables,
    /// As `nft -j list table` does; all tables in one list.
    Nft,
}

/// What a tool lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its name, such as `ip6tables-save`.
    pub tool: &'static str,
    /// How it lists.
    pub dialect: Dialect,
    /// Its output; or why there is none.
    pub text: Result<String, String>,
}

/// What every tool that is installed lists, of IPv6 or of IPv4. Rules that `iptables-legacy` made are seen by that one alone.
///
/// # Errors
/// Where there is a tool, and none of them could list anything.
pub async fn rules(ipv6: bool) -> Result<Vec<Listing>, PortError> {
    let tables = match ipv6 {
        true => ["ip6tables-save", "ip6tables-legacy-save"],
        false => ["iptables-save", "iptables-legacy-save"],
    };
    let (mut all, mut failed): (Vec<Listing>, _) = (Vec::new(), None);
    for (tool, dialect) in [(tables[0], Dialect::Iptables), (tables[1], Dialect::Iptables), ("nft", Dialect::Nft)] {
        let text = match list(tool, ipv6, dialect).await {
            Err(error) if error.kind == ErrorKind::NotFound => continue,
            Err(error) => {
                let text = error.message.clone();
                failed = failed.or(Some(error));
                Err(text)
            }
            Ok(text) => Ok(text),
        };
        // The first of them may be the second by another name.
        if text.is_err() || all.iter().all(|one| one.text != text) {
            all.push(Listing { tool, dialect, text });
        }
    }
    match failed {
        Some(error) if all.iter().all(|one| one.text.is_err()) => Err(error),
        _ => Ok(all),
    }
}

async fn list(name: &'static str, ipv6: bool, dialect: Dialect) -> Result<String, PortError> {
    if dialect == Dialect::Nft {
        return nft(ipv6).await;
    }
    let text = said(Tool::IptablesSave(name)).await?;
    // When it was made is of no interest.
    Ok(text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n"))
}

/// Table by table, without the one that Bowline's guard owns: of a table that has an owner `nft -j` up to 1.0.6 says what it
/// has given back already, and ends there on some days, whatever comes behind.
async fn nft(ipv6: bool) -> Result<String, PortError> {
    let tables = said(Tool::NftTables).await?;
    let mut all = Vec::new();
    for (family, name) in tables_of(&tables, ipv6) {
        let tool = Tool::NftTable { family, name };
        let unread =
            |why: String| PortError::new(ErrorKind::Invalid, format!("nft -j list table {family} {name}: {why}"));
        let text = said(tool).await?;
        let mut table: Value = serde_json::from_str(&text).map_err(|error| unread(unfit(&text, &error)))?;
        match table["nftables"].as_array_mut() {
            Some(objects) => all.append(objects),
            None => return Err(unread("there is no list \"nftables\" in it".into())),
        }
    }
    Ok(serde_json::json!({ "nftables": all }).to_string())
}

/// Families and names of those that IPv6 packets, or IPv4 packets, go through.
fn tables_of(listed: &str, ipv6: bool) -> Vec<(&str, &str)> {
    let families = [if ipv6 { "ip6" } else { "ip" }, "inet"];
    let words = listed.lines().filter_map(|line| line.strip_prefix("table ")?.split_once(' '));
    words.filter(|table| families.contains(&table.0) && *table != GUARD_TABLE).collect()
}

/// What is wrong, and what stands before and behind it.
fn unfit(text: &str, error: &serde_json::Error) -> String {
    let lines: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let (bytes, at) = (text.as_bytes(), lines + error.column());
    let words = &bytes[at.saturating_sub(100).min(bytes.len())..(at + 20).min(bytes.len())];
    format!("{error} (of {} bytes): {:?}", bytes.len(), String::from_utf8_lossy(words))
}

async fn said(tool: Tool<'_>) -> Result<String, PortError> {
    let output = tool.run(None, LISTING).await?;
    if !output.status.success() {
        return Err(tool.failed(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_a_packet_goes_through_but_for_the_guards() {
        let listed = "table ip filter\ntable ip6 filter\ntable inet bowline\ntable inet theirs\ntable bridge x\n";
        assert_eq!(tables_of(listed, false), [("ip", "filter"), ("inet", "theirs")]);
        assert_eq!(tables_of(listed, true), [("ip6", "filter"), ("inet", "theirs")]);
        assert_eq!(tables_of("", true), []);
    }

    #[test]
    fn what_is_no_list_is_told_with_what_stands_around() {
        let told = |text: &str| unfit(text, &serde_json::from_str::<Value>(text).unwrap_err());
        assert_eq!(told("no JSON"), "expected ident at line 1 column 2 (of 7 bytes): \"no JSON\"");
        let cut_off = "{\"flags\":\n";
        assert_eq!(told(cut_off), format!("EOF while parsing a value at line 2 column 0 (of 10 bytes): {cut_off:?}"));
    }
}
