//! Reads from a client what comes before its tunnel. Each part is complete, refused or late.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{Downstream, READ};
use crate::authority::Authority;
use crate::http::head;
use crate::proxy_error::{Reason, Refusal};
use crate::proxy_protocol::{self, Announced};
use crate::server::session::end::End;
use crate::tls::{self, ClientHello};

/// Why no byte has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server::session) enum Silence {
    /// The client may still send, but its time is over.
    Lasting,
    Closed,
}

impl Downstream {
    /// Waits for the first bytes.
    pub(in crate::server::session) async fn speaks(
        &mut self,
        limit: usize,
        within: Duration,
    ) -> Result<(), Silence> {
        if !self.buffer.is_empty() {
            return Ok(());
        }
        match timeout(within, self.read(limit)).await {
            Ok(Ok(1..)) => Ok(()),
            Ok(_) => Err(Silence::Closed),
            Err(_) => Err(Silence::Lasting),
        }
    }

    /// Reads the PROXY header. The bytes behind it stay in the buffer.
    pub(in crate::server::session) async fn proxy_header(
        &mut self,
        within: Duration,
    ) -> Result<Option<Announced>, End> {
        let deadline = Instant::now() + within;
        loop {
            match proxy_protocol::parse(&self.buffer) {
                proxy_protocol::HeaderProgress::Complete(header) => {
                    self.buffer.drain(..header.length);
                    return Ok(header.announced);
                }
                proxy_protocol::HeaderProgress::Refused(why) => {
                    return Err(Refusal::new(Reason::ProxyHeaderInvalid, why).into());
                }
                proxy_protocol::HeaderProgress::Incomplete => {}
            }
            let read = timeout_at(deadline, self.read(proxy_protocol::MAX_HEADER)).await;
            let refusal = match read {
                Ok(Ok(1..)) => continue,
                _ if self.buffer.is_empty() => return Err(End::Silent),
                Ok(_) => Refusal::new(
                    Reason::ProxyHeaderInvalid,
                    "the connection was closed within its PROXY header",
                ),
                Err(_) => Reason::ProxyHeaderTimeout.into(),
            };
            return Err(refusal.into());
        }
    }

    /// Reads one request head. Its bytes stay in the buffer until [`Self::take_head`].
    pub(in crate::server::session) async fn head(
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
                    head::HeadProgress::Complete(head) => return Ok(head),
                    head::HeadProgress::Refused(refusal) => return Err(refusal),
                    head::HeadProgress::Incomplete => {}
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
            // Parse once more: the bytes since the last look may be a worse mistake than lateness.
            return Err(match head::parse(&self.buffer, limit) {
                head::HeadProgress::Refused(refusal) => refusal,
                _ => refusal,
            });
        }
    }

    /// The target as the client sent it, as far as it has come. It may be no target at all.
    pub(in crate::server::session) fn raw_target(&self) -> Option<&[u8]> {
        head::raw_target(&self.buffer)
    }

    /// The CONNECT that the buffer begins with, if it does: its target as sent and as understood.
    pub(in crate::server::session) fn plain_request(
        &self,
        limit: usize,
    ) -> Option<(&[u8], Authority)> {
        let head::HeadProgress::Complete(head) = head::parse(&self.buffer, limit) else {
            return None;
        };
        match head.request {
            head::Request::Connect(target) => Some((self.raw_target()?, target)),
            head::Request::Local => None,
        }
    }

    /// Drops the head. The bytes behind it stay in the buffer.
    pub(in crate::server::session) fn take_head(&mut self, length: usize) {
        self.buffer.drain(..length.min(self.buffer.len()));
    }

    /// Reads the ClientHello. Its bytes stay in the buffer, because they go to the destination.
    pub(in crate::server::session) async fn client_hello(
        &mut self,
        within: Duration,
    ) -> Result<ClientHello, End> {
        let deadline = Instant::now() + within;
        let mut need = 1;
        loop {
            if self.buffer.len() >= need {
                match tls::parse(&self.buffer) {
                    tls::HelloProgress::Complete(hello) => return Ok(hello),
                    tls::HelloProgress::NotTls(why) => {
                        return Err(Refusal::new(Reason::NotTls, why).into());
                    }
                    tls::HelloProgress::Incomplete { need: more } => need = more,
                }
            }
            match timeout_at(deadline, self.read(tls::MAX_CLIENT_HELLO)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(End::Left),
                Err(_) => return Err(Refusal::from(Reason::ClientHelloTimeout).into()),
            }
        }
    }
}

/// Whether to parse a growing head again.
///
/// The parser starts from the front each time, so a long head that comes byte by byte would cost
/// quadratic work. It is parsed when it has grown by an eighth, or when its end may have come. A
/// head of usual length is always parsed.
fn is_due(head: &[u8], parsed: usize, limit: usize) -> bool {
    let grown = head.len() - parsed;
    head.len() <= READ
        || head.len() >= limit
        || grown >= parsed / 8
        // The blank line at the end may have begun before the new bytes.
        || head[parsed.saturating_sub(3)..].windows(4).any(|end| end == b"\r\n\r\n")
}
