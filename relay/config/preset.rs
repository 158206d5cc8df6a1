//! The vendor's list of destinations, shipped in the binary as data with its sources.

use ipnet::IpNet;
use serde::Deserialize;

use super::file::{Group, Purpose};
use super::names::Name;
use super::value::{Form, Mistake, Text};
use crate::policy::{Destination, HostPattern, Origin, SniRule, VersionRange};

/// The destination that `zerto_v9_ip_ranges` guards.
pub(crate) const GUARDED: &str = "zerto-billing-9";

/// The groups that are allowed unless the file says otherwise: what Zerto's licence enforcement depends on, nothing else.
pub(super) const DEFAULT_GROUPS: [Group; 2] = [Group::Billing, Group::BillingBefore9];

/// The destinations of these groups; `ranges` guard the one they are meant for. Every entry is read, wanted or not, so that a
/// damaged list can't hide in a group that nobody uses.
pub(super) fn destinations(
    groups: &[Group],
    ranges: Option<&[IpNet]>,
) -> Result<Vec<Destination>, String> {
    let list: Preset = toml::from_str(ZERTO).map_err(|error| error.to_string())?;
    let mut destinations = Vec::new();
    for entry in list.destination {
        let group = entry.group;
        let destination = entry
            .read(ranges)
            .map_err(|mistake| mistake.help.into_owned())?;
        if groups.contains(&group) {
            destinations.push(destination);
        }
    }
    Ok(destinations)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    destination: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Text<Name>,
    hosts: Vec<Text<HostPattern>>,
    group: Group,
    versions: Option<Text<VersionRange>>,
    purpose: Purpose,
    source: String,
    confirmed: bool,
    /// For whoever reads the list.
    #[serde(rename = "note")]
    _note: Option<String>,
}

impl Entry {
    fn read(self, ranges: Option<&[IpNet]>) -> Result<Destination, Mistake> {
        let Name(name) = Form::read(&self.name.value.text)?;
        Ok(Destination {
            ip_ranges: ranges.filter(|_| &*name == GUARDED).map(<[_]>::to_vec),
            name,
            hosts: self
                .hosts
                .iter()
                .map(|host| Form::read(&host.value.text))
                .collect::<Result<_, _>>()?,
            ports: vec![443],
            addresses: None,
            purpose: self.purpose.into(),
            versions: self
                .versions
                .map(|versions| Form::read(&versions.value.text))
                .transpose()?,
            sni: SniRule::Match,
            literals_without_sni: false,
            tls_only: true,
            origin: Origin::Preset {
                confirmed: self.confirmed,
                source: self.source.into(),
            },
        })
    }
}

const ZERTO: &str = include_str!("../presets/zerto.toml");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::policy;

    const ALL: [Group; 6] = [
        Group::Billing,
        Group::BillingBefore9,
        Group::Licensing,
        Group::Analytics,
        Group::SupportLogs,
        Group::Upgrades,
    ];

    #[test]
    fn every_group_has_a_destination_and_every_entry_its_source() {
        for group in ALL {
            assert!(
                !destinations(&[group], None).unwrap().is_empty(),
                "{group:?}"
            );
        }
        let mut names = HashSet::new();
        let mut hosts = HashSet::new();
        for destination in destinations(&ALL, None).unwrap() {
            assert!(
                names.insert(destination.name.clone()),
                "{}",
                destination.name
            );
            assert!(destination.name.starts_with("zerto-"));
            assert_eq!(destination.ports, [443]);
            assert!(destination.tls_only && destination.sni == SniRule::Match);
            // The vendor publishes no range, so none may come from here.
            assert_eq!(destination.ip_ranges, None);
            assert_eq!(destination.addresses, None);
            let Origin::Preset { source, .. } = &destination.origin else {
                panic!("{} is not the preset's", destination.name);
            };
            assert!(source.starts_with("https://"), "{source}");
            for host in destination.hosts {
                assert!(matches!(host, HostPattern::Exact(_)), "{host}");
                assert!(hosts.insert(host.to_string()), "{host}");
            }
        }
    }

    #[test]
    fn billing_is_the_default() {
        let list = destinations(&DEFAULT_GROUPS, None).unwrap();
        let rows: Vec<_> = list
            .iter()
            .map(|destination| {
                assert_eq!(destination.purpose, policy::Purpose::Billing);
                let Origin::Preset { confirmed, .. } = destination.origin else {
                    panic!();
                };
                (
                    &*destination.name,
                    destination.hosts[0].to_string(),
                    destination.versions.unwrap().to_string(),
                    confirmed,
                )
            })
            .collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].0, &*rows[0].1, rows[0].3),
            (GUARDED, "ch3.zerto.com", false)
        );
        assert!(rows[0].2.starts_with(">=9"));
        assert_eq!(
            (rows[1].0, &*rows[1].1, rows[1].3),
            ("zerto-billing-before-9", "autologs.zerto.com", true)
        );
        assert!(rows[1].2.starts_with("<9"));
    }

    #[test]
    fn ranges_guard_the_host_of_version_9_alone() {
        let ranges = ["192.0.2.0/24".parse().unwrap()];
        for destination in destinations(&ALL, Some(&ranges)).unwrap() {
            let expected = (&*destination.name == GUARDED).then(|| ranges.to_vec());
            assert_eq!(destination.ip_ranges, expected, "{}", destination.name);
        }
    }
}
