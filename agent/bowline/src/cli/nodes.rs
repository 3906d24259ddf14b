//! `bowline nodes`: on a server, who holds which name; and `revoke`, which ends that.
//!
//! - `table`: the list as text and as JSON.

mod table;

use super::args::Nodes;
use super::{INVALID, load, output};
use crate::key;
use bowline_enroll::key::ClusterKey;
use bowline_enroll::{NodeName, Role};
use bowline_host::real::RealHost;
use bowline_issuer::nodes::{self, Revocation};
use bowline_ports::{ErrorKind, Inspect, Objects, PortError, k3s_admin_kubeconfig};
use bowline_settings::Cluster;
use std::path::Path;
use std::process::ExitCode;

pub(super) async fn run(folder: &Path, json: bool, command: Option<Nodes>) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    let Some(cluster) = loaded.settings.cluster.filter(|cluster| cluster.role == Role::Server) else {
        output::complain("this machine is not a server: only a server knows who holds which name");
        output::complain(&format!("  help: run it where {} has `role = \"server\"`", folder.display()));
        return ExitCode::FAILURE;
    };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let result = match command {
        None => list(&host, json).await,
        Some(Nodes::Revoke { name, unheld }) => revoke(&host, &cluster, &name, unheld).await,
    };
    result.unwrap_or_else(|error| {
        output::complain_of(&error);
        ExitCode::FAILURE
    })
}

async fn list(host: &RealHost, json: bool) -> Result<ExitCode, PortError> {
    let holders = nodes::holders(&host.objects(k3s_admin_kubeconfig())).await.map_err(silent)?;
    if json {
        output::print_json(&table::Table::of(&holders));
    } else {
        output::print(&table::text(&holders, now(host).await?));
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(host: &RealHost, cluster: &Cluster, name: &NodeName, unheld: bool) -> Result<ExitCode, PortError> {
    let path = cluster.join.key_file.as_deref().ok_or_else(|| {
        let text = "this server has no cluster key: it lets nobody in, and there is no ticket to refuse";
        PortError::new(ErrorKind::Invalid, text).hint("run it on a server that has `cluster.key-file`")
    })?;
    let keys: Vec<String> = key::read(host, path).await?.iter().map(ClusterKey::id).collect();
    let objects: &dyn Objects = &host.objects(k3s_admin_kubeconfig());
    let nobody = if unheld { Some(key::nobody(host).await?) } else { None };
    match nodes::revoke(objects, name, now(host).await?, &keys, nobody).await.map_err(silent)? {
        Revocation::Unknown { names } => {
            output::complain(&unknown(name, &names));
            Ok(ExitCode::FAILURE)
        }
        Revocation::Unheld => {
            output::print(&format!(
                "{name} is revoked: nobody held it, and its ticket is refused until the\ncluster key changes.\n"
            ));
            Ok(ExitCode::SUCCESS)
        }
        done @ Revocation::Done { .. } => {
            output::print(&said(&done));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn now(host: &RealHost) -> Result<u64, PortError> {
    Ok(u64::try_from(host.clock().await?.unix).unwrap_or_default())
}

/// What to do when the API did not do what it was asked.
pub(super) fn silent(error: PortError) -> PortError {
    if error.hint.is_some() {
        return error;
    }
    let help = match error.kind {
        ErrorKind::Denied => "run it as root",
        ErrorKind::NotFound => "K3s has not started on this server yet: `bowline status` says what it waits for",
        ErrorKind::Changed => "others write the same claim just now: run it again",
        ErrorKind::Invalid => "fix or delete what the error names",
        _ => "`systemctl status k3s` and `bowline doctor` say what is wrong with this server",
    };
    PortError { message: format!("the cluster's API: {}", error.message), ..error }.hint(help)
}

fn unknown(name: &NodeName, names: &[NodeName]) -> String {
    let mut text = match names.is_empty() {
        true => format!("nobody holds {name}: no name is held at all, and nothing was changed"),
        false => format!("nobody holds {name}, and nothing was changed; these names are held:"),
    };
    for name in names {
        text.push_str(&format!("\n  {name}"));
    }
    text + "\n  help: with `--unheld` its ticket is refused all the same"
}

/// What a revocation does, and what it does not.
fn said(done: &Revocation) -> String {
    let Revocation::Done { claim, already, tokens } = done else { return String::new() };
    let name = &claim.name;
    let was = if *already { "was revoked already" } else { "is revoked" };
    let tokens = match tokens {
        0 => "no unused join token was left".to_owned(),
        1 => "1 unused join token was deleted".to_owned(),
        many => format!("{many} unused join tokens were deleted"),
    };
    let mut text = format!(
        "{name} {was}: its ticket is refused until the cluster key changes,\n\
         and {tokens}.\n\
         A kubelet that runs keeps its certificate: delete the VM, then its Node\n\
         (`kubectl delete node {name}`). What else there is to do:\n\
         /usr/share/doc/bowline/CLUSTERS.md\n"
    );
    if claim.role == Role::Server {
        text.push_str(
            "It was a server and has the cluster key, which makes tickets for every name:\n\
             change the key as well.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_revoking_does_and_what_it_does_not() {
        let claim = table::tests::claim("kafka-0");
        let text = said(&Revocation::Done { claim: Box::new(claim.clone()), already: false, tokens: 1 });
        assert_eq!(
            text,
            "kafka-0 is revoked: its ticket is refused until the cluster key changes,\n\
             and 1 unused join token was deleted.\n\
             A kubelet that runs keeps its certificate: delete the VM, then its Node\n\
             (`kubectl delete node kafka-0`). What else there is to do:\n\
             /usr/share/doc/bowline/CLUSTERS.md\n"
        );
        let server = bowline_enroll::Claim { role: Role::Server, ..claim };
        let text = said(&Revocation::Done { claim: Box::new(server), already: true, tokens: 0 });
        assert!(text.contains("was revoked already") && text.contains("change the key as well"), "{text}");
        assert!(text.contains("no unused join token was left"), "{text}");
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let name = |text| NodeName::new(text).unwrap();
        let text = unknown(&name("kafka-9"), &[name("kafka-0"), name("kafka-1")]);
        assert_eq!(
            text,
            "nobody holds kafka-9, and nothing was changed; these names are held:\n  kafka-0\n  kafka-1\n  \
             help: with `--unheld` its ticket is refused all the same"
        );
        assert!(unknown(&name("kafka-9"), &[]).contains("no name is held at all"));
    }
}
