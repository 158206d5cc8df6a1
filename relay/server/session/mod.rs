//! Serves one session, from the first byte of a connection to the record of its end.
//!
//! [`Session::run`] is the way of one CONNECT from top to bottom. Each step is a method in a file
//! of this folder, and takes what the step before it gave. A step that refuses gives an [`End`],
//! which [`Session::end`] turns into a record and an answer.

mod arrival;
mod carry;
mod downstream;
mod end;
mod grant;
mod hello;
mod opening;
mod page;
mod reach;
mod request;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use self::downstream::Downstream;
use self::end::End;
use self::request::TunnelRequest;
use super::caller::Caller;
use super::common::Common;
use super::guards::ConnectionSlot;
use super::options::ListenerOptions;
use super::settings::Settings;
use crate::audit::Recorder;
use crate::proxy_error::{Reason, Refusal};
use crate::tunnel::Closed;

pub(super) use self::end::NO_SESSION;

/// An accepted connection, and what the relay has learnt of it so far.
struct Session<'a> {
    common: &'a Common,
    listener: &'a ListenerOptions,
    /// The settings of the last decision, or of accept before there was one.
    settings: Arc<Settings>,
    client: Downstream,
    caller: Caller,
    slot: ConnectionSlot,
    record: Recorder,
}

/// Serves one accepted connection to its end.
///
/// The future is kept small, because an idle tunnel keeps all of it for hours. It captures the
/// session and has nothing else of its own: an `async fn` would keep its arguments beside the
/// session.
pub(super) fn serve<'a>(
    common: &'a Common,
    listener: &'a ListenerOptions,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
) -> impl Future<Output = ()> {
    let mut session = Session::new(common, listener, stream, peer, slot);
    async move {
        match session.run().await {
            Ok(closed) => session.record.closed(closed),
            // Boxed, because an answer takes more room than an idle tunnel.
            Err(end) => Box::pin(session.end(end)).await,
        }
    }
}

impl<'a> Session<'a> {
    fn new(
        common: &'a Common,
        listener: &'a ListenerOptions,
        stream: TcpStream,
        peer: SocketAddr,
        slot: ConnectionSlot,
    ) -> Self {
        let settings = common.settings.load_full();
        let record = common
            .audit
            .session(listener.name.clone(), settings.policy_id.clone(), peer);
        Self {
            common,
            listener,
            settings,
            client: Downstream::new(stream, listener.begins_with_tls()),
            caller: Caller::new(peer),
            slot,
            record,
        }
    }

    /// Takes the connection through every step to the close of its tunnel.
    async fn run(&mut self) -> Result<Closed, End> {
        self.arrive().await?;
        let TunnelRequest { target, hello } = self.read_request().await?;
        self.check_readiness()?;
        let grant = self.decide(&target)?;
        let _slot = self.claim_tunnel(&grant)?;
        let upstream = self.reach(&grant, &target).await?;
        let mut tunnel = self.register(grant, target, upstream)?;
        self.open().await?;
        let _passing = self.identify(&mut tunnel, hello).await?;
        Ok(self.carry(&mut tunnel).await)
    }

    /// Refuses a request that can't be served now. The target plays no part in it.
    ///
    /// It comes before the decision, because what policy answers to a client must not go unrecorded
    /// either.
    fn check_readiness(&self) -> Result<(), Refusal> {
        if self.common.is_draining() {
            return Err(Reason::Draining.into());
        }
        if !self.common.audit.admits() {
            return Err(Reason::AuditUnavailable.into());
        }
        Ok(())
    }

    /// Records how the session ended, and answers the client where that is due.
    async fn end(self, end: End) {
        let Self {
            common,
            settings,
            client,
            caller,
            record,
            ..
        } = self;
        match end {
            End::Refused(refusal) => {
                let session = record.id().to_owned();
                record.refused(&refusal);
                client.refuse(&refusal, &session).await;
            }
            End::Left => record.abandoned(),
            End::Silent => {
                record.dismissed();
                common.metrics.connections_silent.inc();
            }
            End::TurnedAway(full) => {
                record.dismissed();
                common.metrics.connections_turned_away.inc();
                tracing::debug!(balancer = %caller.peer(), %full, "turned away");
                client.refuse(&Reason::AtCapacity.into(), NO_SESSION).await;
            }
            End::Page(asker) => {
                record.dismissed();
                common.metrics.pages.inc();
                page::answer(client, &asker, &settings).await;
            }
            End::Stopped(by) => record.closed(Closed { by, error: None }),
        }
    }
}
