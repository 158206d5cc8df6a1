//! Machines that call home and are in no inventory.

use jiff::{SignedDuration, Timestamp};

use super::cause::{Cause, cause};
use super::clock::plus;
use super::facts::Facts;
use super::state::state;

impl Facts {
    /// Whether this machine, which was found, may be a listed client that went quiet: it came about
    /// when that client was last seen, or when its next upload was due. Where the trail itself
    /// ends, no client went quiet.
    pub fn may_be(&self, client: &Self, now: Timestamp) -> bool {
        if !self.found || client.found || !state(client, now).is_quiet_or_worse() {
            return false;
        }
        let ends = matches!(
            cause(client, now),
            Cause::RelaySilent { .. } | Cause::RelayAhead { .. } | Cause::Unread { .. }
        );
        let seen = client.seen.unwrap_or(client.entered);
        let every = client.learned.unwrap_or(client.period.every);
        let due = client.upload.as_ref().map(|upload| plus(upload.at, every));
        let is_near = |at: Timestamp| self.entered.duration_since(at).abs() <= NEAR;
        !ends && seen <= self.entered && (is_near(seen) || due.is_some_and(is_near))
    }

    /// The `[[client]]` that lists a machine that was found.
    pub fn client_block(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(|it| it.address).collect();
        let sources: Vec<_> = addresses.iter().map(|it| format!("\"{it}\"")).collect();
        let name = match self.name.parse::<std::net::IpAddr>() {
            Ok(_) => format!("zvm-{}", self.name.replace(['.', ':'], "-")),
            Err(_) => self.name.replace(['"', '\\'], "-"),
        };
        format!(
            "[[client]]\nname = \"{name}\"\nrole = \"zvm\"    # or zca, zcm\nsources = [{}]\n",
            sources.join(", ")
        )
    }
}

/// What is within this time is "about" the same time.
const NEAR: SignedDuration = SignedDuration::from_hours(1);
