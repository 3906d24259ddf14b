//! Regions and zones as each cloud's own controller for Kubernetes (its cloud-controller-manager) writes them in the
//! labels `topology.kubernetes.io/region` and `…/zone`, so that labels of ours are the same with it and without.

/// Region and zone.
pub(super) type Place = (Option<String>, Option<String>);

/// Its region is the location; what the metadata call so is the network zone. Where a zone is no datacenter (there are no new
/// ones since 2026), its controller goes on with the datacenters of old locations, and takes new locations for zones.
pub(super) fn hetzner(zone: Option<&str>) -> Place {
    let Some(zone) = zone else { return (None, None) };
    if let Some((location, _)) = zone.split_once("-dc") {
        return (Some(location.into()), Some(zone.into()));
    }
    let datacenter = match zone {
        "ash" => "ash-dc1",
        "fsn1" => "fsn1-dc14",
        "hel1" => "hel1-dc2",
        "hil" => "hil-dc1",
        "nbg1" => "nbg1-dc3",
        "sin" => "sin-dc1",
        new => new,
    };
    (Some(zone.into()), Some(datacenter.into()))
}

/// The availability domain without the tenancy's prefix: `Uocm:PHX-AD-1` is `PHX-AD-1`.
pub(super) fn oracle(domain: &str) -> String {
    domain.rsplit(':').next().unwrap_or(domain).into()
}

/// Both are in the zone's path: `projects/1/zones/europe-west1-b`.
pub(super) fn google(zone: Option<&str>) -> Place {
    let zone = zone.and_then(|path| path.rsplit('/').next());
    let region = zone.and_then(|zone| zone.rsplit_once('-')).map(|(region, _)| region.into());
    (region, zone.map(Into::into))
}

/// Where there are zones, the region and the zone's number; elsewhere the fault domain.
pub(super) fn azure(location: Option<&str>, number: Option<String>, fault_domain: Option<String>) -> Place {
    let region = location.map(str::to_lowercase);
    let zone = match (&region, number) {
        (Some(region), Some(number)) => Some(format!("{region}-{number}")),
        _ => fault_domain,
    };
    (region, zone)
}
