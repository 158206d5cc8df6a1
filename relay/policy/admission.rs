//! Admission: it finds the client that a connection belongs to.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::{Client, Unlisted};
use super::{Policy, list};
use crate::authority::DnsName;

impl Policy {
    /// Finds the clients that have one of these certificate names.
    pub(super) fn of_certificate(&self, names: &[DnsName]) -> Vec<&Arc<Client>> {
        let mut places: Vec<usize> = names
            .iter()
            .filter_map(|name| self.certificates.get(name).copied())
            .collect();
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter_map(|at| self.clients.get(at))
            .collect()
    }

    /// Finds the client that has a canonical address among its sources.
    pub(super) fn of_address(&self, source: IpAddr) -> Option<&Arc<Client>> {
        let place = self.sources.find(source)?;
        self.clients.get(place)
    }

    pub(super) fn admit_by_certificate(
        &self,
        source: IpAddr,
        names: &[DnsName],
    ) -> Result<Arc<Client>, String> {
        match self.of_certificate(names).as_slice() {
            [client] if client.comes_from(source) => Ok(Arc::clone(client)),
            [client] => Err(format!(
                "the certificate is that of client {}, which has no source {source}",
                client.title()
            )),
            [] if names.is_empty() => Err("the certificate has no host name".into()),
            [] => {
                let told = &names[..names.len().min(MAX_TOLD)];
                Err(format!("no client has the certificate name {}", list(told)))
            }
            [one, other, ..] => Err(format!(
                "the certificate is that of several clients: {} and {}",
                one.title(),
                other.title()
            )),
        }
    }

    pub(super) fn admit_by_address(&self, source: IpAddr) -> Result<Arc<Client>, String> {
        match self.of_address(source) {
            // It isn't admitted as a stranger either, because another person may have that client's
            // machine in their hands.
            Some(client) if !client.certificate_names.is_empty() => Err(format!(
                "{source} is a source of client {}, which is known by its certificate, and this listener asks for none",
                client.title()
            )),
            Some(client) => Ok(Arc::clone(client)),
            None if self.unlisted.admits(source) => Ok(Arc::clone(&self.stranger)),
            None => Err(match self.unlisted {
                Unlisted::Private => format!("no client lists {source}, and it isn't private"),
                Unlisted::Deny | Unlisted::Any => format!("no client lists {source}"),
            }),
        }
    }
}

/// How many names of a certificate a message repeats.
const MAX_TOLD: usize = 4;
