//! The special-purpose address registries as data, and the class of an address.
//!
//! The rows are those of the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC
//! 8190; as updated on 2025-10-09), under the registries' names. The rows behind them come from
//! other documents, and are marked so.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::address;

/// A block of addresses that is not plain public unicast, or a documented exception inside such a
/// block.
#[derive(Clone, Copy, Debug)]
pub struct SpecialBlock {
    pub block: IpNet,
    pub class: AddressClass,
    /// The name in the registry.
    pub name: &'static str,
    /// The document that defines it.
    pub document: &'static str,
}

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident, $word:literal, $access:ident;)+) => {
        /// What kind of address it is, in one word for the trail and for `explain`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AddressClass { $($(#[$doc])* $variant),+ }

        impl AddressClass {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What it takes to dial an address of this class.
            pub const fn access(self) -> Access {
                match self { $(Self::$variant => Access::$access),+ }
            }
        }
    };
}

// Three kinds are `Never`. The first have no single host behind them. The second give credentials
// to every program that asks. The third carry an IPv4 address inside that was not judged.
classes! {
    /// Public unicast, or a special block that the registry has as globally reachable.
    GloballyReachable, "globally_reachable", Open;
    Benchmarking, "benchmarking", ByRange;
    Broadcast, "broadcast", Never;
    DiscardOnly, "discard_only", ByRange;
    Documentation, "documentation", ByRange;
    Dummy, "dummy", ByRange;
    IetfProtocol, "ietf_protocol", ByRange;
    Ipv4Compatible, "ipv4_compatible", Never;
    Ipv4Mapped, "ipv4_mapped", Never;
    LinkLocal, "link_local", ByRange;
    Loopback, "loopback", ByRange;
    /// The metadata or credential service of a cloud platform.
    Metadata, "metadata", Never;
    Multicast, "multicast", Never;
    Orchid, "orchid", ByRange;
    PrivateUse, "private_use", ByRange;
    RelayAnycast, "relay_anycast", ByRange;
    Reserved, "reserved", ByRange;
    SegmentRouting, "segment_routing", ByRange;
    SharedAddressSpace, "shared_address_space", ByRange;
    SiteLocal, "site_local", ByRange;
    SixToFour, "6to4", Never;
    Teredo, "teredo", Never;
    ThisNetwork, "this_network", Never;
    /// Behind a translator (NAT64) that isn't configured, so its IPv4 address is unknown.
    Translation, "ipv4_translation", Never;
    /// IPv6 outside `2000::/3` that has no purpose in any registry.
    Unallocated, "unallocated", Never;
    UniqueLocal, "unique_local", ByRange;
    Unspecified, "unspecified", Never;
}

/// What it takes to dial an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing, unless the destination has `ip_ranges`.
    Open,
    /// An `ip_ranges` entry that is wholly inside the special-purpose block.
    ByRange,
    /// No configuration opens it.
    Never,
}

/// Gives the class of an address, after reducing it to the address that it reaches. A v4-mapped
/// address, or one in `64:ff9b::/96` or a `nat64` prefix, counts as the IPv4 address inside.
pub fn classify(address: IpAddr, nat64: &[Ipv6Net]) -> AddressClass {
    class_of(address::judged_as(address, nat64).into())
}

impl SpecialBlock {
    /// Finds the most specific block that holds all of `net`.
    pub fn around(net: IpNet) -> Option<&'static Self> {
        SPECIAL_BLOCKS
            .iter()
            .filter(|row| row.block.contains(&net))
            .max_by_key(|row| row.block.prefix_len())
    }
}

impl fmt::Display for SpecialBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.block, self.name, self.document)
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives the class that all of a canonical `net` has. For one wider than any special block, it is
/// the class of the rest.
pub(super) fn class_of(net: IpNet) -> AddressClass {
    match (SpecialBlock::around(net), net) {
        (Some(row), _) => row.class,
        (None, IpNet::V6(net)) if !overlap(net, GLOBAL_UNICAST) => AddressClass::Unallocated,
        (None, _) => AddressClass::GloballyReachable,
    }
}

