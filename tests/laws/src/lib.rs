//! What the laws share: generated machines and settings, and runs of the whole engine on the simulated host.

mod faults;
mod machines;

pub use faults::{KINDS, faults};
pub use machines::{agent_case, cases, cloud_case, member_case};

use bowline_engine::{Engine, Outcome, Report};
use bowline_host::sim::{SimHost, World, WorldDisk};
use bowline_ports::Change;
use bowline_settings::{Settings, SourceFile};
use proptest::prelude::ProptestConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Built long before any simulated clock.
pub const BUILT: i64 = 1_700_000_000;
/// A secret that must not show anywhere but in the files that need it.
pub const SECRET: &str = "s3cr3t-do-not-show";
/// The cluster key of enrolment's own test vector.
const KEY: &str = "7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5ecae2791af89491befb06a84";
/// Finitely many: more turns than this is a loop.
const TURNS: usize = 20_000;
/// How long a run may wait for things, in simulated time.
const PATIENCE: Duration = Duration::from_secs(180);

/// A machine and what its owner wants of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The machine.
    pub world: World,
    /// The settings, as TOML.
    pub settings: String,
}

/// Settings from TOML text. Generated settings are valid; anything else is a fault of the generator.
///
/// # Panics
/// When they are not.
#[allow(clippy::panic)]
pub fn settings(text: &str) -> Settings {
    let file = SourceFile { path: "10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
    match bowline_settings::load(&[file]) {
        Ok(loaded) => loaded.settings,
        Err(errors) => panic!("the generator made bad settings:\n{errors}\n{text}"),
    }
}

/// Runs a future on a clock that is only simulated.
///
/// # Panics
/// When no runtime can be made.
#[allow(clippy::expect_used)]
pub fn simulate<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// An agent that is started on a machine, as after a boot.
pub fn agent(case: &Case) -> Engine {
    Engine::new(bowline::wiring::capabilities(&settings(&case.settings), BUILT), "law")
}

/// Runs an agent until nothing is left that it can do, or it dies of an injected crash (`None`).
pub async fn run(case: &Case, host: &SimHost, reports: &mut Vec<Report>) -> Option<Outcome> {
    run_for(case, host, reports, PATIENCE).await
}

/// The same, with so much patience for things that are waited for.
pub async fn run_for(case: &Case, host: &SimHost, reports: &mut Vec<Report>, patience: Duration) -> Option<Outcome> {
    let mut engine = agent(case);
    let mut turns = 0;
    let change: Arc<dyn Change> = Arc::new(host.clone());
    tokio::select! {
        outcome = engine.converge(&change, patience, |report| {
            turns += 1;
            assert!(turns < TURNS, "no end after {TURNS} turns: {report:#?}");
            if reports.last().is_none_or(|last| last.timeless() != report.timeless()) {
                reports.push(report.clone());
            }
        }) => Some(outcome),
        () = host.crashed() => None,
    }
}

/// What is in them is of random bytes, or of the moment.
const OWN: [&str; 4] = [
    bowline_join::files::MACHINE_KEY,
    bowline_join::files::PASSWORD,
    bowline_join::files::ENROLLED,
    bowline_ports::RECLAIMED,
];

/// Everything that a run leaves behind, on the Node too: files of this boot aside.
pub fn end(host: &SimHost) -> Vec<String> {
    let files = host.files().into_iter().filter(|(path, _)| !path.starts_with("/run"));
    let own = |path: &Path| OWN.iter().any(|one| Path::new(one) == path);
    let told = |(path, text): (PathBuf, String)| match own(&path) {
        true => path.display().to_string(),
        false => format!("{}: {text}", path.display()),
    };
    let mut all: Vec<String> = files.map(told).collect();
    for device in ["/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"] {
        all.push(format!("{device}: {:?}", host.content(device)));
    }
    let mut marks = host.marks();
    marks.sort();
    all.extend(marks);
    all
}

/// A machine on which everything can be done.
pub fn good_case() -> Case {
    let mut world = World::default();
    world.disks.push(WorldDisk::volume("/dev/sdb", "12345678"));
    world.secrets.insert("/etc/bowline/cluster.key".into(), format!("{KEY}\n"));
    Case { world, settings: good_settings(machines::GOOD_DISK, "blank-only") }
}

/// Pairs as the world has them.
fn text(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn good_settings(source: &str, format: &str) -> String {
    format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
         startup-taint = true\nkey-file = \"/etc/bowline/cluster.key\"\n\
         [cluster.config]\ntoken = \"{SECRET}\"\n\
         [node]\naddress = \"10.0.1.0/24\"\nlabels = {{ role = \"kafka\", at = \"{{address}}\", \
         \"node-role.kubernetes.io/kafka\" = \"true\" }}\n\
         taints = [\"dedicated=kafka:NoSchedule\", \"slow:PreferNoSchedule\"]\n\
         [[volume]]\nname = \"data\"\n{source}\nmount = \"/var/lib/kafka\"\nformat = \"{format}\"\n"
    )
}

/// How a law is tested: in so many cases, and first in those that once broke it, which are kept beside the tests.
pub fn law(name: &str, cases: u32) -> ProptestConfig {
    let kept: &'static str = Box::leak(format!("regressions/{name}.txt").into_boxed_str());
    let persistence = proptest::test_runner::FileFailurePersistence::Direct(kept);
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

/// How many cases: as many as the environment says, else these.
///
/// # Panics
/// When it says something that is no number.
#[allow(clippy::expect_used, reason = "a test may end so")]
pub fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |number| number.parse().expect(variable))
}

/// The same case with settings that allow no formatting any more.
pub fn forbidding(case: &Case) -> Case {
    Case { settings: case.settings.replace("blank-only", "never"), ..case.clone() }
}
