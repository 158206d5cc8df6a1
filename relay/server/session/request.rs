//! Reads what a client asks for: by a CONNECT on a `proxy` listener, by its ClientHello on an `sni`
//! listener.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use super::downstream::Silence;
use super::end::End;
use super::hello::Hello;
use crate::authority::{Authority, ServerName};
use crate::http::head::{Head, Request};
use crate::policy::{Client, Role};
use crate::proxy_error::{Reason, Refusal};
use crate::server::options::ListenerMode;
use crate::tls;

/// A request for a tunnel.
pub(super) struct TunnelRequest {
    pub(super) target: Authority,
    /// The ClientHello, where the client began with it.
    pub(super) hello: Option<Hello>,
}

/// What a client asks for.
enum Asked {
    Page,
    Tunnel(TunnelRequest),
}

impl Session<'_> {
    /// Reads what the client asks for.
    ///
    /// The client is judged first and gets its refusal last, so that the trail has what a refused
    /// client asked for.
    pub(super) async fn read_request(&mut self) -> Result<TunnelRequest, End> {
        let mode = self.listener.mode;
        let (limits, timeouts) = (&self.settings.limits, &self.settings.timeouts);
        let (limit, within) = match mode {
            ListenerMode::Proxy => (limits.request_head, timeouts.request_head),
            ListenerMode::Sni { .. } => (tls::MAX_CLIENT_HELLO, timeouts.client_hello),
        };
        let started = Instant::now();
        match (self.client.speaks(limit, within).await, mode) {
            // On an `sni` listener silence is a late ClientHello, and is refused as one below.
            (Ok(()), _) | (Err(Silence::Lasting), ListenerMode::Sni { .. }) => {}
            (Err(_), _) => return Err(End::Silent),
        }
        let judged = self.judge();
        let asked = match mode {
            ListenerMode::Proxy => self.ask_by_head(limit, within).await?,
            ListenerMode::Sni { target_port } => {
                let left = within.saturating_sub(started.elapsed());
                self.ask_by_hello(target_port, left).await?
            }
        };
        if let Asked::Tunnel(request) = &asked {
            self.note_target(&request.target);
            // A loop is refused before the client is. Otherwise the operator would read that the
            // relay's own address is no client, and not that the relay has reached itself.
            self.refuse_loop(request)?;
        }
        let client = judged?;
        match asked {
            Asked::Page => Err(End::Page(client)),
            Asked::Tunnel(request) => Ok(request),
        }
    }

    /// Notes the target, and the destination that it belongs to. That tells nothing about whether
    /// the client may go there.
    pub(super) fn note_target(&mut self, target: &Authority) {
        self.record.target(target);
        let destination = self.settings.policy.destination_of(&target.host);
        let name = destination.map(|destination| &destination.name);
        self.record.destination(name);
        // The decision says it better, if the request comes so far.
        let client = self.presumed_client();
        let counts = destination.map(|it| it.counts_for(&client));
        self.record.billing(counts);
    }

    /// The client that this one is, or would be if it were let in.
    fn presumed_client(&self) -> Arc<Client> {
        let policy = &self.settings.policy;
        let admitted = self.caller.admitted(policy);
        let claimed = || {
            let (name, _) = self.caller.claimed(policy, self.client.expired_names())?;
            let clients = policy.clients();
            let is_named = |it: &&Arc<Client>| it.name.as_ref() == Some(name);
            clients.iter().find(is_named).cloned()
        };
        admitted
            .ok()
            .or_else(claimed)
            .unwrap_or_else(|| Arc::new(Client::unlisted()))
    }

    /// Judges the client by policy and by its rate, and notes in the record who it is.
    fn judge(&mut self) -> Result<Arc<Client>, Refusal> {
        let source = self.caller.source();
        self.common.warnings.look_for_nat(source);
        let admitted = self.caller.admitted(&self.settings.policy);
        let own_rate = admitted.as_ref().ok().and_then(|client| client.limits.rate);
        let rate = own_rate.unwrap_or(self.settings.limits.rate_per_client);
        let in_rate = self.common.limiter.request(source, rate, Instant::now());
        if !in_rate {
            self.record.over_rate();
        }
        if let Ok(known) = &admitted {
            self.record
                .client(known.name.as_ref(), known.role.map(Role::as_str));
        }
        if let Some(name) = self.caller.certificate_name(admitted.as_deref().ok()) {
            self.record.certificate(name);
        }
        if admitted.is_err() || !in_rate {
            self.note_claim();
        }
        let client = admitted?;
        if in_rate {
            Ok(client)
        } else {
            let detail = format!("over {rate} and its burst");
            Err(Refusal::new(Reason::RateLimited, detail))
        }
    }

    async fn ask_by_head(&mut self, limit: usize, within: Duration) -> Result<Asked, Refusal> {
        let head = self.client.head(limit, within).await;
        if let Some(raw) = self.client.raw_target() {
            self.record.sent(raw);
        }
        let Head { request, length } = head?;
        Ok(match request {
            Request::Local => Asked::Page,
            Request::Connect(target) => {
                self.client.take_head(length);
                Asked::Tunnel(TunnelRequest {
                    target,
                    hello: None,
                })
            }
        })
    }

    async fn ask_by_hello(&mut self, target_port: u16, within: Duration) -> Result<Asked, End> {
        let hello = match self.read_hello(within).await {
            Ok(hello) => hello,
            Err(end) => {
                self.note_plain_request();
                return Err(end);
            }
        };
        let host = match &hello.server_name {
            ServerName::Host(host) => host.clone(),
            ServerName::Absent => {
                let why =
                    "without a server name there is nothing to tell where the client wants to go";
                return Err(Refusal::new(Reason::SniMissing, why).into());
            }
            ServerName::Invalid => {
                let why = "the server name is no host name, or there are two";
                return Err(Refusal::new(Reason::SniMismatch, why).into());
            }
        };
        Ok(Asked::Tunnel(TunnelRequest {
            target: Authority {
                host,
                port: target_port,
            },
            hello: Some(hello),
        }))
    }

    /// Refuses a request that this relay has sent to itself.
    fn refuse_loop(&self, request: &TunnelRequest) -> Result<(), Refusal> {
        let came_back = self.common.loops.came_back(
            self.listener.mode,
            &self.caller,
            || self.client.stream().local_addr(),
            request.hello.as_ref().map(|hello| &hello.random),
        );
        let Some(how) = came_back else {
            return Ok(());
        };
        self.common
            .warnings
            .report_loop(self.caller.source(), &request.target.host);
        Err(Refusal::new(Reason::LoopDetected, how))
    }
}
