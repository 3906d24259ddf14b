//! Where volumes may be mounted, and with which options.

use std::path::{Path, PathBuf};

use crate::complaint::{Complaint, quote};
use crate::model::{Filesystem, is_normal};

/// Directories that belong to the system with everything in them.
const TREES: [&str; 25] = [
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/apt",
    "/var/lib/bowline",
    "/var/lib/cloud",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/lock",
    "/var/run",
    "/var/tmp",
];

/// Directories that the system needs as they are, though not all in them.
const PLACES: [&str; 7] = ["/", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/snap"];

/// Where K3s and containers are executed from.
const PROGRAMS: [&str; 2] = ["/var/lib/rancher/k3s/data", "/var/lib/rancher/k3s/agent/containerd"];

/// Mount options that Bowline decides, or that cannot work, and why.
const REFUSED: [(&str, &str); 27] = [
    ("ro", "Kubernetes could not write to the volume"),
    ("auto", "Bowline's own unit decides when the volume is mounted"),
    ("noauto", "Bowline's own unit decides when the volume is mounted"),
    ("nofail", "Bowline's own unit decides what waits for the volume"),
    ("fail", "Bowline's own unit decides what waits for the volume"),
    ("user", "the volume is the system's, not a user's"),
    ("users", "the volume is the system's, not a user's"),
    ("owner", "the volume is the system's, not a user's"),
    ("group", "the volume is the system's, not a user's"),
    ("bind", "a volume is a disk, not another directory"),
    ("rbind", "a volume is a disk, not another directory"),
    ("move", "a volume is a disk, not another mount"),
    ("remount", "a volume is mounted once"),
    ("loop", "a volume is a disk, not a file"),
    ("offset", "a volume is a disk, not a part of a file"),
    ("sizelimit", "a volume is a disk, not a part of a file"),
    ("private", "containers need to see the mount"),
    ("rprivate", "containers need to see the mount"),
    ("slave", "containers need to see the mount"),
    ("rslave", "containers need to see the mount"),
    ("shared", "it is so without the option"),
    ("rshared", "it is so without the option"),
    ("unbindable", "containers need to see the mount"),
    ("runbindable", "containers need to see the mount"),
    ("norecovery", "it mounts a filesystem that is not whole"),
    ("noload", "it mounts a filesystem that is not whole"),
    ("degraded", "it mounts a filesystem that is not whole"),
];

/// Mount options that not all filesystems have (ext4(5), xfs(5), btrfs(5)): those of the kernels that Bowline runs on. What
/// two of them have in common is under both; what is not here is asked of the kernel.
const OF_EXT4: &str = "abort auto_da_alloc barrier block_validity bsddf commit data data_err debug delalloc \
    dioread_lock dioread_nolock errors grpjquota i_version init_itable inode_readahead_blks journal_async_commit \
    journal_checksum journal_dev journal_ioprio journal_path jqfmt max_batch_time max_dir_size_kb mb_optimize_scan \
    min_batch_time minixdf noauto_da_alloc nobarrier noblock_validity nodelalloc nodioread_nolock noinit_itable \
    nojournal_checksum nouser_xattr prefetch_block_bitmaps resgid resuid stripe user_xattr usrjquota";
const OF_XFS: &str = "allocsize attr2 filestreams gqnoenforce gquota ikeep inode32 inode64 largeio logbsize logbufs \
    logdev noalign noattr2 noikeep nolargeio nouuid pqnoenforce pquota rtdev sunit swalloc swidth uqnoenforce uquota wsync";
const OF_BTRFS: &str = "autodefrag barrier clear_cache commit compress compress-force datacow datasum enospc_debug \
    fatal_errors flushoncommit max_inline metadata_ratio noautodefrag nobarrier nodatacow nodatasum noenospc_debug \
    noflushoncommit nospace_cache nossd nossd_spread notreelog rescan_uuid_tree rescue skip_balance space_cache ssd \
    ssd_spread subvol subvolid thread_pool treelog usebackuproot user_subvol_rm_allowed";

/// The other filesystems that an option belongs to; `None` where this one has it, or nobody is known to.
pub(crate) fn of_others(option: &str, filesystem: Filesystem) -> Option<String> {
    let name = option.split('=').next().unwrap_or_default();
    let all = [(Filesystem::Ext4, OF_EXT4), (Filesystem::Xfs, OF_XFS), (Filesystem::Btrfs, OF_BTRFS)];
    let theirs = all.into_iter().filter(|(_, options)| options.split_whitespace().any(|known| known == name));
    let theirs: Vec<Filesystem> = theirs.map(|(kind, _)| kind).collect();
    let names: Vec<&str> = theirs.iter().map(|kind| kind.as_str()).collect();
    (!theirs.is_empty() && !theirs.contains(&filesystem)).then(|| names.join(" or "))
}

/// A mount point, when a volume may be there.
pub(crate) fn check(text: &str) -> Result<PathBuf, Complaint> {
    let path = PathBuf::from(text);
    if !text.starts_with('/') {
        return Err(Complaint::new(format!("{} is not an absolute path", quote(text)))
            .suggest("a directory such as \"/mnt/data\""));
    }
    if !is_normal(&path) {
        let complaint = Complaint::new(format!("{} has a `.`, a `..`, or a `/` too many in it", quote(text)));
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let dots = parts.iter().any(|part| *part == "." || *part == "..");
        return Err(if dots || parts.is_empty() {
            complaint
        } else {
            complaint.suggest(quote(&format!("/{}", parts.join("/"))))
        });
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.+:@,=".contains(&byte));
    if !plain {
        return Err(Complaint::new(format!(
            "{} has other characters in it than letters, digits and -_.+:@,=",
            quote(text)
        )));
    }
    if text.len() > 200 {
        return Err(Complaint::new("a mount point has at most 200 characters"));
    }
    // The unit's name has `\\xNN` for some characters. The longest of the files that are named by it is the unit that checks, and a
    // file that is being written has a few more around its name.
    let escaped = |byte: u8| if byte.is_ascii_alphanumeric() || b"/:_.".contains(&byte) { 1 } else { 4 };
    let name: usize = text.bytes().skip(1).map(escaped).sum();
    if "bowline-check-".len() + name + ".service".len() > 255 - "..bowline-tmp".len() {
        return Err(Complaint::new(
            "a mount point is also the name of a systemd unit, with four characters for each `-`, `+`, `@`, `,` and `=`: \
             this one is too long for that",
        ));
    }
    let system = TREES.iter().find(|tree| path.starts_with(tree));
    if let Some(place) = system.or_else(|| PLACES.iter().find(|place| **place == text)) {
        return Err(Complaint::new(format!(
            "a volume cannot be mounted at {}: {place} belongs to the system",
            quote(text)
        ))
        .suggest("a directory of its own, such as \"/mnt/data\""));
    }
    Ok(path)
}

/// A mount option, when it may be used.
pub(crate) fn check_option(text: &str) -> Result<String, Complaint> {
    if text.contains(',') {
        let parts: Vec<String> = text.split(',').map(|part| quote(part.trim())).collect();
        return Err(Complaint::new("one mount option an item").suggest(parts.join(", ")));
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+:@=/".contains(&byte));
    if text.is_empty() || !plain || text.starts_with('-') {
        return Err(Complaint::new(format!("{} is not a mount option", quote(text))));
    }
    let name = text.split('=').next().unwrap_or_default();
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(Complaint::new(format!("the option \"{name}\" cannot be set: {why}")).suggest("remove it"));
    }
    if name.starts_with("x-") || name.starts_with("X-") || name == "comment" {
        return Err(Complaint::new(format!(
            "the option {} works in /etc/fstab only, and this is no part of it",
            quote(text)
        ))
        .suggest("remove it"));
    }
    Ok(text.to_owned())
}

/// Whether one option undoes the other: `atime` and `noatime`.
pub(crate) fn are_opposites(one: &str, other: &str) -> bool {
    one.strip_prefix("no") == Some(other) || other.strip_prefix("no") == Some(one)
}

/// Whether K3s or its containers are executed from a volume that is mounted here.
pub(crate) fn holds_programs(mount: &Path) -> bool {
    PROGRAMS.iter().any(|place| Path::new(place).starts_with(mount) || mount.starts_with(place))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check, check_option, holds_programs, of_others};
    use crate::model::Filesystem::{Btrfs, Ext4, Xfs};

    #[test]
    fn mount_points() {
        for path in [
            "/mnt/data",
            "/srv",
            "/var/lib/rancher",
            "/var/lib/kafka",
            "/home",
            "/data",
            "/var/log/pods",
            "/var/lib/kubelet",
            "/usr-data",
            "/mnt",
        ] {
            assert!(check(path).is_ok(), "{path}");
        }
        for path in [
            "",
            "mnt",
            "/",
            "//",
            "/mnt/",
            "/mnt//a",
            "/mnt/../etc",
            "/mnt/./a",
            "/etc",
            "/etc/x",
            "/usr/local",
            "/var",
            "/var/lib",
            "/run/x",
            "/mnt/a b",
            "/mnt/a\nb",
            "/mnt/%n",
            "/proc",
            "/dev/shm",
            "/boot",
            "/var/lib/bowline/x",
            "./mnt",
            "/..",
        ] {
            assert!(check(path).is_err(), "{path}");
        }
        // Word for word: whoever shortens a list gives a part of the system away.
        let trees = "/bin /boot /dev /efi /etc /lib /lib32 /lib64 /libx32 /lost+found /proc /root /run /sbin /sys /tmp /usr \
                     /var/lib/apt /var/lib/bowline /var/lib/cloud /var/lib/dpkg /var/lib/systemd /var/lock /var/run /var/tmp";
        for tree in trees.split(' ') {
            assert!(check(tree).is_err() && check(&format!("{tree}/a")).is_err(), "{tree}");
        }
        for place in ["/", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/snap"] {
            assert!(check(place).is_err() && (place == "/" || check(&format!("{place}/a")).is_ok()), "{place}");
        }
        let long = format!("/mnt/{}", "a-".repeat(60));
        assert!(check(&long).is_err() && check(&long.replace('-', "_")).is_ok());
        // 220 of 255, since `bowline-check-NAME.service` is written under another name first.
        let escaped = |more: usize| format!("/{}{}", "-".repeat(40), "a".repeat(60 + more));
        assert!(check(&escaped(0)).is_ok() && check(&escaped(1)).is_err());
        let end = check("/mnt//data/").unwrap_err();
        assert_eq!(end.suggestion.as_deref(), Some("write \"/mnt/data\""));
    }

    #[test]
    fn options() {
        for option in ["noatime", "discard", "defaults", "commit=30", "compress=zstd:3", "_netdev"] {
            assert!(check_option(option).is_ok(), "{option}");
        }
        for option in ["", "ro", "noauto", "bind", "a,b", "a b", "x-systemd.growfs", "-o", "loop=/x", "nofail"] {
            assert!(check_option(option).is_err(), "{option}");
        }
        // Word for word, as the trees above.
        let refused = "ro auto noauto nofail fail user users owner group bind rbind move remount loop offset sizelimit private \
                       rprivate slave rslave shared rshared unbindable runbindable norecovery noload degraded comment";
        for option in refused.split(' ') {
            for option in [option.to_owned(), format!("{option}=1")] {
                assert!(check_option(&option).is_err(), "{option}");
            }
        }
    }

    #[test]
    fn options_of_other_filesystems() {
        for (option, kind, theirs) in [
            ("data=journal", Xfs, "ext4"),
            ("subvol=@", Xfs, "btrfs"),
            ("commit=30", Xfs, "ext4 or btrfs"),
            ("logbsize=256k", Ext4, "xfs"),
            ("errors=remount-ro", Btrfs, "ext4"),
        ] {
            assert_eq!(of_others(option, kind).as_deref(), Some(theirs), "{option}");
        }
        for (option, kind) in [("data=journal", Ext4), ("commit=30", Btrfs), ("noatime", Xfs), ("usrquota", Xfs)] {
            assert_eq!(of_others(option, kind), None, "{option}");
        }
    }

    #[test]
    fn programs() {
        for (path, holds) in [
            ("/var/lib/rancher", true),
            ("/var/lib/rancher/k3s", true),
            ("/mnt", false),
            ("/var/lib/rancher/k3s/agent", true),
            ("/var/lib/rancher/k3s/storage", false),
            ("/var/lib/rancher/k3s/data", true),
            ("/var/lib/rancher/k3s/data/x", true),
        ] {
            assert_eq!(holds_programs(Path::new(path)), holds, "{path}");
        }
    }
}
