//! What Bowline calls itself: long work and the guard in units of PID 1, the papers at build time,
//! and what a removal of the package leaves to do.

use super::args::{Args, Internal};
use super::{output, retire};
use bowline_host::real::guard;
use bowline_host::real::job::Verb;
use bowline_ports::{ErrorKind, PortError};
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What the first man page has besides the commands: where settings and explanations are on a machine.
const PLACES: &str = "\
.SH FILES
.TP
/etc/bowline/config.d/*.toml
The settings, read in name order.
.TP
/usr/share/bowline/examples
reference.toml has every setting with its default; the other files are complete nodes.
.TP
/usr/share/bowline/cloud\\-init/bowline.yaml
The document to paste as the user\\-data of a new VM: it installs Bowline.
.TP
/usr/share/bowline/prometheus, /usr/share/bowline/grafana
Scrape configuration, alerts, a page for each alert (runbooks), and a dashboard.
.TP
/usr/share/bowline/schema
JSON Schemas of what commands print with \\-\\-json.
.TP
/run/bowline/status.json
What `bowline status` shows.
.TP
/var/lib/bowline
Bowline's own state: the machine's key, facts from the cloud, samples of disk usage.
.SH \"SEE ALSO\"
/usr/share/doc/bowline: README.md (what Bowline does), CLUSTERS.md (several machines, and what to do when one leaves, comes back or was
compromised; ports, upgrades, backup), SECURITY.md (what Bowline may do, and whom it trusts), CHANGELOG.md.
.PP
.BR systemctl (1),
.BR journalctl (1):
the daemon is bowline.service.
";

pub(super) fn run(settings: &Path, command: Internal) -> ExitCode {
    match command {
        Internal::Fetch { order } => Verb::Fetch.carry_out(&order),
        Internal::Format { order } => Verb::Format.carry_out(&order),
        Internal::Grow { order } => Verb::Grow.carry_out(&order),
        Internal::Tend { order } => Verb::Tend.carry_out(&order),
        Internal::Survey { order } => Verb::Survey.carry_out(&order),
        Internal::Reclaim { order } => Verb::Reclaim.carry_out(&order),
        Internal::Guard { order, closed } => guard::run(&order, &closed),
        Internal::Retire => retire::run(settings),
        Internal::Papers { folder } => match papers(&folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::complain(&error.message);
                ExitCode::FAILURE
            }
        },
    }
}

/// `man/bowline.1`, `man/bowline-plan.1` …, and `completions/` for bash, zsh and fish.
fn papers(folder: &Path) -> Result<(), PortError> {
    let failed = |what: &'static str| move |e: std::io::Error| PortError::io(what, &e);
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder).map_err(failed("making the folder for the papers"))?;
    }
    clap_mangen::generate_to(Args::command(), &man).map_err(failed("writing man pages"))?;
    let first = std::fs::OpenOptions::new().append(true).open(man.join("bowline.1"));
    first.and_then(|mut page| page.write_all(PLACES.as_bytes())).map_err(failed("writing man pages"))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut for_people(), "bowline", &completions)
            .map_err(|e| PortError::new(ErrorKind::Other, format!("writing completions: {e}")))?;
    }
    Ok(())
}

/// What people can type, without what help hides: completions would offer it.
fn for_people() -> clap::Command {
    let all = Args::command();
    let shown: Vec<_> = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let mut typed = clap::Command::new("bowline").version(env!("CARGO_PKG_VERSION")).args(all.get_arguments());
    if let Some(about) = all.get_about() {
        typed = typed.about(about.clone());
    }
    typed.subcommands(shown)
}
