//! The tunnel: two TCP connections joined until both directions have ended, or a limit or the operator ends them.
//!
//! - A FIN is passed on once every byte before it is delivered; the other direction goes on (RFC 9293, 3.6).
//! - A reset is passed on as a reset, so that a transfer cut short never looks complete. What the resetting side had sent
//!   before is delivered first.
//! - A limit or a stop closes both sides by FIN. Only a side for which bytes are still held gets a reset: for it the stream
//!   is known to be cut short. TLS tells a cut from an end by itself (`close_notify`, RFC 8446, 6.1).
//!
//! Where the client speaks TLS with the relay itself, an end is a `close_notify` with a FIN behind it, both ways; a FIN alone counts
//! as one, and is told. Counters count what is in the records; what is sealed at a time counts once the kernel has taken all of it.
//!
//! One task moves both directions, on the runtime where the sockets are registered. Beyond the kernel's socket buffers a
//! direction holds at most 64 KiB, and only while its receiver doesn't take them; an idle tunnel holds no buffer and no pipe.

mod clock;
mod direction;
mod pipe;
mod sealed;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use self::clock::Clock;
use self::direction::{Direction, Ends, Fault, Turn, Workbench};
use crate::tls;

/// How long a tunnel may last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Without a byte after the first FIN.
    pub half_closed: Duration,
    /// In all.
    pub lifetime: Duration,
}

/// The client's end of a tunnel.
#[derive(Debug)]
pub struct Client<'a> {
    pub stream: &'a TcpStream,
    /// The relay's end of TLS, shaken hands, where the client speaks TLS with the relay itself.
    pub tls: Option<&'a mut tls::Session>,
}

/// Bytes that the receiving side's kernel took. Any thread may read them while the tunnel runs.
#[derive(Debug, Default)]
pub struct Counters {
    up: AtomicU64,
    down: AtomicU64,
}

/// Who or what closed a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// Its FIN came first, or it reset the connection.
    Client,
    /// Its FIN came first, or it reset the connection.
    Upstream,
    Idle,
    HalfClosed,
    Lifetime,
    PolicyRevoked,
    Shutdown,
    /// A connection failed without a word from its peer, for example because it no longer answered.
    Error,
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Closed {
    pub by: ClosedBy,
    /// The side that failed, and the kernel's word for it.
    pub error: Option<String>,
}

