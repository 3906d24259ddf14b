//! What a mount point is while nothing is mounted there.

use super::MountPoint;
use bowline_ports::{FileKind, Inspect, PortError};
use std::path::{Path, PathBuf};

/// What it is, and whether it is shielded.
pub(super) async fn mount_point(
    path: &Path,
    mounted: bool,
    host: &dyn Inspect,
) -> Result<(MountPoint, bool), PortError> {
    if mounted {
        return Ok((MountPoint::Mounted, false));
    }
    let real = real_place(path, host).await?;
    if real != path {
        return Ok((MountPoint::Leads(real), false));
    }
    let Some(meta) = host.meta(path).await? else { return Ok((MountPoint::Free, false)) };
    if meta.kind != FileKind::Directory {
        return Ok((MountPoint::NotADirectory, false));
    }
    let mut entries = host.list(path).await?.unwrap_or_default();
    if entries.is_empty() {
        return Ok((MountPoint::Free, meta.immutable != Some(false)));
    }
    entries.truncate(5);
    Ok((MountPoint::Filled(entries), false))
}

/// Where a path leads, as far as it is there.
async fn real_place(path: &Path, host: &dyn Inspect) -> Result<PathBuf, PortError> {
    for above in path.ancestors() {
        if let (Some(real), Ok(rest)) = (host.real_path(above).await?, path.strip_prefix(above)) {
            // Without an empty end, which would be a slash.
            return Ok(real.components().chain(rest.components()).collect());
        }
    }
    Ok(path.to_path_buf())
}
