//! The status page in a real browser: at every size, in light and dark, by keyboard, as a screen reader is told of it,
//! and with texts that want to be more than texts. Every answer comes from the daemon's own server, with its policy in
//! force.

mod broken;
mod nodes;
mod site;

use anyhow::{Context, Result, ensure};
use bowline_booted::page::{evidence, faults, strings, windows};
use bowline_testbed::Window;
use site::visit;

const PHONE: Window = Window { width: 360, height: 740, dark: false };
const INTERACTIVE: &str = "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]";
/// What has the focus, and how it can be seen to have it.
const FOCUS: &str = r#"(() => {
    const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    return [one.textContent, String(seen && box.top >= 0 && box.bottom <= innerHeight)];
})()"#;

/// The page has no fault in any window; pictures are left.
fn is_good_everywhere(page: &str) -> Result<()> {
    let mut visit = visit();
    let (browser, url) = visit.to(page)?;
    let mut all = Vec::new();
    for window in windows() {
        let found = faults(browser, &url, window)?;
        // A picture takes as long as all checks: of a phone and a desk, and of whatever is wrong.
        if [360, 1280].contains(&window.width) || !found.is_empty() {
            browser.picture(&evidence(page, window))?;
        }
        all.extend(found.into_iter().map(|fault| format!("{window:?}: {fault}")));
    }
    ensure!(all.is_empty(), "{page}: {} faults\n{}", all.len(), all.join("\n"));
    Ok(())
}

#[test]
fn a_settled_node_is_shown_well_everywhere() -> Result<()> {
    is_good_everywhere("settled")
}

#[test]
fn a_node_with_all_kinds_of_trouble_is_shown_well_everywhere() -> Result<()> {
    is_good_everywhere("degraded")
}

#[test]
fn a_machine_without_settings_is_shown_well_everywhere() -> Result<()> {
    is_good_everywhere("empty")
}

#[test]
fn hostile_texts_are_shown_well_everywhere() -> Result<()> {
    is_good_everywhere("hostile")
}

#[test]
fn hostile_texts_are_texts_and_nothing_else() -> Result<()> {
    let mut visit = visit();
    let (browser, url) = visit.to("hostile")?;
    browser.open(&url, PHONE)?;
    let shown = browser.ask("document.body.innerText")?.as_str().context("no text")?.to_owned();
    for text in nodes::HOSTILE {
        // Characters that turn the direction of reading are shown as this.
        let text = text.replace(['\u{202e}', '\u{2066}'], "?");
        // Once each: as the node's name, of a wait, of a note, a refusal, a disk, a directory.
        ensure!(shown.matches(&text).count() >= 6, "{text} is not shown everywhere: {shown}");
    }
    let title = browser.ask("document.title + ' / ' + [...document.querySelectorAll('[id]')].map(one => one.id)")?;
    let title = title.as_str().context("no title")?;
    ensure!(title.contains("<script>") && title.ends_with("Bowline / what,disks,fills"), "{title}");
    Ok(())
}

#[test]
fn the_policy_is_in_force() -> Result<()> {
    let mut visit = visit();
    let (browser, url) = visit.to("settled")?;
    browser.open(&url, PHONE)?;
    // Whatever got into the page would not be run, not style it, and not bring anything here.
    browser.ask(
        r#"(() => {
            document.body.insertAdjacentHTML("beforeend", `
                <p id="in" style="color:red" onclick="document.title = 'run'">in</p>
                <img alt="" src="http://192.0.2.1/x.png">`);
            const script = document.createElement("script");
            script.textContent = "document.title = 'run'";
            document.body.append(script);
            document.getElementById("in").click();
        })()"#,
    )?;
    let title = browser.ask("document.title")?;
    ensure!(title != "run", "a script has run");
    let colour = browser.ask("getComputedStyle(document.getElementById('in')).color")?;
    ensure!(colour != "rgb(255, 0, 0)", "a style was taken");
    let complaints = browser.complaints()?.join("\n");
    for refused in ["inline script", "inline style", "event handler", "192.0.2.1"] {
        ensure!(complaints.contains(refused), "{refused} was not refused: {complaints}");
    }
    Ok(())
}

#[test]
fn tab_goes_to_everything_in_order_and_it_is_seen_where_it_is() -> Result<()> {
    let mut visit = visit();
    for page in ["settled", "degraded"] {
        let (browser, url) = visit.to(page)?;
        for dark in [false, true] {
            browser.open(&url, Window { dark, ..PHONE })?;
            let all = strings(&browser.ask(&format!("{INTERACTIVE}.map(one => one.textContent)"))?)?;
            ensure!(all.len() >= 2, "{all:?}");
            for wanted in all {
                browser.press_tab()?;
                let focus = strings(&browser.ask(FOCUS)?)?;
                ensure!(focus == [wanted.clone(), "true".into()], "{page}: {wanted} was to have the focus: {focus:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_screen_reader_is_told_all_of_it_in_order() -> Result<()> {
    let mut visit = visit();
    let (browser, url) = visit.to("degraded")?;
    browser.open(&url, PHONE)?;
    let told = browser.told()?;
    let names =
        |role: &str| -> Vec<_> { told.iter().filter(|(of, _)| of == role).map(|(_, name)| name.as_str()).collect() };
    for landmark in ["banner", "main", "contentinfo"] {
        ensure!(names(landmark).len() == 1, "{landmark}: {told:?}");
    }
    let regions = ["What Bowline looks after", "Filesystems", "What fills them"];
    ensure!(names("region") == regions, "{:?}", names("region"));
    // A heading for each thing that one may look for: they are how a page is skimmed.
    let headings = names("heading");
    ensure!(headings.first() == Some(&"k3s-control"), "{headings:?}");
    for heading in regions.iter().chain(["volumes", "cluster", "/", "/var/lib/kafka", "/mnt/nas"].iter()) {
        ensure!(headings.contains(heading), "{heading} is no heading: {headings:?}");
    }
    ensure!(names("list").len() >= 2 && names("listitem").len() >= 7, "{told:?}");
    // The directories are a table whose cells have names of rows and columns.
    ensure!(names("table").len() == 1 && names("columnheader").len() == 3, "{told:?}");
    ensure!(names("rowheader").len() == 60, "{}", names("rowheader").len());
    let pictures = names("image");
    for picture in ["97 percent of / in use", "54 percent of its filesystem"] {
        ensure!(pictures.contains(&picture), "{picture}: {pictures:?}");
    }
    ensure!(
        pictures.iter().any(|name| name.starts_with("/: 7 percent in use 24 h ago, 97 percent now")),
        "{pictures:?}"
    );
    Ok(())
}

#[test]
fn each_fault_is_found_and_no_other() -> Result<()> {
    let mut visit = visit();
    for (page, kinds, _) in broken::FAULTS {
        let (browser, url) = visit.to(page)?;
        let found = faults(browser, &url, PHONE)?;
        for kind in kinds {
            ensure!(found.iter().any(|fault| fault.starts_with(kind)), "{page}: {kind} was not found: {found:?}");
        }
        let others: Vec<_> = found.iter().filter(|fault| !kinds.iter().any(|kind| fault.starts_with(kind))).collect();
        ensure!(others.is_empty(), "{page}: {others:?}");
    }
    Ok(())
}
