//! Files with several names: each is counted once.
//!
//! Of a file with one name nothing is remembered. For the others there is one bit, in words of 64 neighbouring inodes:
//! filesystems give neighbouring numbers to what was made together, as backups and package stores made of links are. So
//! a million of them take 0.5 MB where they are neighbours, and 17 to 34 MB where no two are. Beyond [`MOST`] words none is
//! remembered: whoever measures has a limit of its memory, and would end without an answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A map with room for so many takes 143 MB, and 214 MB while it grows to that. For more it would double.
const MOST: usize = 7_000_000;

/// Which ones have been met.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// By device: the layers of an overlay have several on one mount. Hardly ever more than one.
    devices: Vec<(Device, HashMap<u64, u64>)>,
    /// How many words there are.
    words: usize,
    /// How many names were met of files that are not remembered: each counted, whether or not it is the first.
    not_remembered: u64,
}

/// A device by its numbers.
pub(crate) type Device = (u32, u32);

impl Links {
    /// Whether this file is met for the first time.
    pub(crate) fn is_new(&mut self, device: Device, inode: u64) -> bool {
        self.is_new_among(MOST, device, inode)
    }

    /// How many names may have been counted a second time.
    pub(crate) fn not_remembered(&self) -> u64 {
        self.not_remembered
    }

    fn is_new_among(&mut self, most: usize, device: Device, inode: u64) -> bool {
        let words = match self.devices.iter().position(|(of, _)| *of == device) {
            Some(at) => at,
            None => {
                self.devices.push((device, HashMap::new()));
                self.devices.len() - 1
            }
        };
        let word = match self.devices[words].1.entry(inode / 64) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(_) if self.words >= most => {
                self.not_remembered += 1;
                return true;
            }
            Entry::Vacant(free) => {
                self.words += 1;
                free.insert(0)
            }
        };
        let bit = 1 << (inode % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_inode_of_each_device_is_new_once() {
        let mut links = Links::default();
        let inodes = [0, 1, 63, 64, 65, 1 << 40, u64::MAX - 1, u64::MAX];
        for device in [(8, 0), (8, 1), (0, 30)] {
            for inode in inodes {
                assert!(links.is_new(device, inode), "{device:?} {inode}");
            }
        }
        for inode in inodes {
            assert!(!links.is_new((8, 1), inode), "{inode}");
        }
        assert!(links.is_new((8, 1), 2));
    }

    #[test]
    fn beyond_so_many_words_none_is_remembered_and_that_is_told() {
        let mut links = Links::default();
        let mut new = |inode| links.is_new_among(2, (8, 0), inode);
        assert!(new(0) && new(64) && new(1), "two words, and room in them");
        assert!(!new(0) && !new(64));
        assert!(new(128) && new(128), "counted with each of its names");
        assert_eq!(links.not_remembered(), 2);
    }
}
