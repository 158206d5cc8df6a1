//! Brings an accepted connection into a session: counts it and deals it to a worker, or turns it
//! away.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::common::Common;
use super::options::ListenerOptions;
use super::session::{self, NO_SESSION};
use super::workers::Dealer;
use crate::http::answer;
use crate::proxy_error::Reason;
use crate::telemetry::Metrics;

/// Takes the accepted connections of every listener.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    common: Arc<Common>,
    dealer: Dealer,
}

/// Counts a connection as open while it lives.
struct OpenConnection<'a>(&'a Metrics);

impl Intake {
    pub(super) fn new(common: Arc<Common>, dealer: Dealer) -> Self {
        Self { common, dealer }
    }

    /// Counts a connection and deals it to a worker, or turns it away. It runs in the accept loop,
    /// so it never waits.
    pub(super) fn take(&self, socket: OwnedFd, peer: SocketAddr, listener: &Arc<ListenerOptions>) {
        self.common.metrics.connections.inc();
        let stream = TcpStream::from(socket);
        // A balancer's connection counts for the client that its PROXY header will announce.
        let client = (!listener.has_balancer(peer.ip())).then_some(peer.ip());
        let slot = self
            .common
            .limiter
            .connection(client, &self.common.settings.load().limits);
        let slot = match slot {
            Ok(slot) => slot,
            Err(reached) => {
                self.common.metrics.connections_turned_away.inc();
                tracing::debug!(client = %peer.ip(), full = %reached, "turned away");
                return turn_away(stream, listener);
            }
        };
        let (common, listener) = (self.common.clone(), listener.clone());
        self.dealer.deal(async move || {
            let _open = OpenConnection::count(&common.metrics);
            // The stream is registered here, with the reactor of the worker's own thread.
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => session::serve(&common, &listener, stream, peer, slot).await,
                Err(error) => tracing::error!(%error, "an accepted connection can't be served"),
            }
        });
    }
}

/// Answers without a session, in the accept loop. It costs as little as possible, because an
/// attacker can have it at any rate.
fn turn_away(mut stream: TcpStream, listener: &ListenerOptions) {
    // Unread bytes would turn the close into a reset, and a reset can overtake the answer. The
    // socket doesn't block.
    let mut sent = [0; 1024];
    let _ = stream.read(&mut sent);
    let reason = Reason::AtCapacity;
    let answer = match (listener.begins_with_tls(), reason.alert()) {
        (true, Some(alert)) => alert.record().to_vec(),
        (true, None) => return,
        (false, _) => answer::refusal(&reason.into(), NO_SESSION),
    };
    let _ = stream.write(&answer);
}

impl<'a> OpenConnection<'a> {
    fn count(metrics: &'a Metrics) -> Self {
        metrics.connections_open.inc();
        Self(metrics)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections_open.dec();
    }
}
