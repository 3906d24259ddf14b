//! What the tools that check a filesystem say of it.

use super::super::super::tool::last_words;
use bowline_ports::Filesystem;
use std::process::Output;

/// So many findings are told.
const NAMED: usize = 4;

/// What was found, in a line that is the same each time.
pub(super) fn findings(filesystem: Filesystem, output: &Output) -> String {
    if filesystem == Filesystem::Ext4 {
        return found_by_e2fsck(output);
    }
    if filesystem != Filesystem::Xfs {
        return last_words(output);
    }
    // xfs_repair tells what it does and what it finds in one stream; the addresses in its own memory differ each time.
    let text = String::from_utf8_lossy(&output.stderr);
    let plain = |line: &&str| {
        let own = ["Phase ", "- ", "No modify flag", "Metadata corruption detected", "Metadata CRC error detected"];
        !line.is_empty() && !own.iter().any(|start| line.starts_with(start))
    };
    let found: Vec<&str> = text.lines().map(str::trim).filter(plain).take(NAMED).collect();
    if found.is_empty() { last_words(output) } else { found.join("; ") }
}

/// e2fsck says on one stream who it is, and on the other what it finds, each with the question what to do about it.
fn found_by_e2fsck(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let plain = |line: &&str| {
        let own = ["Pass ", "Fix? ", "Warning: skipping journal", "**********"];
        !line.is_empty() && !own.iter().any(|start| line.starts_with(start)) && !line.contains(" files (")
    };
    let lines = text.lines().map(|line| line.trim().trim_start_matches("/proc/self/fd/0: ")).filter(plain);
    let asked = |line: &'_ str| line.ends_with("? no").then(|| line.rfind("  ")).flatten();
    let found = lines.map(|line| asked(line).map_or(line, |at| &line[..at]).trim_end_matches('.'));
    let found: Vec<&str> = found.take(NAMED).collect();
    if found.is_empty() { last_words(output) } else { found.join("; ") }
}

/// Whether `xfs_repair` says that the log holds what is not in its place yet: that alone looks like damage.
pub(super) fn log_is_dirty(output: &Output) -> bool {
    let said = [&output.stderr, &output.stdout].map(|stream| String::from_utf8_lossy(stream).into_owned());
    said.iter().any(|text| text.contains("valuable metadata changes in a log"))
}

