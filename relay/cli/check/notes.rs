//! Notes what the configuration may have, and what is yet worth a thought. The warnings of `config`
//! come beside these notes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::audit::{self, AuditOptions};
use crate::config::{Config, GUARDED};
use crate::policy::{Client, Destination, Origin, Policy, Unlisted, VersionRange, ZertoVersion};
use crate::probe::TrustStores;
use crate::server::Certificates;
use crate::tls;

/// Gives the notes, a sentence each. Without trust stores nothing is walked, so the notes on walks
/// are left out.
pub(super) fn on(
    config: &Config,
    certificates: &Certificates,
    stores: Option<&TrustStores>,
) -> Vec<String> {
    let policy = &config.policy;
    let mut notes = Vec::new();
    if let Some(stores) = stores {
        notes.push(SCOPE.to_owned());
        if !stores.has_system() {
            notes.push(NO_SYSTEM_ROOTS.to_owned());
        }
    }
    notes.extend(capacity(&config.audit));
    let now = Timestamp::now().as_second();
    for (listener, end) in certificates.ends() {
        let soon = tls::ends_soon(end, now);
        notes.extend(soon.map(|left| format!("listener {listener}: its certificate {left}")));
    }
    notes.extend(expected(policy));
    for destination in policy.destinations() {
        notes.extend(unconfirmed(destination));
        notes.extend(unguarded(destination));
        notes.extend(outlived(destination, policy));
    }
    notes
}

/// Notes how many days the trail holds. A trail that doesn't exist yet has no note.
fn capacity(options: &AuditOptions) -> Option<String> {
    let directory = options.directory.as_ref().filter(|it| it.exists())?;
    let holds = match audit::capacity(directory, options.max_size) {
        Ok(Some(holds)) => holds.as_secs() / DAY,
        Ok(None) => return Some(LITTLE_HISTORY.to_owned()),
        Err(error) => return Some(format!("the audit trail can't be read: {error}")),
    };
    let keep = options.keep.as_secs() / DAY;
    let but = if holds < keep {
        ", so the oldest records go before that: raise max_size, or look at what fills it"
    } else {
        ""
    };
    Some(format!(
        "at the last week's rate the audit trail holds {holds} days, and `keep` is {keep} days{but}"
    ))
}

/// Notes where each client is expected to upload. Clients with the same answer share a note. The
/// configuration itself warns of clients that call home and have no such place.
fn expected(policy: &Policy) -> Vec<String> {
    let mut clients_of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for client in policy.clients() {
        let places: Vec<_> = policy
            .billing_destinations(client)
            .map(|it| format!("{} ({})", it.name, hosts(it)))
            .collect();
        let answer = match (client.calls_home, places.is_empty()) {
            (false, _) => "not expected to call home".to_owned(),
            (true, true) => continue,
            (true, false) => format!("expected to upload to {}", places.join(" or ")),
        };
        let name = client.name.as_deref().unwrap_or_default();
        clients_of.entry(answer).or_default().push(name);
    }
    clients_of
        .into_iter()
        .map(|(answer, clients)| format!("{}: {answer}", clients.join(", ")))
        .collect()
}

/// Notes a host of the preset that no text of the vendor's confirms.
fn unconfirmed(destination: &Destination) -> Option<String> {
    let Origin::Preset {
        confirmed: false,
        source,
    } = &destination.origin
    else {
        return None;
    };
    let compare = if is_guarded(destination) {
        "; compare it with your copy of FTN-20210401"
    } else {
        ""
    };
    Some(format!(
        "{}: {} isn't confirmed by the vendor, it is from {source}{compare}",
        destination.name,
        hosts(destination)
    ))
}

/// Notes missing ranges of the destination for which the vendor's notice has some.
fn unguarded(destination: &Destination) -> Option<String> {
    (is_guarded(destination) && destination.ip_ranges.is_none()).then(|| {
        format!(
            "{}: zerto_v9_ip_ranges is not set: copy them from FTN-20210401",
            destination.name
        )
    })
}

/// Notes a destination of the preset for versions that no client has any more. The vendor's notice
/// allows removing it then.
fn outlived(destination: &Destination, policy: &Policy) -> Option<String> {
    let Some(VersionRange::Before(end)) = destination.versions else {
        return None;
    };
    let clients = policy.clients();
    let past = |client: &Client| client.version.is_some_and(|version| version >= end);
    if !is_preset(destination)
        || end > NINE
        || clients.is_empty()
        || !clients.iter().all(|client| past(client))
    {
        return None;
    }
    let unless = match policy.unlisted() {
        Unlisted::Deny => "",
        Unlisted::Private | Unlisted::Any => ", unless a machine that isn't listed still needs it",
    };
    Some(format!(
        "{}: every listed client is {} or later, so {} can go{unless}: \
         take \"billing-before-9\" out of preset_groups (FTN-20210401 allows it)",
        destination.name,
        end.major,
        hosts(destination)
    ))
}