pub(super) fn overlap(one: Ipv6Net, other: Ipv6Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

macro_rules! blocks {
    ($($block:expr, $class:ident, $name:literal, $document:literal;)+) => {
        pub const SPECIAL_BLOCKS: &[SpecialBlock] = &[$(SpecialBlock {
            block: $block,
            class: AddressClass::$class,
            name: $name,
            document: $document,
        }),+];
    };
}

blocks! {
    // IANA IPv4 Special-Purpose Address Registry
    v4([0, 0, 0, 0], 8), ThisNetwork, "\"This network\"", "RFC 791, 3.2";
    v4([0, 0, 0, 0], 32), ThisNetwork, "\"This host on this network\"", "RFC 1122, 3.2.1.3";
    v4([10, 0, 0, 0], 8), PrivateUse, "Private-Use", "RFC 1918";
    v4([100, 64, 0, 0], 10), SharedAddressSpace, "Shared Address Space", "RFC 6598";
    v4([127, 0, 0, 0], 8), Loopback, "Loopback", "RFC 1122, 3.2.1.3";
    v4([169, 254, 0, 0], 16), LinkLocal, "Link Local", "RFC 3927";
    v4([172, 16, 0, 0], 12), PrivateUse, "Private-Use", "RFC 1918";
    v4([192, 0, 0, 0], 24), IetfProtocol, "IETF Protocol Assignments", "RFC 6890, 2.1";
    v4([192, 0, 0, 0], 29), IetfProtocol, "IPv4 Service Continuity Prefix", "RFC 7335";
    v4([192, 0, 0, 8], 32), Dummy, "IPv4 dummy address", "RFC 7600";
    v4([192, 0, 0, 9], 32), GloballyReachable, "Port Control Protocol Anycast", "RFC 7723";
    v4([192, 0, 0, 10], 32), GloballyReachable, "Traversal Using Relays around NAT Anycast", "RFC 8155";
    v4([192, 0, 0, 170], 31), IetfProtocol, "NAT64/DNS64 Discovery", "RFC 8880";
    v4([192, 0, 2, 0], 24), Documentation, "Documentation (TEST-NET-1)", "RFC 5737";
    v4([192, 31, 196, 0], 24), GloballyReachable, "AS112-v4", "RFC 7535";
    v4([192, 52, 193, 0], 24), GloballyReachable, "AMT", "RFC 7450";
    v4([192, 88, 99, 0], 24), RelayAnycast, "Deprecated (6to4 Relay Anycast)", "RFC 7526";
    v4([192, 88, 99, 2], 32), RelayAnycast, "6a44-relay anycast address", "RFC 6751";
    v4([192, 168, 0, 0], 16), PrivateUse, "Private-Use", "RFC 1918";
    v4([192, 175, 48, 0], 24), GloballyReachable, "Direct Delegation AS112 Service", "RFC 7534";
    v4([198, 18, 0, 0], 15), Benchmarking, "Benchmarking", "RFC 2544";
    v4([198, 51, 100, 0], 24), Documentation, "Documentation (TEST-NET-2)", "RFC 5737";
    v4([203, 0, 113, 0], 24), Documentation, "Documentation (TEST-NET-3)", "RFC 5737";
    v4([240, 0, 0, 0], 4), Reserved, "Reserved", "RFC 1112, 4";
    v4([255, 255, 255, 255], 32), Broadcast, "Limited Broadcast", "RFC 919, 7";

    // IANA IPv6 Special-Purpose Address Registry. ::ffff:0:0/96 and 64:ff9b::/96 are judged as the
    // IPv4 address inside. Their rows are for a configuration that has a range with them.
    v6(&[0, 0, 0, 0, 0, 0, 0, 1], 128), Loopback, "Loopback Address", "RFC 4291, 2.5.3";
    v6(&[], 128), Unspecified, "Unspecified Address", "RFC 4291, 2.5.2";
    v6(&[0, 0, 0, 0, 0, 0xffff], 96), Ipv4Mapped, "IPv4-mapped Address", "RFC 4291, 2.5.5.2";
    v6(&[0x64, 0xff9b], 96), Translation, "IPv4-IPv6 Translat.", "RFC 6052";
    v6(&[0x64, 0xff9b, 1], 48), Translation, "IPv4-IPv6 Translat.", "RFC 8215";
    v6(&[0x100], 64), DiscardOnly, "Discard-Only Address Block", "RFC 6666";
    v6(&[0x100, 0, 0, 1], 64), Dummy, "Dummy IPv6 Prefix", "RFC 9780";
    v6(&[0x2001], 23), IetfProtocol, "IETF Protocol Assignments", "RFC 2928";
    v6(&[0x2001], 32), Teredo, "TEREDO", "RFC 4380";
    v6(&[0x2001, 1, 0, 0, 0, 0, 0, 1], 128), GloballyReachable, "Port Control Protocol Anycast", "RFC 7723";
    v6(&[0x2001, 1, 0, 0, 0, 0, 0, 2], 128), GloballyReachable, "Traversal Using Relays around NAT Anycast", "RFC 8155";
    v6(&[0x2001, 1, 0, 0, 0, 0, 0, 3], 128), GloballyReachable, "DNS-SD Service Registration Protocol Anycast", "RFC 9665";
    v6(&[0x2001, 2], 48), Benchmarking, "Benchmarking", "RFC 5180";
    v6(&[0x2001, 3], 32), GloballyReachable, "AMT", "RFC 7450";
    v6(&[0x2001, 4, 0x112], 48), GloballyReachable, "AS112-v6", "RFC 7535";
    v6(&[0x2001, 0x10], 28), Orchid, "Deprecated (previously ORCHID)", "RFC 4843";
    v6(&[0x2001, 0x20], 28), GloballyReachable, "ORCHIDv2", "RFC 7343";
    v6(&[0x2001, 0x30], 28), GloballyReachable, "Drone Remote ID Protocol Entity Tags (DETs) Prefix", "RFC 9374";
    v6(&[0x2001, 0xdb8], 32), Documentation, "Documentation", "RFC 3849";
    v6(&[0x2002], 16), SixToFour, "6to4", "RFC 3056";
    v6(&[0x2620, 0x4f, 0x8000], 48), GloballyReachable, "Direct Delegation AS112 Service", "RFC 7534";
    v6(&[0x3fff], 20), Documentation, "Documentation", "RFC 9637";
    v6(&[0x5f00], 16), SegmentRouting, "Segment Routing (SRv6) SIDs", "RFC 9602";
    v6(&[0xfc00], 7), UniqueLocal, "Unique-Local", "RFC 4193";
    v6(&[0xfe80], 10), LinkLocal, "Link-Local Unicast", "RFC 4291, 2.5.6";

    // Not in those registries, but in the address architecture
    v4([224, 0, 0, 0], 4), Multicast, "Multicast", "RFC 5771";
    v6(&[], 96), Ipv4Compatible, "IPv4-compatible, deprecated", "RFC 4291, 2.5.5.1";
    v6(&[0xfec0], 10), SiteLocal, "Site-local, deprecated", "RFC 3879";
    v6(&[0xff00], 8), Multicast, "Multicast", "RFC 4291, 2.7";

    // Metadata and credential services, from the platforms' own documentation
    v4([169, 254, 169, 254], 32), Metadata, "Instance metadata", "AWS, Azure, Google Cloud, OpenStack and others";
    v4([169, 254, 170, 2], 32), Metadata, "ECS task metadata and credentials", "AWS";
    v4([169, 254, 170, 23], 32), Metadata, "EKS Pod Identity", "AWS";
    v4([169, 254, 42, 42], 32), Metadata, "Instance metadata", "Scaleway";
    v4([169, 254, 0, 23], 32), Metadata, "Instance metadata", "Tencent Cloud";
    v4([100, 100, 100, 200], 32), Metadata, "Instance metadata", "Alibaba Cloud";
    v4([168, 63, 129, 16], 32), Metadata, "WireServer", "Azure";
    v4([192, 0, 0, 192], 32), Metadata, "Instance metadata", "Oracle Cloud Classic";
    v6(&[0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), Metadata, "Instance metadata", "AWS";
    v6(&[0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), Metadata, "EKS Pod Identity", "AWS";
    v6(&[0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Metadata, "Instance metadata", "Google Cloud";
    v6(&[0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), Metadata, "Instance metadata", "Oracle Cloud";
    v6(&[0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), Metadata, "Instance metadata", "Scaleway";
    v6(&[0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128), Metadata, "Instance metadata", "Alibaba Cloud";
    v6(&[0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128), Metadata, "Instance metadata", "Akamai (Linode)";
    v6(&[0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), Metadata, "Instance metadata", "OpenStack";
}

/// The only IPv6 space that IANA allocates for global unicast (RFC 4291, 2.4).
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const fn v4([a, b, c, d]: [u8; 4], prefix_len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len))
}

/// Makes an IPv6 block. Groups left out at the end are zero.
const fn v6(leading: &[u16], prefix_len: u8) -> IpNet {
    let mut address = 0_u128;
    let mut at = 0;
    while at < 8 {
        let group = if at < leading.len() { leading[at] } else { 0 };
        address = address << 16 | group as u128;
        at += 1;
    }
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::from_bits(address),
        prefix_len,
    ))
}
