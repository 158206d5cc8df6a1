//! The registries entered a second time, and an oracle that compares bits. The table and the
//! screening are held against both.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// Each row is a block and the word of its class. They are text, so that a slip in one of the two
/// tables shows.
const BLOCKS: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this_network"),
    ("0.0.0.0/32", "this_network"),
    ("10.0.0.0/8", "private_use"),
    ("100.64.0.0/10", "shared_address_space"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private_use"),
    ("192.0.0.0/24", "ietf_protocol"),
    ("192.0.0.0/29", "ietf_protocol"),
    ("192.0.0.8/32", "dummy"),
    ("192.0.0.9/32", "globally_reachable"),
    ("192.0.0.10/32", "globally_reachable"),
    ("192.0.0.170/31", "ietf_protocol"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "globally_reachable"),
    ("192.52.193.0/24", "globally_reachable"),
    ("192.88.99.0/24", "relay_anycast"),
    ("192.88.99.2/32", "relay_anycast"),
    ("192.168.0.0/16", "private_use"),
    ("192.175.48.0/24", "globally_reachable"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("255.255.255.255/32", "broadcast"),
    ("169.254.169.254/32", "metadata"),
    ("169.254.170.2/32", "metadata"),
    ("169.254.170.23/32", "metadata"),
    ("169.254.42.42/32", "metadata"),
    ("169.254.0.23/32", "metadata"),
    ("100.100.100.200/32", "metadata"),
    ("168.63.129.16/32", "metadata"),
    ("192.0.0.192/32", "metadata"),
    ("::/96", "ipv4_compatible"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "ipv4_mapped"),
    ("64:ff9b::/96", "ipv4_translation"),
    ("64:ff9b:1::/48", "ipv4_translation"),
    ("100::/64", "discard_only"),
    ("100:0:0:1::/64", "dummy"),
    ("2001::/23", "ietf_protocol"),
    ("2001::/32", "teredo"),
    ("2001:1::1/128", "globally_reachable"),
    ("2001:1::2/128", "globally_reachable"),
    ("2001:1::3/128", "globally_reachable"),
    ("2001:2::/48", "benchmarking"),
    ("2001:3::/32", "globally_reachable"),
    ("2001:4:112::/48", "globally_reachable"),
    ("2001:10::/28", "orchid"),
    ("2001:20::/28", "globally_reachable"),
    ("2001:30::/28", "globally_reachable"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "globally_reachable"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment_routing"),
    ("fc00::/7", "unique_local"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
    ("fd00:ec2::254/128", "metadata"),
    ("fd00:ec2::23/128", "metadata"),
    ("fd20:ce::254/128", "metadata"),
    ("fd00:c1::a9fe:a9fe/128", "metadata"),
    ("fd00:42::42/128", "metadata"),
    ("fd00:100::100:200/128", "metadata"),
    ("fd00:a9fe:a9fe::1/128", "metadata"),
    ("fe80::a9fe:a9fe/128", "metadata"),
];

const NEVER: &[&str] = &[
    "this_network",
    "broadcast",
    "multicast",
    "metadata",
    "unspecified",
    "ipv4_compatible",
    "ipv4_mapped",
    "ipv4_translation",
    "6to4",
    "teredo",
    "unallocated",
];

/// Gives the bits of an address, left-aligned in 128, and its family.
fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (true, u128::from(address)),
    }
}

fn from_bits(v6: bool, bits: u128) -> IpAddr {
    if v6 {
        Ipv6Addr::from(bits).into()
    } else {
        IpAddr::V4(u32::try_from(bits >> 96).unwrap().into())
    }
}

fn parsed(block: &str) -> (bool, u128, u32) {
    let (address, length) = block.split_once('/').unwrap();
    let (v6, bits) = bits(ip(address));
    (v6, bits, length.parse().unwrap())
}

fn within(address: IpAddr, block: &str) -> bool {
    let (v6, start, length) = parsed(block);
    let (its_v6, bits) = bits(address);
    v6 == its_v6 && (bits ^ start).checked_shr(128 - length).unwrap_or(0) == 0
}

/// Gives the address that a v4-mapped address, or one under the well-known NAT64 prefix, reaches.
fn oracle_judged(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let inside = Ipv4Addr::from(u32::try_from(u128::from(v6) & 0xffff_ffff).unwrap());
    if within(address, "::ffff:0:0/96") || within(address, "64:ff9b::/96") {
        inside.into()
    } else {
        address
    }
}

fn oracle_class(judged: IpAddr) -> &'static str {
    let mut best = None;
    for &(block, word) in BLOCKS {
        let (_, _, length) = parsed(block);
        if within(judged, block) && best.is_none_or(|(longest, _)| length > longest) {
            best = Some((length, word));
        }
    }
    match best {
        Some((_, word)) => word,
        None if judged.is_ipv6() && !within(judged, "2000::/3") => "unallocated",
        None => "globally_reachable",
    }
}

