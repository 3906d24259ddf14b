//! Pages with one fault each: what the checks are worth.

use crate::nodes;
use bowline_metrics::Page;

type Breaks = fn(&mut Page);

/// Name of the page, the kind of fault that has to be found, and what is done to a good page. Kinds that others follow
/// from come with those.
pub(crate) const FAULTS: [(&str, &[&str], Breaks); 9] = [
    ("pale", &["axe: color-contrast"], |page| swap(page, "--soft:#57606a", "--soft:#b0b8c0")),
    ("wide", &["overflow"], |page| swap(page, "</main>", "<p class=\"wide\">wide</p></main>")),
    ("tiny", &["small"], |page| swap(page, "--soft:#57606a", "--soft:#57606a;--note:10px")),
    ("script", &["console", "foreign"], |page| swap(page, "</main>", "<script>document.title = 'run'</script></main>")),
    ("picture-from-elsewhere", &["console", "request", "foreign"], |page| {
        allow(page, "img-src http:");
        swap(page, "</main>", "<img alt=\"\" src=\"http://192.0.2.1/x.png\"></main>");
    }),
    ("mute", &["picture", "axe: svg-img-alt"], |page| swap(page, " aria-label=\"31 percent of / in use\"", "")),
    ("wordless", &["picture"], |page| swap(page, "\"31 percent of / in use\"", "\"some of it in use\"")),
    ("headless", &["axe: page-has-heading-one"], |page| {
        swap(page, "<h1>", "<p>");
        swap(page, "</h1>", "</p>");
    }),
    ("without-language", &["axe: html-has-lang"], |page| swap(page, " lang=\"en\"", "")),
];

/// The pages.
pub(crate) fn all() -> Vec<(&'static str, Page)> {
    let broken = FAULTS.iter().map(|(name, _, breaks)| {
        let mut page = nodes::settled();
        // Styles that the page's own policy would refuse.
        swap(&mut page, "</style>", ".wide{width:900px}footer{font-size:var(--note,.9rem)}</style>");
        allow(&mut page, "style-src 'unsafe-inline'");
        breaks(&mut page);
        (*name, page)
    });
    broken.collect()
}

fn swap(page: &mut Page, from: &str, to: &str) {
    assert!(page.body.contains(from), "{from} is not in the page");
    page.body = page.body.replacen(from, to, 1);
}

/// Puts this into the policy, in the place of what it says of the same.
fn allow(page: &mut Page, directive: &str) {
    let of = directive.split(' ').next();
    let policy = page.policy.take().unwrap_or_default();
    let others = policy.split("; ").filter(|one| one.split(' ').next() != of);
    page.policy = Some(others.chain([directive]).collect::<Vec<_>>().join("; "));
}
