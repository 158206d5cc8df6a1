//! Reaches the destination: finds its addresses, screens them, and connects to one.

use std::net::IpAddr;
use std::time::Instant;

use super::Session;
use super::end::End;
use super::grant::Grant;
use crate::audit::Recorder;
use crate::authority::{Authority, Host};
use crate::dial::{self, Dialled};
use crate::dns::AddressSource;
use crate::proxy_error::Refusal;
use crate::server::settings::Settings;

impl Session<'_> {
    /// Resolves, screens and dials. It gives up when the client leaves meanwhile.
    pub(super) async fn reach(
        &mut self,
        grant: &Grant,
        target: &Authority,
    ) -> Result<Dialled, End> {
        let Self {
            common,
            settings,
            client,
            record,
            ..
        } = self;
        let loops = &common.loops;
        let reaching = async {
            let addresses = resolve(settings, grant, target, record).await?;
            let permitted = grant.screen(&addresses, record)?;
            let permitted = loops.without_own(
                permitted,
                target.port,
                &settings.self_addresses,
                &settings.policy,
            )?;
            let started = Instant::now();
            let timeout = settings.timeouts.connect;
            let dialled = dial::dial(&permitted, target.port, timeout, loops.outgoing()).await?;
            record.connected(started.elapsed(), dialled.remote, dialled.local);
            Ok::<_, Refusal>(dialled)
        };
        // Boxed, so that an idle tunnel doesn't keep the room that this step took: the box is freed
        // when it ends.
        let reaching = Box::pin(reaching);
        tokio::select! {
            upstream = reaching => Ok(upstream?),
            () = client.departed() => Err(End::Left),
        }
    }
}

/// Finds the addresses of a target. None of them has been screened.
async fn resolve(
    settings: &Settings,
    grant: &Grant,
    target: &Authority,
    record: &mut Recorder,
) -> Result<Vec<IpAddr>, Refusal> {
    let name = match (&target.host, grant.permit.static_addresses()) {
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
