//! A connection under a meter: how much came over it, when it last spoke, and a way to hold its answer back.

use super::super::seats::Pulse;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection with a budget.
#[derive(Debug)]
pub(super) struct Meter {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    left: usize,
    held: Vec<u8>,
}

impl Meter {
    /// With so many bytes that the other end may send.
    pub(super) fn new(stream: TcpStream, pulse: Arc<Pulse>, left: usize) -> Self {
        Self { stream, pulse, left, held: Vec::new() }
    }

    /// It may send so many from now on.
    pub(super) fn allow(&mut self, left: usize) {
        self.left = left;
    }

    /// The connection, and what was to be written to it since it was told to hold back.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.held)
    }
}

impl AsyncRead for Meter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.pulse.beat();
        }
        match self.left.checked_sub(came) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("more than may be sent here"))),
        }
        polled
    }
}

impl AsyncWrite for Meter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pulse.held_back() {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pulse.held_back() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
