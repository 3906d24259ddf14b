//! Series recorded once on one machine: real programs that fill small real filesystems (ext4 on loop devices), one statvfs
//! a second (`tests/forecast/record`, which says of each what wrote). **A second of the recording is played as a minute**, so
//! that half an hour of it is more than a day: programs, rotation, collection and accounting are real, how long they took
//! is not, and days and nights are not in them.
//!
//! Programs that want room for a second copy give up before the last byte is written, and `git` was just done. So the limit that
//! is asked about is the most that was used until then, as an eviction's threshold would be: when it is reached is known.
//! Where the writers went on to the end of the recording, the limit is the whole filesystem, and the truth is never.

use crate::{EVERY, Series};

/// The recordings: what they are called, and what was written down.
pub const RECORDINGS: [(&str, &str); 6] = [
    ("recorded: append", include_str!("../recorded/append.txt")),
    ("recorded: apt", include_str!("../recorded/apt.txt")),
    ("recorded: database", include_str!("../recorded/database.txt")),
    ("recorded: first boot", include_str!("../recorded/first-boot.txt")),
    ("recorded: git", include_str!("../recorded/git.txt")),
    ("recorded: logs", include_str!("../recorded/logs.txt")),
];

/// Half hours before the end at which is asked, from the end on.
const BEFORE: std::ops::RangeInclusive<usize> = 2..=40;
/// Samples, which are minutes here, of which at least so many have to be there before the first question.
const SILENT: usize = 240;
/// Minutes after the unpacked tree at which is asked about the one that does not fill.
const AFTER: [usize; 12] = [15, 30, 45, 60, 90, 120, 180, 240, 300, 360, 480, 720];

/// All of them. One that cannot be read says why.
pub fn all() -> Result<Vec<Series>, String> {
    RECORDINGS.iter().map(|(kind, text)| read(kind, text).map_err(|why| format!("{kind}: {why}"))).collect()
}

/// Reads one.
pub fn read(kind: &'static str, text: &str) -> Result<Series, String> {
    let (mut blocks, mut size, mut ended) = (0, 0, false);
    let mut free: Vec<u64> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| {
            let word = words.get(index).copied().unwrap_or_default();
            word.parse::<u64>().map_err(|_| format!("no number {index} in: {line}"))
        };
        match words[..] {
            ["#", "total", ..] => (blocks, size) = (number(2)?, number(5)?),
            ["#", "ended", ..] => ended = true,
            ["#", ..] => {}
            _ => {
                // Seconds without a line are as the one before.
                let (second, now) = (number(0)? as usize, number(1)?);
                let before = *free.last().unwrap_or(&now);
                free.resize(second.max(free.len()), before);
                free.truncate(second);
                free.push(now);
            }
        }
    }
    let last = free.len().checked_sub(1).ok_or("there is nothing in it")?;
    let mut used: Vec<u64> = free.iter().map(|free| blocks.saturating_sub(*free) * size).collect();
    let most = used.iter().copied().max().filter(|most| *most > 0).ok_or("nothing was used")?;
    let full = used.iter().position(|used| *used == most).filter(|_| ended);
    used.truncate(full.unwrap_or(last) + 1);
    let moments = match full {
        Some(full) => {
            BEFORE.rev().filter_map(|halves| full.checked_sub(halves * 30)).filter(|m| *m >= SILENT).collect()
        }
        None => {
            let at = grown(&used);
            AFTER.iter().map(|minutes| at + minutes).filter(|m| *m <= last).collect()
        }
    };
    let total = if ended { most } else { blocks * size };
    Ok(Series { kind, seed: 0, start: 1_760_000_040 / EVERY * EVERY, total, used, full, moments })
}

/// The first sample at which nine tenths of all growth are over.
fn grown(used: &[u64]) -> usize {
    let (first, most) = (used[0], used.iter().copied().max().unwrap_or_default());
    used.iter().position(|used| (used - first) * 10 >= (most - first) * 9).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read() {
        let text = "# words\n# total 100 blocks of 1024 bytes, 50 inodes\n# second, free blocks, free inodes\n\
                    0 90 40\n3 80 39\n4 20 39\n5 40 39\n# ended at 5\n";
        let series = read("x", text).unwrap();
        assert_eq!(series.used, [10, 10, 10, 20, 80].map(|blocks| blocks * 1024));
        assert_eq!((series.full, series.total), (Some(4), 81_920));
        let never = read("x", &text.replace("# ended", "# went on")).unwrap();
        assert_eq!((never.full, never.total, never.used.len()), (None, 102_400, 6));
        assert!(read("x", "# ended at 4\n").is_err());
        assert!(read("x", "0 a b\n").unwrap_err().contains("no number 1"));
    }
}
