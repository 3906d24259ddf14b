//! `bowline volumes`: every block device, and for every volume why each device is or is not the one.

use super::{INVALID, load, output};
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
    let mut out = format!("{:<14} {:>10}  {:<20} {}\n", "DEVICE", "SIZE", "SERIAL", "USE");
    for d in &table.devices {
        let gib = format!("{:.1} GiB", d.id.size as f64 / f64::from(1u32 << 30));
        let serial = d.id.serial.as_deref().unwrap_or("-");
        let serial: String = serial.chars().take(20).collect();
        out.push_str(&format!("{:<14} {gib:>10}  {serial:<20} {}\n", d.path.display(), usage(d)));
    }
    if table.volumes.is_empty() {
        out.push_str("\nno volumes in the settings\n");
    }
    for choice in &table.volumes {
        out.push_str(&format!("\nvolume {} at {}\n  wanted: {}\n", choice.volume, choice.mount, choice.wanted));
        out.push_str(&format!("  {}\n", choice.verdict));
        for other in &choice.others {
            out.push_str(&format!("  not {}: {}\n", other.device, other.reason));
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
