//! The vendor's list of destinations, which the binary has as data, with the sources of each.

use callhome_settings::{Form, Mistake, Name, Text};
use ipnet::IpNet;
use serde::Deserialize;

use super::file::File;
use super::words::{GroupWord, PresetWord, PurposeWord};
use crate::policy::{Destination, HostPattern, Origin, SniRule, UPLOAD_MIN_BYTES, VersionRange};

/// The destination that `zerto_v9_ip_ranges` guards.
pub(crate) const GUARDED: &str = "zerto-billing-9";

/// The groups that are allowed unless the file has others. Zerto's licence enforcement depends on
/// these two and on nothing else.
const DEFAULT_GROUPS: [GroupWord; 2] = [GroupWord::Billing, GroupWord::BillingBefore9];

/// Returns the preset in use.
pub(super) fn chosen(file: &File) -> PresetWord {
    file.preset
        .as_ref()
        .map_or(PresetWord::Zerto, |preset| preset.value)
}

/// Returns the groups in use, which are none without a preset.
pub(super) fn groups(file: &File) -> Vec<GroupWord> {
    match (&file.preset_groups, chosen(file)) {
        (_, PresetWord::None) => Vec::new(),
        (Some(groups), PresetWord::Zerto) => groups.value.iter().map(|group| group.value).collect(),
        (None, PresetWord::Zerto) => DEFAULT_GROUPS.to_vec(),
    }
}

/// Returns every destination of the list with its group. The address ranges guard [`GUARDED`] only.
pub(super) fn list(ranges: Option<&[IpNet]>) -> Result<Vec<(GroupWord, Destination)>, String> {
    let list: PresetList = toml::from_str(ZERTO).map_err(|error| error.to_string())?;
    let read = |entry: PresetEntry| {
        let group = entry.group;
        let destination = entry.read(ranges);
        destination.map(|destination| (group, destination))
    };
    let entries = list.destination.into_iter().map(read);
    entries
        .collect::<Result<_, _>>()
        .map_err(|mistake| mistake.help.into_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetList {
    destination: Vec<PresetEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetEntry {
    name: Text<Name>,
    hosts: Vec<Text<HostPattern>>,
    group: GroupWord,
    versions: Option<Text<VersionRange>>,
    purpose: PurposeWord,
    source: String,
    confirmed: bool,
    /// A remark for the readers of the list. The relay doesn't use it.
    #[serde(rename = "note")]
    _note: Option<String>,
}

impl PresetEntry {
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
            upload_min_bytes: UPLOAD_MIN_BYTES,
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

    fn destinations(
        groups: &[GroupWord],
        ranges: Option<&[IpNet]>,
    ) -> Result<Vec<Destination>, String> {
        let chosen = |(group, it)| groups.contains(&group).then_some(it);
        list(ranges).map(|all| all.into_iter().filter_map(chosen).collect())
    }

    const ALL: [GroupWord; 6] = [
        GroupWord::Billing,
        GroupWord::BillingBefore9,
        GroupWord::Licensing,
        GroupWord::Analytics,
        GroupWord::SupportLogs,
        GroupWord::Upgrades,
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
            // The vendor publishes no range, so the list can have none.
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
