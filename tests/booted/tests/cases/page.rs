//! The status page of a real daemon, in a browser that is in the machine's network. What pages look like in all states
//! is tested without a machine (`tests/booted/tests/page`).

use anyhow::{Result, ensure};
use bowline_booted::ADDRESS;
use bowline_booted::looks::{BLANK_ONLY, install, until_ready, volume_on};
use bowline_booted::page::{evidence, faults};
use bowline_testbed::{Cast, Chromium, Window, case_of};

#[test]
fn a_browser_on_the_machine_shows_how_it_is() -> Result<()> {
    let chromium = Chromium::get()?;
    case_of(Cast::PLAIN, "page", |bed| {
        let disk = bed.disk("98100", "256M")?;
        let machine = bed.machine("n1").address(ADDRESS).disk(&disk).start()?;
        install(&machine, &volume_on(&disk, "data", BLANK_ONLY))?;
        until_ready(&machine, "data")?;

        let mut browser = machine.within(|| chromium.start())?;
        for dark in [false, true] {
            let window = Window { width: 360, height: 740, dark };
            let found = faults(&mut browser, "http://127.0.0.1:9787/", window)?;
            browser.picture(&evidence("machine", window))?;
            ensure!(found.is_empty(), "{}", found.join("\n"));
        }
        let shown = browser.ask("document.body.innerText")?.to_string();
        for text in ["n1", "ready", "volumes", "/mnt/data", "No forecast yet"] {
            ensure!(shown.contains(text), "{text} is not shown: {shown}");
        }
        Ok(())
    })
}
