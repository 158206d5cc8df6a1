//! What a client asks for: the two ways in which it can say so, and one in which it is heard.

use std::time::{Duration, Instant};

use super::End;
use super::downstream::{Downstream, NoHello, Silence};
use crate::audit;
use crate::authority::{Authority, ServerName};
use crate::http::head::{Head, Request};
use crate::proxy_error::{Reason, Refusal};
use crate::server::Shared;
use crate::server::caller::Caller;
use crate::server::options::ListenerMode;
use crate::server::settings::Settings;
use crate::tls;

/// What a session keeps of a `ClientHello`. The record has the rest.
pub(super) struct Introduction {
    pub(super) server_name: ServerName,
    pub(super) random: tls::Random,
}

/// What a client asks for.
enum Asked {
    Page,
    Tunnel {
        target: Authority,
        /// Where the client began with its ClientHello.
        introduction: Option<Introduction>,
    },
}

/// Reads what the client asks for. The client is judged before that and told after, so that the trail has what was asked for.
pub(super) async fn read(
    shared: &Shared,
    settings: &Settings,
    mode: ListenerMode,
    client: &mut Downstream,
    caller: &Caller,
    record: &mut audit::Recorder,
) -> Result<(Authority, Option<Introduction>), End> {
    let (limit, within) = match mode {
        ListenerMode::Proxy => (settings.limits.request_head, settings.timeouts.request_head),
        ListenerMode::Sni { .. } => (tls::MAX_CLIENT_HELLO, settings.timeouts.client_hello),
    };
    let started = Instant::now();
    match (client.speaks(limit, within).await, mode) {
        // Silence is a ClientHello that is late, and is told as one.
        (Ok(()), _) | (Err(Silence::Lasting), ListenerMode::Sni { .. }) => {}
        (Err(_), _) => return Err(End::Silent),
    }
    let source = caller.source();
    shared.look_for_nat(source);
    let admitted = caller.admitted(&settings.policy);
    let own_rate = admitted.as_ref().ok().and_then(|client| client.limits.rate);
    let rate = own_rate.unwrap_or(settings.limits.rate_per_client);
    let in_rate = shared.limiter.request(source, rate, Instant::now());
    if !in_rate {
        record.over_rate();
    }
    if let Ok(known) = &admitted {
        record.client(known.name.as_ref(), known.role.as_str());
    }
    if let Some(name) = caller.certificate_name(admitted.as_deref().ok()) {
        record.certificate(name);
    }

    let asked = match mode {
        ListenerMode::Proxy => ask_by_head(client, limit, within, record).await?,
        ListenerMode::Sni { target_port } => {
            let left = within.saturating_sub(started.elapsed());
            ask_by_hello(client, target_port, left, record).await?
        }
    };
    // Before it is told that its own address is no client's: that would be the lesser part of what is wrong.
    if let Asked::Tunnel {
        target,
        introduction,
    } = &asked
        && let Some(how) = came_back(shared, mode, client, caller, introduction.as_ref())
    {
        record.target(target);
        shared.report_loop(source, &target.host);
        return Err(Refusal::new(Reason::LoopDetected, how).into());
    }
    let admitted = admitted?;
    if !in_rate {
        return Err(Refusal::new(Reason::RateLimited, format!("over {rate} and its burst")).into());
    }
    match asked {
        Asked::Page => Err(End::Page(admitted)),
        Asked::Tunnel {
            target,
            introduction,
        } => {
            record.target(&target);
            Ok((target, introduction))
        }
    }
}

async fn ask_by_head(
    client: &mut Downstream,
    limit: usize,
    within: Duration,
    record: &mut audit::Recorder,
) -> Result<Asked, Refusal> {
    let head = client.head(limit, within).await;
    if let Some(raw) = client.raw_target() {
        record.sent(raw);
    }
    let Head { request, length } = head?;
    Ok(match request {
        Request::Local => Asked::Page,
        Request::Connect(target) => {
            client.take_head(length);
            Asked::Tunnel {
                target,
                introduction: None,
            }
        }
    })
}

async fn ask_by_hello(
    client: &mut Downstream,
    target_port: u16,
    within: Duration,
    record: &mut audit::Recorder,
) -> Result<Asked, End> {
    let introduction = introduce(client, within, record).await?;
    let host = match &introduction.server_name {
        ServerName::Host(host) => host.clone(),
        ServerName::Absent => {
            let why = "without a server name there is nothing to tell where the client wants to go";
            return Err(Refusal::new(Reason::SniMissing, why).into());
        }
        ServerName::Invalid => {
            let why = "the server name is no host name, or there are two";
            return Err(Refusal::new(Reason::SniMismatch, why).into());
        }
    };
    Ok(Asked::Tunnel {
        target: Authority {
            host,
            port: target_port,
        },
        introduction: Some(introduction),
    })
}

/// Reads the ClientHello.
pub(super) async fn introduce(
    client: &mut Downstream,
    within: Duration,
    record: &mut audit::Recorder,
) -> Result<Introduction, End> {
    let hello = client
        .client_hello(within)
        .await
        .map_err(|no_hello| match no_hello {
            NoHello::Left => End::Left,
            NoHello::Refused(refusal) => End::Refused(refusal),
        })?;
    let introduction = Introduction {
        server_name: hello.server_name.clone(),
        random: hello.random,
    };
    record.client_hello(hello);
    Ok(introduction)
}

/// How it is known that it is this relay itself that has connected, where it is.
fn came_back(
    shared: &Shared,
    mode: ListenerMode,
    client: &Downstream,
    caller: &Caller,
    introduction: Option<&Introduction>,
) -> Option<&'static str> {
    // A socket of the relay's own is registered before it can send the byte that was read. No CONNECT is needed to be served by
    // server name, so there a translator on the way may have made this relay the destination.
    let translated = mode != ListenerMode::Proxy;
    let own = caller.is_one_of(&shared.outgoing, translated, || {
        client.stream().local_addr()
    });
    if own {
        return Some("the connection comes from this relay");
    }
    introduction
        .is_some_and(|it| shared.passing.contains(&it.random))
        .then_some("this ClientHello is passing through this relay already")
}
