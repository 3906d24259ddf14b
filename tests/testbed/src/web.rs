//! To come.
use std::path::Path;
/// To come.
pub struct Web;
impl Web {
    pub(crate) fn start(_network: &Path, _dir: &Path) -> anyhow::Result<Web> { Ok(Web) }
    pub(crate) fn stop(&self) {}
}
