//! The cloud's metadata service, as the world says that it answers.

use super::SimHost;
use super::world::{WorldCloud, WorldTrouble};
use bowline_ports::{ErrorKind, METADATA, MetadataAnswer, MetadataAsk, PortError};
use std::time::Duration;

/// As long as the real host waits for all answers.
const SILENCE: Duration = Duration::from_secs(2);

impl SimHost {
    pub(super) async fn service(&self, ask: &MetadataAsk) -> Result<Vec<MetadataAnswer>, PortError> {
        self.pace.ask(ask, |ask| self.answer(ask)).await
    }

    async fn answer(&self, ask: MetadataAsk) -> Result<Vec<MetadataAnswer>, PortError> {
        let broken = |kind, cause: &str| Err(PortError::new(kind, format!("{}: {cause}", METADATA.ip())));
        let cloud = {
            let mut state = self.lock();
            state.metadata_asks += 1;
            state.cloud.as_mut().map(|cloud| (cloud.trouble(), cloud.clone()))
        };
        let Some((trouble, cloud)) = cloud else {
            return broken(ErrorKind::Unreachable, "no connection: Network is unreachable");
        };
        match trouble {
            None => Ok(ask.paths.iter().map(|path| cloud.says(&ask, path)).collect()),
            Some(WorldTrouble::Overloaded) => {
                Ok(ask.paths.iter().map(|_| MetadataAnswer { status: 503, body: String::new() }).collect())
            }
            Some(WorldTrouble::Nonsense) => {
                Ok(ask.paths.iter().map(|_| MetadataAnswer { status: 200, body: "<html>\n\t{[".into() }).collect())
            }
            Some(WorldTrouble::Unreachable) => broken(ErrorKind::Unreachable, "no connection: Connection refused"),
            Some(WorldTrouble::Silent) => {
                tokio::time::sleep(SILENCE).await;
                broken(ErrorKind::Timeout, "no answer within 2 s")
            }
        }
    }
}

impl WorldCloud {
    /// What goes wrong this time.
    fn trouble(&mut self) -> Option<WorldTrouble> {
        if self.trouble.is_empty() { None } else { Some(self.trouble.remove(0)) }
    }

    fn says(&self, ask: &MetadataAsk, path: &str) -> MetadataAnswer {
        let header = ask.header.map(|(name, value)| format!("{name}: {value}"));
        let allowed = self.header == header && self.token == ask.token.map(|token| token.path.to_owned());
        let (status, body) = match self.answers.get(path) {
            _ if !allowed => (403, "the header or the token is missing"),
            Some(body) => (200, body.as_str()),
            None => (404, "not found"),
        };
        MetadataAnswer { status, body: body.into() }
    }
}
