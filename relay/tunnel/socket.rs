//! Reads and writes on a non-blocking TCP socket that keep the runtime's idea of its readiness
//! right.

use std::io::{self, ErrorKind::WouldBlock};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Calls [`TcpStream::try_io`] for an operation that moves fewer than `wanted` bytes only when the
/// socket has no more to give or to take.
///
/// A short count means that the next call would give `EAGAIN`. So readiness is cleared at once,
/// which saves that call.
#[inline]
pub(super) fn try_io(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = 0;
    let outcome = stream.try_io(interest, || {
        moved = call()?;
        if 0 < moved && moved < wanted {
            // This error is how tokio learns that the socket is no longer ready; it doesn't leave
            // here.
            return Err(WouldBlock.into());
        }
        Ok(())
    });
    match outcome {
        Err(e) if moved == 0 => Err(e),
        _ => Ok(moved),
    }
}

/// Sends as many bytes as the kernel takes.
#[inline]
pub(super) fn send(to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    try_io(to, Interest::WRITABLE, bytes.len(), || {
        rustix::net::send(to, bytes, SendFlags::NOSIGNAL)
    })
}

/// Receives what has arrived, as far as it fits; gives zero at the sender's FIN.
#[inline]
pub(super) fn receive(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    try_io(from, Interest::READABLE, buffer.len(), || {
        rustix::net::recv(from, &mut *buffer, RecvFlags::empty()).map(|(received, _)| received)
    })
}