/// What a tool says that could not check a filesystem, whatever is on it, and what to do: of damage that tells nothing.
pub(super) fn not_checked(filesystem: Filesystem, output: &Output) -> Option<(String, &'static str)> {
    let said = [&output.stderr, &output.stdout].map(|stream| String::from_utf8_lossy(stream).into_owned()).join("\n");
    let line = |words: &[&str]| {
        let line = said.lines().map(str::trim).find(|line| words.iter().any(|word| line.contains(word)))?;
        Some(line.replace("/proc/self/fd/0 has", "it has").trim_end_matches('.').to_owned())
    };
    let unknown = [
        "has unsupported feature",
        "has unknown compat",
        "unsupported filesystem features",
        "unsupported option features",
    ];
    if let Some(line) = line(&unknown) {
        return Some((
            format!("{line}; the kernel or its tools are older than the filesystem"),
            match filesystem {
                Filesystem::Ext4 => {
                    ", and nothing is known to be damaged: install a newer e2fsprogs, or a newer system"
                }
                Filesystem::Xfs => ", and nothing is known to be damaged: install a newer xfsprogs, or a newer system",
                Filesystem::Btrfs => {
                    ", and nothing is known to be damaged: install a newer btrfs-progs, or a newer system"
                }
            },
        ));
    }
    if filesystem == Filesystem::Xfs && line(&["has an external log"]).is_some() {
        return Some((
            "its log is on another disk".to_owned(),
            ", and nothing is known to be damaged: a volume is a filesystem on one disk. Use another one, or mount it without Bowline",
        ));
    }
    // fsck: 8 is an operational error, and 4 says that there are errors: what kept it from going on was one of them then. A superblock
    // that makes no sense is damage as well.
    let failed = filesystem == Filesystem::Ext4 && output.status.code().is_some_and(|code| code & 12 == 8);
    (failed && line(&["does not describe a valid"]).is_none()).then(|| {
        (last_words(output), ". `dmesg` may say more, such as errors of the disk; Bowline tries again by itself")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn said(text: &str) -> Output {
        Output { status: ExitStatus::from_raw(1 << 8), stdout: Vec::new(), stderr: text.into() }
    }

    /// xfs_repair 6.1.0, of an XFS with an AGI without its magic number, and of one whose log has to be replayed.
    const DAMAGED: &str = "Phase 1 - find and verify superblock...
Phase 2 - using internal log
        - zero log...
        - scan filesystem freespace and inode maps...
Metadata CRC error detected at 0x55cf184d1d20, xfs_agi block 0x2/0x200
agi has bad CRC for ag 0
bad magic # 0x0 for agi 0
would reset bad agi for ag 0
bad uncorrected agheader 0, skipping ag...
sb_icount 256, counted 0
        - found root inode chunk
Phase 7 - verify link counts...
No modify flag set, skipping filesystem flush and exiting.
";
    const DIRTY: &str = "Phase 2 - using internal log
        - zero log...
ALERT: The filesystem has valuable metadata changes in a log which is being
ignored because the -n option was used.  Expect spurious inconsistencies
which may be resolved by first mounting the filesystem to replay the log.
";

    #[test]
    fn what_was_found_and_not_what_was_done() {
        let found = "agi has bad CRC for ag 0; bad magic # 0x0 for agi 0; would reset bad agi for ag 0; \
                     bad uncorrected agheader 0, skipping ag...";
        assert_eq!(findings(Filesystem::Xfs, &said(DAMAGED)), found);
        assert_eq!(
            findings(Filesystem::Btrfs, &said("a\nERROR: cannot open file system\n")),
            "a; ERROR: cannot open file system"
        );
        assert_eq!(findings(Filesystem::Xfs, &said("Phase 1 - x\n")), "Phase 1 - x", "something at least");
    }

    /// e2fsck 1.47.0, of an ext4 with an entry whose inode is gone.
    const ENTRY: &str = "Pass 1: Checking inodes, blocks, and sizes
Pass 2: Checking directory structure
Entry 'victim' in / (2) has deleted/unused inode 12.  Clear? no

Entry 'victim' in / (2) has an incorrect filetype (was 1, should be 0).
Fix? no

Pass 5: Checking group summary information
Block bitmap differences:  -4385
Fix? no


/proc/self/fd/0: ********** WARNING: Filesystem still has errors **********

/proc/self/fd/0: 13/16384 files (0.0% non-contiguous), 9515/65536 blocks
";

    #[test]
    fn what_e2fsck_found_and_not_its_version() {
        let said = |found: &str| Output { stdout: found.into(), ..said("e2fsck 1.47.0 (5-Feb-2023)\n") };
        assert_eq!(
            findings(Filesystem::Ext4, &said(ENTRY)),
            "Entry 'victim' in / (2) has deleted/unused inode 12; Entry 'victim' in / (2) has an incorrect filetype \
             (was 1, should be 0); Block bitmap differences:  -4385"
        );
        assert_eq!(findings(Filesystem::Ext4, &said("")), "e2fsck 1.47.0 (5-Feb-2023)", "something at least");
    }

    /// e2fsck 1.47.0, xfs_repair 6.1.0 and btrfs 6.2: of features that they do not know, and of logs on other disks; e2fsck 1.46.5 of
    /// an ext4 that 1.47 made.
    const NEWER: [(Filesystem, i32, &str, &str); 5] = [
        (
            Filesystem::Ext4,
            8,
            "e2fsck 1.46.5 (30-Dec-2021)
/proc/self/fd/0 has unsupported feature(s): FEATURE_C12
e2fsck: Get a newer version of e2fsck!
",
            "it has unsupported feature(s): FEATURE_C12; ",
        ),
        (
            Filesystem::Ext4,
            8,
            "e2fsck 1.47.0 (5-Feb-2023)
/proc/self/fd/0 has unsupported feature(s): FEATURE_C20 FEATURE_I20
e2fsck: Get a newer version of e2fsck!
",
            "it has unsupported feature(s): FEATURE_C20 FEATURE_I20; ",
        ),
        (
            Filesystem::Xfs,
            1,
            "Phase 1 - find and verify superblock...
Superblock has unknown compat/rocompat/incompat features (0x0/0x0/0x40000000).
Using a more recent xfs_repair is recommended.
Found unsupported filesystem features.  Exiting now.
",
            "Superblock has unknown compat/rocompat/incompat features (0x0/0x0/0x40000000); ",
        ),
        (
            Filesystem::Btrfs,
            1,
            "couldn't open because of unsupported option features (10000000000).
ERROR: cannot open file system
",
            "couldn't open because of unsupported option features (10000000000); ",
        ),
        (
            Filesystem::Xfs,
            1,
            "Phase 1 - find and verify superblock...

fatal error -- This filesystem has an external log.  Specify log device with the -l option.
",
            "its log is on another disk",
        ),
    ];

    #[test]
    fn what_could_not_be_checked_is_told_from_damage() {
        let ended = |code: i32, text: &str| Output { status: ExitStatus::from_raw(code << 8), ..said(text) };
        for (filesystem, code, text, found) in NEWER {
            let (told, advice) = not_checked(filesystem, &ended(code, text)).unwrap();
            let older =
                if found.ends_with("; ") { "the kernel or its tools are older than the filesystem" } else { "" };
            assert_eq!(told, format!("{found}{older}"));
            assert!(advice.contains("nothing is known to be damaged") && !advice.contains('`'), "{advice}");
        }
        let memory = "e2fsck 1.47.0 (5-Feb-2023)\ne2fsck: Cannot allocate memory\n";
        assert!(not_checked(Filesystem::Ext4, &ended(8, memory)).unwrap().0.ends_with("Cannot allocate memory"));
        let superblock = "The superblock could not be read or does not describe a valid ext2/ext3/ext4\nfilesystem.\n";
        // e2fsck 1.47.0, of an ext4 whose journal begins with zeros.
        let journal = "e2fsck 1.47.0 (5-Feb-2023)
e2fsck: The journal superblock is corrupt while checking journal for /proc/self/fd/0
e2fsck: Cannot proceed with file system check
";
        for (filesystem, code, text) in [
            (Filesystem::Ext4, 8, superblock),
            (Filesystem::Ext4, 12, journal),
            (Filesystem::Ext4, 4, ENTRY),
            (Filesystem::Xfs, 1, DAMAGED),
        ] {
            assert_eq!(not_checked(filesystem, &ended(code, text)), None);
        }
    }

    #[test]
    fn a_log_that_has_to_be_replayed() {
        assert!(log_is_dirty(&said(DIRTY)));
        assert!(!log_is_dirty(&said(DAMAGED)));
    }
}
