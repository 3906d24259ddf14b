//! Messages to and from Chromium's first tab. A thread reads them; what is no answer is kept until it is forgotten.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long an answer may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Pipe {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    errors: thread::JoinHandle<String>,
    heard: Vec<Value>,
    session: Option<String>,
    calls: u64,
}

impl Pipe {
    /// The pipe of a browser that has just been started, attached to its tab.
    pub(super) fn of(mut child: Child) -> Result<Pipe> {
        let to = child.stdin.take();
        let mut from = BufReader::new(child.stdout.take().context("no pipe from the browser")?);
        let mut stderr = child.stderr.take().context("no standard error of the browser")?;
        let (tell, told) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if tell.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What was read so far is all that can be told.
            stderr.read_to_end(&mut text).ok();
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut pipe = Pipe { child, to, from: told, errors, heard: Vec::new(), session: None, calls: 0 };
        let tab = pipe.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = pipe.call("Target.attachToTarget", json!({ "targetId": tab["targetId"], "flatten": true }))?;
        pipe.session = attached["sessionId"].as_str().map(str::to_owned);
        pipe.session.as_ref().context("no session")?;
        Ok(pipe)
    }

    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        let written = self.to.as_mut().context("closed")?.write_all(&bytes);
        if written.is_err() {
            return Err(self.ended(method));
        }
        let until = Instant::now() + LIMIT;
        loop {
            let mut message = self.next(method, until)?;
            if message["id"] != self.calls {
                self.heard.push(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                bail!("{method}: {}", message["error"]);
            }
        }
    }

    /// Waits until such an event was heard, which may be so already.
    pub(super) fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        let until = Instant::now() + LIMIT;
        while !self.heard.iter().any(&is) {
            let message = self.next(what, until)?;
            self.heard.push(message);
        }
        Ok(())
    }

    /// Every event since the last [`Pipe::forget`].
    pub(super) fn heard(&self) -> &[Value] {
        &self.heard
    }

    pub(super) fn forget(&mut self) {
        self.heard.clear();
    }

    fn next(&mut self, of: &str, until: Instant) -> Result<Value> {
        match self.from.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(message) => Ok(message),
            Err(_) => Err(self.ended(of)),
        }
    }

    /// Why nothing came: the browser's own words, where it has ended.
    fn ended(&mut self, of: &str) -> anyhow::Error {
        self.close();
        let errors = std::mem::replace(&mut self.errors, thread::spawn(String::new));
        let said = errors.join().unwrap_or_default();
        anyhow::anyhow!("{of}: the browser did not answer; it said: {said}")
    }

    fn close(&mut self) {
        self.to = None;
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.close();
    }
}
