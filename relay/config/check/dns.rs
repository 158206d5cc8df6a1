//! `[dns]`: how names are resolved.

use std::time::Duration;

use callhome_settings::{Bound, Findings, Timeout};

use crate::config::file::DnsTable;
use crate::dns::DnsOptions;

pub(in crate::config) fn dns(file: &DnsTable, findings: &mut Findings) -> DnsOptions {
    let options = DnsOptions {
        servers: findings
            .read_some(
                "servers",
                file.servers.as_ref(),
                "remove the key for the servers of /etc/resolv.conf",
            )
            .unwrap_or_default()
            .into_iter()
            .map(|server| server.0)
            .collect(),
        timeout: findings
            .read_or(file.timeout.as_ref(), Timeout(Duration::from_secs(5)))
            .0,
        min_ttl: findings.read_or(file.min_ttl.as_ref(), Duration::from_secs(5)),
        max_ttl: findings.read_or(file.max_ttl.as_ref(), Duration::from_mins(5)),
        serve_stale: findings.read_or(file.serve_stale.as_ref(), Duration::from_hours(1)),
    };
    let shortest = Bound::duration("min_ttl", file.min_ttl.as_ref(), options.min_ttl);
    let longest = Bound::duration("max_ttl", file.max_ttl.as_ref(), options.max_ttl);
    shortest.at_most(&longest, findings);
    options
}
