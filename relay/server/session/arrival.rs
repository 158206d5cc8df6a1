//! From accept to the first byte of a request, where a listener asks for more than that byte: a balancer's PROXY header, a TLS
//! handshake.

use std::net::SocketAddr;
use std::time::Instant;

use rustls::CertificateError;

use super::End;
use super::downstream::{Downstream, NoArrival};
use crate::audit;
use crate::proxy_error::{Reason, Refusal};
use crate::server::Shared;
use crate::server::caller::Caller;
use crate::server::guards::ConnectionSlot;
use crate::server::options::ListenerOptions;
use crate::server::settings::Settings;
use crate::tls;

/// What is done before a request can be read; nothing of it on most listeners.
pub(super) async fn arrive(
    shared: &Shared,
    settings: &Settings,
    listener: &ListenerOptions,
    client: &mut Downstream,
    peer: SocketAddr,
    slot: &mut ConnectionSlot,
    record: &mut audit::Recorder,
) -> Result<Caller, End> {
    let mut caller = Caller::new(peer);
    if listener.proxy_protocol_from.is_empty() && listener.tls.is_none() {
        return Ok(caller);
    }
    let arrived = async {
        if !listener.proxy_protocol_from.is_empty() {
            announce(settings, listener, client, &mut caller, slot, record).await?;
        }
        if let Some(tls) = &listener.tls {
            let asks = tls.client_ca.is_some();
            shake_hands(settings, &listener.name, asks, client, &mut caller).await?;
        }
        Ok(())
    };
    // Boxed, so that the sessions of all listeners don't keep the room for it.
    let arrived = Box::pin(arrived).await;
    // No request comes of a failure whose rate could be held: whoever fails here fails at the rate at which he may ask.
    if matches!(arrived, Err(End::Refused(_) | End::Left)) {
        let rate = settings.limits.rate_per_client;
        if !shared
            .limiter
            .request(caller.source(), rate, Instant::now())
        {
            record.over_rate();
        }
    }
    arrived.map(|()| caller)
}

/// Takes a balancer's word for whose connection it is; nobody else's.
async fn announce(
    settings: &Settings,
    listener: &ListenerOptions,
    client: &mut Downstream,
    caller: &mut Caller,
    slot: &mut ConnectionSlot,
    record: &mut audit::Recorder,
) -> Result<(), End> {
    let balancer = caller.source();
    if !listener.has_balancer(balancer) {
        let detail = format!("{balancer} isn't in this listener's proxy_protocol_from");
        return Err(Refusal::new(Reason::ClientNotAllowed, detail).into());
    }
    let announced = client.proxy_header(settings.timeouts.proxy_header).await?;
    caller.speaks_for(announced);
    if let Some(announced) = announced {
        record.announced(announced.client, balancer);
        slot.belongs_to(caller.source(), &settings.limits)
            .map_err(End::TurnedAway)?;
    }
    Ok(())
}

async fn shake_hands(
    settings: &Settings,
    listener: &str,
    asks_for_certificate: bool,
    client: &mut Downstream,
    caller: &mut Caller,
) -> Result<(), End> {
    let Some(config) = settings.certificates.of(listener) else {
        return Err(Refusal::new(Reason::Internal, "the listener has no certificate").into());
    };
    let session = client
        .shake_hands(config, settings.timeouts.tls_handshake)
        .await?;
    if asks_for_certificate {
        // Verification has seen one. Were there none, nobody would be known by it, rather than by the address.
        let certificate = session.peer_certificate();
        caller.has_certificate(certificate.map_or_else(Vec::new, |der| tls::host_names(der)));
    }
    Ok(())
}

impl From<NoArrival> for End {
    fn from(why: NoArrival) -> Self {
        match why {
            NoArrival::Silent => Self::Silent,
            NoArrival::Refused(refusal) => Self::Refused(refusal),
            NoArrival::Tls(error) => Self::Refused(refusal(&error)),
        }
    }
}

/// Why there is no TLS, in the relay's words.
fn refusal(error: &rustls::Error) -> Refusal {
    use CertificateError::{Expired, ExpiredContext};
    let reason = match error {
        rustls::Error::NoCertificatesPresented => Reason::CertificateMissing,
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            Reason::CertificateExpired
        }
        rustls::Error::InvalidCertificate(_) => Reason::CertificateUntrusted,
        _ => Reason::TlsHandshakeFailed,
    };
    Refusal::new(reason, error.to_string())
}
