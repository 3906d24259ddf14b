//! The journal, with its fields, where systemd connected us to it; lines on standard error elsewhere.

use bowline_settings::LogLevel;
use std::io::IsTerminal;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Changes the level while the daemon runs.
pub(crate) struct Level(Handle<LevelFilter, Registry>);

impl Level {
    pub(crate) fn set(&self, level: LogLevel) {
        let _ = self.0.modify(|filter| *filter = to_filter(level));
    }
}

fn to_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts logging.
pub(crate) fn start() -> Level {
    let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
    // Fields keep their names (MESSAGE_ID, CAPABILITY, ITEM): what alerting and `journalctl FIELD=` rely on.
    let journal = std::env::var_os("JOURNAL_STREAM")
        .and_then(|_| tracing_journald::layer().ok())
        .map(|layer| layer.with_field_prefix(None).with_syslog_identifier("bowline".into()));
    let lines = journal.is_none().then(|| {
        fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
    });
    // Other crates' chatter is not Bowline's journal.
    let own = tracing_subscriber::filter::Targets::new()
        .with_target("bowline", LevelFilter::TRACE)
        .with_target("bowline_engine", LevelFilter::TRACE);
    let own = own.with_target("bowline_host", LevelFilter::TRACE);
    Registry::default().with(filter).with(lines.with_filter(own.clone())).with(journal.with_filter(own)).init();
    Level(handle)
}
