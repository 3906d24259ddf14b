//! How far `mkfs.ext4` is, in its own words: `Writing inode tables:  12/160`, a count that it draws over, as on a terminal, once a
//! second. The others say nothing of how far they are.

use super::Report;
use bowline_ports::ProgressValue;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines are short; what is longer is no line of its own.
const LONGEST: usize = 400;

/// The line that it is writing, as a terminal would show it.
#[derive(Debug, Default)]
pub(super) struct Counted {
    line: Vec<char>,
    column: usize,
    /// It goes back, to draw over what it wrote.
    back: bool,
}

impl Counted {
    /// Takes what was written next, and tells of every count in it: the program may be faster than its reader.
    fn hear(&mut self, bytes: &[u8], tell: Report<'_>) {
        for letter in String::from_utf8_lossy(bytes).chars() {
            if letter == '\u{8}'
                && !std::mem::replace(&mut self.back, true)
                && let Some(count) = self.now().filter(|now| now.total > 0)
            {
                tell(count);
            }
            self.back &= letter == '\u{8}';
            match letter {
                '\n' => *self = Self::default(),
                '\u{8}' => self.column = self.column.saturating_sub(1),
                letter if self.column < LONGEST => {
                    self.line.resize(self.line.len().max(self.column + 1), ' ');
                    self.line[self.column] = letter;
                    self.column += 1;
                }
                _ => {}
            }
        }
    }

    /// What it is at, and how far: without a count where it gives none, as while all of it is written out. `None` between two lines,
    /// and for what is done.
    fn now(&self) -> Option<ProgressValue> {
        let line: String = self.line.iter().collect();
        let (what, said) = line.split_once(": ")?;
        let count = |(done, total): (&str, &str)| Some((done.parse().ok()?, total.parse().ok()?));
        let (done, total) = match said.trim() {
            "" => (0, 0),
            said => said.split_once('/').and_then(|(done, total)| count((done.trim(), total.trim())))?,
        };
        let mut letters = what.chars();
        let first = letters.next()?.to_lowercase();
        Some(ProgressValue { done, total, text: first.chain(letters).collect() })
    }
}

/// Reads all that it writes, and reports how far it is.
pub(super) async fn follow(mut from: impl AsyncRead + Unpin, report: Report<'_>) -> std::io::Result<Vec<u8>> {
    let (mut counted, mut all, mut buffer) = (Counted::default(), Vec::new(), [0; 1024]);
    loop {
        let heard = match from.read(&mut buffer).await? {
            0 => return Ok(all),
            length => &buffer[..length],
        };
        all.extend_from_slice(heard);
        counted.hear(heard, report);
        if let Some(value) = counted.now() {
            report(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::tool::Tool;
    use super::*;
    use bowline_ports::Filesystem;
    use std::sync::Mutex;

    /// What mke2fs 1.47.0 wrote, piece by piece as it came.
    #[test]
    fn a_count_is_drawn_over_and_goes_away() {
        let backs = |count| "\u{8}".repeat(count);
        let gone = format!("{0}{1}{0}", backs(7), " ".repeat(7));
        let pieces = [
            ("Allocating group tables: ", Some((0, 0, "allocating group tables"))),
            (&*format!("  0/800{}", backs(7)), Some((0, 800, "allocating group tables"))),
            (&format!("312/800{}", backs(7)), Some((312, 800, "allocating group tables"))),
            (&gone[7..], Some((0, 0, "allocating group tables"))),
            ("done                            \n", None),
            ("Creating journal (131072 blocks): ", Some((0, 0, "creating journal (131072 blocks)"))),
            ("done\n", None),
            (
                "Writing superblocks and filesystem accounting information: ",
                Some((0, 0, "writing superblocks and filesystem accounting information")),
            ),
            (
                &format!(" 12/800{}", backs(7)),
                Some((12, 800, "writing superblocks and filesystem accounting information")),
            ),
            (
                &format!("{}{}", " ".repeat(7), backs(7)),
                Some((0, 0, "writing superblocks and filesystem accounting information")),
            ),
            ("done\n\n", None),
            ("Superblock backups stored on blocks: \n\t32768, 98304", None),
        ];
        let (mut counted, told) = (Counted::default(), Mutex::new(Vec::new()));
        for (piece, wanted) in pieces {
            counted.hear(piece.as_bytes(), &|value| told.lock().unwrap().push(value.done));
            let wanted = wanted.map(|(done, total, text)| ProgressValue { done, total, text: text.into() });
            assert_eq!(counted.now(), wanted, "after {piece:?}");
        }
        assert_eq!(told.into_inner().unwrap(), [0, 312, 12], "also of several at once");
        counted.hear(&vec![b'x'; 10 * LONGEST], &|_| {});
        counted.hear(&vec![8; 20 * LONGEST], &|_| {});
        assert_eq!((counted.line.len(), counted.column), (LONGEST, 0), "nonsense takes no memory");
    }

    /// The real program, with the arguments that Bowline gives it.
    #[tokio::test]
    async fn the_program_here_says_how_far_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 30).unwrap();
        let uuid = "6b7a1c1e-3c6f-5b57-9d6b-0d8b1d1f7a11";
        let tool = Tool::Mkfs { filesystem: Filesystem::Ext4, label: "data", uuid };
        let device = std::fs::File::options().read(true).write(true).open(file.path()).unwrap();
        let told = Mutex::new(Vec::new());
        let output = super::super::make(&tool, &device, &|value| told.lock().unwrap().push(value)).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(uuid), "all that it said: {output:?}");
        // 1 GiB has eight groups of blocks.
        let told = told.into_inner().unwrap();
        for part in ["allocating group tables", "writing inode tables", "writing superblocks"] {
            let counted = |one: &ProgressValue| one.text.starts_with(part) && one.total == 8;
            assert!(told.iter().any(counted), "{part}: {told:?}");
        }
        assert!(told.iter().all(|one| one.done <= one.total), "{told:?}");
    }
}
