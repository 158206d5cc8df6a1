//! Comma-separated values (RFC 4180, except that a line ends with a line feed only).

use std::fmt::Display;

use super::word;
use crate::counted::{Counted, CountedEnd};
use crate::harmless::cell;
use crate::record::{Client, Record, Tls};
use crate::text::Text;

pub(super) fn header() -> String {
    row(COLUMNS.iter().map(|column| (*column).to_owned()))
}

pub(super) fn line(record: &Record, client: &Client) -> String {
    let target = &record.target;
    let tls = record.tls.as_ref();
    let of_tls = |list: fn(&Tls) -> &Vec<Text>| tls.map(|tls| cell(&joined(list(tls))));
    row([
        Some(format!("{:.6}", record.time)),
        Some(cell(&record.trail)),
        Some(record.seq.to_string()),
        Some(cell(&record.relay)),
        word(&record.event),
        record.session.as_deref().map(cell),
        record.listener.as_deref().map(cell),
        record.policy.as_deref().map(cell),
        Some(client.address.to_string()),
        Some(client.port.to_string()),
        string(client.via),
        client.certificate.as_deref().map(cell),
        client.name.as_deref().map(cell),
        client.role.as_deref().map(cell),
        target.raw.as_deref().map(cell),
        Some(target.raw_length.to_string()),
        target.host.as_deref().map(cell),
        string(target.port),
        string(target.address),
        target.address_source.as_deref().map(cell),
        string(record.upstream_local),
        record.destination.as_deref().map(cell),
        word(&record.decision),
        string(record.enforced),
        record.reason.as_deref().map(cell),
        word(&record.outcome),
        record.closed_by.as_deref().map(cell),
        record.error.as_deref().map(cell),
        tls.and_then(|tls| tls.sni.as_deref()).map(cell),
        of_tls(|tls| &tls.alpn),
        of_tls(|tls| &tls.versions),
        string(tls.map(|tls| tls.ech)),
        Some(record.bytes_up.to_string()),
        Some(record.bytes_down.to_string()),
        string(record.dns_ms),
        string(record.connect_ms),
        Some(record.duration_ms.to_string()),
        Some(cell(&record.hash)),
        Some("1".to_owned()),
    ]
    .map(Option::unwrap_or_default))
}

/// The rows of refusals that were counted together, one for each reason. So the sum of the column
/// `count` is the number of requests, under any filter.
pub(super) fn counted(record: &Record, counted: &Counted) -> Vec<String> {
    let line = |end: &CountedEnd| {
        let value = |column: &&str| match *column {
            "time" => Some(format!("{:.6}", record.time)),
            "trail" => Some(cell(&record.trail)),
            "seq" => Some(record.seq.to_string()),
            "relay" => Some(cell(&record.relay)),
            "event" => word(&record.event),
            "client_address" => Some(counted.address.to_string()),
            "client_name" => counted.client.as_deref().map(cell),
            "decision" => word(&end.decision),
            "reason" => Some(cell(&end.reason)),
            "outcome" => word(&end.outcome),
            "hash" => Some(cell(&record.hash)),
            "count" => Some(end.count.to_string()),
            _ => None,
        };
        row(COLUMNS
            .iter()
            .map(|column| value(column).unwrap_or_default()))
    };
    counted.ends.iter().map(line).collect()
}

fn joined(texts: &[Text]) -> String {
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    texts.join(" ")
}

fn string(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Makes one line of the cells. No cell has a line feed, so the line has none either.
fn row(cells: impl IntoIterator<Item = String>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // This can't fail: it writes to a Vec, and there is no second record of another length.
    let _ = writer.write_record(cells);
    let mut line = String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default();
    line.pop();
    line
}

/// Columns may be added at the end. None is removed or moved, because scripts count them.
const COLUMNS: &[&str] = &[
    "time",
    "trail",
    "seq",
    "relay",
    "event",
    "session",
    "listener",
    "policy",
    "client_address",
    "client_port",
    "client_via",
    "client_certificate",
    "client_name",
    "client_role",
    "target_raw",
    "target_raw_length",
    "target_host",
    "target_port",
    "target_address",
    "target_address_source",
    "upstream_local",
    "destination",
    "decision",
    "enforced",
    "reason",
    "outcome",
    "closed_by",
    "error",
    "tls_sni",
    "tls_alpn",
    "tls_versions",
    "tls_ech",
    "bytes_up",
    "bytes_down",
    "dns_ms",
    "connect_ms",
    "duration_ms",
    "hash",
    "count",
];