/// Tells whether `range` is inside a block that is neither `Never` nor globally reachable. It
/// compares the end points of subnets.
fn oracle_opens(range: &str) -> bool {
    let (v6, start, length) = parsed(range);
    let last = start | u128::MAX.checked_shr(length).unwrap_or(0);
    let ends = [from_bits(v6, start), from_bits(v6, last)];
    BLOCKS.iter().any(|&(block, word)| {
        !NEVER.contains(&word)
            && word != "globally_reachable"
            && parsed(block).2 <= length
            && ends.iter().all(|end| within(*end, block))
    })
}

fn oracle_permits(address: IpAddr, ranges: Option<&[String]>) -> bool {
    let judged = oracle_judged(address);
    let word = oracle_class(judged);
    match ranges {
        _ if NEVER.contains(&word) => false,
        None => word == "globally_reachable",
        Some(ranges) => ranges
            .iter()
            .any(|it| within(judged, it) && (word == "globally_reachable" || oracle_opens(it))),
    }
}

#[test]
fn both_tables_have_the_same_rows() {
    let ours: BTreeSet<_> = SPECIAL_BLOCKS
        .iter()
        .map(|row| (row.block.to_string(), row.class.as_str()))
        .collect();
    let theirs: BTreeSet<_> = BLOCKS
        .iter()
        .map(|&(block, word)| (block.parse::<IpNet>().unwrap().to_string(), word))
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(SPECIAL_BLOCKS.len(), BLOCKS.len());
    let blocks: BTreeSet<_> = BLOCKS.iter().map(|(block, _)| block).collect();
    assert_eq!(blocks.len(), BLOCKS.len());
}

#[test]
fn rows_have_no_host_bits_and_classes_a_word_each() {
    for row in SPECIAL_BLOCKS {
        assert_eq!(row.block, row.block.trunc(), "{row}");
    }
    let words: BTreeSet<_> = AddressClass::ALL
        .iter()
        .map(|class| class.as_str())
        .collect();
    assert_eq!(words.len(), AddressClass::ALL.len());
    for class in AddressClass::ALL {
        let never = NEVER.contains(&class.as_str());
        assert_eq!(class.access() == Access::Never, never, "{class}");
    }
}

/// It tries each row's ends, and the addresses just outside.
#[test]
fn every_row_ends_where_it_should() {
    let policy = policy(vec![destination("d", &["a.example.com"])]);
    let permit = permit(&policy, "a.example.com:443");
    for &(block, word) in BLOCKS {
        let (v6, start, length) = parsed(block);
        let last = start | u128::MAX.checked_shr(length).unwrap_or(0);
        let step = if v6 { 1 } else { 1 << 96 };
        for inside in [start, last] {
            let address = from_bits(v6, inside);
            let judged = oracle_judged(address);
            assert_eq!(
                classify(address, &[]).as_str(),
                oracle_class(judged),
                "{address}"
            );
            if judged == address && oracle_class(address) == word {
                let reachable = word == "globally_reachable";
                assert_eq!(permit.screen(&[address]).is_ok(), reachable, "{address}");
            }
        }
        let before = start.checked_sub(step);
        let after = last.checked_add(1);
        for outside in before.into_iter().chain(after) {
            let address = from_bits(v6, outside);
            assert!(!within(address, block), "{address} {block}");
            let expected = oracle_class(oracle_judged(address));
            assert_eq!(
                classify(address, &[]).as_str(),
                expected,
                "beside {block}: {address}"
            );
            let reachable = expected == "globally_reachable";
            assert_eq!(permit.screen(&[address]).is_ok(), reachable, "{address}");
        }
    }
}

