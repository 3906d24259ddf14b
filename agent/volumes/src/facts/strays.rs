//! What there is of mount units, gates and releases: Bowline's own, also those that no settings ask for any more, and others'.

use super::{Former, Orphan};
use crate::others::{self, Claim};
use crate::shield::is_being_made;
use crate::units::{GATES, UNITS, gate_path, mount_unit_name, uuid_of, volume_of};
use crate::{Released, Volumes};
use bowline_ports::{Inspect, MARK, Mount, PortError};
use bowline_settings::Volume;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is there of volumes that the settings do not have, and gates on services that they do not name.
pub(super) async fn strays(
    spec: &Volumes,
    own: &[(String, String)],
    mounts: &[Mount],
    host: &dyn Inspect,
) -> Result<(Vec<Orphan>, Vec<(String, PathBuf)>), PortError> {
    let mut orphans = BTreeMap::<String, Orphan>::new();
    let mut gates = Vec::new();
    let known = |name: &str| spec.volumes.iter().any(|volume| volume.name == name);
    for (unit, text) in own {
        let at = text.lines().find_map(|line| line.strip_prefix("Where=")).map(PathBuf::from);
        // One that is another volume's by now is written over, not removed.
        if let (Some(name), Some(at)) = (volume_of(text), at)
            && !known(name)
            && spec.volumes.iter().all(|volume| mount_unit_name(&volume.mount) != *unit)
        {
            orphans.entry(name.to_owned()).or_default().units.push(of_unit(unit, text, at, mounts));
        }
    }
    let folders = host.list(Path::new(UNITS)).await?.unwrap_or_default();
    for folder in folders.iter().filter(|name| name.ends_with(".service.d")) {
        let service = folder.trim_end_matches(".d");
        for file in host.list(&Path::new(UNITS).join(folder)).await?.unwrap_or_default() {
            let Some(name) = file.strip_prefix(GATES.0).and_then(|f| f.strip_suffix(GATES.1)) else {
                continue;
            };
            let path = gate_path(service, name);
            if !known(name) {
                orphans.entry(name.to_owned()).or_default().gates.push(path);
            } else if spec.services.iter().all(|one| one != service) {
                gates.push((name.to_owned(), path));
            }
        }
    }
    for name in Released::all(host).await?.into_iter().filter(|name| !known(name)) {
        orphans.entry(name).or_default().released = true;
    }
    for (name, orphan) in &mut orphans {
        orphan.volume = name.clone();
        mark_under_way(&mut orphan.units, name, host).await?;
    }
    Ok((orphans.into_values().collect(), gates))
}

/// The mount units of this machine: names and texts of those that Bowline wrote, and what the others and swap units say.
pub(super) async fn mount_units(host: &dyn Inspect) -> Result<(Vec<(String, String)>, Vec<Claim>), PortError> {
    let folder = Path::new(UNITS);
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    // A masked one is no regular file.
    for (name, text) in host.texts(folder, ("", ".mount")).await? {
        if text.starts_with(MARK) {
            own.push((name, text));
        } else {
            foreign.extend(others::unit(&folder.join(&name), &text));
        }
    }
    for (name, text) in host.texts(folder, ("", ".swap")).await? {
        foreign.extend(others::swap_unit(&folder.join(&name), &text));
    }
    Ok((own, foreign))
}

/// Those of this volume for another mount point. One that is another volume's by now is written over, not removed.
pub(super) async fn former(
    spec: &Volumes,
    volume: &Volume,
    own: &[(String, String)],
    mounts: &[Mount],
    host: &dyn Inspect,
) -> Result<Vec<Former>, PortError> {
    let ours = format!("{MARK} from [[volume]] name = \"{}\"", volume.name);
    let now = mount_unit_name(&volume.mount);
    let mut found = Vec::new();
    for (unit, text) in own.iter().filter(|(unit, text)| *unit != now && text.starts_with(&ours)) {
        let Some(at) = text.lines().find_map(|l| l.strip_prefix("Where=")).map(PathBuf::from) else { continue };
        if spec.volumes.iter().all(|v| mount_unit_name(&v.mount) != *unit) {
            found.push(of_unit(unit, text, at, mounts));
        }
    }
    mark_under_way(&mut found, &volume.name, host).await?;
    Ok(found)
}

async fn mark_under_way(units: &mut [Former], volume: &str, host: &dyn Inspect) -> Result<(), PortError> {
    if !units.is_empty() && is_being_made(volume, host).await? {
        units.iter_mut().for_each(|unit| unit.under_way = true);
    }
    Ok(())
}

fn of_unit(unit: &str, text: &str, at: PathBuf, mounts: &[Mount]) -> Former {
    let mount = mounts.iter().rfind(|mount| mount.target == at).cloned();
    Former { unit: unit.to_owned(), at, uuid: uuid_of(text).map(str::to_owned), mount, under_way: false }
}
