//! The relay's answers on the CONNECT front: the 200, or one refusal, which ends the connection.
//!
//! An answer has only the relay's own words. Nothing of the request comes back to its sender, so no
//! answer reflects a credential or carries a script. Nothing of [`Refusal::detail`] is in it
//! either, so no answer maps the network behind the relay.

use std::fmt::Write;

use crate::proxy_error::{ProxyErrorType, Reason, Refusal};

/// The answer to a CONNECT whose tunnel is open.
///
/// The tunnel starts with the byte after the blank line, so Content-Length and Transfer-Encoding
/// must not be there (RFC 9110, 9.3.6). Other fields are left out too: Proxy-Status has nothing to
/// tell here, and the oldest clients read no further than the 200.
pub const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Writes the whole answer to a request that isn't served. The connection ends with it.
///
/// The reason token is in the reason phrase too, because many clients show their user only the
/// status line. `session` is the id under which the trail has the detail.
pub fn refusal(refusal: &Refusal, session: &str) -> Vec<u8> {
    let reason = refusal.reason;
    let error = reason.proxy_error();
    let body = format!("{reason} (session {session})\n");

    let mut fields = format!(
        "Proxy-Status: {IDENTITY}; error={}; details=\"{reason}\"",
        error.as_str()
    );
    if error == ProxyErrorType::DnsError
        && let Some(rcode) = refusal.rcode.as_deref().and_then(sf_string)
    {
        fields += "; rcode=";
        fields += &rcode;
    }
    fields += "\r\n";
    if reason == Reason::MethodNotAllowed {
        fields += "Allow: CONNECT\r\n";
    }
    if let Some(seconds) = reason.retry_after() {
        // Writing to a `String` doesn't fail.
        let _ = write!(fields, "Retry-After: {seconds}\r\n");
    }
    format!(
        "HTTP/1.1 {} {reason}\r\n\
         {fields}\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         \r\n\
         {body}",
        reason.status(),
        body.len(),
    )
    .into_bytes()
}

/// Writes a String of Structured Fields (RFC 8941, 3.3.3), if the text can be one.
fn sf_string(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => return None,
        }
    }
    quoted.push('"');
    Some(quoted)
}

/// All relays have the same name, because a host name would tell the outside what the inside is
/// called.
const IDENTITY: &str = "callhome-relay";

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "01936b2e-7c1a-7000-8000-000000000001";

    /// Reads status, reason phrase, fields in lower case, and body, by a parser that isn't ours.
    fn read(answer: &[u8]) -> (u16, String, Vec<(String, String)>, Vec<u8>) {
        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut storage);
        let length = response.parse(answer).unwrap().unwrap();
        let fields = response
            .headers
            .iter()
            .map(|field| {
                let value = String::from_utf8(field.value.to_vec()).unwrap();
                (field.name.to_ascii_lowercase(), value)
            })
            .collect();
        (
            response.code.unwrap(),
            response.reason.unwrap().to_owned(),
            fields,
            answer[length..].to_vec(),
        )
    }

    fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut found = fields.iter().filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        first
    }

    #[test]
    fn established_has_nothing_after_the_status_line() {
        assert_eq!(
            read(ESTABLISHED),
            (200, "Connection established".to_owned(), vec![], vec![])
        );
    }

    #[test]
    fn every_reason_has_a_well_formed_answer() {
        for &reason in Reason::ALL {
            let (status, phrase, fields, body) = read(&refusal(&reason.into(), SESSION));
            assert_eq!(status, reason.status(), "{reason}");
            assert_eq!(phrase, reason.token());
            let error = reason.proxy_error().as_str();
            assert_eq!(
                field(&fields, "proxy-status"),
                Some(
                    format!(
                        "callhome-relay; error={error}; details=\"{}\"",
                        reason.token()
                    )
                    .as_str()
                )
            );
            assert_eq!(field(&fields, "connection"), Some("close"));
            assert_eq!(field(&fields, "cache-control"), Some("no-store"));
            assert_eq!(
                field(&fields, "content-type"),
                Some("text/plain; charset=utf-8")
            );
            assert_eq!(
                field(&fields, "content-length"),
                Some(body.len().to_string().as_str())
            );
            assert_eq!(field(&fields, "transfer-encoding"), None);
            // A 405 must say what is allowed (RFC 9110, 15.5.6).
            assert_eq!(
                field(&fields, "allow"),
                (status == 405).then_some("CONNECT"),
                "{reason}"
            );
            assert_eq!(
                field(&fields, "retry-after").is_some(),
                matches!(status, 429 | 503),
                "{reason}"
            );
            let body = String::from_utf8(body).unwrap();
            assert_eq!(body.lines().count(), 1);
            assert!(
                body.contains(reason.token()) && body.contains(SESSION) && body.ends_with('\n')
            );
        }
    }

    #[test]
    fn the_detail_stays_inside() {
        for &reason in Reason::ALL {
            let with_detail = Refusal::new(reason, "10.1.2.3: ECONNREFUSED");
            assert_eq!(
                refusal(&with_detail, SESSION),
                refusal(&reason.into(), SESSION)
            );
        }
    }

    #[test]
    fn the_rcode_goes_with_a_dns_error_only() {
        let status = |reason: Reason, rcode: &str| {
            let given = Refusal {
                rcode: Some(rcode.into()),
                ..reason.into()
            };
            let (_, _, fields, _) = read(&refusal(&given, SESSION));
            field(&fields, "proxy-status").unwrap().to_owned()
        };
        let dns = |rcode| status(Reason::DnsFailed, rcode);
        let plain = "callhome-relay; error=dns_error; details=\"dns_failed\"";
        assert_eq!(dns("NXDOMAIN"), format!("{plain}; rcode=\"NXDOMAIN\""));
        assert_eq!(dns(r#"a"b\c"#), format!(r#"{plain}; rcode="a\"b\\c""#));
        assert_eq!(dns("a\r\nSet-Cookie: b"), plain);
        assert_eq!(dns("\u{fc}"), plain);
        assert!(!status(Reason::DnsTimeout, "NXDOMAIN").contains("rcode"));
    }
}
