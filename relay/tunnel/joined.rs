//! The two directions joined: which end closes the tunnel, and how the other end learns of it.

use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::deadlines::Deadlines;
use super::direction::Direction;
use super::turn::{DirectionError, Ends, Turn, WORKBENCH};
use super::{ClientSide, Closed, ClosedBy, Counters, LONGEST_SLEEP, TunnelLimits};
use crate::tls::TlsSession;

/// A tunnel while it is open.
pub(super) struct Tunnel<'a> {
    client: &'a TcpStream,
    tls: Option<&'a mut TlsSession>,
    upstream: &'a TcpStream,
    counters: &'a Counters,
    limits: &'a TunnelLimits,
    up: Direction,
    down: Direction,
    deadlines: Deadlines,
    first_fin: Option<Side>,
    /// A side that a write found reset. What it had sent before is still being delivered.
    reset: Option<(Side, io::Error)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

impl<'a> Tunnel<'a> {
    pub(super) fn new(
        client: ClientSide<'a>,
        upstream: &'a TcpStream,
        first: Vec<u8>,
        limits: &'a TunnelLimits,
        counters: &'a Counters,
    ) -> Self {
        Self {
            client: client.stream,
            tls: client.tls,
            upstream,
            counters,
            limits,
            up: Direction::starting_with(first),
            down: Direction::starting_with(Vec::new()),
            deadlines: Deadlines::start(Instant::now()),
            first_fin: None,
            reset: None,
        }
    }

    /// Moves the bytes that can be moved now.
    pub(super) fn poll_carry(
        &mut self,
        timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Closed> {
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
        // No socket will wake a direction that only used up its share.
        if unfinished {
            yield_now(cx);
        }
        let half_closes = self.first_fin.is_some() && !self.deadlines.is_half_closed();
        if active || half_closes {
            self.deadlines.active(Instant::now());
        }
        if half_closes {
            self.deadlines.half_close();
            self.arm(timer);
        }
        Poll::Pending
    }

    /// Moves bytes that come from `side`. Gives how the tunnel ended, if that ended it.
    fn carry_from(
        &mut self,
        side: Side,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
    ) -> Option<Closed> {
        let (from, to) = (self.stream(side), self.stream(side.opposite()));
        let (direction, is_last) = match side {
            Side::Client => (&mut self.up, self.down.is_finished()),
            Side::Upstream => (&mut self.down, self.up.is_finished()),
        };
        if direction.is_finished() {
            return None;
        }
        let ends = Ends {
            from,
            to,
            counters: self.counters,
            is_up: side == Side::Client,
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
                // This fails only where the receiver reset the connection, and the other direction
                // reads that.
                let _ = SockRef::from(to).shutdown(Shutdown::Write);
                None
            }
            // The receiver may have sent bytes before its reset. They are still to be delivered, so
            // the tunnel ends with the other direction.
            Poll::Ready(Err(DirectionError::Receiver(error))) if is_reset(&error) && !is_last => {
                self.reset = Some((side.opposite(), error));
                None
            }
            Poll::Ready(Err(DirectionError::Receiver(error))) => {
                Some(self.fail(side.opposite(), &error))
            }
            Poll::Ready(Err(DirectionError::Sender(error))) => Some(self.fail(side, &error)),
        }
    }

    /// Ends the tunnel when it has reached a limit.
    ///
    /// Bytes don't reset the timer, because that would cost at every message. When the timer fires,
    /// the time until the next limit is worked out, and it is set again.
    pub(super) fn poll_limits(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Closed> {
        while timer.as_mut().poll(cx).is_ready() {
            let (left, by) = self.deadlines.due(self.limits, Instant::now());
            if left.is_zero() {
                return Poll::Ready(self.end(by));
            }
            self.arm(timer.as_mut());
        }
        Poll::Pending
    }

    fn arm(&self, timer: Pin<&mut Sleep>) {
        let now = Instant::now();
        let (left, _) = self.deadlines.due(self.limits, now);
        timer.reset(now + left.min(LONGEST_SLEEP));
    }

    /// Ends the tunnel by FIN, or by reset towards a side for which bytes are held.
    pub(super) fn end(&mut self, by: ClosedBy) -> Closed {
        if let Some((side, error)) = self.reset.take() {
            return self.fail(side, &error);
        }
        if self.up.holds_bytes() {
            reset_on_close(self.upstream);
        }
        let sealed_bytes_wait = self
            .tls
            .as_ref()
            .is_some_and(|tls| !tls.outgoing().is_empty());
        if self.down.holds_bytes() || sealed_bytes_wait {
            reset_on_close(self.client);
        }
        // An attacker on the path can forge a FIN, but no `close_notify`. So a FIN alone is
        // recorded.
        let cut = self.up.has_ended() && self.tls.as_ref().is_some_and(|tls| !tls.has_ended());
        Closed {
            by,
            error: cut.then(|| "client: a FIN without close_notify".to_owned()),
        }
    }

    /// Ends the tunnel because the connection to `side` failed. Both sides get a reset: the rest of
    /// what was on its way will never arrive.
    fn fail(&mut self, side: Side, error: &io::Error) -> Closed {
        // A reset that was found earlier is the cause; this error may only follow from it.
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

/// Lets the runtime look at its sockets before this task goes on.
///
/// Waking the task alone would put it behind the tasks that are ready now. It would still run
/// before the tasks whose sockets have become readable since the runtime last looked.
fn yield_now(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Tells whether the peer reset the connection. The kernel gives EPIPE for a reset that follows a
/// FIN.
fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// Makes the drop of the socket send a reset instead of a FIN.
fn reset_on_close(stream: &TcpStream) {
    // This fails only on a socket that is already dead, which has no peer to reset.
    let _ = stream.set_zero_linger();
}
