//! Carries the bytes of an open tunnel.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::Session;
use super::opening::RegisteredTunnel;
use crate::os;
use crate::tunnel::{self, Closed};

impl Session<'_> {
    /// Relays until either side, a limit or the relay ends the tunnel.
    pub(super) async fn carry(&mut self, tunnel: &mut RegisteredTunnel) -> Closed {
        let (upstream, stop) = (&tunnel.upstream.stream, &mut tunnel.stop);
        let first = self.client.take_read();
        if let Some(destination) = tunnel.grant.permit.destination() {
            self.record.look_for_upload(destination.upload_min_bytes);
        }
        let counters = self.record.counters().clone();
        let limits = self.settings.tunnel_limits();
        let (stream, tls) = self.client.parts();
        let client = tunnel::ClientSide { stream, tls };
        let mut relay = pin!(tunnel::relay(
            client, upstream, first, &limits, stop, &counters
        ));
        let keepalive = self.settings.keepalive();
        let settled = SETTLED.min(keepalive.idle).min(keepalive.user_timeout);
        if let Ok(closed) = timeout(settled, &mut relay).await {
            return closed;
        }
        for stream in [stream, upstream] {
            if let Err(error) = os::keep_alive(stream, &keepalive) {
                tracing::warn!(%error, "a dead peer of this tunnel is noticed late: keepalive can't be set");
            }
        }
        loop {
            match timeout(PROGRESS, &mut relay).await {
                Ok(closed) => return closed,
                Err(_) => self.record.progress(),
            }
        }
    }
}

/// The age at which a tunnel gets keepalive. Most tunnels are over by then, and the kernel's timers
/// would be a tenth of what such a tunnel costs.
const SETTLED: Duration = Duration::from_secs(10);
/// How often the trail gets a record of a tunnel that goes on.
const PROGRESS: Duration = Duration::from_hours(1);
