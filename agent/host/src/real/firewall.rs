//! The rules of this machine's firewall, as the tools list them that are installed here. To be read outside of the sandbox.

use super::tool::Tool;
use bowline_ports::{ErrorKind, PortError};
use std::time::Duration;

/// A node of a large cluster has tens of thousands of rules.
const LISTING: Duration = Duration::from_secs(15);

/// How a tool lists rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As `iptables-save` does.
    Iptables,
    /// As `nft -j list ruleset` does.
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
        let text = match list(tool, dialect).await {
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

async fn list(name: &'static str, dialect: Dialect) -> Result<String, PortError> {
    let tool = match dialect {
        Dialect::Iptables => Tool::IptablesSave(name),
        Dialect::Nft => Tool::NftRuleset,
    };
    let output = tool.run(None, LISTING).await?;
    if !output.status.success() {
        return Err(tool.failed(&output));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // When it was made is of no interest.
    Ok(text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n"))
}
