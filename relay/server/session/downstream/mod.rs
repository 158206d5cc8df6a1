//! The client's side of a session until the tunnel takes over: bytes come in, answers go out, under TLS where the listener has it.
//!
//! Here a [`Refusal`] becomes bytes: an HTTP answer before the 200, a TLS alert after it, or where no HTTP can be spoken.

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
use tokio::time::{Instant, timeout, timeout_at};

use self::tls_end::{TlsEnd, flush};
use crate::http::{answer, head};
use crate::proxy_error::{Reason, Refusal};
use crate::proxy_protocol::{self, Announced};
use crate::tls::{self, ClientHello};

#[derive(Debug)]
pub(super) struct Downstream {
    stream: TcpStream,
    /// What has been read and not been taken. Empty and unallocated while nothing has come.
    buffer: Vec<u8>,
    tls: Option<Box<TlsEnd>>,
    told: Told,
}

/// How a refusal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    ByAnswer,
    /// To a client that now speaks TLS, with its destination or with the relay.
    ByAlert,
}

/// Why no request can be read.
#[derive(Debug)]
pub(super) enum NoArrival {
    /// No byte came.
    Silent,
    Refused(Refusal),
    Tls(rustls::Error),
}

/// Why no byte has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It hasn't ended in the time that it may take.
    Lasting,
    Closed,
}

/// Why there is no ClientHello.
#[derive(Debug)]
pub(super) enum NoHello {
    Left,
    Refused(Refusal),
}

