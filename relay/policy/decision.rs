//! The decision: it finds the destination that has a target, and checks whether the client may go
//! there.

use std::sync::Arc;

use jiff::Timestamp;

use super::client::Client;
use super::destination::Destination;
use super::rules::Enforcement;
use super::screen::{Denial, Permit};
use super::{Policy, list};
use crate::authority::{Authority, Host};
use crate::proxy_error::{Reason, Refusal};

impl Policy {
    /// Decides whether a client may go to a target, as far as the target's text tells. The caller
    /// must screen the addresses next.
    ///
    /// In report-only a name on no list passes, on the ports that the lists have, for clients that
    /// aren't restricted to certain destinations. `now` tells whether report-only is still on.
    ///
    /// # Errors
    ///
    /// `DestinationNotAllowed` or `PortNotAllowed`. The detail names the rule.
    pub fn decide(
        &self,
        client: &Client,
        target: &Authority,
        now: Timestamp,
    ) -> Result<Permit, Denial> {
        let report_only = match self.mode {
            Enforcement::Enforce => false,
            Enforcement::ReportOnly { until } => now < until,
        };
        let destination = self.destination_of(&target.host);
        match destination {
            Some(destination) => check_listed(client, target, destination)?,
            None => self.check_unlisted(client, target, report_only)?,
        }
        Ok(Permit {
            target: target.host.clone(),
            destination: destination.cloned(),
            report_only,
            nat64: Arc::clone(&self.nat64),
        })
    }

    fn check_unlisted(
        &self,
        client: &Client,
        target: &Authority,
        report_only: bool,
    ) -> Result<(), Denial> {
        let deny = |reason, detail| {
            Err(Denial {
                refusal: Refusal::new(reason, detail),
                destination: None,
            })
        };
        let host = &target.host;
        match host {
            Host::Literal(_) => {
                let detail = format!("{host} is in the ip_ranges of no destination");
                return deny(Reason::DestinationNotAllowed, detail);
            }
            Host::Name(_) if !report_only => {
                let detail = format!("{host} is a host of no destination");
                return deny(Reason::DestinationNotAllowed, detail);
            }
            Host::Name(_) => {}
        }
        let listed = |it: &Arc<Destination>| it.ports.contains(&target.port);
        if !self.destinations.iter().any(listed) {
            let detail = format!("port {} is a port of no destination", target.port);
            return deny(Reason::PortNotAllowed, detail);
        }
        if client.destinations.is_some() {
            let detail = format!(
                "{host} is a host of no destination, and client {} is held to certain ones",
                client.title()
            );
            return deny(Reason::DestinationNotAllowed, detail);
        }
        Ok(())
    }
}

/// Checks the port, then the client's `destinations`, against the destination chosen for this host.
fn check_listed(
    client: &Client,
    target: &Authority,
    destination: &Arc<Destination>,
) -> Result<(), Denial> {
    let name = &destination.name;
    let (reason, detail) = if !destination.ports.contains(&target.port) {
        let ports = list(&destination.ports);
        let detail = format!(
            "destination {name} has no port {}, only {ports}",
            target.port
        );
        (Reason::PortNotAllowed, detail)
    } else if !client.may_reach(name) {
        let detail = match client.destinations.as_deref() {
            None | Some([]) => format!("client {} may reach no destination", client.title()),
            Some(only) => format!(
                "client {} may reach {} only, not {name}",
                client.title(),
                list(only)
            ),
        };
        (Reason::DestinationNotAllowed, detail)
    } else {
        return Ok(());
    };
    Err(Denial {
        refusal: Refusal::new(reason, detail),
        destination: Some(Arc::clone(destination)),
    })
}
