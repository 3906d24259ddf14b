//! Plays a scenario on the simulated machine and tells it as text.

use crate::{Event, Scenario};
use bowline::{show, wiring};
use bowline_engine::{Engine, Outcome, Report, SettingsReport, Wake};
use bowline_host::sim::{Fault, FaultMode, SimHost};
use bowline_ports::{Change, PortError};
use bowline_settings::{Errors, Loaded, SourceFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Built before any simulated clock that is right.
const BUILT: i64 = 1_750_000_000;
const FILE: &str = "/etc/bowline/config.d/50-node.toml";

/// The whole story of a scenario, as text.
///
/// # Errors
/// When the file asks for something impossible, or something happened that never may.
pub async fn play(scenario: &Scenario) -> Result<String, String> {
    // TOML has no word for nothing.
    let mut world = scenario.world.clone();
    world.default_route = world.default_route.filter(|interface| !interface.is_empty());
    let host = SimHost::new(&world);
    let mut story = Story {
        engine: Engine::new(Vec::new(), "scenario").without_jitter(),
        change: Arc::new(host.clone()),
        settings: load(&scenario.settings).map_err(|errors| format!("the first settings are invalid:\n{errors}"))?,
        patience: Duration::from_secs(scenario.patience),
        settled: false,
        text: format!("{}\n", scenario.about.trim()),
        host,
    };
    for event in &scenario.before {
        story.head(&format!("before: {}", event.line()));
        story.happen(event).await?;
    }
    story.begin();
    story.engine.look(&story.host).await;
    story.head("the plan at the first look");
    let plan = show::plan(story.engine.report(), false);
    story.text.push_str(&plan);
    for (cut, at, mode) in [(true, scenario.power_cut, "power cut"), (false, scenario.kill, "agent killed")] {
        let Some(at) = at else { continue };
        story.host.arm(Fault::at_change(at, FaultMode::CrashDuring));
        if !story.run().await {
            return Err(format!("{mode} at change {at}: there was no such change"));
        }
        if cut {
            story.host.reboot()
        } else {
            story.host.restart_agent()
        }
        let again = if cut { "the machine boots again" } else { "Bowline is started again" };
        match &scenario.meanwhile {
            Some(settings) => {
                story.head(&format!("{again}, with other settings"));
                story.settings =
                    load(settings).map_err(|errors| format!("the settings meanwhile are invalid:\n{errors}"))?;
            }
            None => story.head(again),
        }
        // No plan above has shown what it does from here on.
        story.settled = true;
        story.begin();
    }
    story.run().await;
    story.status();
    for event in &scenario.then {
        story.head(&event.line());
        story.happen(event).await?;
        story.run().await;
        story.status();
    }
    match story.host.violations().as_slice() {
        [] => Ok(story.text),
        violations => Err(format!("this may never happen: {}\n{}", violations.join("; "), story.text)),
    }
}

/// A line `#-- NAME` begins another file.
fn load(text: &str) -> Result<Loaded, Errors> {
    if text.trim().is_empty() {
        return Ok(Loaded::default());
    }
    let file = |path: PathBuf, text: &str| SourceFile { path, text: text.into(), mode: 0o600, uid: 0 };
    let mut parts = text.split("#-- ");
    let mut files = vec![file(FILE.into(), parts.next().unwrap_or_default())];
    let others = parts.filter_map(|part| part.split_once('\n'));
    files.extend(others.map(|(name, text)| file(Path::new(FILE).with_file_name(name), text)));
    bowline_settings::load(&files)
}

struct Story {
    host: SimHost,
    change: Arc<dyn Change>,
    engine: Engine,
    settings: Loaded,
    patience: Duration,
    /// A run has ended: what is done from here on is done for a reason that no plan above has shown.
    settled: bool,
    text: String,
}

impl Story {
    fn head(&mut self, text: &str) {
        self.text.push_str(&format!("\n=== {text}\n"));
    }

    /// An agent that has just started.
    fn begin(&mut self) {
        self.engine = Engine::new(wiring::capabilities(&self.settings.settings, BUILT), "scenario").without_jitter();
        self.engine.settings(in_force(&self.settings));
    }

    async fn happen(&mut self, event: &Event) -> Result<(), String> {
        let failed = |error: PortError| format!("{}: {error}", event.line());
        match event {
            Event::Reboot => {
                self.host.reboot();
                self.begin();
            }
            Event::RunAgain => self.begin(),
            Event::Wait { seconds } => {
                self.engine.converge(&self.change, Duration::from_secs(*seconds), |_| {}).await;
            }
            Event::Attach { disk } => self.host.attach(disk),
            Event::Detach { disk } => self.host.detach(disk),
            Event::Damage { disk, disorder } => self.host.damage(disk, disorder),
            Event::Resize { disk, size } => self.host.resize(disk, *size),
            Event::Wipe { disk } => self.host.wipe(disk),
            Event::Udev { disk, knows } => self.host.announce(disk, *knows),
            Event::PutBack { disk } => self.host.put_back(disk),
            Event::Bind { from, at } => self.host.bind(from, at),
            Event::Address { gives } => self.host.give_address(gives),
            Event::HostName { is } => self.host.rename(is),
            Event::Cloud { says } => self.host.change_cloud(|cloud| {
                cloud.get_or_insert_default().answers.extend(says.clone());
            }),
            Event::Servers { answers } => {
                answers.iter().for_each(|(server, answers)| self.host.answers(server, answers.clone()));
            }
            Event::CloudGone => self.host.change_cloud(|cloud| *cloud = None),
            Event::Put { path, text } => self.host.put(path, text),
            Event::Bring { path, text } => self.host.put_secret(path, text),
            Event::Edit { path, old, new } => {
                let text = self.host.text(path).filter(|text| text.contains(old.as_str()));
                let text = text.ok_or_else(|| format!("{} has no “{old}”", path.display()))?;
                self.host.put(path, &text.replace(old.as_str(), new));
            }
            Event::Delete { path } => self.host.delete(path),
            Event::Start { unit } => {
                self.host.daemon_reload();
                self.host.start(unit).await.map_err(failed)?;
            }
            Event::Enable { unit } => self.host.enable(unit).await.map_err(failed)?,
            Event::Stop { unit } => self.host.stop(unit),
            Event::Use { mount } => self.host.use_mount(Some(mount)),
            Event::LetGo => self.host.use_mount(None),
            Event::Hold { pod, mount } => self.host.hold(pod, mount),
            Event::EndPod { pod } => self.host.end_pod(pod),
            Event::Full { so } => self.host.refuse_writes(*so),
            Event::Take { volume } => bowline_volumes::take_back(&self.host, volume).await.map_err(failed)?,
            Event::Settings { text } => self.change_settings(text),
        }
        // As the daemon is woken by its events.
        let settings = matches!(event, Event::Settings { .. });
        self.engine.wake(if settings { Wake::All } else { Wake::Look });
        Ok(())
    }

    /// As the daemon does: bad settings leave the earlier ones in force.
    fn change_settings(&mut self, text: &str) {
        match load(text) {
            Ok(loaded) => {
                self.engine.replace(wiring::capabilities(&loaded.settings, BUILT));
                self.engine.settings(in_force(&loaded));
                self.settings = loaded;
            }
            Err(errors) => {
                let errors = errors.iter().map(|e| format!("{}: {}", e.place, e.message)).collect();
                self.engine.settings(SettingsReport { files: vec![FILE.into()], errors, absent: false });
            }
        }
    }

    /// Runs until nothing can be done, and tells what was done. True when the agent died of it.
    async fn run(&mut self) -> bool {
        let mut deeds = Deeds { reasons: self.settled, ..Deeds::default() };
        let outcome = tokio::select! {
            outcome = self.engine.converge(&self.change, self.patience, |report| deeds.see(report)) => Some(outcome),
            () = self.host.crashed() => None,
        };
        self.settled = outcome.is_some();
        self.head(match outcome {
            Some(Outcome::Converged) if self.engine.report().settings.absent => "Bowline runs, and waits",
            Some(Outcome::Converged) => "Bowline runs, and all is as the settings say",
            Some(Outcome::Waiting | Outcome::Busy) => "Bowline runs, and waits",
            Some(Outcome::Blocked) => "Bowline runs, and comes to a stop",
            None => "Bowline runs, and is cut off in the midst of the last of these",
        });
        self.text.push_str(&deeds.text());
        outcome.is_none()
    }

    fn status(&mut self) {
        let report = self.engine.report();
        let text = show::status(report, report.at, false);
        self.text.push('\n');
        for line in text.lines() {
            // Delays are jittered.
            match line.split_once("tried again in ") {
                Some((head, _)) => self.text.push_str(&format!("{head}tried again soon\n")),
                None => self.text.push_str(&format!("{line}\n")),
            }
        }
    }
}

fn in_force(loaded: &Loaded) -> SettingsReport {
    let absent = loaded.settings.is_empty();
    let files = if absent { Vec::new() } else { vec![Path::new(FILE).display().to_string()] };
    SettingsReport { files, errors: Vec::new(), absent }
}

/// The steps that were started, in their order.
#[derive(Default)]
struct Deeds {
    all: Vec<(Deed, usize)>,
    running: Vec<Deed>,
    /// Told with their reasons.
    reasons: bool,
}

#[derive(Clone, PartialEq)]
struct Deed {
    what: String,
    why: String,
}

impl Deeds {
    fn see(&mut self, report: &Report) {
        let steps = report.capabilities.iter().flat_map(|c| &c.steps).filter(|step| step.running.is_some());
        let running: Vec<Deed> =
            steps.map(|step| Deed { what: format!("{}: {}", step.item, step.what), why: step.why.clone() }).collect();
        for deed in running.iter().filter(|deed| !self.running.iter().any(|known| known.what == deed.what)) {
            match self.all.iter_mut().find(|(known, _)| known.what == deed.what) {
                Some((_, times)) => *times += 1,
                None => self.all.push((deed.clone(), 1)),
            }
        }
        self.running = running;
    }

    fn text(&self) -> String {
        if self.all.is_empty() {
            return "  nothing is done\n".into();
        }
        let line = |(deed, times): &(Deed, usize)| {
            let tries = if *times > 1 { format!(" ({times} tries)") } else { String::new() };
            let why = if self.reasons { format!("    why: {}\n", deed.why) } else { String::new() };
            format!("  {}{tries}\n{why}", deed.what)
        };
        self.all.iter().map(line).collect()
    }
}
