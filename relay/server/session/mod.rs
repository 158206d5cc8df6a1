//! The one line that a session takes, from the first byte to the record of its end, however it says where it wants to go.

mod arrival;
mod downstream;
mod page;
mod request;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::arrival::arrive;
use self::downstream::Downstream;
use self::request::Introduction;
use crate::audit;
use crate::authority::{Authority, Host};
use crate::dial::{self, Dialled};
use crate::dns::AddressSource;
use crate::os;
use crate::policy::{Client, Denial, Permit, PermittedAddrs};
use crate::proxy_error::{Reason, Refusal};
use crate::server::Shared;
use crate::server::caller::Caller;
use crate::server::guards::Passage;
use crate::server::guards::{Claim, ConnectionSlot, Full, TunnelSlot};
use crate::server::guards::{Grounds, Outdated, Registration};
use crate::server::listeners::NO_SESSION;
use crate::server::options::{ListenerMode, ListenerOptions};
use crate::server::settings::Settings;
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
    let mut client = Downstream::new(stream, listener.begins_with_tls());
    let arrived = arrive(
        shared,
        &settings,
        listener,
        &mut client,
        peer,
        &mut slot,
        &mut record,
    );
    let mode = listener.mode;
    let ended = match arrived.await {
        Ok(caller) => converse(shared, &settings, mode, &mut client, &caller, &mut record).await,
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
            page::answer(client, &asker, &settings).await;
        }
    }
}

async fn converse(
    shared: &Shared,
    settings: &Settings,
    mode: ListenerMode,
    client: &mut Downstream,
    caller: &Caller,
    record: &mut audit::Recorder,
) -> Result<Closed, End> {
    let source = caller.source();
    let (target, introduction) =
        request::read(shared, settings, mode, client, caller, record).await?;
    if shared.is_draining() {
        return Err(Refusal::from(Reason::Draining).into());
    }
    // Before policy is asked: what it would say to whom is something that must not go unrecorded either.
    if !shared.audit.admits() {
        return Err(Refusal::from(Reason::AuditUnavailable).into());
    }
    let decided = decide(shared, mode, caller, &target, record)?;
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
        settle(shared, mode, decided, &grounds, record)?
    };

    record
        .opened()
        .await
        .map_err(|_| Refusal::from(Reason::AuditUnavailable))?;
    if mode == ListenerMode::Proxy {
        client.establish().await.map_err(|_| End::Left)?;
    }
    let identified = tokio::select! {
        identified = identify(shared, &decided, &registration, client, introduction, record) => identified?,
        by = &mut stopped => Err(by.unwrap_or(ClosedBy::Error)),
    };
    let _passage = match identified {
        Ok(passage) => passage,
        Err(by) => return Ok(Closed { by, error: None }),
    };
    Ok(carry(&decided.settings, client, &upstream, stopped, record).await)
}

/// Decides under the settings of this moment.
fn decide(
    shared: &Shared,
    mode: ListenerMode,
    caller: &Caller,
    target: &Authority,
    record: &mut audit::Recorder,
) -> Result<Decided, Refusal> {
    let settings = shared.settings.load_full();
    record.policy(&settings.policy_id);
    let client = caller.admitted(&settings.policy)?;
    let decided = settings.policy.decide(&client, target, Timestamp::now());
    let destination = match &decided {
        Ok(permit) => permit.destination(),
        Err(denial) => denial.destination.as_ref(),
    };
    // Who has no proxy has no bypass list.
    if destination.is_none() && mode == ListenerMode::Proxy {
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
    record: &mut audit::Recorder,
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
    record: &mut audit::Recorder,
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
    record: &mut audit::Recorder,
) -> Result<PermittedAddrs, Refusal> {
    let permitted = permit
        .screen(addresses)
        .map_err(|denial| denied(denial, record))?;
    record.allowed(permit.enforced() && permitted.enforced());
    Ok(permitted)
}

/// Notes which destination refused.
fn denied(denial: Denial, record: &mut audit::Recorder) -> Refusal {
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
    mode: ListenerMode,
    mut decided: Decided,
    grounds: &Grounds,
    record: &mut audit::Recorder,
) -> Result<(Decided, Registration, oneshot::Receiver<ClosedBy>), Refusal> {
    loop {
        let generation = decided.settings.generation;
        if let Ok((registration, stopped)) = shared.tunnels.register(generation, grounds.clone()) {
            return Ok((decided, registration, stopped));
        }
        decided = decide(shared, mode, &grounds.caller, &grounds.target, record)?;
        let _ = screen(&decided.permit, &[grounds.remote], record)?;
    }
}

/// Holds the name in the ClientHello against the target, and has it known that this one is passing. The inner error is for a
/// tunnel that ends without refusal.
async fn identify(
    shared: &Shared,
    decided: &Decided,
    registration: &Registration,
    client: &mut Downstream,
    introduction: Option<Introduction>,
    record: &mut audit::Recorder,
) -> Result<Result<Option<Passage>, ClosedBy>, End> {
    let Introduction {
        server_name,
        random,
    } = match introduction {
        Some(introduction) => introduction,
        None if !decided.permit.reads_client_hello() => return Ok(Ok(None)),
        None => request::introduce(client, decided.settings.timeouts.client_hello, record).await?,
    };
    let checked = decided.permit.check_server_name(&server_name);
    let named = registration.named(decided.settings.generation, server_name);
    checked.map_err(Refusal::from)?;
    // A policy that came since then has reviewed this tunnel without its name.
    let current = shared.settings.load();
    match named {
        Err(Outdated) if !registration.holds(&current.policy, Timestamp::now()) => {
            Ok(Err(ClosedBy::PolicyRevoked))
        }
        _ => Ok(Ok(Some(shared.passing.enter(random)))),
    }
}

/// Relays until either side, a limit or the relay ends it.
async fn carry(
    settings: &Settings,
    client: &mut Downstream,
    upstream: &Dialled,
    stopped: oneshot::Receiver<ClosedBy>,
    record: &mut audit::Recorder,
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
