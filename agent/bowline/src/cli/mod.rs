//! The command line: one file a command.

mod apply;
mod args;
mod check;
mod config;
mod converge;
mod cordon;
pub(crate) mod doctor;
mod drain;
mod internal;
mod leave;
pub(crate) mod load;
mod metrics;
mod nodes;
mod output;
mod plan;
mod release;
mod retire;
mod status;
mod ticket;
mod usage;
mod volumes;

pub(crate) use converge::not_looked_yet;
pub(crate) use plan::{last_report, settings_report};

use args::{Args, Command};
use bowline_host::real::event_loop;
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

/// How a command ends when the settings are wrong, and when there is something to do.
pub(crate) const INVALID: u8 = 2;
/// How `apply` and `status` end when something is still waited for.
pub(crate) const WAITING: u8 = 3;
/// How the daemon ends when its settings are wrong: systemd does not start it again by itself.
pub(crate) const BAD_SETTINGS: u8 = 78;

/// A command, until it ends.
pub(crate) type Running = Pin<Box<dyn Future<Output = ExitCode>>>;

/// Runs the program.
pub fn main() -> ExitCode {
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    let args = match Args::of_the_unit(&given).map_or_else(Args::try_parse, Ok) {
        // Its work makes event loops of its own.
        Ok(Args { settings, command: Command::Internal { command } }) => return internal::run(&settings, command),
        Ok(args) => args,
        Err(error) => return mistyped(&given, &error),
    };
    let runtime = match event_loop() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(match args.command {
        Command::Run => crate::daemon::run(args.settings),
        command => carry_out(args.settings, command),
    });
    // A hung filesystem may hold a thread for ever; the process does not wait for it.
    runtime.shutdown_background();
    if output::lost() { ExitCode::FAILURE } else { code }
}

/// What was typed wrong, or help. For `plan --exit-code` 2 says that there is something to do, also where just that is mistyped.
#[inline(never)]
fn mistyped(given: &[OsString], error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let asks = given.iter().any(|word| word.to_string_lossy().starts_with("--exit"));
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if asks => ExitCode::FAILURE,
        _ => ExitCode::from(INVALID),
    }
}

/// What people ask for: a piece of code of its own, of which the daemon holds nothing in memory (`apart.ld`).
#[inline(never)]
fn carry_out(settings: PathBuf, command: Command) -> Running {
    Box::pin(async move {
        match command {
            Command::Run => crate::daemon::run(settings).await,
            Command::Check { files, json } => check::run(&settings, &files, json),
            Command::Config { json } => config::run(&settings, json),
            Command::Plan { json, exit_code } => plan::run(&settings, json, exit_code).await,
            Command::Apply { wait } => apply::run(&settings, wait).await,
            Command::Status { json, wait_ready } => status::run(json, wait_ready).await,
            Command::Doctor { json } => doctor::run(&settings, json).await,
            Command::Volumes { command: Some(command), .. } => release::run(&settings, command).await,
            Command::Volumes { json, command: None } => volumes::run(&settings, json).await,
            Command::Ticket { name, role, key_file, cloud_init } => {
                ticket::run(&settings, &name, role.into(), key_file, cloud_init).await
            }
            Command::Nodes { json, command } => nodes::run(&settings, json, command).await,
            Command::Leave { drain, undo, timeout } => leave::run(&settings, drain, undo, timeout).await,
            Command::Usage { path, depth, json } => usage::run(&settings, path, depth, json).await,
            Command::Metrics => metrics::run(&settings).await,
            Command::Internal { command } => internal::run(&settings, command),
        }
    })
}
