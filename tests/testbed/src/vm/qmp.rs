//! QEMU's own way to be told things: one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once; the host may be busy.
const LIMIT: Duration = Duration::from_secs(60);

/// The host's end.
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
    /// The devices that are gone since they were asked for.
    deleted: Vec<String>,
}

impl Qmp {
    /// Waits for QEMU to greet.
    pub(crate) fn new(stream: UnixStream) -> Result<Qmp> {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut qmp = Qmp { stream: BufReader::new(stream), deleted: Vec::new() };
        let greeting = qmp.read()?;
        if greeting["QMP"].is_null() {
            bail!("not QEMU's greeting: {greeting}");
        }
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Has something done, and returns the answer.
    pub(crate) fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let line = format!("{}\n", json!({ "execute": name, "arguments": arguments }));
        self.stream.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut message = self.read()?;
            if let Some(error) = message.get("error") {
                bail!("{name}: {}: {arguments}", error["desc"].as_str().unwrap_or_default());
            }
            if message.get("return").is_some() {
                return Ok(message["return"].take());
            }
            self.note(&message);
        }
    }

    /// Takes a device away and waits until it is gone.
    pub(crate) fn delete(&mut self, device: &str) -> Result<()> {
        self.command("device_del", json!({ "id": device }))?;
        while !self.deleted.iter().any(|gone| gone == device) {
            let message = self.read()?;
            self.note(&message);
        }
        self.deleted.retain(|gone| gone != device);
        Ok(())
    }

    fn note(&mut self, message: &Value) {
        if message["event"] == "DEVICE_DELETED" {
            self.deleted.extend(message["data"]["device"].as_str().map(str::to_owned));
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.is_empty() {
            bail!("QEMU has ended");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_between_answers() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let said = [
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"event": "RESUME"}"#,
            r#"{"event": "DEVICE_DELETED", "data": {"device": "a"}}"#,
            r#"{"return": {"x": 1}}"#,
            r#"{"return": {}}"#,
            r#"{"error": {"desc": "no"}}"#,
        ];
        theirs.write_all((said.join("\r\n") + "\r\n").as_bytes()).unwrap();
        let mut qmp = Qmp::new(ours).unwrap();
        assert_eq!(qmp.command("one", json!({})).unwrap()["x"], 1);
        qmp.delete("a").unwrap();
        assert_eq!(qmp.command("two", json!({})).unwrap_err().to_string(), "two: no: {}");
    }
}
