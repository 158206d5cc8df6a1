//! Makes a syslog message of a record (RFC 5424), and frames it for a stream.
//!
//! The text of the message is the record's line, byte for byte, so that the server's copy can be
//! proved like the original.

use std::io::Write as _;

use callhome_trail::Line;

/// The sender's fields in the header of every message.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// `HOSTNAME`: the name of the relay, as in the records.
    pub(super) relay: Box<str>,
    /// `PROCID`: the id of the process.
    pub(super) process: u32,
}

impl Sender {
    /// Appends the message of a record.
    pub(super) fn message(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = write!(
            out,
            "<{}>1 {} {} {APP_NAME} {} {} - ",
            LOG_AUDIT * 8 + severity(&line.event),
            field(&line.time, 32),
            field(&self.relay, 255),
            self.process,
            field(&line.event, 32),
        );
        out.extend_from_slice(line.bytes);
    }
}

/// Appends a message to a stream: its length in octets, a space, the message (RFC 6587, 3.4.1; RFC
/// 5425, 4.3).
pub(super) fn frame(message: &[u8], out: &mut Vec<u8>) {
    let _ = write!(out, "{} ", message.len());
    out.extend_from_slice(message);
}

/// Events that an operator should look into are warnings, those that may be of interest are
/// notices.
fn severity(event: &str) -> u8 {
    match event {
        "audit_gap" | "clock_stepped" | "config_rejected" | "tunnel_lost" => WARNING,
        "refusals" | "request_denied" | "request_failed" => NOTICE,
        _ => INFORMATIONAL,
    }
}

/// Returns `text` if it can be a header field: printable ASCII without spaces, not too long.
/// Otherwise `-`, which means none.
fn field(text: &str, longest: usize) -> &str {
    let fits = (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { text } else { "-" }
}

const APP_NAME: &str = "callhome-relay";
/// The facility (RFC 5424, table 1).
const LOG_AUDIT: u8 = 13;
/// The severities (RFC 5424, table 2).
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use callhome_trail::Chain;

    fn line(time: &str, event: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let members = format!(r#""relay":"dmz-1","event":"{event}""#);
        Chain::new("t".into()).append(time.parse().unwrap(), members.as_bytes(), &mut out);
        out.pop();
        out
    }

    fn message(relay: &str, line: &[u8]) -> Vec<u8> {
        let sender = Sender {
            relay: relay.into(),
            process: 42,
        };
        let mut out = Vec::new();
        sender.message(&Line::parse(line).unwrap(), &mut out);
        out
    }

    #[test]
    fn the_header_is_that_of_rfc_5424() {
        const TIME: &str = "2026-11-24T14:03:07.123456Z";
        let long = "x".repeat(256);
        for (relay, time, event, header) in [
            (
                "dmz-1",
                TIME,
                "tunnel_opened",
                format!("<110>1 {TIME} dmz-1 callhome-relay 42 tunnel_opened - "),
            ),
            (
                "dmz-1",
                TIME,
                "request_denied",
                format!("<109>1 {TIME} dmz-1 callhome-relay 42 request_denied - "),
            ),
            (
                "dmz-1",
                TIME,
                "audit_gap",
                format!("<108>1 {TIME} dmz-1 callhome-relay 42 audit_gap - "),
            ),
            (
                "a b",
                TIME,
                "checkpoint",
                format!("<110>1 {TIME} - callhome-relay 42 checkpoint - "),
            ),
            (
                &long,
                TIME,
                "tunnel opened",
                format!("<110>1 {TIME} - callhome-relay 42 - - "),
            ),
        ] {
            let line = line(time, event);
            let message = message(relay, &line);
            let (start, text) = message.split_at(message.len() - line.len());
            assert_eq!(String::from_utf8_lossy(start), header);
            assert_eq!(text, line);
        }
    }

    #[test]
    fn a_frame_begins_with_the_length_in_octets() {
        let mut stream = Vec::new();
        frame(b"<110>1 - - - - - - x", &mut stream);
        frame("é".as_bytes(), &mut stream);
        assert_eq!(stream, "20 <110>1 - - - - - - x2 é".as_bytes());
    }
}
