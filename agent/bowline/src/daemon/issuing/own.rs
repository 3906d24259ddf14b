//! What a server knows of its cluster without the API.

use super::Served;
use bowline_cluster::{BINARY, api_port};
use bowline_enroll::key::MachineKey;
use bowline_enroll::{NodeName, Secret, token};
use bowline_host::real::RealHost;
use bowline_issuer::Own;
use bowline_join::agree::{agreed, taken_over};
use bowline_join::files::{ENROLLED, ENROLLED_WITH_DATA, ETCD_DATA, Enrolled, MACHINE_KEY, SERVER_TOKEN, is_member};
use bowline_join::machine_key;
use bowline_ports::{ErrorKind, Inspect, PortError, read_json};
use bowline_settings::{Cluster, ConfigValue};
use std::collections::BTreeMap;
use std::path::Path;

/// The cluster whose data this machine has, by its server token: where it is a member of its etcd.
pub(super) async fn member_of(host: &RealHost) -> Result<Option<Secret>, PortError> {
    if !is_member(host).await? {
        return Ok(None);
    }
    let file = host.read(Path::new(SERVER_TOKEN)).await?;
    let token = file.map(|file| file.text().trim().to_owned()).filter(|token| token::ca_hash(token).is_some());
    Ok(token.map(Secret::new))
}

/// K3s's options: of the settings, and what was taken over from the server that let this one in.
async fn config(cluster: &Cluster, host: &RealHost) -> Result<BTreeMap<String, ConfigValue>, PortError> {
    let mut config = cluster.config.clone();
    let mut enrolled: Option<Enrolled> = read_json(host, ENROLLED).await?;
    // A machine that got the data of a member was let in by nobody. One that founded its cluster asks none either.
    if enrolled.is_none()
        && !cluster.join.servers.is_empty()
        && let Some(file) = host.read(Path::new(ENROLLED_WITH_DATA)).await?
    {
        let failed = |why| PortError::new(ErrorKind::Invalid, format!("{ENROLLED_WITH_DATA} cannot be read: {why}"));
        enrolled = Some(serde_json::from_slice(&file.content).map_err(failed)?);
    }
    if let Some(enrolled) = enrolled {
        config.extend(taken_over(&cluster.config, &enrolled.agreed));
    }
    Ok(config)
}

/// The machine key. A server that founds makes it here; one that joins has made it to be let in, and two of them would be two
/// machines to the cluster.
pub(super) async fn machine_key(host: &RealHost, cluster: &Cluster) -> Result<MachineKey, PortError> {
    if let Some(key) = machine_key::read(host).await? {
        return Ok(key);
    }
    if !cluster.join.servers.is_empty() {
        return Err(PortError::new(ErrorKind::NotFound, format!("{MACHINE_KEY} is not there yet")));
    }
    machine_key::make(host).await
}

pub(super) async fn own(wanted: &Served, host: &RealHost) -> Result<Own, PortError> {
    let early = |what: &str| PortError::new(ErrorKind::NotFound, format!("{what} is not there yet"));
    let file = host.read(Path::new(SERVER_TOKEN)).await?.ok_or_else(|| early(SERVER_TOKEN))?;
    let server_token = file.text().trim().to_owned();
    let ca_hash = token::ca_hash(&server_token).ok_or_else(|| early("the hash of the cluster's CA"))?.to_owned();
    let kubernetes = host.k3s_version(Path::new(BINARY)).await?.ok_or_else(|| early(BINARY))?;
    Ok(Own {
        name: NodeName::new(&wanted.name).map_err(|why| PortError::new(ErrorKind::Invalid, why))?,
        address: wanted.address,
        port: wanted.enroll.listen.first().map_or(bowline_settings::ENROLL_PORT, |listen| listen.port),
        ca_hash,
        server_token: Secret::new(server_token),
        api_port: api_port(&wanted.cluster),
        etcd: host.meta(Path::new(ETCD_DATA)).await?.is_some(),
        agreed: agreed(&config(&wanted.cluster, host).await?, wanted.address.is_ipv6()),
        kubernetes,
    })
}
