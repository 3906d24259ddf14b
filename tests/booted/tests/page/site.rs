//! A browser in a network of its own, in which the daemon's server answers with the pages, each at a port.

use anyhow::{Context, Result, anyhow};
use bowline_host::real::http::{Handler, Limits, Listening, Request, Response, Server, Sources};
use bowline_metrics::{Page, Route};
use bowline_testbed::{Browser, Chromium, alone};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Starting a browser takes longer than all that is done with it: there is one for all tests.
static SITE: LazyLock<Mutex<Result<Site>>> =
    LazyLock::new(|| Mutex::new(thread::spawn(raise).join().unwrap_or_else(|_| Err(anyhow!("panicked")))));

type Addresses = BTreeMap<&'static str, SocketAddr>;

/// The browser, and where the pages are.
pub(crate) struct Site {
    pub(crate) browser: Browser,
    addresses: Addresses,
}

/// The site, for one test at a time.
pub(crate) struct Visit(MutexGuard<'static, Result<Site>>);

impl Visit {
    /// The browser and the address of a page.
    pub(crate) fn to(&mut self, page: &str) -> Result<(&mut Browser, String)> {
        let site = self.0.as_mut().map_err(|error| anyhow!("{error:#}"))?;
        let address = site.addresses.get(page).with_context(|| format!("there is no page {page}"))?;
        Ok((&mut site.browser, format!("http://{address}/")))
    }
}

/// Waits for its turn.
pub(crate) fn visit() -> Visit {
    Visit(SITE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn raise() -> Result<Site> {
    let pages = crate::nodes::all().into_iter().chain(crate::broken::all()).collect();
    let chromium = Chromium::get()?;
    alone()?;
    let (tell, told) = channel();
    thread::spawn(move || {
        if let Err(error) = serve(pages, &tell) {
            // Who waits for the addresses hears it.
            tell.send(Err(error)).ok();
        }
    });
    let addresses = told.recv().context("the server has ended")??;
    Ok(Site { browser: chromium.start()?, addresses })
}

/// Serves every page as long as the tests run.
fn serve(pages: Vec<(&'static str, Page)>, tell: &Sender<Result<Addresses>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut open, mut addresses): (Vec<Listening>, _) = (Vec::new(), Addresses::new());
        for (name, page) in pages {
            let server = Server::new(handler(page), Sources::loopback_and(|_| false), Limits::default());
            let listening = server.listen(&[(Ipv4Addr::LOCALHOST, 0).into()]).await?;
            addresses.extend(listening.addresses().first().map(|address| (name, *address)));
            open.push(listening);
        }
        tell.send(Ok(addresses))?;
        std::future::pending().await
    })
}

/// As the daemon's (`daemon/scrape.rs`).
fn handler(page: Page) -> Handler {
    Arc::new(move |request: Request| {
        let page = page.clone();
        Box::pin(async move {
            match Route::of(&request.path) {
                None => Response::not_found(),
                Some(Route::Index) => {
                    let Page { status, content_type, body, policy } = page;
                    Response { status, content_type, body, policy }
                }
                Some(other) => Response::text(200, format!("{other:?}")),
            }
        })
    })
}
