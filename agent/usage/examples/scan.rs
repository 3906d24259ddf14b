//! How large a directory is: `cargo run --release -p bowline-usage --example scan -- DIRECTORY`.

use bowline_usage::{Control, Request, Threads, scan};
use std::error::Error;
use std::io::Write;

const HELP: &str = "scan [--depth N] [--threads 1|2] [--idle] [--share PART] [--memory] DIRECTORY";

fn main() -> Result<(), Box<dyn Error>> {
    let mut request = Request::of("");
    let mut memory = false;
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().and_then(|value| value.into_string().ok()).ok_or(HELP);
        match word.to_str() {
            Some("--depth") => request.depth = value()?.parse()?,
            Some("--threads") => request.threads = if value()? == "2" { Threads::Two } else { Threads::One },
            Some("--idle") => request.idle = true,
            Some("--share") => request.share = Some(value()?.parse()?),
            Some("--memory") => memory = true,
            Some(option) if option.starts_with('-') => return Err(HELP.into()),
            _ => request.root = word.into(),
        }
    }
    let tree = scan(&request, &Control::new())?;
    let mut out = std::io::stdout().lock();
    for (index, directory) in tree.directories.iter().enumerate() {
        let size = directory.size;
        let path = tree.path(index);
        writeln!(out, "{:>16} {:>16} {:>10} {}", size.allocated, size.apparent, size.inodes, path.display())?;
    }
    let problems = &tree.problems;
    writeln!(
        out,
        "bytes allocated, bytes apparent, inodes; {:.3} s, of processors {:.3} s; {} unreadable, {} vanished, {} mounts, {} names not UTF-8",
        tree.took.as_secs_f64(),
        tree.cpu.as_secs_f64(),
        problems.unreadable,
        problems.vanished,
        problems.mounts,
        problems.not_utf8
    )?;
    for problem in &problems.first {
        writeln!(out, "{:?} {}: {}", problem.kind, problem.path.display(), problem.error.as_deref().unwrap_or("-"))?;
    }
    if let Some(why) = &tree.not_idle {
        writeln!(out, "not idle: {why}")?;
    }
    if memory {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
        writeln!(out, "{peak}")?;
    }
    Ok(())
}
