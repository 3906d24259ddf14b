//! Where to look for bytes on a device.

/// The longest read at once.
pub(crate) const LONGEST: usize = 256 << 10;
/// The longest range: a longer one is several, so that several can be read at once.
const PIECE: u64 = 4 * MIB;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What memory and devices are read in past the kernel's cache.
pub(crate) const PAGE: usize = 4096;
/// What is read at every place of a copy.
const COPY: u64 = 4096;
/// Of the machine that made an XFS, at most.
const PROCESSORS: u64 = 64;

/// How thoroughly a device is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Devices up to this size are read whole.
    whole: u64,
    /// So much of both ends of larger ones.
    ends: u64,
    /// And so many samples between them,
    samples: u64,
    /// of so many bytes each.
    sample: u64,
    /// Whether the places of copies are read as well.
    copies: bool,
}

/// Enough to decide by, and done in a moment: for a look.
pub(crate) const GLANCE: Depth = Depth { whole: 16 * MIB, ends: MIB, samples: 1024, sample: 4096, copies: true };
/// Before anything is written over.
pub(crate) const PROOF: Depth = Depth { whole: 4 * GIB, ends: 8 * MIB, samples: 4096, sample: 64 << 10, copies: true };
/// Whether somebody has begun to use what was proven blank a moment ago.
pub(crate) const ENDS: Depth = Depth { whole: 2 * MIB, ends: MIB, samples: 0, sample: 0, copies: false };

impl Depth {
    /// The ends and the places of copies alone.
    pub(crate) fn without_samples(self) -> Self {
        Self { samples: 0, ..self }
    }
}

/// A stretch of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// From here.
    pub(crate) offset: u64,
    /// So many bytes.
    pub(crate) length: u64,
    /// A structure that keeps a copy of its superblock right here.
    pub(crate) copy_of: Option<Kind>,
}

impl Range {
    /// Whether it begins and ends with a page.
    pub(crate) fn in_pages(&self) -> bool {
        let page = PAGE as u64;
        self.offset.is_multiple_of(page) && self.length.is_multiple_of(page)
    }
}

/// A structure with copies of its superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ext2, ext3, ext4
    Ext,
    /// XFS
    Xfs,
    /// btrfs
    Btrfs,
    /// Others, which are not named.
    Other,
}

/// What is left of a superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// `ext4`, `xfs`, `btrfs`: names of [`bowline_ports::Filesystem`].
    pub(crate) name: &'static str,
    /// The filesystem's UUID.
    pub(crate) uuid: String,
    /// Where it lies.
    pub(crate) offset: u64,
}

impl Kind {
    /// Recognises the copy that starts with these bytes.
    pub(crate) fn recognise(self, bytes: &[u8], offset: u64) -> Option<Remains> {
        let (name, magic, at, uuid) = match self {
            Self::Ext => ("ext4", [0x53, 0xef].as_slice(), 56, 104),
            Self::Xfs => ("xfs", b"XFSB".as_slice(), 0, 32),
            Self::Btrfs => ("btrfs", b"_BHRfS_M".as_slice(), 64, 32),
            Self::Other => return None,
        };
        let uuid: [u8; 16] = bytes.get(uuid..uuid + 16)?.try_into().ok()?;
        bytes.get(at..)?.starts_with(magic).then(|| Remains { name, uuid: text(uuid), offset })
    }
}

fn text(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Everything that is read before a device of this size counts as blank, ascending. `phase`, any number, moves the samples:
/// with a random one nobody can say beforehand what lies between them.
pub(crate) fn ranges(size: u64, depth: Depth, phase: u64) -> Vec<Range> {
    let Depth { whole, ends, samples, sample, copies } = depth;
    let plain = |offset, length| Range { offset, length, copy_of: None };
    let pieces = |from: u64, length: u64| {
        (0..length.div_ceil(PIECE)).map(move |n| plain(from + n * PIECE, PIECE.min(length - n * PIECE)))
    };
    let mut ranges = Vec::new();
    if size <= whole {
        ranges.extend(pieces(0, size));
    } else {
        ranges.extend(pieces(0, ends).chain(pieces(size - ends, ends)));
        let step = (size - 2 * ends) / samples.max(1) / COPY * COPY;
        let slack = step.saturating_sub(sample);
        let shift = if slack == 0 { 0 } else { phase % slack / COPY * COPY };
        ranges.extend((0..samples).map(|n| plain(ends + n * step + shift, sample.min(step))));
    }
    let places = |places: fn(u64) -> Vec<u64>| if copies { places(size) } else { Vec::new() };
    // Thousands of places: for the proof alone.
    let xfs: fn(u64) -> Vec<u64> = if depth == PROOF { |size| xfs(size, PROCESSORS) } else { |size| xfs(size, 0) };
    for (kind, offsets) in [
        (Kind::Ext, places(ext)),
        (Kind::Xfs, places(xfs)),
        (Kind::Btrfs, places(btrfs)),
        (Kind::Other, places(others)),
    ] {
        let fits = offsets.into_iter().filter(|offset| offset.checked_add(COPY).is_some_and(|end| end <= size));
        ranges.extend(fits.map(|offset| Range { offset, length: COPY, copy_of: Some(kind) }));
    }
    ranges.sort_by_key(|r| (r.offset, r.length));
    ranges.dedup();
    ranges
}

/// Block groups 1 and the powers of 3, 5 and 7 (`sparse_super`), and the last (`sparse_super2`), for every block
/// size; the group of 1 KiB blocks starts one block later.
fn ext(size: u64) -> Vec<u64> {
    let mut offsets = Vec::new();
    for shift in 10..=16 {
        let block: u64 = 1 << shift;
        let first = u64::from(shift == 10);
        let group = 8 * block;
        let groups = (size / block).div_ceil(group);
        let mut numbers = vec![1, groups.saturating_sub(1)];
        for base in [3_u64, 5, 7] {
            let mut power = base;
            while power < groups {
                numbers.push(power);
                power *= base;
            }
        }
        numbers.retain(|n| *n > 0);
        offsets.extend(numbers.into_iter().map(|n| (n * group + first) * block));
    }
    offsets
}

/// The starts of allocation groups: `mkfs.xfs` makes 4 of a plain device up to 4 TiB, then one for each TiB; more
/// of a striped one; and since xfsprogs 6.8, of a disk that does not turn, one for each processor, of at least 4 GiB.
fn xfs(size: u64, most: u64) -> Vec<u64> {
    let mut offsets = Vec::new();
    let mut groups = |block: u64, count: u64| {
        let blocks = size / block;
        for length in [blocks / count, blocks.div_ceil(count)] {
            offsets.extend((1..count).map(|n| n * length * block));
        }
    };
    const USUAL: [u64; 9] = [2, 3, 4, 5, 6, 7, 8, 16, 32];
    USUAL.iter().for_each(|count| groups(1024, *count));
    let processors = 2..=most.min(size / (4 * GIB));
    USUAL.into_iter().chain(processors).for_each(|count| groups(4096, count));
    let tib = 1024 * GIB;
    offsets.extend((1..(size / tib + 1).min(64)).map(|n| n * tib));
    offsets
}

fn btrfs(_: u64) -> Vec<u64> {
    vec![64 << 10, 64 * MIB, 256 * GIB]
}

/// The second header of LUKS2, and the labels of Ceph's object store.
fn others(_: u64) -> Vec<u64> {
    let luks = (14..=22).map(|shift| 1_u64 << shift);
    luks.chain([GIB, 10 * GIB, 100 * GIB, 1000 * GIB]).collect()
}
