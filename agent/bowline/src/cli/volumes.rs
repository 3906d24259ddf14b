//! `bowline volumes`: every block device, and for every volume why each device is or is not the one.

use super::{INVALID, load, output};
use crate::{show, wiring};
use bowline_engine::{Capability, Conditions, Plan};
use bowline_ports::text::bytes;
use bowline_ports::{BlockDevice, Inspect, PortError};
use bowline_settings::Volume;
use bowline_volumes::{Action, Facts, Found, VolumeFacts, Volumes, find, number, why_other};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(Serialize)]
struct Table {
    devices: Vec<BlockDevice>,
    volumes: Vec<Choice>,
}

#[derive(Serialize)]
struct Choice {
    volume: String,
    wanted: String,
    mount: String,
    verdict: String,
    others: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    device: String,
    reason: String,
}

pub(super) async fn run(folder: &Path, json: bool) -> ExitCode {
    let Some(loaded) = load::or_complain(folder) else { return ExitCode::from(INVALID) };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let (volumes, services) = (loaded.settings.volumes.clone(), wiring::services(&loaded.settings));
    match table(&host, &Volumes { volumes, services, starts: false }).await {
        Err(error) => {
            output::complain(&error.message);
            ExitCode::FAILURE
        }
        Ok(table) => {
            if json {
                output::print_json(&table);
            } else {
                output::print(&text(&table));
            }
            ExitCode::SUCCESS
        }
    }
}

async fn table(host: &dyn Inspect, volumes: &Volumes) -> Result<Table, PortError> {
    let facts = volumes.observe(host).await;
    let devices = match &facts {
        Ok(facts) => facts.devices.clone(),
        // Which disks there are is known without systemd too.
        Err(_) => host.block_devices().await?,
    };
    let plan = facts.as_ref().map(|facts| volumes.plan(facts, &Conditions::default())).unwrap_or_default();
    let mut choices = Vec::new();
    for (at, volume) in volumes.volumes.iter().enumerate() {
        let seen = seen(&facts, at);
        let number = match seen {
            Ok(Some(seen)) => seen.number.clone(),
            Ok(None) | Err(_) => number(volume, host).await?,
        };
        let used = seen.ok().flatten().and_then(|seen| seen.used(volume));
        let found = find(volume, number.as_deref(), used, &devices);
        let chosen = |d: &BlockDevice| matches!(&found, Found::One(one) if one.path == d.path);
        let others = devices.iter().filter(|d| !chosen(d)).map(|d| {
            let other = why_other(volume, number.as_deref(), used, d, &devices);
            let reason = other.unwrap_or_else(|| "it fits as well".into());
            Verdict { device: d.path.display().to_string(), reason }
        });
        choices.push(Choice {
            volume: volume.name.clone(),
            wanted: volume.source.to_string(),
            mount: volume.mount.display().to_string(),
            others: others.collect(),
            verdict: verdict(volume, seen, &found, &plan),
        });
    }
    Ok(Table { devices, volumes: choices })
}

/// What was read for a volume, or why nothing was.
fn seen(facts: &Result<Facts, PortError>, at: usize) -> Result<Option<&VolumeFacts>, &PortError> {
    facts.as_ref()?.volumes.get(at).map(Result::as_ref).transpose()
}

/// What the plan says of the device that was found: to fit is not yet to be the one.
fn verdict(
    volume: &Volume,
    seen: Result<Option<&VolumeFacts>, &PortError>,
    found: &Found<'_>,
    plan: &Plan<Action>,
) -> String {
    let item = format!("volume/{}", volume.name);
    let released = matches!(seen, Ok(Some(seen)) if seen.released.is_some());
    let fits = match found {
        // The list of the others has the reasons.
        Found::None if !released => return "no device fits: waiting for it".to_string(),
        Found::Several(all) if !released => return format!("refused: {} devices fit", all.len()),
        Found::None => "no device fits".to_string(),
        Found::Several(all) => format!("{} devices fit", all.len()),
        Found::One(one) => format!("{} fits", one.path.display()),
    };
    if let Err(error) = seen {
        return format!("{fits}; whether it can be used is not known: {error}");
    }
    if let Some(refusal) = plan.refusals.iter().find(|r| r.item == item) {
        return format!("{fits}; refused: {}", refusal.why);
    }
    if let Some(wait) = plan.waits.iter().find(|w| w.item == item) {
        return format!("{fits}; waiting for {}: {}", wait.what, wait.why);
    }
    if released {
        let steps: Vec<_> = plan.steps.iter().filter(|s| s.item == item).map(|s| s.action.to_string()).collect();
        return format!("{fits}; released, still to do: {}", steps.join(", "));
    }
    match found {
        Found::One(one) => format!("{} is the one", one.path.display()),
        Found::None | Found::Several(_) => fits,
    }
}

