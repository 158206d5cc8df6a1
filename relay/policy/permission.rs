//! Whether a destination permits an address, by its class and the destination's `ip_ranges`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::special::{Access, AddressClass, class_of};

/// Whether a destination permits an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Permitted,
    /// Globally reachable, but outside the ranges that the destination has.
    OutsideRanges,
    Refused,
}

/// Judges a canonical address of this class; without `ranges`, every globally reachable address is
/// permitted.
pub(super) fn permission(
    judged: IpAddr,
    class: AddressClass,
    ranges: Option<&[IpNet]>,
) -> Permission {
    let range = ranges.and_then(|ranges| narrowest(ranges, judged));
    match (class.access(), range) {
        (Access::Open, Some(_)) => Permission::Permitted,
        (Access::Open, None) if ranges.is_none() => Permission::Permitted,
        (Access::Open, None) => Permission::OutsideRanges,
        // The narrowest range is enough to ask: if a wider one lay inside a special-purpose block,
        // so would this one.
        (Access::ByRange, Some(range)) if class_of(range).access() == Access::ByRange => {
            Permission::Permitted
        }
        (Access::ByRange | Access::Never, _) => Permission::Refused,
    }
}

/// Finds the narrowest of the ranges that hold a canonical address.
fn narrowest(ranges: &[IpNet], address: IpAddr) -> Option<IpNet> {
    ranges
        .iter()
        .filter(|range| range.contains(&address))
        .max_by_key(|range| range.prefix_len())
        .copied()
}
