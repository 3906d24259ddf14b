//! A real Chromium without a window: in a root and a network of its own, told what to do over its debugging pipe.
//!
//! The pipe is Chromium's own protocol, without a driver beside it and without a port: each message is JSON and ends
//! with a zero byte. Nobody else can speak to the browser, and it ends when its pipe does.
//!
//! - `axe`: whether people can use a page who do not see, or not well: by axe-core.
//! - `pipe`: the messages.

mod axe;
mod pipe;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::cache::{self, Artefact, Key};
use crate::{Os, base, run, sources};
use pipe::Pipe;

/// The browser, and letters to write with.
const PACKAGES: &str = "chromium,fonts-dejavu-core";

/// The root is from the cache: what is written goes into memory, and away with the browser. Processes are those of a
/// namespace, which end with the first of them.
const START: &str = r#"
mount --bind -o ro "$1" "$1" && cd "$1" && mount --rbind /dev dev && mount -t proc proc proc || exit 1
for dir in dev/shm tmp run root; do mount -t tmpfs tmpfs "$dir" || exit 1; done
exec 3<&0 4>&1 0</dev/null 1>&2
exec chroot . env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 chromium --headless --no-sandbox --disable-gpu \
    --disable-software-rasterizer --disable-quic --no-first-run --no-default-browser-check --disable-background-networking \
    --disable-component-update --disable-sync --disable-default-apps --disable-extensions \
    --user-data-dir=/tmp/profile --remote-debugging-pipe about:blank"#;

/// A window on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether the person prefers dark colours.
    pub dark: bool,
}

/// What a browser takes.
pub struct Chromium {
    root: Artefact,
    axe: String,
}

impl Chromium {
    /// From the cache, or fetched and made (two minutes).
    pub fn get() -> Result<Chromium> {
        Ok(Chromium { root: root()?, axe: axe::script()? })
    }

    /// Starts it in the network of the calling thread.
    pub fn start(self) -> Result<Browser> {
        let Chromium { root, axe } = self;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            START,
            "sh",
        ]);
        command.arg(root.path());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut browser = Browser { pipe: Pipe::of(child.context("unshare")?)?, axe, _root: root };
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        browser.call("Page.setLifecycleEventsEnabled", json!({ "enabled": true }))?;
        Ok(browser)
    }
}

/// A browser with one tab.
pub struct Browser {
    pipe: Pipe,
    axe: String,
    _root: Artefact,
}

impl Browser {
    /// Does one thing of Chromium's protocol in the tab.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.pipe.call(method, parameters)
    }

    /// Opens a page in a window of this kind, from nothing. What was heard of the page before is forgotten.
    pub fn open(&mut self, url: &str, window: Window) -> Result<()> {
        let Window { width, height, dark } = window;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features)?;
        self.pipe.forget();
        let answer = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(answer["errorText"].is_null(), "{url}: {answer}");
        let loader = &answer["loaderId"];
        self.pipe.wait_for("the page to be loaded", |event| {
            let of = &event["params"];
            event["method"] == "Page.lifecycleEvent" && of["name"] == "load" && of["loaderId"] == *loader
        })
    }

    /// What a script says in the page: a value, or what a promise comes to. The page's policy does not bind it.
    pub fn ask(&mut self, script: &str) -> Result<Value> {
        let wanted = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", wanted)?;
        if let Some(error) = answer.get("exceptionDetails") {
            bail!("{error}: {}", script.chars().take(200).collect::<String>());
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Everything that the page's console said, that was refused by its policy, and that was thrown.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        // What was said before this answer has arrived with it.
        self.ask("0")?;
        let said = self.pipe.heard().iter().filter_map(|event| {
            let of = &event["params"];
            match event["method"].as_str()? {
                "Runtime.consoleAPICalled" => Some(format!("console: {} {}", of["type"], of["args"])),
                "Runtime.exceptionThrown" => Some(format!("thrown: {}", of["exceptionDetails"])),
                "Log.entryAdded" => Some(format!("{}: {}", of["entry"]["level"], of["entry"]["text"])),
                _ => None,
            }
        });
        Ok(said.collect())
    }

    /// Every address that was asked for on behalf of the page, itself included.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.pipe.heard().iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Presses Tab.
    pub fn press_tab(&mut self) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let key = json!({ "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 });
            self.call("Input.dispatchKeyEvent", key)?;
        }
        Ok(())
    }

    /// What a screen reader is told of the page: role and name of everything, in reading order.
    pub fn told(&mut self) -> Result<Vec<(String, String)>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}))?;
        let nodes = tree["nodes"].as_array().context("no tree")?.iter().filter(|node| node["ignored"] != true);
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        Ok(nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect())
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&mut self, file: &Path) -> Result<()> {
        let wanted = json!({ "format": "png", "captureBeyondViewport": true, "optimizeForSpeed": true });
        let answer = self.call("Page.captureScreenshot", wanted)?;
        let bytes = BASE64_STANDARD.decode(answer["data"].as_str().context("no picture")?)?;
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(file, bytes).with_context(|| file.display().to_string())
    }

    /// What axe-core finds wrong with the page: the rule, where, and what it says. What it cannot decide counts as
    /// wrong.
    pub fn axe(&mut self) -> Result<Vec<String>> {
        self.ask(&self.axe.clone())?;
        let found = self.ask(axe::RUN)?;
        let all = found.as_array().with_context(|| format!("axe: {found}"))?;
        Ok(all.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect())
    }
}

fn root() -> Result<Artefact> {
    let found = sources::find()?;
    let mut key = Key::new();
    key.add(PACKAGES.as_bytes());
    key.add(found.for_suite(Os::Bookworm.suite()).as_bytes());
    let made = cache::get_newest("browser", key, |building| {
        base::bootstrap(Os::Bookworm, PACKAGES, &[], found.listed(Os::Bookworm)?.path(), &building.join("root"))
    })?;
    Ok(made.file("root"))
}

/// Gives the calling thread, and all that it starts from then on, a network of its own that has the loopback alone.
pub fn alone() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("a network of its own")?;
    run::ok(Command::new("ip").args(["link", "set", "lo", "up"])).map(drop)
}