fn text(table: &Table) -> String {
    let mut rows = vec![["DEVICE", "      SIZE", "SERIAL", "USE"].map(String::from).to_vec()];
    rows.extend(table.devices.iter().map(|d| {
        let size = format!("{:>10}", bytes(d.id.size));
        let serial = match (d.told_serial(), &d.shared_serial) {
            (Some(serial), None) => serial.to_owned(),
            // Settings may name the disk by it all the same.
            (Some(serial), Some(_)) => format!("{serial} (shared)"),
            (None, _) => "-".into(),
        };
        vec![d.path.display().to_string(), size, serial, usage(d)]
    }));
    let mut out = show::table(&rows);
    if table.volumes.is_empty() {
        out.push_str("\nno volumes in the settings\n");
    }
    for choice in &table.volumes {
        out.push_str(&format!("\nvolume {} at {}\n", choice.volume, choice.mount));
        let wanted = format!("wanted: {}", choice.wanted);
        let others = choice.others.iter().map(|other| format!("not {}: {}", other.device, other.reason));
        for line in [wanted, choice.verdict.clone()].into_iter().chain(others) {
            out.push_str(&show::folded(&line, 2, 6));
            out.push('\n');
        }
    }
    out
}

fn usage(device: &BlockDevice) -> String {
    if device.root {
        "the running system".into()
    } else if let Some(at) = device.mounted_at.first() {
        format!("mounted at {}", at.display())
    } else if device.swap {
        "swap".into()
    } else if !device.holders.is_empty() {
        format!("part of {}", device.holders.join(", "))
    } else if !device.partitions.is_empty() {
        format!("{} partitions", device.partitions.len())
    } else if !device.member.is_empty() {
        format!("part of something else ({})", device.member)
    } else {
        "free".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::sim::{Fault, FaultMode, SimHost, World, WorldDisk};
    use bowline_ports::{DeviceId, ErrorKind};
    use bowline_settings::SourceFile;
    use bowline_volumes::Released;

    fn device(path: &str, gib: u64, serial: Option<&str>) -> BlockDevice {
        BlockDevice {
            path: path.into(),
            number: "8:0".into(),
            id: DeviceId { serial: serial.map(String::from), size: gib << 30 },
            links: vec!["/dev/disk/by-id/a".into()],
            announced: true,
            partition_of: Some("/dev/x".into()),
            ..BlockDevice::default()
        }
    }

    #[test]
    fn the_list_fits_the_page_and_cuts_nothing_off() {
        let root = BlockDevice { root: true, ..device("/dev/sda", 38, None) };
        let mounted = BlockDevice {
            mounted_at: vec!["/var/lib/a-rather-long-place/for-the-data-of-one/application".into()],
            ..device("/dev/loop0", 1, Some("/srv/images/backing-file-of-a-loop-device.img"))
        };
        let namespace = BlockDevice { shared_serial: Some("SN: 000001".into()), ..device("/dev/nvme0n2", 20, None) };
        let link = format!("/dev/disk/by-id/{}", "x".repeat(80));
        let choice = Choice {
            volume: "data".into(),
            wanted: format!("the device {link}"),
            mount: "/mnt/data".into(),
            verdict: "/dev/sdb is the one".into(),
            others: vec![Verdict {
                device: "/dev/sda".into(),
                reason: format!("it is not what {link} leads to, and it holds the running system, and that stays"),
            }],
        };
        let devices = vec![root, device("/dev/sdb", 10, Some("12345678")), namespace, mounted];
        let wanted = format!(
            "\
DEVICE              SIZE  SERIAL               USE
/dev/sda          38 GiB  -                    the running system
/dev/sdb          10 GiB  12345678             free
/dev/nvme0n2      20 GiB  SN: 000001 (shared)  free
/dev/loop0         1 GiB  /srv/images/backing-file-of-a-loop-device.img
  mounted at /var/lib/a-rather-long-place/for-the-data-of-one/application

volume data at /mnt/data
  wanted: the device
      {link}
  /dev/sdb is the one
  not /dev/sda: it is not what
      {link}
      leads to, and it holds the running system, and that stays
"
        );
        let table = Table { devices, volumes: vec![choice] };
        assert_eq!(text(&table), wanted);
        bowline_schema::fits("volumes", &serde_json::to_value(&table).unwrap()).unwrap();
    }

    /// Two volumes by their links, and what is said of each.
    async fn verdicts(host: &SimHost) -> Vec<String> {
        let volume = |serial: u32| {
            format!(
                "[[volume]]\nname = \"v{serial}\"\ndevice = \"/dev/disk/by-id/scsi-0HC_Volume_{serial}\"\n\
                 mount = \"/mnt/{serial}\"\nformat = \"blank-only\"\n"
            )
        };
        let text = volume(11_111_111) + &volume(22_222_222);
        let file = SourceFile { path: "10.toml".into(), text, mode: 0o600, uid: 0 };
        let volumes = bowline_settings::load(&[file]).unwrap().settings.volumes;
        let table = table(host, &Volumes { volumes, services: Vec::new(), starts: false }).await.unwrap();
        bowline_schema::fits("volumes", &serde_json::to_value(&table).unwrap()).unwrap();
        table.volumes.into_iter().map(|choice| choice.verdict).collect()
    }

    fn two_disks() -> World {
        let mut world = World::default();
        world.disks.extend([WorldDisk::volume("/dev/sdb", "11111111"), WorldDisk::volume("/dev/sdc", "22222222")]);
        world
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_is_a_device_that_the_plan_takes() {
        assert_eq!(verdicts(&SimHost::new(&two_disks())).await, ["/dev/sdb is the one", "/dev/sdc is the one"]);

        let mut swapped = two_disks();
        let links = swapped.disks[1].links.clone();
        swapped.disks[1].links = std::mem::replace(&mut swapped.disks[2].links, links);
        for (verdict, [path, other]) in verdicts(&SimHost::new(&swapped)).await.iter().zip([["c", "b"], ["b", "c"]]) {
            assert!(verdict.starts_with(&format!("/dev/sd{path} fits; refused: /dev/disk/by-id/")), "{verdict}");
            assert!(
                verdict.contains(&format!("its name has the serial of another disk: /dev/sd{other} (")),
                "{verdict}"
            );
        }

        let mut other_content = two_disks();
        other_content.disks[1].content = "gpt".into();
        let fstab = "/dev/sdc /srv/other ext4 defaults 0 2\n";
        other_content.files.insert("/etc/fstab".into(), fstab.into());
        assert_eq!(
            verdicts(&SimHost::new(&other_content)).await,
            [
                "/dev/sdb fits; refused: /dev/sdb holds a partition table (gpt)",
                "/dev/sdc fits; refused: line 1 of /etc/fstab mounts /dev/sdc at /srv/other as ext4, and the settings mount /dev/sdc at \
                 /mnt/22222222"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_can_not_be_looked_at_is_not_called_the_one() {
        let host = SimHost::new(&two_disks());
        host.arm(Fault::at_call(0, FaultMode::FailBefore, ErrorKind::Denied));
        for (verdict, path) in verdicts(&host).await.iter().zip(["/dev/sdb", "/dev/sdc"]) {
            let begin = format!("{path} fits; whether it can be used is not known: ");
            assert!(verdict.starts_with(&begin), "{verdict}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_volume_has_no_device_to_be_taken() {
        let mut world = two_disks();
        let disk = DeviceId { serial: Some("11111111".into()), size: 20 << 30 };
        let record = Released { disk, uuid: None, shared: false, since: 0, cordoned: false };
        world.files.insert(Released::path_of("v11111111"), serde_json::to_string(&record).unwrap());
        let said = verdicts(&SimHost::new(&world)).await;
        assert!(said[0].starts_with("/dev/sdb fits; waiting for /dev/sdb to be detached"), "{said:?}");
        assert_eq!(said[1], "/dev/sdc is the one");
    }
}
