//! axe-core, fetched once by its exact version and checked: the rules of WCAG 2.1 A and AA, and its best practices.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cache::{self, Key};
use crate::run;

const PACKAGE: &str = "axe-core@4.14.0";
/// SHA-512 of what is fetched, in base64 as lock files of npm have it.
const INTEGRITY: &str = "9WTZxEjsZ7b13TH8JPmbV2z8CHbl80/2hm3XPEG4JgNdQLK81IBRXmSxHfMAOkSqQeRxT/0dwNDz2GOm3zzpcQ==";
/// Fetches it by `npm` and takes the one file out of it.
const FETCH: &str = r#"
npm pack --silent --no-update-notifier "$1" >/dev/null && mv axe-core-*.tgz axe.tgz &&
[ "$(openssl dgst -sha512 -binary axe.tgz | base64 -w 0)" = "$2" ] || { echo "$1 is not what it was" >&2; exit 1; }
tar -xzf axe.tgz --strip-components=1 package/axe.min.js"#;

/// Says what is wrong in words. Colours that it cannot judge (`incomplete`) are for us to make judgeable.
pub(super) const RUN: &str = r#"
axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], preload: false, iframes: false,
                    resultTypes: ["violations", "incomplete"] })
   .then(found => found.violations.concat(found.incomplete).flatMap(rule => rule.nodes.map(node =>
       `${rule.id}: ${node.target.join(" ")}: ${node.failureSummary ?? rule.help}`.replace(/\s+/g, " "))))"#;

/// The script that makes `axe` in a page.
pub(super) fn script() -> Result<String> {
    let mut key = Key::new();
    [PACKAGE, INTEGRITY, FETCH].iter().for_each(|text| key.add(text.as_bytes()));
    let fetched = cache::get("axe", key, |building| {
        let mut fetch = Command::new("sh");
        fetch.args(["-c", FETCH, "sh", PACKAGE, INTEGRITY]).current_dir(building);
        let said = run::run(&mut fetch, &[], Duration::from_secs(300))?;
        ensure!(said.success(), "npm pack {PACKAGE}: {said}");
        Ok(())
    })?;
    let file = fetched.file("axe.min.js");
    fs::read_to_string(file.path()).with_context(|| file.path().display().to_string())
}
