//! The relay's own end of a TLS connection, without its I/O. Sealed bytes go in and come out; what
//! was in them comes out and goes in.
//!
//! It is built on the unbuffered interface of rustls, so that the caller decides which buffers to
//! use. So a connection at rest, without half a record and with nothing unsent, holds no buffer.

#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, ServerConfig};

use super::expired;
use crate::authority::DnsName;

/// The state of one TLS connection, whose client begins the handshake.
pub struct TlsSession {
    connection: UnbufferedServerConnection,
    /// Received bytes that are no whole record or handshake message yet.
    incoming: Vec<u8>,
    /// Sealed bytes that must be sent before anything that is sealed later.
    outgoing: Vec<u8>,
    /// The peer's `close_notify` came.
    ended: bool,
    /// Nothing more can be opened or sealed.
    failed: bool,
    /// The names in the peer's certificate, where it was refused because it has expired.
    expired: Vec<DnsName>,
}

impl TlsSession {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            ended: false,
            failed: false,
            expired: Vec::new(),
        })
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Tells whether the peer's `close_notify` came: it sends no more (RFC 8446, 6.1).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Gives the peer's own certificate, verified, if the listener asked for one.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// Gives the names in the peer's certificate after [`Self::open`] has refused it because it has
    /// expired. The peer hasn't proven that the certificate is its own.
    pub fn expired_names(&self) -> &[DnsName] {
        &self.expired
    }

    /// Counts the bytes that wait for the rest of their record or message. They are at most
    /// [`MAX_WAITING`].
    pub fn waiting(&self) -> usize {
        self.incoming.len()
    }

    /// Moves the bytes that wait for the rest of their record to the front of `buffer`, and gives
    /// their number. `buffer` must have room for [`Self::waiting`] bytes.
    ///
    /// The caller receives more bytes behind them, and then must call [`Self::open`] with all of
    /// it; otherwise the waiting bytes are lost.
    pub fn lay_out(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = mem::take(&mut self.incoming);
        buffer[..waiting.len()].copy_from_slice(&waiting);
        waiting.len()
    }

    /// Opens the bytes that were laid out and received, and appends what was in them to `opened`.
    ///
    /// After an error the caller can only send [`Self::outgoing`], which may be an alert, and
    /// close.
    pub fn open(&mut self, sealed: &mut [u8], opened: &mut Vec<u8>) -> Result<(), Error> {
        let mut used = 0;
        let processed = self.process(sealed, &mut used, opened);
        // Take them after every step, so that none is left to another connection.
        let expired = expired::take();
        if let Err(error) = processed {
            self.expired = expired;
            self.alert(&mut sealed[used..]);
            self.failed = true;
            return Err(error);
        }
        // Bytes behind the peer's `close_notify` are to be ignored (RFC 8446, 6.1).
        let rest = if self.ended { &[] } else { &sealed[used..] };
        if rest.len() > MAX_WAITING {
            self.failed = true;
            return Err(Error::General(
                "a handshake message that is too long".into(),
            ));
        }
        self.incoming = rest.to_vec();
        Ok(())
    }

    /// Seals `plain`, and appends the records to `sealed`. They must be sent behind
    /// [`Self::outgoing`].
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), Error> {
        self.write(Some(plain), sealed)
    }

    /// Appends a `close_notify` to `sealed`, which says that no more will be sent.
    pub fn close(&mut self, sealed: &mut Vec<u8>) -> Result<(), Error> {
        self.write(None, sealed)
    }

    /// Gives the bytes that are still to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Takes the first `count` bytes off [`Self::outgoing`], because they were sent.
    pub fn sent(&mut self, count: usize) {
        if count >= self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..count);
        }
    }

    /// Keeps sealed bytes that couldn't be sent.
    pub fn keep(&mut self, unsent: &[u8]) {
        self.outgoing.extend_from_slice(unsent);
    }

    /// Opens the records in `sealed`. `used` grows by the bytes that are done with, also where an
    /// error ends it.
    fn process(
        &mut self,
        sealed: &mut [u8],
        used: &mut usize,
        opened: &mut Vec<u8>,
    ) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut sealed[*used..]);
            *used += discard;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        *used += record.discard;
                        opened.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    fill(&mut self.outgoing, |room| data.encode(room))?;
                }
                // It counts as sent, because the caller sends `outgoing` before anything else.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                // Nothing is left to do. The other states don't occur: early data is never offered,
                // and a state that this code doesn't know can't be handled.
                _ => return Ok(()),
            }
        }
    }

    /// Keeps the alert that rustls may have to send after an error. `rest` is what rustls hasn't
    /// worked through.
    fn alert(&mut self, rest: &mut [u8]) {
        let status = self.connection.process_tls_records(rest);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
            // If the alert can't be written, the peer learns of the error from the close.
            let _ = fill(&mut self.outgoing, |room| data.encode(room));
        }
    }

    /// Seals `plain`, or a `close_notify` where there is none.
    fn write(&mut self, plain: Option<&[u8]>, sealed: &mut Vec<u8>) -> Result<(), Error> {
        if self.failed {
            return Err(Error::General("the connection has failed".into()));
        }
        // rustls may have read part of the bytes that wait, and remembers its place in them. So it
        // must be given them again here.
        let mut incoming = mem::take(&mut self.incoming);
        let mut used = 0;
        let result = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut incoming[used..]);
            used += discard;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    break fill(sealed, |room| match plain {
                        Some(plain) => traffic.encrypt(plain, room),
                        None => traffic.queue_close_notify(room),
                    });
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if let Err(error) = fill(sealed, |room| data.encode(room)) {
                        break Err(error);
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => break Err(Error::HandshakeNotComplete),
                Err(error) => break Err(error),
            }
        };
        incoming.drain(..used);
        self.incoming = incoming;
        result
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// An error of rustls that may ask for more room. Two of its types do so, each in its own way.
trait Shortage {
    fn required(&self) -> Option<usize>;
}

impl Shortage for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Shortage for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Appends what `write` writes. First it offers no room, and `write` answers how much it needs.
fn fill<E: Shortage + fmt::Display>(
    buffer: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let length = buffer.len();
    let mut written = write(&mut []);
    if let Some(required) = written.as_ref().err().and_then(Shortage::required) {
        buffer.resize(length + required, 0);
        written = write(&mut buffer[length..]);
    }
    buffer.truncate(length + *written.as_ref().unwrap_or(&0));
    match written {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::General(error.to_string())),
    }
}

/// The most bytes that may wait for the rest of their handshake message. A client's certificates
/// need a few thousand.
pub const MAX_WAITING: usize = 32 * 1024;
