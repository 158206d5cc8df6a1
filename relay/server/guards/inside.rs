//! Recognises hosts of the inside network. A client that asks the relay for one has no bypass list
//! for its proxy.

use ipnet::Ipv6Net;

use crate::authority::Host;
use crate::policy::{AddressClass, classify};

/// Whether a host belongs to the inside, so that no allowlist of outside hosts would have it.
///
/// It is a single label, a name under a top-level domain that sites use for themselves, or an
/// address that the outside can't reach.
pub(super) fn is_inside(host: &Host, nat64: &[Ipv6Net]) -> bool {
    match host {
        Host::Name(name) => match name.as_str().rsplit_once('.') {
            None => true,
            Some((_, top_level)) => INSIDE.contains(&top_level),
        },
        Host::Literal(address) => matches!(
            classify(*address, nat64),
            AddressClass::PrivateUse
                | AddressClass::UniqueLocal
                | AddressClass::LinkLocal
                | AddressClass::Loopback
        ),
    }
}

/// Top-level domains that sites use for themselves (RFC 6762, appendix G). The public DNS has none
/// of them.
const INSIDE: &[&str] = &[
    "corp", "home", "internal", "intranet", "lan", "local", "private",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn what_the_inside_has() {
        let inside = |host: &str| {
            let target: Authority = format!("{host}:443").parse().unwrap();
            is_inside(&target.host, &["2001:db8:64::/96".parse().unwrap()])
        };
        for host in [
            "vcenter",
            "VCENTER.",
            "vcenter.corp.local",
            "esx-1.lan",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "[fd00::1]",
            "[fe80::1]",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[2001:db8:64::a00:1]",
        ] {
            assert!(inside(host), "{host}");
        }
        for host in [
            "www.example.com",
            "local.example.com",
            "8.8.8.8",
            "[2606:4700::1]",
            "[::ffff:8.8.8.8]",
            // A request for the metadata service is a mistake or an attack, but no missing bypass
            // list.
            "169.254.169.254",
        ] {
            assert!(!inside(host), "{host}");
        }
    }
}
