//! Every way to be refused: what the client reads, and what the trail has.
//!
//! The table below is the contract, written down a second time, so nothing in it comes from the
//! relay. Each row has the test that causes this answer in a running relay.

mod fronts;
mod heads;
mod hello;
mod limits;
mod policy;
mod trail;
mod upstream;

use callhome_relay::proxy_error::Reason;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{self, Answer};
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, is_closing};

/// Describes how one reason looks from outside.
pub(crate) struct Row {
    token: &'static str,
    status: u16,
    /// The error type of RFC 9209, 2.3.
    error: &'static str,
    verdict: Verdict,
}

/// Tells a refusal by policy from a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Denied,
    Failed,
}

use Verdict::{Denied, Failed};

macro_rules! answers {
    ($($token:ident $status:literal $error:ident $verdict:ident $module:ident;)+) => {
        const ROWS: &[Row] = &[$(Row {
            token: stringify!($token),
            status: $status,
            error: stringify!($error),
            verdict: $verdict,
        }),+];

        $(
            #[tokio::test]
            async fn $token() {
                $module::$token(row(stringify!($token))).await;
            }
        )+
    };
}

// The columns are token, status, error type, verdict, and the module that has the test.
answers! {
    malformed_request 400 http_request_error Denied heads;
    malformed_target 400 http_request_error Denied heads;
    method_not_allowed 405 http_request_error Denied heads;
    version_not_supported 505 http_request_error Denied heads;
    request_timeout 408 http_request_error Denied heads;
    head_too_large 431 http_request_error Denied heads;
    client_not_allowed 403 http_request_denied Denied policy;
    destination_not_allowed 403 http_request_denied Denied policy;
    port_not_allowed 403 http_request_denied Denied policy;
    address_not_allowed 403 destination_ip_prohibited Denied policy;
    loop_detected 502 proxy_loop_detected Denied policy;
    rate_limited 429 http_request_error Denied limits;
    at_capacity 503 proxy_internal_response Failed limits;
    draining 503 proxy_internal_response Failed limits;
    audit_unavailable 503 proxy_internal_error Failed trail;
    dns_failed 502 dns_error Failed upstream;
    dns_timeout 504 dns_timeout Failed upstream;
    connection_refused 502 connection_refused Failed upstream;
    unreachable 502 destination_ip_unroutable Failed upstream;
    connection_timeout 504 connection_timeout Failed upstream;
    // After the 200 there is no status any more. The client reads a TLS alert or nothing, and
    // `hello` has which.
    sni_mismatch 403 http_request_denied Denied hello;
    sni_missing 403 http_request_denied Denied hello;
    not_tls 403 http_request_denied Denied hello;
    client_hello_timeout 408 http_request_error Denied hello;
    // These happen before a request is read, on listeners that ask for more than one.
    proxy_header_invalid 400 http_request_error Denied fronts;
    proxy_header_timeout 408 http_request_error Denied fronts;
    tls_handshake_failed 400 http_request_error Denied fronts;
    tls_handshake_timeout 408 http_request_error Denied fronts;
    certificate_missing 403 http_request_denied Denied fronts;
    certificate_expired 403 http_request_denied Denied fronts;
    certificate_untrusted 403 http_request_denied Denied fronts;
}

/// `internal` is the only reason without a row, because it reports a defect that no client can
/// cause.
#[test]
fn every_reason_has_a_row() {
    let mut rows: Vec<_> = ROWS.iter().map(|row| row.token).collect();
    let mut reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.token()).collect();
    reasons.retain(|token| *token != Reason::Internal.token());
    rows.sort_unstable();
    reasons.sort_unstable();
    assert_eq!(rows, reasons);
}

/// The answer that opens a tunnel has nothing in it that a client could take for content.
#[tokio::test]
async fn a_tunnel_opens_with_a_bare_200() {
    let server = PlainServer::start().await;
    let relay = Relay::start(&server.destination("a.example")).await;
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    let head = client::connect(&format!("a.example:{}", server.address.port()));
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = client::answer(&mut stream).await;
    assert_eq!(answer.status, 200);
    assert!(answer.fields().is_empty(), "{answer:?}");
    // The trail has every client that was told that its tunnel is open.
    let opened = relay
        .record(|record| record["event"] == "tunnel_opened")
        .await;
    assert_eq!(opened["decision"], "allow");
    assert_eq!(opened["enforced"], true);
    assert_eq!(opened["outcome"], "open");
    assert_eq!(opened["reason"], Value::Null);
    drop(server.accept().await);
    assert_eq!(read_to_end(&mut stream).await, b"");
}

