//! What K3s says itself, in its log.

use bowline_ports::K3S_SAYS_OF_ITSELF;

/// What K3s says of a cluster that does not take it: its token, password, certificate or authority is refused.
pub(super) fn not_taken(lines: &[String]) -> Option<String> {
    const SIGNS: &[&str] =
        &["401 Unauthorized", "403 Forbidden", "certificate signed by unknown authority", "invalid bearer token"];
    let says = |signs: &[&str]| {
        let line = lines.iter().rev().take(10).find(|line| signs.iter().any(|sign| line.contains(sign)));
        line.map(|line| message(line))
    };
    let is_told = || lines.iter().rev().take(10).map(|line| message(line)).find(|message| is_refused(message));
    // What can be about nobody else comes first.
    says(&K3S_SAYS_OF_ITSELF).or_else(is_told).or_else(|| says(SIGNS))
}

/// Whether K3s tells, since 1.32 by the server's own words alone, that it is refused. A server has lines of such an end about others,
/// too (`Sending HTTP/1.1 403 response to …: forbidden`).
fn is_refused(message: &str) -> bool {
    const ASKED: [&str; 2] = ["failed to retrieve configuration from server: ", "failed to bootstrap cluster data: "];
    let refused = message.ends_with(": not authorized") || message.ends_with(": forbidden");
    refused && ASKED.iter().any(|asked| message.contains(asked))
}

/// What K3s says of the server that it joins (`https://ADDRESS:6443`), where it does not reach it or that is not up. Another one may
/// take it then.
pub(super) fn unreached(lines: &[String], server: &str) -> Option<String> {
    const SIGNS: [&str; 8] = [
        "connection refused",
        "connection reset by peer",
        "connection timed out",
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        "context deadline exceeded",
        "503 Service Unavailable",
    ];
    let says = |line: &&String| line.contains(server) && SIGNS.iter().any(|sign| line.contains(sign));
    let known = has_namesake(lines) || server.is_empty();
    lines.iter().rev().take(10).find(says).filter(|_| !known).map(|line| message(line))
}

/// Whether etcd has the name of this server already.
fn has_namesake(lines: &[String]) -> bool {
    lines.iter().rev().take(10).any(|line| line.contains("duplicate node name found"))
}

/// Whether K3s has files of another cluster, or of its own founding, which it does not replace by those of the one that it joins.
fn has_other_authorities(lines: &[String]) -> bool {
    lines.iter().rev().take(10).any(|line| line.contains("newer than datastore"))
}

/// Whether K3s cannot read its data with its token, as where only a part of a backup was put back.
fn has_data_of_another_token(lines: &[String]) -> bool {
    lines.iter().rev().take(10).any(|line| line.contains("encrypted with different token"))
}

/// What K3s says where etcd does not know this server by its name and address: it waits for that for ever.
pub(super) fn not_a_member(lines: &[String]) -> Option<String> {
    lines.iter().rev().find(|line| line.contains("not a member of the etcd cluster")).map(|line| message(line))
}

/// What to do about a K3s that ends again and again, or does not come up.
pub(super) fn remedy(lines: &[String], service: &str) -> String {
    // Its predecessor was destroyed between its place in etcd and its Node, by which the servers would have taken it out.
    if has_namesake(lines) {
        return "etcd has a member of an earlier machine of this name: take it out on another server, as \
                /usr/share/doc/bowline/CLUSTERS.md tells (“A server whose name etcd still has”)"
            .into();
    }
    if not_a_member(lines).is_some() {
        return "if etcd has this server under another address, /usr/share/doc/bowline/CLUSTERS.md tells how it gets this one (“A server \
                with another address”)"
            .into();
    }
    if has_other_authorities(lines) {
        return "these files are not the cluster's, and newer: if nobody needs them, move them away (`mv`), and K3s gets the \
                cluster's; a server with data of its own, as in SQLite, cannot join with them"
            .into();
    }
    // Each start of it fails: a cluster's data and its token belong together.
    if has_data_of_another_token(lines) {
        return "its data were written with another token: if they are from a backup, put back all of it, as \
                /usr/share/doc/bowline/CLUSTERS.md tells (“Backup”)"
            .into();
    }
    format!("fix what it names (often `[cluster.config]`); all that it said: `journalctl -u {service}`")
}

/// The lines in which K3s says why it ended: the fatal and error ones, and the warnings of what servers do not have alike, which the
/// fatal one does not name; else the last ones.
pub(super) fn last_words(lines: &[String]) -> String {
    const GRAVE: [&str; 4] = ["level=fatal", "level=error", "Error:", "critical configuration mismatched"];
    let grave: Vec<_> = lines.iter().filter(|line| GRAVE.iter().any(|sign| line.contains(sign))).collect();
    let mut chosen: Vec<String> = if grave.is_empty() {
        lines.iter().rev().take(2).rev().cloned().collect()
    } else {
        grave.into_iter().rev().take(2).rev().map(|l| message(l)).collect()
    };
    chosen.dedup();
    if chosen.is_empty() { "nothing".into() } else { chosen.join(" | ") }
}

/// The message of a line in logrus's form (`time="…" level=fatal msg="…"`), or the line itself.
fn message(line: &str) -> String {
    line.split_once("msg=\"")
        .and_then(|(_, rest)| rest.rsplit_once('"'))
        .map_or_else(|| line.to_string(), |(message, _)| message.replace("\\\"", "\""))
}
