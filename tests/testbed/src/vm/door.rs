//! The way into a virtual machine: a serial port at whose other end `tests/testbed/vm/usr/lib/bowline-vm/door` runs commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::Output;

/// Beyond a command's own limit, which the machine keeps by itself: a host with much to do lets it wait.
const SPARE: Duration = Duration::from_secs(120);

/// The host's end of the port.
pub(crate) struct Door {
    stream: BufReader<UnixStream>,
    number: u64,
    /// An answer was not read to its end: what comes next would be taken for another's.
    broken: bool,
}

impl Door {
    pub(crate) fn new(stream: UnixStream) -> Door {
        Door { stream: BufReader::new(stream), number: 0, broken: false }
    }

    /// Runs a shell command, and returns what it said. A machine that boots answers when it is up.
    pub(crate) fn run(&mut self, command: &str, input: &[u8], limit: Duration) -> Result<Output> {
        if self.broken {
            bail!("an earlier command was not answered");
        }
        self.broken = true;
        let output = self.exchange(command, input, limit)?;
        self.broken = false;
        Ok(output)
    }

    fn exchange(&mut self, command: &str, input: &[u8], limit: Duration) -> Result<Output> {
        self.number += 1;
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(limit + SPARE))?;
        stream.set_write_timeout(Some(SPARE))?;
        let request = format!("{} {} {} {}\n", self.number, limit.as_secs().max(1), command.len(), input.len());
        stream.write_all(&[request.as_bytes(), command.as_bytes(), input].concat())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.is_empty() {
            bail!("it has ended");
        }
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>().ok();
        let Some([number, status, stdout, stderr]) = numbers.as_deref() else { bail!("not an answer: {line:?}") };
        if *number != self.number {
            bail!("the answer to command {number}, and {} was asked", self.number);
        }
        let (stdout, stderr) = (self.text(*stdout)?, self.text(*stderr)?);
        Ok(Output { code: i32::try_from(*status)?, stdout, stderr })
    }

    fn text(&mut self, length: u64) -> Result<String> {
        let mut bytes = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut bytes).context("the end of an answer")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_that_of_its_own_command() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut door = Door::new(ours);
        theirs.write_all(b"1 3 2 1\nab!").unwrap();
        let said = door.run("x", b"in", Duration::from_secs(1)).unwrap();
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (3, "ab", "!"));
        let mut asked = [0; 11];
        theirs.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"1 1 1 2\nxin");
        theirs.write_all(b"1 0 0 0\n").unwrap();
        assert!(door.run("y", b"", Duration::from_secs(1)).is_err());
        assert!(door.run("z", b"", Duration::from_secs(1)).is_err(), "nothing is taken for anything from then on");
    }
}