/// These are not from the oracle: every reader may look them up.
#[test]
fn known_addresses_have_the_known_class() {
    for (address, word) in [
        ("1.1.1.1", "globally_reachable"),
        ("9.255.255.255", "globally_reachable"),
        ("11.0.0.0", "globally_reachable"),
        ("100.63.255.255", "globally_reachable"),
        ("100.127.255.255", "shared_address_space"),
        ("100.128.0.0", "globally_reachable"),
        ("172.31.255.255", "private_use"),
        ("172.32.0.0", "globally_reachable"),
        ("192.0.0.11", "ietf_protocol"),
        ("192.0.1.0", "globally_reachable"),
        ("198.20.0.0", "globally_reachable"),
        ("223.255.255.255", "globally_reachable"),
        ("239.255.255.255", "multicast"),
        ("255.255.255.254", "reserved"),
        ("168.63.129.15", "globally_reachable"),
        ("::ffff:10.0.0.1", "private_use"),
        ("::ffff:0:10.0.0.1", "unallocated"),
        ("::10.0.0.1", "ipv4_compatible"),
        ("64:ff9b::1.1.1.1", "globally_reachable"),
        ("64:ff9b::169.254.169.254", "metadata"),
        ("64:ff9b::1:101:101", "unallocated"),
        ("64:ff9b:1::1.1.1.1", "ipv4_translation"),
        ("100:0:0:2::", "unallocated"),
        ("1fff:ffff::", "unallocated"),
        ("2000::", "globally_reachable"),
        ("2001:1::4", "ietf_protocol"),
        ("2001:1ff:ffff::", "ietf_protocol"),
        ("2001:200::", "globally_reachable"),
        ("2001:4:113::", "ietf_protocol"),
        ("2001:4860:4860::8888", "globally_reachable"),
        ("2001:db9::", "globally_reachable"),
        ("2003::", "globally_reachable"),
        ("3fff:fff:ffff::", "documentation"),
        ("3fff:1000::", "globally_reachable"),
        ("4000::", "unallocated"),
        ("5eff::", "unallocated"),
        ("200::1", "unallocated"),
        ("fe00::1", "unallocated"),
        ("ff02::1", "multicast"),
    ] {
        assert_eq!(classify(ip(address), &[]).as_str(), word, "{address}");
    }
}

/// Embeds an IPv4 address as the table of RFC 6052, 2.2 draws it: shifted whole, then parted around
/// bits 64 to 71.
fn embed(prefix: &Ipv6Net, ipv4: Ipv4Addr, spoilt: u8) -> Ipv6Addr {
    let length = u32::from(prefix.prefix_len());
    let value = u128::from(u32::from(ipv4));
    let inside = match length {
        96 => value,
        64 => value << 24,
        _ => {
            let above = 64 - length;
            let upper = value >> (32 - above);
            let lower = value & ((1 << (32 - above)) - 1);
            upper << 64 | lower << (56 - (32 - above))
        }
    };
    let spoilt = if length == 96 {
        0
    } else {
        u128::from(spoilt) << 56
    };
    Ipv6Addr::from(u128::from(prefix.network()) | inside | spoilt)
}

/// Draws half of the addresses anywhere, and half within or beside a row, so that borders are hit.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let near = (0..BLOCKS.len(), any::<u128>(), -1_i8..=1).prop_map(|(row, noise, beside)| {
        let (v6, start, length) = parsed(BLOCKS[row].0);
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let step = if v6 { 1 } else { 1 << 96 };
        let bits = match beside {
            -1 => start.wrapping_sub(step),
            1 => (start | host).wrapping_add(1),
            _ => start | (noise & host),
        };
        from_bits(v6, bits)
    });
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
        near.clone(),
        near,
        any_ipv4().prop_map(|ipv4| IpAddr::V6(ipv4.to_ipv6_mapped())),
        any_ipv4().prop_map(|ipv4| IpAddr::V6(embed(&"64:ff9b::/96".parse().unwrap(), ipv4, 0))),
    ]
}

fn any_ipv4() -> impl Strategy<Value = Ipv4Addr> {
    let near = (0..BLOCKS.len(), any::<u32>()).prop_filter_map("an IPv4 row", |(row, noise)| {
        let (v6, start, length) = parsed(BLOCKS[row].0);
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        (!v6).then(|| Ipv4Addr::from(u32::try_from(start >> 96).unwrap() | (noise & host)))
    });
    prop_oneof![any::<u32>().prop_map(Ipv4Addr::from), near]
}

