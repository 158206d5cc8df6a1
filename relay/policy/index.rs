//! The lists in compiled form: they find the one destination or client that a host or address
//! belongs to.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::address;
use super::destination::HostPattern;
use crate::authority::{DnsName, Host};

/// Finds the one destination that decides, and gives its place in the list.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, usize>,
    /// Keyed by the parent: `example.com` for `*.example.com`.
    below: HashMap<Box<str>, usize>,
    ranges: PrefixMap,
}

/// A longest-prefix match. It takes one look-up for each prefix length that occurs.
#[derive(Debug, Default)]
pub(super) struct PrefixMap {
    places: HashMap<IpNet, usize>,
    /// In descending order.
    v4_lengths: Vec<u8>,
    v6_lengths: Vec<u8>,
}

impl HostIndex {
    /// Adds a host of the destination at `place`. The error is the place of another destination
    /// that already has it.
    pub(super) fn add_host(&mut self, host: &HostPattern, place: usize) -> Result<(), usize> {
        let (map, name) = match host {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Below(parent) => (&mut self.below, parent),
        };
        let owner = *map.entry(name.as_str().into()).or_insert(place);
        if owner == place { Ok(()) } else { Err(owner) }
    }

    pub(super) fn add_range(&mut self, range: IpNet, place: usize) -> Result<(), usize> {
        self.ranges.add(range, place)
    }

    pub(super) fn find(&self, host: &Host, nat64: &[Ipv6Net]) -> Option<usize> {
        match host {
            Host::Name(name) => self.find_name(name),
            Host::Literal(address) => self.ranges.find(address::judged_as(*address, nat64)),
        }
    }

    fn find_name(&self, name: &DnsName) -> Option<usize> {
        let mut rest = name.as_str();
        if let Some(&place) = self.exact.get(rest) {
            return Some(place);
        }
        // It goes up label by label, so the longest wildcard comes first.
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(&place) = self.below.get(parent) {
                return Some(place);
            }
            rest = parent;
        }
        None
    }
}

impl PrefixMap {
    /// Adds a prefix of the entry at `place`. The error is the place of another entry that already
    /// has it.
    pub(super) fn add(&mut self, net: IpNet, place: usize) -> Result<(), usize> {
        let lengths = match net {
            IpNet::V4(_) => &mut self.v4_lengths,
            IpNet::V6(_) => &mut self.v6_lengths,
        };
        let length = net.prefix_len();
        if let Err(at) = lengths.binary_search_by(|known| length.cmp(known)) {
            lengths.insert(at, length);
        }
        let owner = *self.places.entry(net.trunc()).or_insert(place);
        if owner == place { Ok(()) } else { Err(owner) }
    }

    /// Finds the entry with the longest prefix that holds a canonical address.
    pub(super) fn find(&self, address: IpAddr) -> Option<usize> {
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.iter().find_map(|&length| {
            let net = IpNet::new(address, length).ok()?.trunc();
            self.places.get(&net).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_entry_may_repeat_itself_but_not_another() {
        let mut index = HostIndex::default();
        let host: HostPattern = "*.example.com".parse().unwrap();
        assert_eq!(index.add_host(&host, 0), Ok(()));
        assert_eq!(index.add_host(&host, 0), Ok(()));
        assert_eq!(index.add_host(&host, 1), Err(0));
        // Host bits don't make it another prefix.
        assert_eq!(index.add_range("192.0.2.0/24".parse().unwrap(), 1), Ok(()));
        assert_eq!(index.add_range("192.0.2.7/24".parse().unwrap(), 2), Err(1));
    }

    proptest! {
        /// Addresses have few bits here, so that prefixes nest and addresses hit.
        #[test]
        fn longest_prefix_equals_the_naive_search(
            nets in prop::collection::vec((any::<bool>(), 0_u8..4, 0_u8..=4), 0..12),
            v6: bool,
            bits in 0_u8..16,
        ) {
            let address = |v6: bool, bits: u8| -> IpAddr {
                let first = bits << 4;
                if v6 {
                    IpAddr::V6((u128::from(first) << 120).into())
                } else {
                    IpAddr::V4((u32::from(first) << 24).into())
                }
            };
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(v6, bits, length)| IpNet::new(address(v6, bits * 5), length).unwrap())
                .collect();
            let mut map = PrefixMap::default();
            for (place, net) in nets.iter().enumerate() {
                let _ = map.add(*net, place);
            }
            let wanted = address(v6, bits);
            // The first of equals keeps its place, so search backwards for the last maximum.
            let naive = nets
                .iter()
                .enumerate()
                .rev()
                .filter(|(_, net)| net.contains(&wanted))
                .max_by_key(|(_, net)| net.prefix_len())
                .map(|(place, _)| place);
            prop_assert_eq!(map.find(wanted), naive);
        }
    }
}
