//! Takes what some listeners need before a request: a balancer's PROXY header, and a TLS handshake.

use std::time::Instant;

use super::Session;
use super::end::End;
use crate::proxy_error::{Reason, Refusal};
use crate::server::options::{ListenerMode, TlsOptions};
use crate::tls;

impl Session<'_> {
    /// Reads the PROXY header and shakes hands, as far as the listener asks for it. Most listeners
    /// ask for neither.
    pub(super) async fn arrive(&mut self) -> Result<(), End> {
        let listener = self.listener;
        if listener.proxy_protocol_from.is_empty() && listener.tls.is_none() {
            return Ok(());
        }
        let arriving = async {
            if !listener.proxy_protocol_from.is_empty() {
                self.read_proxy_header().await?;
            }
            if let Some(tls) = &listener.tls {
                self.shake_hands(tls).await?;
            }
            Ok(())
        };
        // Boxed, because a session's future is as large as its largest step, and an idle tunnel
        // keeps all of it. So the sessions of other listeners don't pay for this step, and those of
        // this one only until it ends.
        let arrived = Box::pin(arriving).await;
        // A failed PROXY header or handshake never reaches the request limiter, so charge it to the
        // same bucket here.
        if matches!(arrived, Err(End::Refused(_) | End::Left)) {
            self.note_claim();
            let rate = self.settings.limits.rate_per_client;
            let source = self.caller.source();
            if !self.common.limiter.request(source, rate, Instant::now()) {
                self.record.over_rate();
            }
        }
        arrived
    }

    /// Notes which listed client the caller would be.
    pub(super) fn note_claim(&mut self) {
        let refused = self.client.expired_names();
        if let Some(name) = refused.first() {
            self.record.certificate(name);
        }
        let claimed = self.caller.claimed(&self.settings.policy, refused);
        if let Some((name, is_proven)) = claimed {
            self.record.claimed(name, is_proven);
        }
    }

    /// Notes what a client asks for that takes a balancer's listener for its own. A listener that
    /// speaks TLS would have to shake hands first, which it does with balancers only.
    async fn note_misplaced(&mut self) {
        if self.listener.tls.is_none() && self.listener.mode == ListenerMode::Proxy {
            let limit = self.settings.limits.request_head;
            let within = self.settings.timeouts.proxy_header;
            // An error is no matter, because the client is refused anyway.
            let _ = self.client.head(limit, within).await;
            self.note_plain_request();
        }
    }

    /// Notes the target of a CONNECT that came where something else was expected.
    pub(super) fn note_plain_request(&mut self) {
        let limit = self.settings.limits.request_head;
        if let Some((raw, target)) = self.client.plain_request(limit) {
            self.record.sent(raw);
            self.note_target(&target);
        }
    }

    /// Takes the client's address from a balancer that is listed, and from no other peer.
    async fn read_proxy_header(&mut self) -> Result<(), End> {
        let balancer = self.caller.source();
        if !self.listener.has_balancer(balancer) {
            let detail = format!("{balancer} isn't in this listener's proxy_protocol_from");
            self.note_misplaced().await;
            return Err(Refusal::new(Reason::ClientNotAllowed, detail).into());
        }
        let within = self.settings.timeouts.proxy_header;
        let announced = self.client.proxy_header(within).await?;
        self.caller.speaks_for(announced);
        if let Some(announced) = announced {
            self.record.announced(announced.client, balancer);
            self.slot
                .belongs_to(self.caller.source(), &self.settings.limits)
                .map_err(End::TurnedAway)?;
        }
        Ok(())
    }

    async fn shake_hands(&mut self, options: &TlsOptions) -> Result<(), End> {
        let Some(config) = self.settings.certificates.of(&self.listener.name) else {
            return Err(Refusal::new(Reason::Internal, "the listener has no certificate").into());
        };
        let within = self.settings.timeouts.tls_handshake;
        let session = match self.client.shake_hands(config, within).await {
            Ok(session) => session,
            Err(end) => {
                self.note_plain_request();
                return Err(end);
            }
        };
        if options.client_ca.is_some() {
            // Verification has required a certificate. If none were there, the empty list of names
            // would admit no client, whereas the address alone might admit one.
            let certificate = session.peer_certificate();
            let names = certificate.map_or_else(Vec::new, |der| tls::host_names(der));
            self.caller.has_certificate(names);
        }
        Ok(())
    }
}
