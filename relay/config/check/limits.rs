//! `[limits]`: how much the relay takes.

use std::num::NonZeroU32;
use std::time::Duration;

use callhome_settings::{At, Bound, Findings, Form, Percent, Problem, Size, Text};

use crate::config::file::LimitsTable;
use crate::policy::Rate;
use crate::server::Limits;

pub(in crate::config) fn limits(file: &LimitsTable, findings: &mut Findings) -> Limits {
    let count = |written: &Option<At<NonZeroU32>>, default| {
        written.as_ref().map_or(default, |count| count.value.get())
    };
    let rate = Rate {
        count: 20,
        per: Duration::from_secs(1),
    };
    let limits = Limits {
        connections: count(&file.connections, 8192),
        connections_per_client: count(&file.connections_per_client, 512),
        tunnels: count(&file.tunnels, 4096),
        tunnels_per_client: count(&file.tunnels_per_client, 256),
        inventory_reserve: findings
            .read_or(file.inventory_reserve.as_ref(), Percent(25))
            .0,
        rate_per_client: findings.read_or(file.rate_per_client.as_ref(), rate),
        request_head: request_head(file.request_head.as_ref(), findings),
    };
    let connections = Bound::count("connections", file.connections.as_ref(), limits.connections);
    let tunnels = Bound::count("tunnels", file.tunnels.as_ref(), limits.tunnels);
    let connections_per_client = Bound::count(
        "connections_per_client",
        file.connections_per_client.as_ref(),
        limits.connections_per_client,
    );
    let tunnels_per_client = Bound::count(
        "tunnels_per_client",
        file.tunnels_per_client.as_ref(),
        limits.tunnels_per_client,
    );
    tunnels.at_most(&connections, findings);
    connections_per_client.at_most(&connections, findings);
    tunnels_per_client.at_most(&tunnels, findings);
    limits
}

/// Reads the longest request head. Every client's head is kept in memory, so the size has bounds.
fn request_head(text: Option<&Text<Size>>, findings: &mut Findings) -> usize {
    const DEFAULT: Size = Size(16 << 10);
    const SHORTEST: Size = Size(1 << 10);
    const LONGEST: Size = Size(1 << 20);
    let size = findings.read_or(text, DEFAULT);
    if let Some(text) = text
        && !(SHORTEST.0..=LONGEST.0).contains(&size.0)
    {
        let help = format!(
            "write a size from {:?} to {:?}; every client's head is kept in memory",
            SHORTEST.write(),
            LONGEST.write()
        );
        let title = format!("`{}` is no limit for a request head", text.value.text);
        findings.problem(Problem::new(text.span.clone(), title).help(help));
    }
    size.0
}
