//! A machine with a disk to walk about in: `cargo run -p bowline-testbed --example bed [-- trixie]`, as root.

use std::io::{BufRead, Write, stdin, stdout};

use anyhow::Result;
use bowline_testbed::{Bed, Os};

fn main() -> Result<()> {
    let os = if std::env::args().nth(1).as_deref() == Some("trixie") { Os::Trixie } else { Os::Bookworm };
    let bed = Bed::new("walk")?;
    let disk = bed.disk("12345678", "20G")?;
    let machine = bed.machine("walk").address("10.0.1.10").os(os).disk(&disk).start()?;
    let mut out = stdout();
    writeln!(out, "enter: {}", machine.enter_command()?)?;
    writeln!(out, "its disk: {}", disk.link())?;
    write!(out, "Enter ends the bed. ")?;
    out.flush()?;
    stdin().lock().read_line(&mut String::new())?;
    Ok(())
}
