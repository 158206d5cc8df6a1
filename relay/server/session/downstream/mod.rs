//! Reads from a client and answers it, until the tunnel takes over. Under TLS it opens and seals
//! records.
//!
//! Here a [`Refusal`] becomes bytes: an HTTP answer before the 200, and a TLS alert after it or
//! where the client speaks no HTTP.

mod reading;
mod tls_end;

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::tls_end::{TlsEnd, flush};
use crate::authority::DnsName;
use crate::http::answer;
use crate::proxy_error::Refusal;
use crate::tls;

pub(super) use self::reading::Silence;

/// The connection to a client, with the bytes that have been read from it and not been taken.
#[derive(Debug)]
pub(super) struct Downstream {
    stream: TcpStream,
    /// Empty and unallocated until the client sends.
    buffer: Vec<u8>,
    tls: Option<Box<TlsEnd>>,
    refusals: RefusalForm,
}

/// The form in which the client understands a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusalForm {
    Answer,
    /// The client speaks TLS, with its destination or with the relay.
    Alert,
}

impl Downstream {
    /// `begins_with_tls` says that the client's first bytes are a ClientHello, for the relay or for
    /// the destination.
    pub(super) fn new(stream: TcpStream, begins_with_tls: bool) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            tls: None,
            refusals: if begins_with_tls {
                RefusalForm::Alert
            } else {
                RefusalForm::Answer
            },
        }
    }

    /// Completes when the client has closed or reset the connection. Bytes that come meanwhile are
    /// kept, up to a bound.
    pub(super) async fn departed(&mut self) {
        loop {
            let Ok(ready) = self.stream.ready(Interest::READABLE).await else {
                return;
            };
            if ready.is_read_closed() {
                return;
            }
            match self.read(tls::MAX_CLIENT_HELLO).await {
                // The buffer is full and the relay stops reading, so a FIN queued behind unread
                // bytes is invisible. A reset still raises ERROR: wait for that.
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    let _ = self.stream.ready(Interest::ERROR).await;
                    return;
                }
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Tells the client that its tunnel is open.
    pub(super) async fn establish(&mut self) -> io::Result<()> {
        self.refusals = RefusalForm::Alert;
        self.write(answer::ESTABLISHED).await
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The names in the client's certificate, where it was refused because it has expired.
    pub(super) fn expired_names(&self) -> &[DnsName] {
        let tls = self.tls.as_ref();
        tls.map_or(&[], |tls| tls.session.expired_names())
    }

    /// Whether the client speaks TLS with the relay itself.
    pub(super) fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// The socket and the TLS state, from which a tunnel is made.
    pub(super) fn parts(&mut self) -> (&TcpStream, Option<&mut tls::TlsSession>) {
        (&self.stream, self.tls.as_mut().map(|tls| &mut tls.session))
    }

    /// Takes the bytes that have been read: a head to be replayed, or the first bytes for the
    /// destination.
    pub(super) fn take_read(&mut self) -> Vec<u8> {
        let mut read = std::mem::take(&mut self.buffer);
        if let Some(tls) = &mut self.tls {
            read.append(&mut tls.opened);
            tls.opened = Vec::new();
        }
        read
    }

    /// Sends a refusal, and closes.
    pub(super) async fn refuse(self, refusal: &Refusal, session: &str) {
        match (self.refusals, refusal.reason.alert()) {
            (RefusalForm::Answer, _) => self.finish(&answer::refusal(refusal, session)).await,
            (RefusalForm::Alert, Some(alert)) => self.finish(&alert.record()).await,
            (RefusalForm::Alert, None) => self.finish(&[]).await,
        }
    }

    /// Sends the last bytes, then a FIN, and drains for a moment.
    ///
    /// The order matters. A close with unread bytes in the kernel is a reset, and a reset can
    /// overtake the answer.
    pub(super) async fn finish(mut self, last: &[u8]) {
        self.buffer = Vec::new();
        let sent = async {
            self.write(last).await?;
            self.close().await
        };
        if matches!(timeout(LINGER, sent).await, Ok(Ok(()))) {
            let _ = timeout(LINGER, self.drain()).await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = self
            .tls
            .as_mut()
            .filter(|tls| !tls.session.is_handshaking())
        else {
            return self.stream.write_all(bytes).await;
        };
        let mut sealed = Vec::new();
        tls.session
            .seal(bytes, &mut sealed)
            .map_err(io::Error::other)?;
        flush(&self.stream, &mut tls.session).await?;
        self.stream.write_all(&sealed).await
    }

    /// Sends the FIN. Under TLS a `close_notify` goes before it, so that the client can tell an end
    /// from a cut (RFC 8446, 6.1).
    async fn close(&mut self) -> io::Result<()> {
        if let Some(tls) = self
            .tls
            .as_mut()
            .filter(|tls| !tls.session.is_handshaking())
        {
            let mut sealed = Vec::new();
            tls.session.close(&mut sealed).map_err(io::Error::other)?;
            self.stream.write_all(&sealed).await?;
        }
        SockRef::from(&self.stream).shutdown(Shutdown::Write)
    }

    async fn drain(&mut self) {
        let mut drained = 0;
        // The bytes are thrown away, so they needn't be opened.
        self.tls = None;
        while drained < DRAIN {
            match self.read(READ).await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count,
            }
            self.buffer.clear();
        }
    }

    /// Reads once into the buffer, which never holds more than `limit`. It is cancel-safe: a
    /// dropped call loses no byte.
    async fn read(&mut self, limit: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(limit, cx)).await
    }

    fn poll_read(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(tls) = &mut self.tls {
            let room = limit.saturating_sub(self.buffer.len());
            return tls.poll_read(&self.stream, &mut self.buffer, room, cx);
        }
        // Wait before making room, so that a silent client has no buffer.
        ready!(self.stream.poll_read_ready(cx))?;
        let length = self.buffer.len();
        let room = limit.saturating_sub(length).min(READ);
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        self.buffer.resize(length + room, 0);
        let mut read = ReadBuf::new(&mut self.buffer[length..]);
        // A read that doesn't fill the room tells tokio that the socket is empty, which saves the
        // read that would say so.
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut read);
        let count = read.filled().len();
        self.buffer.truncate(length + count);
        polled.map_ok(|()| count)
    }
}

/// How long a refused client may take to read its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of a refused client are read and thrown away.
const DRAIN: usize = 256 * 1024;
/// A usual head, or a ClientHello with post-quantum key shares, fits in one read.
const READ: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    async fn connection() -> (TcpStream, Downstream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        // A session gets its socket from another thread, as a std one. A socket that this runtime
        // accepted would start as readable.
        let accepted = accepted.unwrap().0.into_std().unwrap();
        let accepted = TcpStream::from_std(accepted).unwrap();
        (client.unwrap(), Downstream::new(accepted, false))
    }

    #[tokio::test]
    async fn a_silent_client_takes_no_buffer() {
        let (_client, mut downstream) = connection().await;
        assert_eq!(
            downstream.speaks(READ, Duration::from_millis(20)).await,
            Err(Silence::Lasting)
        );
        assert_eq!(downstream.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn a_read_that_is_given_up_loses_nothing() {
        let (mut client, mut downstream) = connection().await;
        for (part, so_far) in [("CONN", "CONN"), ("ECT", "CONNECT")] {
            client.write_all(part.as_bytes()).await.unwrap();
            assert_eq!(downstream.read(READ).await.unwrap(), part.len());
            let more = timeout(Duration::from_millis(20), downstream.read(READ)).await;
            assert!(more.is_err(), "there was no more");
            assert_eq!(downstream.buffer, so_far.as_bytes());
        }
    }
}
