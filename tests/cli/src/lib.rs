//! The real program on its command line: golden texts, exit codes, what a pipe sees. Nothing here changes the
//! machine: no test runs `apply` or `run` with settings that are valid.

pub mod prometheus;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A bus that nobody listens on: what is asked of systemd fails, on every machine alike.
const NO_BUS: &str = "unix:path=/nonexistent/bus";

/// The program, built like this test.
///
/// # Panics
/// When it cannot be built.
#[allow(clippy::expect_used, clippy::panic)]
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/debug/deps/test-0123
        let test = std::env::current_exe().expect("this program's path");
        let folder = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
        let profile = match folder.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "bowline", "--profile", profile]);
        build.arg("--target-dir").arg(folder.parent().unwrap_or(folder));
        // What cargo tells its tests would make this one build dependencies anew, and then the next run of tests again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|of| text.starts_with(of)) {
                build.env_remove(&name);
            }
        }
        let status = build.status().expect("cargo");
        assert!(status.success(), "bowline cannot be built: {status}");
        let program = folder.join("bowline");
        if !program.exists() {
            panic!("cargo put no program at {}", program.display());
        }
        program
    })
}

/// What the program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The exit code.
    pub code: i32,
}

/// Runs the program within a folder, with nothing of this environment, and without a system bus.
///
/// # Panics
/// When it cannot be run.
pub fn bowline(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(program());
    command.args(arguments);
    said(command, folder)
}

/// The same on a terminal, with further variables.
///
/// # Panics
/// When it cannot be run.
pub fn on_a_terminal(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let line = format!("{} {}", program().display(), arguments.join(" "));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.envs(variables.iter().copied());
    said(command, folder)
}

#[allow(clippy::expect_used)]
fn said(mut command: Command, folder: &Path) -> Said {
    let variables: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.map(OsStr::to_owned))).collect();
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DBUS_SYSTEM_BUS_ADDRESS", NO_BUS);
    command.env("TERM", "xterm").envs(variables.into_iter().filter_map(|(k, v)| Some((k, v?))));
    let Output { status, stdout, stderr } = command.current_dir(folder).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { out: text(stdout), err: text(stderr), code: status.code().unwrap_or(-1) }
}

/// A folder with a `config.d` of some files (name, text, mode).
///
/// # Panics
/// When it cannot be made.
#[allow(clippy::expect_used)]
pub fn settings(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("config.d");
    std::fs::create_dir(&config).expect("config.d");
    for (name, text, mode) in files {
        let path = config.join(name);
        std::fs::write(&path, text).expect("a settings file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).expect("its mode");
    }
    folder
}

/// The settings files in one text, each after a line `#-- NAME MODE`, for [`settings`].
///
/// # Panics
/// When such a line is something else.
#[allow(clippy::expect_used)]
pub fn several(text: &str) -> Vec<(&str, &str, u32)> {
    let parts = text.split("#-- ").skip(1).map(|part| part.split_once('\n').expect("a line `#-- NAME MODE`"));
    parts
        .map(|(head, text)| {
            let (name, mode) = head.split_once(' ').expect("a name and a mode");
            (name, text, u32::from_str_radix(mode, 8).expect("a mode such as 600"))
        })
        .collect()
}

/// Compares a text with the file `golden/NAME`; `UPDATE=1` rewrites it. It fits the page.
///
/// # Panics
/// When it differs.
#[allow(clippy::expect_used)]
pub fn golden(name: &str, text: &str) {
    assert_fits(name, text);
    let path = Path::new("golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("the golden text");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{} (UPDATE=1 takes it over)", path.display());
}

/// Lines have 80 columns at most, but for what is copied and stands alone on its line: a path, a command, a string.
///
/// # Panics
/// When a line is longer.
pub fn assert_fits(name: &str, text: &str) {
    let mut before = "";
    for line in text.lines() {
        let command = before.trim_end().ends_with("run:");
        assert!(line.chars().count() <= 80 || command || is_one(line), "{name}: too wide: {line}\n{text}");
        before = line;
    }
}

/// Whether a line is one word. What stands between quotes or backticks has no ends of words.
fn is_one(line: &str) -> bool {
    let mut quote = None;
    let mut blank = false;
    for letter in line.trim().chars() {
        match quote {
            Some(end) if letter == end => quote = None,
            Some(_) => {}
            None if matches!(letter, '`' | '"') => quote = Some(letter),
            None => blank |= letter.is_whitespace(),
        }
    }
    !blank && quote.is_none()
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn what_counts_as_one_word() {
        for one in ["    /a/b", "  `rm -r /a`,", "    \"a b\"", "--a=\"b c\"`d e`"] {
            assert!(is_one(one), "{one}");
        }
        for more in ["a b", "`a b` c", "to do: `a b`", "\"a b", ""] {
            assert_eq!(is_one(more), more.is_empty(), "{more}");
        }
    }
}
