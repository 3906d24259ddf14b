//! `bowline volumes`: every block device, and for every volume why each device is or is not the one.

use super::{INVALID, load, output};
use crate::show;
use bowline_ports::{BlockDevice, FileKind, Inspect, PortError};
use bowline_settings::{Volume, VolumeSource};
use bowline_volumes::{Found, find, why_not, why_other};
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
    match table(&host, &loaded.settings.volumes).await {
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

async fn table(host: &dyn Inspect, volumes: &[Volume]) -> Result<Table, PortError> {
    let devices = host.block_devices().await?;
    let mut choices = Vec::new();
    for volume in volumes {
        let number = match &volume.source {
            VolumeSource::Device(path) | VolumeSource::DeviceOrMatch { device: path, .. } => {
                host.meta(path).await?.filter(|m| m.kind == FileKind::Block).map(|m| m.device)
            }
            VolumeSource::Serial(_) | VolumeSource::Match(_) => None,
        };
        let found = find(volume, number.as_deref(), &devices);
        let verdict = match &found {
            Found::None => "no device fits: waiting for it".to_string(),
            Found::Several(all) => format!("refused: {} devices fit", all.len()),
            Found::One(one) => match why_not(one, volume) {
                Some(not) => format!("refused: {}", not.reason),
                None => format!("{} is the one", one.path.display()),
            },
        };
        let chosen = |d: &BlockDevice| matches!(&found, Found::One(one) if one.path == d.path);
        let others = devices.iter().filter(|d| !chosen(d)).map(|d| {
            let other = why_other(volume, number.as_deref(), d, &devices);
            let reason = other.unwrap_or_else(|| "it fits as well".into());
            Verdict { device: d.path.display().to_string(), reason }
        });
        choices.push(Choice {
            volume: volume.name.clone(),
            wanted: volume.source.to_string(),
            mount: volume.mount.display().to_string(),
            verdict,
            others: others.collect(),
        });
    }
    Ok(Table { devices, volumes: choices })
}

fn text(table: &Table) -> String {
    let mut rows = vec![["DEVICE", "      SIZE", "SERIAL", "USE"].map(String::from).to_vec()];
    rows.extend(table.devices.iter().map(|d| {
        let size = format!("{:>10}", format!("{:.1} GiB", d.id.size as f64 / f64::from(1u32 << 30)));
        let serial = d.id.serial.clone().unwrap_or_else(|| "-".into());
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
    } else {
        "free".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::DeviceId;

    fn device(path: &str, gib: u64, serial: Option<&str>) -> BlockDevice {
        BlockDevice {
            path: path.into(),
            number: "8:0".into(),
            id: DeviceId { serial: serial.map(String::from), size: gib << 30 },
            vendor: String::new(),
            model: String::new(),
            transport: String::new(),
            links: vec!["/dev/disk/by-id/a".into()],
            announced: true,
            partition_of: Some("/dev/x".into()),
            partitions: Vec::new(),
            holders: Vec::new(),
            mounted_at: Vec::new(),
            swap: false,
            root: false,
            read_only: false,
        }
    }

    #[test]
    fn the_list_fits_the_page_and_cuts_nothing_off() {
        let root = BlockDevice { root: true, ..device("/dev/sda", 38, None) };
        let mounted = BlockDevice {
            mounted_at: vec!["/var/lib/a-rather-long-place/for-the-data-of-one/application".into()],
            ..device("/dev/loop0", 1, Some("/srv/images/backing-file-of-a-loop-device.img"))
        };
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
        let devices = vec![root, device("/dev/sdb", 10, Some("12345678")), mounted];
        let wanted = format!(
            "\
DEVICE            SIZE  SERIAL    USE
/dev/sda      38.0 GiB  -         the running system
/dev/sdb      10.0 GiB  12345678  free
/dev/loop0     1.0 GiB  /srv/images/backing-file-of-a-loop-device.img
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
}
