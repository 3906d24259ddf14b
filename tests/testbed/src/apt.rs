//! A signed apt repository on the bed's web server, made by reprepro with a key of the bed's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bed::{Bed, GATEWAY};
use crate::run;

/// The only suite of the repository.
const SUITE: &str = "stable";

/// An apt repository. More packages, and newer versions of the same, may be added at any time.
pub struct Repository {
    dir: PathBuf,
    key: String,
}

impl Bed {
    /// The bed's apt repository with these packages.
    pub fn apt_repository(&self, packages: &[&Path]) -> Result<Repository> {
        let dir = self.dir().join("apt");
        let fresh = !dir.exists();
        if fresh {
            fs::create_dir_all(dir.join("conf"))?;
        }
        let repository = if fresh { Repository::create(dir)? } else { Repository::open(dir)? };
        packages.iter().try_for_each(|package| repository.add(package))?;
        self.web()?.put_folder("/apt/", &repository.dir);
        Ok(repository)
    }
}

impl Repository {
    fn open(dir: PathBuf) -> Result<Repository> {
        let key = fs::read_to_string(dir.join("key.asc"))?;
        Ok(Repository { dir, key })
    }

    fn create(dir: PathBuf) -> Result<Repository> {
        let home = dir.join("gnupg");
        fs::create_dir(&home)?;
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        let repository = Repository { dir, key: String::new() };
        repository.with_keys(|| {
            let new = ["--batch", "--passphrase", "", "--quick-gen-key", "Bowline testbed", "ed25519", "sign", "never"];
            run::ok(repository.keyed("gpg").args(new))?;
            let key = run::ok(repository.keyed("gpg").args(["--armor", "--export"]))?;
            let listed = run::ok(repository.keyed("gpg").args(["--list-keys", "--with-colons"]))?;
            let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).context("no key")?;
            let fingerprint = fingerprint.trim_matches(':');
            let architectures = "amd64 arm64";
            let conf = format!(
                "Codename: {SUITE}\nSuite: {SUITE}\nArchitectures: {architectures}\nComponents: main\nSignWith: {fingerprint}\n"
            );
            fs::write(repository.dir.join("conf/distributions"), conf)?;
            fs::write(repository.dir.join("key.asc"), &key)?;
            run::ok(repository.reprepro().args(["export", SUITE]))?;
            Ok(Repository { dir: repository.dir.clone(), key })
        })
    }

    /// Adds a package, or a newer version of one.
    pub fn add(&self, package: &Path) -> Result<()> {
        self.with_keys(|| run::ok(self.reprepro().args(["includedeb", SUITE]).arg(package)).map(drop))
    }

    /// Where it is served.
    pub fn url(&self) -> String {
        format!("http://{GATEWAY}/apt")
    }

    /// The line of a sources list; `options` such as `signed-by=/etc/apt/keyrings/bowline.asc` stand in its brackets.
    pub fn source_line(&self, options: &str) -> String {
        let brackets = if options.is_empty() { String::new() } else { format!("[{options}] ") };
        format!("deb {brackets}{} {SUITE} main", self.url())
    }

    /// Its public key, armored.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn keyed(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.dir.join("gnupg"));
        command
    }

    fn reprepro(&self) -> Command {
        let mut command = self.keyed("reprepro");
        command.arg("--silent").arg("--basedir").arg(&self.dir);
        command
    }

    /// gpg leaves an agent running: it is ended again, whatever `body` says.
    fn with_keys<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = body();
        run::ok(self.keyed("gpgconf").args(["--kill", "all"]))?;
        result
    }
}
