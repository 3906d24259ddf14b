//! What is mounted beneath a directory, as it was when the scan began. The kernel would not let a scan cross a mount either,
//! but a look at the mount point of a server that does not answer would hang: so its name is not even looked at.

use rustix::fd::{AsRawFd, OwnedFd};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names of mount points, by the directory that has them, which is relative to the scan's and `""` for that one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounted(HashMap<Vec<u8>, Vec<Vec<u8>>>);

impl Mounted {
    /// The names in this directory that are mount points.
    pub(crate) fn within(&self, directory: &[u8]) -> &[Vec<u8>] {
        match self.0.is_empty() {
            true => &[],
            false => self.0.get(directory).map_or(&[], Vec::as_slice),
        }
    }
}

/// Where this directory really is, and what is mounted beneath it.
pub(crate) fn beneath(root: &OwnedFd) -> std::io::Result<(PathBuf, Mounted)> {
    let path = std::fs::read_link(format!("/proc/thread-self/fd/{}", root.as_raw_fd()))?;
    let mounted = parse(&std::fs::read("/proc/thread-self/mountinfo")?, &path);
    Ok((path, mounted))
}

fn parse(mountinfo: &[u8], root: &Path) -> Mounted {
    let mut mounted = Mounted::default();
    let points = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    for point in points.map(unescaped) {
        let Ok(relative) = Path::new(OsStr::from_bytes(&point)).strip_prefix(root) else { continue };
        let (Some(directory), Some(name)) = (relative.parent(), relative.file_name()) else { continue };
        mounted.0.entry(directory.as_os_str().as_bytes().to_vec()).or_default().push(name.as_bytes().to_vec());
    }
    mounted
}

/// Blanks, tabs, newlines and backslashes stand there as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 22 0:25 / /data rw - tmpfs tmpfs rw\n\
        31 30 0:26 / /data/a\\040b/\\134c rw - nfs4 server:/x rw\n\
        32 30 0:27 /sub /data/d rw - tmpfs tmpfs rw\n\
        33 22 0:28 / /database rw - tmpfs tmpfs rw\n";

    #[test]
    fn mount_points_are_known_by_the_directory_that_has_them() {
        let data = parse(MOUNTINFO, Path::new("/data"));
        assert_eq!(data.within(b""), [b"d".to_vec()]);
        assert_eq!(data.within(b"a b"), [b"\\c".to_vec()]);
        assert!(data.within(b"d").is_empty());
        let root = parse(MOUNTINFO, Path::new("/"));
        assert_eq!(root.within(b""), [b"data".to_vec(), b"database".to_vec()]);
        assert_eq!(root.within(b"data/a b"), [b"\\c".to_vec()]);
        assert_eq!(parse(MOUNTINFO, Path::new("/data/d")), Mounted::default());
    }
}