impl Downstream {
    /// `begins_with_tls`: the client says nothing before its ClientHello, whether that is for the relay or for its destination.
    pub(super) fn new(stream: TcpStream, begins_with_tls: bool) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            tls: None,
            told: if begins_with_tls {
                Told::ByAlert
            } else {
                Told::ByAnswer
            },
        }
    }

    /// Waits for the first bytes.
    pub(super) async fn speaks(&mut self, limit: usize, within: Duration) -> Result<(), Silence> {
        if !self.buffer.is_empty() {
            return Ok(());
        }
        match timeout(within, self.read(limit)).await {
            Ok(Ok(1..)) => Ok(()),
            Ok(_) => Err(Silence::Closed),
            Err(_) => Err(Silence::Lasting),
        }
    }

    /// Reads the PROXY header; what came behind it stays.
    pub(super) async fn proxy_header(
        &mut self,
        within: Duration,
    ) -> Result<Option<Announced>, NoArrival> {
        let deadline = Instant::now() + within;
        loop {
            match proxy_protocol::parse(&self.buffer) {
                proxy_protocol::Progress::Complete(header) => {
                    self.buffer.drain(..header.length);
                    return Ok(header.announced);
                }
                proxy_protocol::Progress::Refused(why) => {
                    return Err(NoArrival::Refused(Refusal::new(
                        Reason::ProxyHeaderInvalid,
                        why,
                    )));
                }
                proxy_protocol::Progress::Incomplete => {}
            }
            let read = timeout_at(deadline, self.read(proxy_protocol::MAX_HEADER)).await;
            let refusal = match read {
                Ok(Ok(1..)) => continue,
                _ if self.buffer.is_empty() => return Err(NoArrival::Silent),
                Ok(_) => Refusal::new(
                    Reason::ProxyHeaderInvalid,
                    "the connection was closed within its PROXY header",
                ),
                Err(_) => Reason::ProxyHeaderTimeout.into(),
            };
            return Err(NoArrival::Refused(refusal));
        }
    }

    /// Reads one request head. Its bytes stay in the buffer until [`Self::take_head`].
    pub(super) async fn head(
        &mut self,
        limit: usize,
        within: Duration,
    ) -> Result<head::Head, Refusal> {
        let deadline = Instant::now() + within;
        let mut parsed = 0;
        loop {
            if is_due(&self.buffer, parsed, limit) {
                parsed = self.buffer.len();
                match head::parse(&self.buffer, limit) {
                    head::Progress::Complete(head) => return Ok(head),
                    head::Progress::Refused(refusal) => return Err(refusal),
                    head::Progress::Incomplete => {}
                }
            }
            let refusal = match timeout_at(deadline, self.read(limit)).await {
                Ok(Ok(1..)) => continue,
                Ok(_) => Refusal::new(
                    Reason::MalformedRequest,
                    "the client closed within its request head",
                ),
                Err(_) => Reason::RequestTimeout.into(),
            };
            // What came since the last look may be worse than late.
            return Err(match head::parse(&self.buffer, limit) {
                head::Progress::Refused(refusal) => refusal,
                _ => refusal,
            });
        }
    }

    /// The target as it was sent, as far as it has come; it may be anything.
    pub(super) fn raw_target(&self) -> Option<&[u8]> {
        head::raw_target(&self.buffer)
    }

    /// Drops the head; what the client sent behind it stays.
    pub(super) fn take_head(&mut self, length: usize) {
        self.buffer.drain(..length.min(self.buffer.len()));
    }

    /// Completes when the client has closed or reset the connection. Bytes that come meanwhile are kept, up to a bound.
    pub(super) async fn departed(&mut self) {
        loop {
            let Ok(ready) = self.stream.ready(Interest::READABLE).await else {
                return;
            };
            if ready.is_read_closed() {
                return;
            }
            match self.read(tls::MAX_CLIENT_HELLO).await {
                // Full: a FIN would be behind what isn't read, a reset shows all the same.
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
        self.told = Told::ByAlert;
        self.write(answer::ESTABLISHED).await
    }

    /// Reads the ClientHello, which stays in the buffer to be sent on.
    pub(super) async fn client_hello(&mut self, within: Duration) -> Result<ClientHello, NoHello> {
        let deadline = Instant::now() + within;
        let mut need = 1;
        loop {
            if self.buffer.len() >= need {
                match tls::parse(&self.buffer) {
                    tls::Progress::Complete(hello) => return Ok(hello),
                    tls::Progress::NotTls(why) => {
                        return Err(NoHello::Refused(Refusal::new(Reason::NotTls, why)));
                    }
                    tls::Progress::Incomplete { need: more } => need = more,
                }
            }
            match timeout_at(deadline, self.read(tls::MAX_CLIENT_HELLO)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(NoHello::Left),
                Err(_) => return Err(NoHello::Refused(Reason::ClientHelloTimeout.into())),
            }
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the client speaks TLS with the relay itself.
    pub(super) fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// What a tunnel is made of.
    pub(super) fn parts(&mut self) -> (&TcpStream, Option<&mut tls::Session>) {
        (&self.stream, self.tls.as_mut().map(|tls| &mut tls.session))
    }

    /// What has been read and not been taken: a head that is to be replayed, or the first bytes for the destination.
    pub(super) fn take_read(&mut self) -> Vec<u8> {
        let mut read = std::mem::take(&mut self.buffer);
        if let Some(tls) = &mut self.tls {
            read.append(&mut tls.opened);
            tls.opened = Vec::new();
        }
        read
    }

    /// Tells the client why not, and closes.
    pub(super) async fn refuse(self, refusal: &Refusal, session: &str) {
        match (self.told, refusal.reason.alert()) {
            (Told::ByAnswer, _) => self.finish(&answer::refusal(refusal, session)).await,
            (Told::ByAlert, Some(alert)) => self.finish(&alert.record()).await,
            (Told::ByAlert, None) => self.finish(&[]).await,
        }
    }

    /// Says the last words, closes, and drains for a moment: a close with unread bytes would be a reset, and a reset can overtake
    /// what was said.
    pub(super) async fn finish(mut self, words: &[u8]) {
        self.buffer = Vec::new();
        let said = async {
            self.write(words).await?;
            self.close().await
        };
        if matches!(timeout(LINGER, said).await, Ok(Ok(()))) {
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

    /// Sends the FIN, and under TLS what says that it is one (RFC 8446, 6.1).
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
        // Nobody looks at what it is.
        self.tls = None;
        while drained < DRAIN {
            match self.read(READ).await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count,
            }
            self.buffer.clear();
        }
    }

    /// Reads once into the buffer, which never holds more than `limit`. Nothing is lost when this is given up.
    async fn read(&mut self, limit: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(limit, cx)).await
    }

    fn poll_read(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(tls) = &mut self.tls {
            let room = limit.saturating_sub(self.buffer.len());
            return tls.poll_read(&self.stream, &mut self.buffer, room, cx);
        }
        // A client that says nothing takes no buffer.
        ready!(self.stream.poll_read_ready(cx))?;
        let length = self.buffer.len();
        let room = limit.saturating_sub(length).min(READ);
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        self.buffer.resize(length + room, 0);
        let mut read = ReadBuf::new(&mut self.buffer[length..]);
        // Where this doesn't fill the buffer the socket is known to be empty, and isn't asked again until there is more.
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut read);
        let count = read.filled().len();
        self.buffer.truncate(length + count);
        polled.map_ok(|()| count)
    }
}

/// Whether a growing head is to be looked at again. The parser starts from the front each time, so a head that comes byte by byte
/// is looked at when it has grown by an eighth, or when its end may have come; a usual one always.
fn is_due(head: &[u8], parsed: usize, limit: usize) -> bool {
    let grown = head.len() - parsed;
    head.len() <= READ
        || head.len() >= limit
        || grown >= parsed / 8
        // The blank line may have begun before what is new.
        || head[parsed.saturating_sub(3)..].windows(4).any(|end| end == b"\r\n\r\n")
}

/// How long a refused client may take to read its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what a refused client still sends is read and thrown away, in bytes.
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
        // The listener's threads hand a socket over as such; one that this runtime accepts is taken to have something to read.
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
