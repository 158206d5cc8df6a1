//! Why a request was not served: the one vocabulary of refusals, and the codes that belong to each
//! word.
//!
//! A [`Reason`] is public. It appears in the reason phrase, the body, the trail and the metrics.

use std::fmt;

/// Whether policy denied the request, or serving it failed. The trail keeps the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request was refused, because it was malformed, not allowed or beyond a limit.
    Denied,
    /// The request was allowed, and a later step failed.
    Failed,
}

macro_rules! reasons {
    ($($variant:ident, $token:literal, $status:literal, $proxy_error:ident, $verdict:ident, $alert:ident;)+) => {
        /// A reason. Its token is stable, because scripts and dashboards depend on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($variant),+ }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The token in the reason phrase, the trail and the metric label.
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token),+ }
            }

            /// The status code of the answer to a CONNECT.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// The error type of the Proxy-Status field (RFC 9209, 2.3).
            pub const fn proxy_error(self) -> ProxyErrorType {
                match self { $(Self::$variant => ProxyErrorType::$proxy_error),+ }
            }

            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict),+ }
            }

            /// The TLS alert, if the refusal is sent inside a handshake (RFC 8446, 6.2).
            pub const fn alert(self) -> Option<Alert> {
                match self { $(Self::$variant => Alert::$alert),+ }
            }
        }
    };
}

// One row for each reason. The last column is the alert, where the answer must be one: NAME is
// unrecognized_name, CLIENT is access_denied, OURS is internal_error. NONE sends nothing: the
// client speaks no TLS, was silent, or the TLS library has sent its own alert.
reasons! {
    MalformedRequest, "malformed_request", 400, HttpRequestError, Denied, NONE;
    MalformedTarget, "malformed_target", 400, HttpRequestError, Denied, NONE;
    MethodNotAllowed, "method_not_allowed", 405, HttpRequestError, Denied, NONE;
    VersionNotSupported, "version_not_supported", 505, HttpRequestError, Denied, NONE;
    RequestTimeout, "request_timeout", 408, HttpRequestError, Denied, NONE;
    HeadTooLarge, "head_too_large", 431, HttpRequestError, Denied, NONE;
    ClientNotAllowed, "client_not_allowed", 403, HttpRequestDenied, Denied, CLIENT;
    DestinationNotAllowed, "destination_not_allowed", 403, HttpRequestDenied, Denied, NAME;
    PortNotAllowed, "port_not_allowed", 403, HttpRequestDenied, Denied, NAME;
    AddressNotAllowed, "address_not_allowed", 403, DestinationIpProhibited, Denied, NAME;
    RateLimited, "rate_limited", 429, HttpRequestError, Denied, CLIENT;
    DnsFailed, "dns_failed", 502, DnsError, Failed, OURS;
    DnsTimeout, "dns_timeout", 504, DnsTimeout, Failed, OURS;
    ConnectionRefused, "connection_refused", 502, ConnectionRefused, Failed, OURS;
    Unreachable, "unreachable", 502, DestinationIpUnroutable, Failed, OURS;
    ConnectionTimeout, "connection_timeout", 504, ConnectionTimeout, Failed, OURS;
    LoopDetected, "loop_detected", 502, ProxyLoopDetected, Denied, NAME;
    AtCapacity, "at_capacity", 503, ProxyInternalResponse, Failed, OURS;
    Draining, "draining", 503, ProxyInternalResponse, Failed, OURS;
    AuditUnavailable, "audit_unavailable", 503, ProxyInternalError, Failed, OURS;
    Internal, "internal", 500, ProxyInternalError, Failed, OURS;
    // These come before a request. A balancer that sent no valid header gets an answer, unless the
    // listener has TLS. The TLS library reports failures of the handshake itself.
    ProxyHeaderInvalid, "proxy_header_invalid", 400, HttpRequestError, Denied, NONE;
    ProxyHeaderTimeout, "proxy_header_timeout", 408, HttpRequestError, Denied, NONE;
    TlsHandshakeFailed, "tls_handshake_failed", 400, HttpRequestError, Denied, NONE;
    TlsHandshakeTimeout, "tls_handshake_timeout", 408, HttpRequestError, Denied, NONE;
    CertificateMissing, "certificate_missing", 403, HttpRequestDenied, Denied, NONE;
    CertificateExpired, "certificate_expired", 403, HttpRequestDenied, Denied, NONE;
    CertificateUntrusted, "certificate_untrusted", 403, HttpRequestDenied, Denied, NONE;
    // These come after the 200, or on an SNI listener. They are sent as an alert or not at all,
    // never as a status.
    SniMismatch, "sni_mismatch", 403, HttpRequestDenied, Denied, NAME;
    SniMissing, "sni_missing", 403, HttpRequestDenied, Denied, NAME;
    NotTls, "not_tls", 403, HttpRequestDenied, Denied, NONE;
    ClientHelloTimeout, "client_hello_timeout", 408, HttpRequestError, Denied, NONE;
}

impl Reason {
    /// The reason that has this token.
    pub fn of(token: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.token() == token)
    }

    /// The seconds of `Retry-After`, if the answer has one.
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::RateLimited => Some(1),
            Self::AtCapacity | Self::AuditUnavailable | Self::Draining => Some(5),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// The registered proxy error types (RFC 9209, 2.3) that the relay uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyErrorType {
    ConnectionRefused,
    ConnectionTimeout,
    DestinationIpProhibited,
    DestinationIpUnroutable,
    DnsError,
    DnsTimeout,
    HttpRequestDenied,
    HttpRequestError,
    ProxyInternalError,
    ProxyInternalResponse,
    ProxyLoopDetected,
}

impl ProxyErrorType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTimeout => "connection_timeout",
            Self::DestinationIpProhibited => "destination_ip_prohibited",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::DnsError => "dns_error",
            Self::DnsTimeout => "dns_timeout",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpRequestError => "http_request_error",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyInternalResponse => "proxy_internal_response",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }
}

/// A fatal TLS alert (RFC 8446, 6). The number is the `AlertDescription`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    AccessDenied = 49,
    InternalError = 80,
    UnrecognizedName = 112,
}

impl Alert {
    const NONE: Option<Self> = None;
    const CLIENT: Option<Self> = Some(Self::AccessDenied);
    const NAME: Option<Self> = Some(Self::UnrecognizedName);
    const OURS: Option<Self> = Some(Self::InternalError);

    /// The plaintext record that carries the alert before any key exists (RFC 8446, 5.1).
    pub const fn record(self) -> [u8; 7] {
        const CONTENT_TYPE_ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [
            CONTENT_TYPE_ALERT,
            0x03,
            0x03,
            0x00,
            0x02,
            FATAL,
            self as u8,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_words() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            let token = reason.token();
            assert!(
                token.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{token}"
            );
            assert!(seen.insert(token), "{token} twice");
        }
    }

    #[test]
    fn nobody_is_asked_for_credentials() {
        assert!(Reason::ALL.iter().all(|reason| reason.status() != 407));
    }

    #[test]
    fn only_what_passes_by_itself_says_when_to_retry() {
        for reason in Reason::ALL {
            let expected = matches!(reason.status(), 429 | 503);
            assert_eq!(reason.retry_after().is_some(), expected, "{reason}");
        }
    }

    #[test]
    fn alert_is_a_fatal_plaintext_record() {
        assert_eq!(
            Alert::UnrecognizedName.record(),
            [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70]
        );
    }
}
