//! The doors of an issuer, one at each address of the settings. One that cannot be opened closes no other, and is tried again.

use bowline_host::real::door::{Answerer, Door, Limits, listen};
use bowline_ports::PortError;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) struct Doors {
    name: String,
    answerer: Arc<dyn Answerer>,
    open: Vec<Door>,
    missing: Vec<SocketAddr>,
}

impl Doors {
    /// Those that a server of this name is to have; none is open yet.
    pub(super) fn new(name: String, addresses: Vec<SocketAddr>, answerer: Arc<dyn Answerer>) -> Self {
        Self { name, answerer, open: Vec::new(), missing: addresses }
    }

    /// Opens those that are not open. The error is that of the first that cannot be; the others are open all the same.
    pub(super) async fn open(&mut self) -> Result<(), PortError> {
        let mut opened = Ok(());
        for address in std::mem::take(&mut self.missing) {
            match listen(address, Arc::clone(&self.answerer), Limits::default()).await {
                Ok(door) => {
                    tracing::info!("{} lets nodes in at {}", self.name, door.address());
                    self.open.push(door);
                }
                Err(error) => {
                    self.missing.push(address);
                    opened = opened.and(Err(error));
                }
            }
        }
        opened
    }

    /// Whether nobody can come in.
    pub(super) fn are_shut(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) async fn close(self) {
        for door in self.open {
            door.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_host::real::door::{Asked, Reply};
    use std::pin::Pin;
    use tokio::net::{TcpListener, TcpStream};

    struct Nobody;

    impl Answerer for Nobody {
        fn serves(&self, _: &str) -> bool {
            false
        }

        fn answer(&self, _: Asked) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn an_address_in_use_closes_no_other_door_and_is_opened_when_it_is_free() {
        let [taken, free] =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let [in_use, first] = [taken.local_addr().unwrap(), free.local_addr().unwrap()];
        drop(free);
        for addresses in [vec![first, in_use], vec![in_use, first]] {
            let mut doors = Doors::new("control".into(), addresses, Arc::new(Nobody));
            let mut connected = None;
            for _ in 0..2 {
                let error = doors.open().await.unwrap_err();
                assert!(error.message.contains(&in_use.to_string()), "{error:?}");
                assert!(!doors.are_shut());
                connected.get_or_insert(TcpStream::connect(first).await.unwrap());
            }
            let held = doors.open[0].held().connections;
            assert!(doors.open.len() == 1 && held > 0, "{held}: who is inside is not put out for another try");
            doors.close().await;
        }
        drop(taken);
        let mut doors = Doors::new("control".into(), vec![first, in_use], Arc::new(Nobody));
        assert_eq!(doors.open().await, Ok(()));
        assert_eq!((doors.open.len(), doors.missing.len()), (2, 0));
        let shut = Doors::new("control".into(), vec![first], Arc::new(Nobody)).open().await;
        assert!(shut.is_err());
    }
}
