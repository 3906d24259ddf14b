//! The museum of disks: an image for every kind of thing that a disk may hold, made once by `tests/museum/make`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::artefacts::checkout;
use crate::cache::{self, Artefact, Key};
use crate::{Os, base, run, sources};

/// What the images are made with.
const TOOLS: &str = "f2fs-tools,dosfstools,exfatprogs,ntfs-3g,genisoimage,udftools,squashfs-tools,erofs-utils,e2fsprogs,\
    xfsprogs,btrfs-progs,nilfs-tools,jfsutils,reiserfsprogs,lvm2,cryptsetup-bin,bcache-tools,fdisk,drbd-utils,sqlite3,\
    python3-minimal,cpio";

/// In a root of its own, with the host's devices: some tools want a block device.
const MAKE: &str = r#"
for dir in dev proc sys; do mount --rbind "/$dir" "$1/$dir" || exit 1; done
mount --bind "$2" "$1/mnt" && cp "$3" "$1/make" && exec chroot "$1" /make /mnt"#;

/// All images.
pub struct Museum {
    images: Artefact,
}

impl Museum {
    /// From the cache, or made (about a minute).
    pub fn open() -> Result<Museum> {
        let script = checkout().join("tests/museum/make");
        let found = sources::find()?;
        let mut key = Key::new();
        key.add(TOOLS.as_bytes());
        key.add(found.for_suite(Os::Bookworm.suite()).as_bytes());
        key.add_tree(&script)?;
        let images = cache::get("museum", key, |building| {
            let (root, images) = (building.join("root"), building.join("images"));
            base::bootstrap(Os::Bookworm, TOOLS, &[], found.listed(Os::Bookworm)?.path(), &root)?;
            fs::create_dir(&images)?;
            let mut make = Command::new("unshare");
            make.args(["--mount", "--propagation", "private", "sh", "-c", MAKE, "sh"]);
            run::ok(make.arg(&root).arg(&images).arg(&script))?;
            Ok(fs::remove_dir_all(&root)?)
        })?;
        Ok(Museum { images: images.file("images") })
    }

    /// The kinds of disks, sorted.
    pub fn kinds(&self) -> Result<Vec<String>> {
        let all = fs::read_dir(self.images.path())?.flatten();
        let mut kinds: Vec<_> = all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        kinds.sort();
        Ok(kinds)
    }

    /// The image of a kind.
    pub fn image(&self, kind: &str) -> PathBuf {
        Path::new(self.images.path()).join(kind)
    }
}