/// Carries bytes both ways until the tunnel ends.
///
/// `first` was read from the client before (bytes sent early, the ClientHello); it goes upstream before anything else. `stop`
/// ends the tunnel at once with what it resolves to. The caller drops both sockets afterwards, which is what closes them: the
/// last FIN, and a reset to be passed on, are sent by the drop.
pub async fn relay(
    client: Client<'_>,
    upstream: &TcpStream,
    first: Vec<u8>,
    limits: &Limits,
    stop: impl Future<Output = ClosedBy>,
    counters: &Counters,
) -> Closed {
    let mut tunnel = Tunnel {
        client: client.stream,
        tls: client.tls,
        upstream,
        counters,
        limits,
        up: Direction::starting_with(first),
        down: Direction::starting_with(Vec::new()),
        clock: Clock::start(Instant::now()),
        first_fin: None,
        reset: None,
    };
    let mut stop = pin!(stop);
    let mut timer = pin!(sleep(limits.idle.min(limits.lifetime).min(LONGEST_SLEEP)));
    poll_fn(|cx| {
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

struct Tunnel<'a> {
    client: &'a TcpStream,
    tls: Option<&'a mut tls::Session>,
    upstream: &'a TcpStream,
    counters: &'a Counters,
    limits: &'a Limits,
    up: Direction,
    down: Direction,
    clock: Clock,
    first_fin: Option<Side>,
    /// A side that a write found reset. What it had sent before is still being delivered.
    reset: Option<(Side, io::Error)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

impl Counters {
    /// Client to upstream, early bytes and ClientHello included.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Upstream to client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
}

impl ClosedBy {
    /// The word as it stands in the trail and the metric label.
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

impl Side {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }

    const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

impl From<Side> for ClosedBy {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Upstream => Self::Upstream,
        }
    }
}

impl<'a> Tunnel<'a> {
    /// Moves what can be moved now.
    fn poll_carry(&mut self, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Closed> {
        let (closed, active, unfinished) = WORKBENCH.with_borrow_mut(|bench| {
            let mut turn = Turn::new(bench);
            let closed = self
                .carry_from(Side::Client, &mut turn, cx)
                .or_else(|| self.carry_from(Side::Upstream, &mut turn, cx));
            (closed, turn.active, turn.unfinished)
        });
        if let Some(closed) = closed {
            return Poll::Ready(closed);
        }
        if unfinished {
            yield_now(cx);
        }
        let half_closes = self.first_fin.is_some() && !self.clock.is_half_closed();
        if active || half_closes {
            self.clock.active(Instant::now());
        }
        if half_closes {
            self.clock.half_close();
            self.arm(timer);
        }
        Poll::Pending
    }

    /// Moves bytes that come from `side`; gives how the tunnel ended if that ended it.
    fn carry_from(
        &mut self,
        side: Side,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Option<Closed> {
        let (from, to) = (self.stream(side), self.stream(side.opposite()));
        let (direction, delivered, is_last) = match side {
            Side::Client => (&mut self.up, &self.counters.up, self.down.is_finished()),
            Side::Upstream => (&mut self.down, &self.counters.down, self.up.is_finished()),
        };
        if direction.is_finished() {
            return None;
        }
        let ends = Ends {
            from,
            to,
            delivered,
        };
        let polled = match (&mut self.tls, side) {
            (None, _) => direction.poll(ends, turn, cx),
            (Some(tls), Side::Client) => direction.poll_opening(tls, ends, turn, cx),
            (Some(tls), Side::Upstream) => direction.poll_sealing(tls, ends, turn, cx),
        };
        if direction.has_ended() {
            self.first_fin.get_or_insert(side);
        }
        match polled {
            Poll::Pending => None,
            // Closing the sockets sends the second FIN, so a shutdown(2) of its own is saved.
            Poll::Ready(Ok(())) if is_last => Some(self.end(self.first_fin.unwrap_or(side).into())),
            Poll::Ready(Ok(())) => {
                // This fails only where the receiver reset the connection, and the other direction reads that.
                let _ = SockRef::from(to).shutdown(Shutdown::Write);
                None
            }
            Poll::Ready(Err(Fault::Receiver(error))) if is_reset(&error) && !is_last => {
                self.reset = Some((side.opposite(), error));
                None
            }
            Poll::Ready(Err(Fault::Receiver(error))) => Some(self.fail(side.opposite(), &error)),
            Poll::Ready(Err(Fault::Sender(error))) => Some(self.fail(side, &error)),
        }
    }

    /// Ends the tunnel when a limit is due. Bytes don't reset the timer: it fires now and then, and is set again.
    fn poll_limits(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Closed> {
        while timer.as_mut().poll(cx).is_ready() {
            let (left, by) = self.clock.due(self.limits, Instant::now());
            if left.is_zero() {
                return Poll::Ready(self.end(by));
            }
            self.arm(timer.as_mut());
        }
        Poll::Pending
    }

    fn arm(&self, timer: Pin<&mut Sleep>) {
        let now = Instant::now();
        let (left, _) = self.clock.due(self.limits, now);
        timer.reset(now + left.min(LONGEST_SLEEP));
    }

    fn end(&mut self, by: ClosedBy) -> Closed {
        if let Some((side, error)) = self.reset.take() {
            return self.fail(side, &error);
        }
        if self.up.holds_bytes() {
            reset_on_close(self.upstream);
        }
        if self.down.holds_bytes()
            || self
                .tls
                .as_ref()
                .is_some_and(|tls| !tls.outgoing().is_empty())
        {
            reset_on_close(self.client);
        }
        let cut = self.up.has_ended() && self.tls.as_ref().is_some_and(|tls| !tls.has_ended());
        Closed {
            by,
            error: cut.then(|| "client: a FIN without close_notify".to_owned()),
        }
    }

    /// Ends the tunnel because the connection to `side` failed: what follows of it will never reach the other.
    fn fail(&mut self, side: Side, error: &io::Error) -> Closed {
        if let Some((side, error)) = self.reset.take() {
            return self.fail(side, &error);
        }
        reset_on_close(self.client);
        reset_on_close(self.upstream);
        Closed {
            by: if is_reset(error) {
                side.into()
            } else {
                ClosedBy::Error
            },
            error: Some(format!("{}: {error}", side.as_str())),
        }
    }

    fn stream(&self, side: Side) -> &'a TcpStream {
        match side {
            Side::Client => self.client,
            Side::Upstream => self.upstream,
        }
    }
}

/// Lets the runtime look at its sockets before this task goes on. Waking the task alone would put it behind the tasks that
/// are ready, but before those whose bytes nobody has looked for yet.
fn yield_now(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Whether the peer broke the connection off; EPIPE is the kernel's word for a reset that follows a FIN.
fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// Makes the drop of the socket send a reset instead of a FIN.
fn reset_on_close(stream: &TcpStream) {
    // This fails on a socket that is already dead, and then there is nobody left to tell.
    let _ = stream.set_zero_linger();
}

thread_local! {
    static WORKBENCH: RefCell<Workbench> = RefCell::new(Workbench::new());
}

/// The timer's range has an end; a limit beyond it takes more than one sleep.
const LONGEST_SLEEP: Duration = Duration::from_hours(24);