/// Draws subnets and supernets of rows, and some from anywhere. Ranges that the rules refuse are
/// left out.
fn any_range() -> impl Strategy<Value = String> {
    let around = (0..BLOCKS.len(), any::<u128>(), -6_i32..=6).prop_map(|(row, noise, by)| {
        let (v6, start, length) = parsed(BLOCKS[row].0);
        let width: i32 = if v6 { 128 } else { 32 };
        let length = (i32::try_from(length).unwrap() + by).clamp(0, width);
        let host = u128::MAX.checked_shr(parsed(BLOCKS[row].0).2).unwrap_or(0);
        let length = u8::try_from(length).unwrap();
        IpNet::new(from_bits(v6, start | (noise & host)), length).unwrap()
    });
    let anywhere = (any::<bool>(), any::<u128>(), 0_u8..=32)
        .prop_map(|(v6, bits, length)| IpNet::new(from_bits(v6, bits), length).unwrap());
    prop_oneof![3 => around, 1 => anywhere]
        .prop_map(|range| range.trunc().to_string())
        .prop_filter("allowed", |range| {
            Policy::new(rules(vec![ranged("d", &[], &[range])], Vec::new())).is_ok()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn classes_are_those_of_the_oracle(address in any_address()) {
        prop_assert_eq!(classify(address, &[]).as_str(), oracle_class(oracle_judged(address)));
    }

    #[test]
    fn canonical_forms_class_as_the_ipv4_inside(ipv4 in any_ipv4(), network: u128, spoilt: u8) {
        let class = classify(ipv4.into(), &[]);
        prop_assert_eq!(classify(ipv4.to_ipv6_mapped().into(), &[]), class);
        prop_assert_eq!(classify(embed(&"64:ff9b::/96".parse().unwrap(), ipv4, 0).into(), &[]), class);
        for length in [32, 40, 48, 56, 64, 96] {
            // It is inside 2600::/12, where nothing is special but one /48.
            let network = (network >> 12) | (0x260 << 116);
            let reserved = !(0xff_u128 << 56);
            let prefix = Ipv6Net::new((network & reserved).into(), length).unwrap().trunc();
            let embedded = embed(&prefix, ipv4, spoilt);
            prop_assert!(prefix.contains(&embedded));
            prop_assert_eq!(classify(embedded.into(), &[prefix]), class, "{} {}", prefix, embedded);
        }
    }

    /// Exactly the addresses that the oracle permits come out, in order.
    #[test]
    fn screening_is_exact(
        ranges in prop::option::of(prop::collection::vec(any_range(), 1..4)),
        addresses in prop::collection::vec(any_address(), 0..8),
        inside in any::<[u128; 3]>(),
    ) {
        let mut addresses = addresses;
        for (range, noise) in ranges.iter().flatten().zip(inside) {
            let (v6, start, length) = parsed(range);
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            addresses.push(from_bits(v6, start | (noise & host)));
        }
        let policy = policy(vec![Destination {
            ip_ranges: ranges.as_ref().map(|it| it.iter().map(|range| net(range)).collect()),
            ..destination("d", &["a.example.com"])
        }]);
        let mut expected = Vec::new();
        for address in &addresses {
            let dialled = match oracle_judged(*address) {
                IpAddr::V4(ipv4) if !within(*address, "64:ff9b::/96") => ipv4.into(),
                _ => *address,
            };
            if oracle_permits(*address, ranges.as_deref()) && !expected.contains(&dialled) {
                expected.push(dialled);
            }
        }
        match permit(&policy, "a.example.com:443").screen(&addresses) {
            Ok(permitted) => {
                prop_assert_eq!(permitted.as_slice(), &expected[..]);
                prop_assert!(permitted.enforced());
            }
            Err(denial) => {
                prop_assert_eq!(denial.refusal.reason, Reason::AddressNotAllowed);
                prop_assert!(expected.is_empty(), "{:?}", expected);
            }
        }
    }

    /// It holds for all ranges, and in report-only too.
    #[test]
    fn tunnels_are_never_dialled(
        ranges in prop::collection::vec(any_range(), 0..4),
        six_to_four: bool,
        noise: u128,
        report: bool,
    ) {
        let address = if six_to_four {
            noise >> 16 | 0x2002 << 112
        } else {
            noise >> 32 | 0x2001_0000 << 96
        };
        let mut all = vec!["::/0".to_owned(), "2000::/3".to_owned()];
        all.extend(ranges);
        all.sort();
        all.dedup();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let destinations = vec![ranged("d", &["a.example.com"], &all)];
        let policy = if report { report_only(destinations) } else { policy(destinations) };
        let address = IpAddr::V6(address.into());
        prop_assert!(permit(&policy, "a.example.com:443").screen(&[address]).is_err());
    }

    /// Report-only permits no special address. It permits what is globally reachable, and marks it
    /// as not enforced.
    #[test]
    fn report_only_opens_globally_reachable_addresses_only(
        ranges in prop::collection::vec(any_range(), 1..4),
        address in any_address(),
    ) {
        let texts: Vec<&str> = ranges.iter().map(String::as_str).collect();
        let policy = report_only(vec![ranged("d", &["a.example.com"], &texts)]);
        let strict = oracle_permits(address, Some(&ranges));
        let reachable = oracle_class(oracle_judged(address)) == "globally_reachable";
        match permit(&policy, "a.example.com:443").screen(&[address]) {
            Ok(permitted) => {
                prop_assert_eq!(permitted.enforced(), strict);
                prop_assert!(strict || reachable);
            }
            Err(_) => prop_assert!(!strict && !reachable),
        }
    }
}