fn row(token: &str) -> &'static Row {
    ROWS.iter().find(|row| row.token == token).unwrap()
}

impl Row {
    /// Holds an answer against this row and its record, and returns the record.
    async fn check(&self, relay: &Relay, answer: &Answer) -> Value {
        let session = self.check_answer(answer, "");
        self.check_record(relay, answer, &session).await
    }

    /// Holds an answer against this row and returns the session that the body names. `parameters`
    /// follow those that every Proxy-Status has. Reading the answer has already checked the body's
    /// length and its FIN.
    fn check_answer(&self, answer: &Answer, parameters: &str) -> String {
        let Self {
            token,
            status,
            error,
            ..
        } = self;
        assert_eq!(answer.status, *status, "{answer:?}");
        assert_eq!(answer.phrase, *token);
        assert_eq!(
            answer.field("Proxy-Status"),
            Some(
                format!("callhome-relay; error={error}; details=\"{token}\"{parameters}").as_str()
            )
        );
        assert_eq!(
            answer.field("Allow"),
            (*status == 405).then_some("CONNECT"),
            "{token}"
        );
        let retry_after = answer.field("Retry-After").map(str::parse::<u32>);
        match status {
            429 | 503 => assert!(matches!(retry_after, Some(Ok(1..=60))), "{retry_after:?}"),
            _ => assert_eq!(retry_after, None),
        }
        assert_eq!(answer.field("Connection"), Some("close"));
        assert_eq!(answer.field("Transfer-Encoding"), None);
        // A 407 must never come, because clients would ask their user for credentials.
        assert_eq!(answer.field("Proxy-Authenticate"), None);
        let media_type = answer.field("Content-Type").unwrap();
        assert!(media_type.starts_with("text/plain"), "{media_type}");
        let line = answer.body.strip_suffix('\n').expect("a whole line");
        let session = line
            .strip_prefix(&format!("{token} (session "))
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap_or_else(|| panic!("{line:?}"));
        session.to_owned()
    }

    async fn check_record(&self, relay: &Relay, answer: &Answer, session: &str) -> Value {
        let record = relay
            .record(|record| record["session"] == session && is_closing(record))
            .await;
        let (event, outcome) = match self.verdict {
            Denied => ("request_denied", "refused"),
            Failed => ("request_failed", "failed"),
        };
        assert_eq!(record["event"], event, "{record}");
        assert_eq!(record["outcome"], outcome, "{record}");
        assert_eq!(record["reason"], self.token, "{record}");
        // A failure keeps the verdict of policy, if policy was asked, and is never a denial.
        if self.verdict == Denied {
            assert_eq!(record["decision"], "deny", "{record}");
        } else {
            assert_ne!(record["decision"], "deny", "{record}");
        }
        assert_eq!(record["enforced"], true, "{record}");
        assert_eq!(record["listener"], "proxy");
        assert_eq!(record["closed_by"], Value::Null);
        assert_eq!(record["bytes_up"], 0);
        assert_eq!(record["bytes_down"], 0);
        // The client doesn't learn what the operator learns.
        if let Some(detail) = record["error"].as_str() {
            let told = |text: &str| text.contains(detail);
            assert!(!told(&answer.body), "{answer:?}");
            assert!(
                !answer.fields().iter().any(|(_, value)| told(value)),
                "{answer:?}"
            );
        }
        let of_session = |record: &Value| record["session"] == session;
        assert_eq!(relay.count_of(of_session), 1, "one record a session");
        record
    }
}

/// Checks that the operator's text contains this.
fn assert_says(record: &Value, what: &str) {
    let detail = record["error"].as_str().unwrap_or_default();
    assert!(detail.contains(what), "no {what:?} in {record}");
}
