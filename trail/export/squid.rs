//! Squid's `logformat squid`: `%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt`.
//!
//! goaccess reads it with `--log-format='%x.%^ %~%L %h %^/%s %b %^ %U %e %^'` and
//! `--datetime-format=%s`. The format SQUID of goaccess itself expects a syslog prefix.

use super::{is_aborted, is_denied, method, name, status, target};
use crate::record::{Client, Record};

pub(super) fn line(record: &Record, client: &Client) -> String {
    // These are Squid's words. A refusal is TCP_DENIED even after a 200, and _ABORTED marks a
    // session that was cut off.
    let result = match (is_denied(record), is_aborted(record)) {
        (true, _) => "TCP_DENIED",
        (_, true) => "TCP_TUNNEL_ABORTED",
        _ => "TCP_TUNNEL",
    };
    let hierarchy = match record.target.address {
        Some(address) => format!("HIER_DIRECT/{address}"),
        None => "HIER_NONE/-".to_owned(),
    };
    format!(
        "{}.{:03} {:>6.0} {} {result}/{:03} {} {} {} {} {hierarchy} -",
        record.time.as_second(),
        record.time.subsec_millisecond().max(0),
        record.duration_ms.0.max(0.0),
        client.address,
        status(record),
        record.bytes_down,
        method(record),
        target(record).unwrap_or_else(|| NO_TARGET.to_owned()),
        name(client.name.as_deref()),
    )
}

/// What Squid writes for a request without a target.
const NO_TARGET: &str = "error:invalid-request";
