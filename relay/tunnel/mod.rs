//! The tunnel: it joins two TCP connections until both directions have ended, or until a limit or
//! the operator ends them.
//!
//! - A FIN is passed on once every byte before it is delivered. The other direction goes on
//!   (RFC 9293, 3.6).
//! - A reset is passed on as a reset, so that a transfer cut short never looks complete. What the
//!   resetting side had sent before is delivered first.
//! - A limit or a stop closes both sides by FIN. A side gets a reset only where bytes for it are
//!   still held, because its stream is known to be cut short. TLS tells a cut from an end by itself
//!   (`close_notify`, RFC 8446, 6.1).
//!
//! Where the client speaks TLS with the relay itself, each way ends with a `close_notify` and a FIN
//! behind it. A FIN alone from the client also counts as an end, and [`Closed::error`] names it.
//! The counters count the bytes inside the records. Bytes that are sealed together count once the
//! kernel has taken all of their records.
//!
//! One task moves both directions, on the runtime where the sockets are registered. A direction
//! holds at most 64 KiB beyond the kernel's socket buffers, and only while its receiver doesn't
//! take them. An idle tunnel holds no buffer and no pipe.

mod deadlines;
mod direction;
mod joined;
mod pipe;
mod sealed;
mod socket;
#[cfg(test)]
mod tests;
mod turn;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use self::joined::Tunnel;
use crate::tls::TlsSession;

/// How long a tunnel may last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Without a byte after the first FIN.
    pub half_closed: Duration,
    /// In all.
    pub lifetime: Duration,
}

/// The client's end of a tunnel.
#[derive(Debug)]
pub struct ClientSide<'a> {
    pub stream: &'a TcpStream,
    /// The relay's end of TLS after its handshake, where the client speaks TLS with the relay
    /// itself.
    pub tls: Option<&'a mut TlsSession>,
}

/// Bytes that the receiving side's kernel took. Any thread may read them while the tunnel runs.
#[derive(Debug, Default)]
pub struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    /// How many bytes up ask for an answer. 0 means that no answer is looked for.
    question: AtomicU64,
    /// What `down` was when `up` reached `question`.
    down_before: AtomicU64,
}

/// What a tunnel has carried up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    pub up: u64,
    pub down: u64,
    /// As many bytes went up as [`Counters::look_for_answer`] was told.
    pub is_asked: bool,
    /// After that a byte came down.
    pub is_answered: bool,
}

/// Who or what closed a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// The client's FIN came first, or the client reset the connection.
    Client,
    /// The upstream server's FIN came first, or the server reset the connection.
    Upstream,
    Idle,
    HalfClosed,
    Lifetime,
    PolicyRevoked,
    Shutdown,
    /// A connection failed without a FIN or reset of its peer, for example because the peer no
    /// longer answered.
    Error,
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Closed {
    pub by: ClosedBy,
    /// The side that failed, and the kernel's text for the error.
    pub error: Option<String>,
}

/// Carries bytes both ways until the tunnel ends.
///
/// `first` was read from the client before (bytes sent early, the `ClientHello`), and goes upstream
/// before anything else. `stop` ends the tunnel at once, for the cause that it resolves to. The
/// caller must drop both sockets afterwards: the drop sends the last FIN, or the reset that is
/// passed on.
pub async fn relay(
    client: ClientSide<'_>,
    upstream: &TcpStream,
    first: Vec<u8>,
    limits: &TunnelLimits,
    stop: impl Future<Output = ClosedBy>,
    counters: &Counters,
) -> Closed {
    let mut tunnel = Tunnel::new(client, upstream, first, limits, counters);
    let mut stop = pin!(stop);
    let mut timer = pin!(sleep(limits.idle.min(limits.lifetime).min(LONGEST_SLEEP)));
    poll_fn(|cx| {
        // `stop` comes first, so that a revoked tunnel moves no byte more.
        if let Poll::Ready(by) = stop.as_mut().poll(cx) {
            return Poll::Ready(tunnel.end(by));
        }
        if let Poll::Ready(closed) = tunnel.poll_carry(timer.as_mut(), cx) {
            return Poll::Ready(closed);
        }
        tunnel.poll_limits(timer.as_mut(), cx)
    })
    .await
}

impl Counters {
    /// Client to upstream, early bytes and `ClientHello` included.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Upstream to client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Lets bytes down count as an answer once `question` bytes, at least one, have gone up.
    ///
    /// It must come before the tunnel carries anything.
    pub fn look_for_answer(&self, question: u64) {
        self.question.store(question.max(1), Ordering::Relaxed);
    }

    /// Gives what was carried, if an answer is looked for.
    pub fn carried(&self) -> Option<Carried> {
        let question = self.question.load(Ordering::Relaxed);
        let (up, down) = (self.up(), self.down());
        let is_asked = up >= question;
        (question > 0).then(|| Carried {
            up,
            down,
            is_asked,
            is_answered: is_asked && down > self.down_before.load(Ordering::Relaxed),
        })
    }

    fn count_up(&self, sent: u64) {
        let before = self.up.fetch_add(sent, Ordering::Relaxed);
        let question = self.question.load(Ordering::Relaxed);
        // One task moves both directions, so `down` can't change in between.
        if before < question && question <= before + sent {
            self.down_before.store(self.down(), Ordering::Relaxed);
        }
    }

    fn count_down(&self, sent: u64) {
        self.down.fetch_add(sent, Ordering::Relaxed);
    }
}

impl ClosedBy {
    /// The word for it in the trail and in the metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Idle => "idle",
            Self::HalfClosed => "half_closed",
            Self::Lifetime => "lifetime",
            Self::PolicyRevoked => "policy_revoked",
            Self::Shutdown => "shutdown",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for ClosedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The longest sleep of the runtime's timer. A limit beyond it takes more than one sleep.
const LONGEST_SLEEP: Duration = Duration::from_hours(24);
