//! The inventory of a configuration, as the trail has it.

use callhome_trail::{ExpectedClient, Inventory, ListedDestination, Text};
use jiff::Timestamp;

use crate::policy::{Client, Destination, Policy, Purpose, Role};

/// Returns the inventory of a policy. `now` is the time since when a new client is expected.
pub(super) fn of(policy: &Policy, now: Timestamp) -> Inventory {
    Inventory {
        clients: policy
            .clients()
            .iter()
            .map(|it| expected(it, now))
            .collect(),
        destinations: policy.destinations().iter().map(|it| listed(it)).collect(),
    }
}

fn expected(client: &Client, now: Timestamp) -> ExpectedClient {
    ExpectedClient {
        name: client.name.as_ref().map(Into::into).unwrap_or_default(),
        formerly: client.formerly.iter().map(Into::into).collect(),
        role: client.role.map(Role::as_str).map(Into::into),
        version: client.version.as_ref().map(text),
        // A fraction of a second would only make the record longer.
        since: Timestamp::from_second(now.as_second()).unwrap_or(now),
        sources: client.sources.iter().map(text).collect(),
        certificate_names: client.certificate_names.iter().map(text).collect(),
        expect_every: client.expect_every.map(|every| every.as_secs().max(1)),
        calls_home: client.calls_home,
    }
}

fn listed(destination: &Destination) -> ListedDestination {
    let purpose = match destination.purpose {
        Purpose::Billing => "billing",
        Purpose::Other => "other",
    };
    ListedDestination {
        name: (&destination.name).into(),
        hosts: destination.hosts.iter().map(text).collect(),
        purpose: purpose.into(),
        versions: destination.versions.as_ref().map(text),
        upload_min_bytes: destination.upload_min_bytes,
    }
}

fn text(value: &impl ToString) -> Text {
    value.to_string().into()
}
