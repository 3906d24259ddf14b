//! The K3s that the cases run with (the stand-in, or what `K3S=` names) keeps K3s's contract: the table of
//! tests/k3s/CONFORMANCE.md, each line tested inside a booted machine.

use anyhow::{Result, ensure};
use bowline_testbed::{Cast, case_of, k3s, k3s_conformance, say, unless_passed};
use std::time::Duration;

/// What every boot relies on. One server is started.
const QUICK: &str = "^(TestVersion|TestStandInSaysSo|TestDefaultRoute|TestPortInUse|TestServer)$";

/// Of all tests the largest starts three servers and an agent, within the one machine. They are one after the other.
const ALL: Cast = Cast { servers: 2, agents: 1, plain: 0, virtuals: 0, patient: true };

fn conformance(case_name: &str, cast: Cast, tests: &str) -> Result<()> {
    case_of(cast, case_name, |bed| {
        let (k3s, program) = (k3s()?, k3s_conformance()?);
        let machine = bed
            .machine("k3s")
            .address("10.0.1.10")
            .show(k3s.path(), "/usr/local/bin/k3s")
            .show(program.path(), "/usr/local/bin/conformance")
            .start()?;
        let command = format!("cd /root && conformance -test.v -test.run '{tests}'");
        let said = machine.run_with(&command, b"", Duration::from_secs(300))?;
        for line in said.stdout.lines().filter(|line| line.starts_with("--- ")) {
            say(line);
        }
        let failed: Vec<_> = said.stdout.lines().filter(|line| line.trim_start().starts_with("--- FAIL: ")).collect();
        ensure!(failed.is_empty(), "{}\n\n{said}", failed.join("\n"));
        ensure!(said.success() && said.stdout.contains("--- PASS: "), "{said}");
        Ok(())
    })
}

#[test]
fn what_every_boot_relies_on_is_as_k3s_has_it() -> Result<()> {
    conformance("conformance", Cast::SERVER, QUICK)
}

/// Five minutes, so not again as long as neither the stand-in nor the tests change; `make soak` does not ask.
#[test]
fn every_line_of_the_contract_is_kept() -> Result<()> {
    let ran = unless_passed("k3s-conforms", || conformance("conformance-all", ALL, "."))?;
    if !ran {
        say("this stand-in passed all of its conformance tests before");
    }
    Ok(())
}

#[test]
#[ignore = "five minutes: make soak"]
fn every_line_of_the_contract_is_kept_here_and_now() -> Result<()> {
    conformance("conformance-soak", ALL, ".")
}
