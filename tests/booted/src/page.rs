//! The status page as a person has it: what is wrong with it in a window of a real browser, in words.

use anyhow::{Context, Result};
use bowline_testbed::{Browser, Window, checkout};
use serde_json::Value;
use std::path::PathBuf;

/// A phone at 200 % zoom (or the smallest there is), a phone, a tablet, a desk.
const SIZES: [(u32, u32); 4] = [(320, 640), (PHONE, 740), (768, 1024), (1280, 800)];
const PHONE: u32 = 360;

/// What may be wrong without any other tool: each line begins with the kind of fault. Boxes and the text in them are
/// looked at as well as the page as a whole, since what sticks out may be hidden and not make the page wider.
const LOOK: &str = r#"(() => {
    const wide = document.documentElement.clientWidth, faults = [], page = document.scrollingElement;
    const name = one => one.localName + (one.className ? "." + (one.className.baseVal ?? one.className) : "");
    if (page.scrollWidth > wide) faults.push(`overflow: the page is ${page.scrollWidth} wide in a window of ${wide}`);
    for (const one of document.body.querySelectorAll("*")) {
        const box = one.getBoundingClientRect(), style = getComputedStyle(one);
        // What is to be heard and not seen.
        if (style.clipPath !== "none") continue;
        if (box.right > wide + 0.5 || box.left < -0.5)
            faults.push(`overflow: ${name(one)} from ${box.left} to ${box.right}`);
        if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0) faults.push(`overflow: in ${name(one)}`);
        const text = [...one.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (text && parseFloat(style.fontSize) < 13) faults.push(`small: ${name(one)}: ${style.fontSize}`);
        if ([...one.attributes].some(of => /^on|^style$/.test(of.name)))
            faults.push(`foreign: ${one.outerHTML.slice(0, 200)}`);
    }
    for (const one of document.querySelectorAll("script, img, iframe, object, embed, form, link:not([href^='data:,'])"))
        faults.push(`foreign: ${one.outerHTML.slice(0, 200)}`);
    return faults;
})()"#;

/// The windows that a page has to be good in: each size, light and dark.
pub fn windows() -> impl Iterator<Item = Window> {
    SIZES.into_iter().flat_map(|(width, height)| [false, true].map(|dark| Window { width, height, dark }))
}

/// Opens the page and says what is wrong with it: that it asks for more than itself, what the console says, what does
/// not fit or is foreign to it, pictures that are not told in numbers, and what axe-core finds.
pub fn faults(browser: &mut Browser, url: &str, window: Window) -> Result<Vec<String>> {
    browser.open(url, window)?;
    let mut faults: Vec<_> = browser.complaints()?.into_iter().map(|said| format!("console: {said}")).collect();
    let others = browser.requests().into_iter().filter(|asked| asked != url && asked != "data:,");
    faults.extend(others.map(|asked| format!("request: {asked}")));
    faults.extend(strings(&browser.ask(LOOK)?)?);
    faults.extend(pictures(browser)?);
    // In the dark only colours differ, and those are the same at every width.
    if !window.dark || window.width == PHONE {
        faults.extend(browser.axe()?.into_iter().map(|found| format!("axe: {found}")));
    }
    Ok(faults)
}

/// Everything drawn is told, with a number.
fn pictures(browser: &mut Browser) -> Result<Vec<String>> {
    let drawn = browser.ask("document.querySelectorAll('svg').length")?.as_u64().context("no number")?;
    let told: Vec<_> = browser.told()?.into_iter().filter(|(role, _)| role == "image").map(|(_, name)| name).collect();
    let mute = told.iter().filter(|name| !name.contains(|letter: char| letter.is_ascii_digit()));
    let mut faults: Vec<_> = mute.map(|name| format!("picture: {name:?} tells no number")).collect();
    if told.len() as u64 != drawn {
        faults.push(format!("picture: {drawn} are drawn and {} are told", told.len()));
    }
    Ok(faults)
}

/// What a script said: a list of texts.
pub fn strings(value: &Value) -> Result<Vec<String>> {
    let all = value.as_array().with_context(|| value.to_string())?;
    Ok(all.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect())
}

/// Where the picture of a page in a window goes: beside the logs of `make test`.
pub fn evidence(name: &str, window: Window) -> PathBuf {
    let scheme = if window.dark { "dark" } else { "light" };
    checkout().join(format!("target/test/page/{name}-{}-{scheme}.png", window.width))
}
