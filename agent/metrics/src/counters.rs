//! What only grows: looks, steps, scrapes, reloads. Lives as long as the daemon.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// It was carried out.
    Done,
    /// It failed and will be tried again.
    Failed,
}

impl StepResult {
    /// Every result.
    pub const ALL: [Self; 2] = [Self::Done, Self::Failed];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// Counters and histograms with a registry of their own. Clones count into the same ones.
#[derive(Debug, Clone)]
pub struct Counters {
    registry: Registry,
    look: Histogram,
    steps: IntCounterVec,
    scrapes: IntCounter,
    reloads: IntCounterVec,
}

impl Counters {
    /// All counters at zero, with the series of these capabilities there from the start (a counter that
    /// appears with its first event hides that event from `rate`).
    pub fn new(capabilities: &[&str]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let look = Histogram::with_opts(
            HistogramOpts::new("bowline_look_seconds", "Seconds that one look at the node takes.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]),
        )?;
        let steps = IntCounterVec::new(
            Opts::new("bowline_steps_total", "Steps that ended, by capability and result."),
            &["capability", "result"],
        )?;
        let scrapes = IntCounter::new("bowline_scrapes_total", "Scrapes answered.")?;
        let reloads = IntCounterVec::new(
            Opts::new("bowline_settings_reloads_total", "Settings read again, by whether they were put in force."),
            &["result"],
        )?;
        registry.register(Box::new(look.clone()))?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(scrapes.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        for capability in capabilities {
            for result in StepResult::ALL {
                steps.with_label_values(&[capability, result.name()]);
            }
        }
        for result in ["applied", "rejected"] {
            reloads.with_label_values(&[result]);
        }
        Ok(Self { registry, look, steps, scrapes, reloads })
    }

    /// A look took so many seconds.
    pub fn looked(&self, seconds: f64) {
        self.look.observe(seconds);
    }

    /// A step ended.
    pub fn step(&self, capability: &str, result: StepResult) {
        self.steps.with_label_values(&[capability, result.name()]).inc();
    }

    /// A scrape is being answered.
    pub fn scraped(&self) {
        self.scrapes.inc();
    }

    /// Settings were read again, and were good or not.
    pub fn reloaded(&self, applied: bool) {
        self.reloads.with_label_values(&[if applied { "applied" } else { "rejected" }]).inc();
    }

    pub(crate) fn encoded(&self) -> String {
        encoded(&self.registry)
    }
}

/// Everything of a registry, or nothing.
pub(crate) fn encoded(registry: &Registry) -> String {
    let mut text = String::new();
    if TextEncoder::new().encode_utf8(&registry.gather(), &mut text).is_err() {
        // Half a family would spoil the whole scrape.
        text.clear();
    }
    text
}
