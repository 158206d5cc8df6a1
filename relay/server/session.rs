//! The one line that a CONNECT takes, from the first byte to the record of its end.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::arrival::arrive;
use super::caller::Caller;
use super::downstream::{Downstream, NoHello};
use super::limits::{Claim, ConnectionSlot, Full, TunnelSlot};
use super::listener::NO_SESSION;
use super::local;
use super::options::ListenerOptions;
use super::settings::Settings;
use super::tunnels::{Grounds, Outdated, Registration};
use crate::audit;
use crate::authority::{Authority, Host};
use crate::dial::{self, Dialled};
use crate::dns::AddressSource;
use crate::http::head::Request;
use crate::os;
use crate::policy::{Client, Denial, Permit, PermittedAddrs};
use crate::proxy_error::{Reason, Refusal};
use crate::tls::ClientHello;
use crate::tunnel::{self, Closed, ClosedBy};

/// How a session ends that doesn't end as a tunnel.
pub(super) enum End {
    Refused(Refusal),
    /// The client left before its tunnel carried anything.
    Left,
    /// No byte came.
    Silent,
    /// One connection too many of a client that was announced.
    TurnedAway(Full),
    /// A GET or HEAD of this client, to be answered with a page.
    Page(Arc<Client>),
}

/// A decision, and the settings it was made under.
struct Decided {
    settings: Arc<Settings>,
    client: Arc<Client>,
    permit: Permit,
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(
    shared: &Shared,
    stream: TcpStream,
    peer: SocketAddr,
    listener: &ListenerOptions,
    mut slot: ConnectionSlot,
) {
    let settings = shared.settings.load_full();
    let mut record = shared
        .audit
        .session(listener.name.clone(), settings.policy_id.clone(), peer);
    let mut client = Downstream::new(stream, listener.tls.is_some());
    let arrived = arrive(
        shared,
        &settings,
        listener,
        &mut client,
        peer,
        &mut slot,
        &mut record,
    );
    let ended = match arrived.await {
        Ok(caller) => converse(shared, &settings, &mut client, &caller, &mut record).await,
        Err(end) => Err(end),
    };
    match ended {
        Ok(closed) => record.closed(closed),
        Err(End::Refused(refusal)) => {
            let session = record.id().to_owned();
            record.refused(&refusal);
            client.refuse(&refusal, &session).await;
        }
        Err(End::Left) => record.abandoned(),
        Err(End::Silent) => {
            record.dismissed();
            shared.metrics.connections_silent.inc();
        }
        Err(End::TurnedAway(full)) => {
            record.dismissed();
            shared.metrics.connections_turned_away.inc();
            tracing::debug!(balancer = %peer.ip(), %full, "turned away");
            client.refuse(&Reason::AtCapacity.into(), NO_SESSION).await;
        }
        Err(End::Page(asker)) => {
            record.dismissed();
            shared.metrics.pages.inc();
            local::answer(client, &asker, &settings).await;
        }
    }
}

async fn converse(
    shared: &Shared,
    settings: &Settings,
    client: &mut Downstream,
    caller: &Caller,
    record: &mut audit::Session,
) -> Result<Closed, End> {
    let source = caller.source();
    let target = request(shared, settings, client, caller, record).await?;
    // A socket of the relay's own is registered before it can send the byte that was read.
    let own = || client.stream().local_addr();
    if caller.is_one_of(&shared.outgoing, own) {
        return Err(
            Refusal::new(Reason::LoopDetected, "the connection comes from this relay").into(),
        );
    }
    if shared.is_draining() {
        return Err(Refusal::from(Reason::Draining).into());
    }
    // Before policy is asked: what it would say to whom is something that must not go unrecorded either.
    if !shared.audit.admits() {
        return Err(Refusal::from(Reason::AuditUnavailable).into());
    }
    let decided = decide(shared, caller, &target, record)?;
    let _slot = claim(shared, &decided, source)?;
    // Boxed, so that the tunnel doesn't keep the room that it took to reach the destination.
    let reaching = Box::pin(reach(shared, &decided, &target, record));
    let upstream = tokio::select! {
        upstream = reaching => upstream?,
        () = client.departed() => return Err(End::Left),
    };
    let (decided, registration, mut stopped) = {
        let grounds = Grounds {
            caller: caller.clone(),
            target,
            remote: upstream.remote.ip(),
            server_name: None,
        };
        settle(shared, decided, &grounds, record)?
    };

    record
        .opened()
        .await
        .map_err(|_| Refusal::from(Reason::AuditUnavailable))?;
    client.establish().await.map_err(|_| End::Left)?;
    if decided.permit.reads_client_hello() {
        let named = tokio::select! {
            named = identify(shared, &decided, &registration, client, record) => named?,
            by = &mut stopped => Err(by.unwrap_or(ClosedBy::Error)),
        };
        if let Err(by) = named {
            return Ok(Closed { by, error: None });
        }
    }
    Ok(carry(&decided.settings, client, &upstream, stopped, record).await)
}

/// Reads the head and gives its target. The client is judged before a byte is read and told after, so that the trail has what
/// was asked for.
async fn request(
    shared: &Shared,
    settings: &Settings,
    client: &mut Downstream,
    caller: &Caller,
    record: &mut audit::Session,
) -> Result<Authority, End> {
    let source = caller.source();
    let (limit, within) = (settings.limits.request_head, settings.timeouts.request_head);
    if !client.speaks(limit, within).await {
        return Err(End::Silent);
    }
    shared.look_for_nat(source);
    let admitted = caller.admitted(&settings.policy);
    let own_rate = admitted.as_ref().ok().and_then(|client| client.limits.rate);
    let rate = own_rate.unwrap_or(settings.limits.rate_per_client);
    let in_rate = shared.limiter.request(source, rate, Instant::now());
    if let Ok(known) = &admitted {
        record.client(known.name.as_ref(), known.role.as_str());
    }
    if let Some(name) = caller.certificate_name(admitted.as_deref().ok()) {
        record.certificate(name);
    }

    let head = client.head(limit, within).await;
    if let Some(raw) = client.raw_target() {
        record.sent(raw);
    }
    let head = head?;
    let admitted = admitted?;
    if !in_rate {
        return Err(Refusal::new(Reason::RateLimited, format!("over {rate} and its burst")).into());
    }
    match head.request {
        Request::Local => Err(End::Page(admitted)),
        Request::Connect(target) => {
            record.target(&target);
            client.take_head(head.length);
            Ok(target)
        }
    }
}

/// Decides under the settings of this moment.
fn decide(
    shared: &Shared,
    caller: &Caller,
    target: &Authority,
    record: &mut audit::Session,
) -> Result<Decided, Refusal> {
    let settings = shared.settings.load_full();
    record.policy(&settings.policy_id);
    let client = caller.admitted(&settings.policy)?;
    let decided = settings.policy.decide(&client, target, Timestamp::now());
    let destination = match &decided {
        Ok(permit) => permit.destination(),
        Err(denial) => denial.destination.as_ref(),
    };
    if destination.is_none() {
        shared.look_for_bypass(caller.source(), &client, &target.host, &settings.policy);
    }
    let permit = decided.map_err(|denial| denied(denial, record))?;
    record.destination(permit.destination().map(|destination| &destination.name));
    record.allowed(permit.enforced());
    Ok(Decided {
        settings,
        client,
        permit,
    })
}

fn claim(shared: &Shared, decided: &Decided, source: IpAddr) -> Result<TunnelSlot, Refusal> {
    let claim = Claim {
        source,
        listed: decided.client.name.is_some(),
        tunnels: decided.client.limits.tunnels,
    };
    let inventory = !decided.settings.policy.clients().is_empty();
    shared
        .limiter
        .tunnel(claim, &decided.settings.limits, inventory)
        .map_err(|full| Refusal::new(Reason::AtCapacity, full.to_string()))
}

/// Resolves, screens and dials.
async fn reach(
    shared: &Shared,
    decided: &Decided,
    target: &Authority,
    record: &mut audit::Session,
) -> Result<Dialled, Refusal> {
    let Decided {
        settings, permit, ..
    } = decided;
    let addresses = resolve(settings, permit, target, record).await?;
    let permitted = screen(permit, &addresses, record)?;
    let permitted = shared.without_own(permitted, target.port, settings)?;
    let started = Instant::now();
    let timeout = settings.timeouts.connect;
    let dialled = dial::dial(&permitted, target.port, timeout, &shared.outgoing).await?;
    record.connected(started.elapsed(), dialled.remote, dialled.local);
    Ok(dialled)
}

async fn resolve(
    settings: &Settings,
    permit: &Permit,
    target: &Authority,
    record: &mut audit::Session,
) -> Result<Vec<IpAddr>, Refusal> {
    let name = match (&target.host, permit.static_addresses()) {
        (Host::Literal(address), _) => {
            record.address_source(AddressSource::Literal);
            return Ok(vec![*address]);
        }
        (Host::Name(_), Some(addresses)) => {
            record.address_source(AddressSource::Static);
            return Ok(addresses.to_vec());
        }
        (Host::Name(name), None) => name,
    };
    let started = Instant::now();
    let resolution = settings.resolver.resolve(name).await;
    record.resolved(started.elapsed());
    let resolution = resolution?;
    record.address_source(resolution.source);
    Ok(resolution.addresses)
}

fn screen(
    permit: &Permit,
    addresses: &[IpAddr],
    record: &mut audit::Session,
) -> Result<PermittedAddrs, Refusal> {
    let permitted = permit
        .screen(addresses)
        .map_err(|denial| denied(denial, record))?;
    record.allowed(permit.enforced() && permitted.enforced());
    Ok(permitted)
}

/// Notes which destination refused.
fn denied(denial: Denial, record: &mut audit::Session) -> Refusal {
    record.destination(
        denial
            .destination
            .as_ref()
            .map(|destination| &destination.name),
    );
    denial.refusal
}

/// Registers the tunnel under the current policy; when that isn't the one that decided, it decides again.
fn settle(
    shared: &Shared,
    mut decided: Decided,
    grounds: &Grounds,
    record: &mut audit::Session,
) -> Result<(Decided, Registration, oneshot::Receiver<ClosedBy>), Refusal> {
    loop {
        let generation = decided.settings.generation;
        if let Ok((registration, stopped)) = shared.tunnels.register(generation, grounds.clone()) {
            return Ok((decided, registration, stopped));
        }
        decided = decide(shared, &grounds.caller, &grounds.target, record)?;
        let _ = screen(&decided.permit, &[grounds.remote], record)?;
    }
}

/// Reads the ClientHello and holds its name against the target. The inner error is for a tunnel that ends without refusal.
async fn identify(
    shared: &Shared,
    decided: &Decided,
    registration: &Registration,
    client: &mut Downstream,
    record: &mut audit::Session,
) -> Result<Result<(), ClosedBy>, End> {
    let hello = client
        .client_hello(decided.settings.timeouts.client_hello)
        .await
        .map_err(|no_hello| match no_hello {
            NoHello::Left => End::Left,
            NoHello::Refused(refusal) => End::Refused(refusal),
        })?;
    let ClientHello { server_name, .. } = &hello;
    let checked = decided.permit.check_server_name(server_name);
    let named = registration.named(decided.settings.generation, server_name.clone());
    record.client_hello(hello);
    checked.map_err(Refusal::from)?;
    // A policy that came since then has reviewed this tunnel without its name.
    let current = shared.settings.load();
    match named {
        Err(Outdated) if !registration.holds(&current.policy, Timestamp::now()) => {
            Ok(Err(ClosedBy::PolicyRevoked))
        }
        _ => Ok(Ok(())),
    }
}

/// Relays until either side, a limit or the relay ends it.
async fn carry(
    settings: &Settings,
    client: &mut Downstream,
    upstream: &Dialled,
    stopped: oneshot::Receiver<ClosedBy>,
    record: &mut audit::Session,
) -> Closed {
    let first = client.take_read();
    let counters = record.counters().clone();
    let limits = settings.tunnel_limits();
    // The sender goes only with the registration, which outlives the tunnel.
    let stop = async { stopped.await.unwrap_or(ClosedBy::Error) };
    let (stream, tls) = client.parts();
    let mut relay = pin!(tunnel::relay(
        tunnel::Client { stream, tls },
        &upstream.stream,
        first,
        &limits,
        stop,
        &counters
    ));
    let keepalive = settings.keepalive();
    let settled = SETTLED.min(keepalive.idle).min(keepalive.user_timeout);
    if let Ok(closed) = timeout(settled, &mut relay).await {
        return closed;
    }
    for stream in [stream, &upstream.stream] {
        if let Err(error) = os::keep_alive(stream, &keepalive) {
            tracing::warn!(%error, "a dead peer of this tunnel is noticed late: keepalive can't be set");
        }
    }
    loop {
        match timeout(PROGRESS, &mut relay).await {
            Ok(closed) => return closed,
            Err(_) => record.progress(),
        }
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// When the kernel is told to look for dead peers. Most tunnels are over by then, and its timers would be a tenth of what each
/// of them costs.
const SETTLED: Duration = Duration::from_secs(10);
/// How often a tunnel that goes on says so in the trail.
const PROGRESS: Duration = Duration::from_hours(1);
