//! Speaks TLS with a client as the relay's own end: it shakes hands, and opens the records that
//! come in.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Downstream, READ, RefusalForm};
use crate::proxy_error::{Reason, Refusal};
use crate::server::session::end::End;
use crate::tls;

/// A TLS connection, and the opened bytes that haven't been read.
#[derive(Debug)]
pub(super) struct TlsEnd {
    pub(super) session: tls::TlsSession,
    /// Holds little more than one record.
    pub(super) opened: Vec<u8>,
}

impl Downstream {
    /// Shakes hands with the client. The bytes that have been read already are the beginning of the
    /// handshake.
    pub(in crate::server::session) async fn shake_hands(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        within: Duration,
    ) -> Result<&tls::TlsSession, End> {
        let deadline = Instant::now() + within;
        if self.speaks(READ, within).await.is_err() {
            return Err(End::Silent);
        }
        let mut first = std::mem::take(&mut self.buffer);
        // What isn't TLS may be a request that came to the wrong listener.
        let plain = (first.first() != Some(&HANDSHAKE)).then(|| first.clone());
        let tls = self.tls.insert(Box::new(TlsEnd {
            session: tls::TlsSession::new(config).map_err(|error| refusal(&error))?,
            opened: Vec::new(),
        }));
        let mut shaken = tls.session.open(&mut first, &mut tls.opened);
        drop(first);
        let shaking = async {
            loop {
                // Flush before looking at the result: what waits may be the last flight, or the
                // alert that tells of an error.
                let flushed = flush(&self.stream, &mut tls.session).await;
                shaken.map_err(|error| refusal(&error))?;
                let left = flushed.is_err();
                if !left && !tls.session.is_handshaking() {
                    return Ok(());
                }
                if left || self.stream.readable().await.is_err() {
                    let detail = "the client left within the handshake";
                    return Err(Refusal::new(Reason::TlsHandshakeFailed, detail));
                }
                shaken = match tls.receive(&self.stream) {
                    Ok(0) => Err(rustls::Error::General(
                        "the client left within the handshake".into(),
                    )),
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(of_rustls(error)),
                };
            }
        };
        match timeout_at(deadline, shaking).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => {
                self.buffer = plain.unwrap_or_default();
                return Err(refusal.into());
            }
            Err(_) => return Err(Refusal::from(Reason::TlsHandshakeTimeout).into()),
        }
        self.refusals = RefusalForm::Answer;
        Ok(&tls.session)
    }
}

impl TlsEnd {
    /// Does what [`Downstream::poll_read`] does: opens records until one has content, and moves as
    /// much of it as there is room for.
    pub(super) fn poll_read(
        &mut self,
        stream: &TcpStream,
        buffer: &mut Vec<u8>,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if room == 0 {
            ready!(stream.poll_read_ready(cx))?;
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        while self.opened.is_empty() {
            if self.session.has_ended() {
                return Poll::Ready(Ok(0));
            }
            ready!(stream.poll_read_ready(cx))?;
            match self.receive(stream) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                _ => {}
            }
        }
        let count = room.min(self.opened.len());
        buffer.extend(self.opened.drain(..count));
        if self.opened.is_empty() {
            self.opened = Vec::new();
        }
        Poll::Ready(Ok(count))
    }

    /// Receives sealed bytes once, and opens them. Returns their number.
    fn receive(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut sealed = vec![0; self.session.waiting() + SEALED];
        let waiting = self.session.lay_out(&mut sealed);
        let received = stream.try_read(&mut sealed[waiting..]);
        let end = waiting + *received.as_ref().unwrap_or(&0);
        self.session
            .open(&mut sealed[..end], &mut self.opened)
            .map_err(io::Error::other)?;
        received
    }
}

/// Sends every byte that waits in `session`.
pub(super) async fn flush(stream: &TcpStream, session: &mut tls::TlsSession) -> io::Result<()> {
    while !session.outgoing().is_empty() {
        stream.writable().await?;
        match stream.try_write(session.outgoing()) {
            Ok(sent) => session.sent(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Unwraps the error that [`TlsEnd::receive`] wrapped.
fn of_rustls(error: io::Error) -> rustls::Error {
    match error.downcast::<rustls::Error>() {
        Ok(error) => error,
        Err(error) => rustls::Error::General(error.to_string()),
    }
}

/// Words the failure of a handshake as one of the relay's reasons.
fn refusal(error: &rustls::Error) -> Refusal {
    use CertificateError::{Expired, ExpiredContext};
    let reason = match error {
        rustls::Error::NoCertificatesPresented => Reason::CertificateMissing,
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            Reason::CertificateExpired
        }
        rustls::Error::InvalidCertificate(_) => Reason::CertificateUntrusted,
        _ => Reason::TlsHandshakeFailed,
    };
    Refusal::new(reason, error.to_string())
}

/// The type of the TLS record that a handshake begins with (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// How many sealed bytes are received at a time: enough for the records of [`READ`] opened ones.
const SEALED: usize = 4096;
