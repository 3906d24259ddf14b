//! A tree to measure scanners on: `cargo run --release -p bowline-usage --example tree -- DIRECTORY FILES`.
//!
//! Five trees of 11,111 directories, ten in each of the upper ones, with so many files in every one; 9 makes 499,995 files in
//! 55,555 directories, 90 makes ten times as many. Every sixteenth file has some bytes, and the others are empty.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

const TREES: usize = 5;
const WIDE: usize = 10;
const LEVELS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let (Some(root), Some(files)) = (words.next().map(PathBuf::from), words.next()) else {
        return Err("tree DIRECTORY FILES".into());
    };
    let files = files.to_string_lossy().parse()?;
    thread::scope(|scope| {
        let one = |number| {
            scope.spawn({
                let root = root.join(format!("tree-{number}"));
                move || grow(&root, LEVELS, files)
            })
        };
        let growing: Vec<_> = (0..TREES).map(one).collect();
        growing.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread panicked")?.map_err(Box::from))
    })
}

fn grow(root: &Path, levels: usize, files: usize) -> std::io::Result<()> {
    fs::create_dir(root)?;
    for number in 0..files {
        let path = root.join(format!("some-file-{number}.txt"));
        match number % 16 {
            0 => fs::write(path, vec![b'x'; 100 + number])?,
            _ => drop(fs::File::create(path)?),
        }
    }
    match levels {
        0 => Ok(()),
        _ => (0..WIDE).try_for_each(|number| grow(&root.join(format!("folder-{number}")), levels - 1, files)),
    }
}