fn is_preset(destination: &Destination) -> bool {
    destination.origin != Origin::Site
}

fn is_guarded(destination: &Destination) -> bool {
    is_preset(destination) && &*destination.name == GUARDED
}

fn hosts(destination: &Destination) -> String {
    let hosts: Vec<_> = destination.hosts.iter().map(ToString::to_string).collect();
    hosts.join(", ")
}

const LITTLE_HISTORY: &str = "the audit trail has less than a day of closed files: too little to tell how many days it holds";
const DAY: u64 = 86_400;
const SCOPE: &str =
    "this tests the relay's own path to each destination, not a ZVM's way to the relay";
const NO_SYSTEM_ROOTS: &str = "this machine has no root certificates that can be read: chains are judged by the public ones alone";
/// The first version that uses the new host and ranges of the notice.
const NINE: ZertoVersion = ZertoVersion { major: 9, minor: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the notes on a file, which must be valid.
    fn notes(text: &str) -> Vec<String> {
        on(
            &Config::parse(text, "test").unwrap(),
            &Certificates::default(),
            None,
        )
    }

    fn clients(versions: &[&str]) -> String {
        let client = |(at, version): (usize, &&str)| {
            format!("[[client]]\nname = \"c{at}\"\nsources = [\"10.0.0.{at}\"]\n{version}\n")
        };
        versions.iter().enumerate().map(client).collect()
    }

    #[test]
    fn ranges_are_asked_for_until_they_are_set() {
        let asks = |text: &str| {
            let notes = notes(text);
            notes
                .iter()
                .any(|note| note.contains("not set: copy them from FTN-20210401"))
        };
        assert!(asks(""));
        assert!(!asks("zerto_v9_ip_ranges = [\"203.0.113.0/24\"]"));
        assert!(!asks("preset = \"none\""));
        assert!(!asks("preset_groups = [\"billing-before-9\"]"));
    }

    #[test]
    fn an_unconfirmed_host_is_named_with_its_source() {
        let notes = notes("");
        let named: Vec<_> = notes
            .iter()
            .filter(|it| it.contains("isn't confirmed"))
            .collect();
        assert_eq!(named.len(), 1);
        assert!(named[0].contains("ch3.zerto.com") && named[0].contains("https://"));
    }

    #[test]
    fn each_client_is_told_where_it_is_expected() {
        let machines = clients(&[
            "version = \"9.0\"",
            "version = \"8.5\"",
            "",
            "version = \"10\"",
        ]);
        let text = format!(
            "{machines}[[client]]\nname = \"printer\"\nrole = \"other\"\nsources = [\"10.0.1.1\"]"
        );
        let notes = notes(&text);
        for expected in [
            "c0, c3: expected to upload to zerto-billing-9 (ch3.zerto.com)",
            "c1: expected to upload to zerto-billing-before-9 (autologs.zerto.com)",
            "c2: expected to upload to zerto-billing-9 (ch3.zerto.com) or zerto-billing-before-9 (autologs.zerto.com)",
            "printer: not expected to call home",
        ] {
            assert!(
                notes.iter().any(|note| note == expected),
                "{expected}: {notes:?}"
            );
        }
    }

    #[test]
    fn the_old_host_can_go_when_every_client_is_past_it() {
        let says = |text: &str| {
            let notes = notes(text);
            notes.into_iter().find(|note| note.contains("can go"))
        };
        let all_past = clients(&["version = \"9.0\"", "version = \"10\""]);
        let said = says(&all_past).unwrap();
        assert!(said.contains("autologs.zerto.com"), "{said}");
        assert!(!said.contains("isn't listed"), "{said}");
        let said = says(&format!("{all_past}\n[clients]\nunlisted = \"private\"")).unwrap();
        assert!(said.contains("isn't listed"), "{said}");

        assert_eq!(says(""), None, "nothing is known of any client");
        assert_eq!(
            says(&clients(&["version = \"9.0\"", "version = \"8.5\""])),
            None
        );
        assert_eq!(
            says(&clients(&["version = \"9.0\"", ""])),
            None,
            "one has no version"
        );
        let gone = format!("preset_groups = [\"billing\"]\n{all_past}");
        assert_eq!(says(&gone), None);
    }
}
