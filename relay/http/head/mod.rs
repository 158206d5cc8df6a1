//! The request head on a proxy listener (RFC 9112, 2 to 5): complete, incomplete or refused,
//! without I/O.
//!
//! The parser is strict on purpose, and repairs nothing. When two parsers repair the same bytes
//! differently, a request can be smuggled past one of them.
//!
//! Every byte is judged only by the bytes before it. So the answer is the same however a head is
//! cut into segments. Bytes that can't become a request are refused at the first wrong byte, not
//! when the time is up.

use crate::authority::Authority;
use crate::proxy_error::{Reason, Refusal};

/// How far the bytes read so far are a request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadProgress {
    Incomplete,
    Complete(Head),
    Refused(Refusal),
}

/// A head whose form is valid, so that it may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub request: Request,
    /// The bytes of the head, its blank line included. The bytes behind them belong to the tunnel.
    pub length: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// CONNECT (RFC 9110, 9.3.6).
    Connect(Authority),
    /// A GET or HEAD in origin-form, which asks the relay itself for a page.
    Local,
}

/// Parses a head of at most `limit` bytes from the start of `bytes`, which holds everything
/// received so far.
///
/// Bytes behind the blank line are not looked at. Once the answer is not
/// [`HeadProgress::Incomplete`], more bytes don't change it.
pub fn parse(bytes: &[u8], limit: usize) -> HeadProgress {
    let window = &bytes[..bytes.len().min(limit)];
    let length = match find_end(window) {
        Ok(Some(length)) => length,
        Ok(None) if window.len() < limit => return HeadProgress::Incomplete,
        Ok(None) => return HeadProgress::Refused(Reason::HeadTooLarge.into()),
        Err(refusal) => return HeadProgress::Refused(refusal),
    };
    match judge(&window[..length]) {
        Ok(request) => HeadProgress::Complete(Head { request, length }),
        Err(refusal) => HeadProgress::Refused(refusal),
    }
}

/// Finds the target in a first line that may be unfinished or malformed, for the trail. It is the
/// text between the first and the last space. A CR without LF doesn't end the line.
pub fn raw_target(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let start = line.iter().position(|byte| *byte == b' ')? + 1;
    let end = match line.iter().rposition(|byte| *byte == b' ') {
        Some(last) if last > start => last,
        _ => line.len(),
    };
    line.get(start..end).filter(|target| !target.is_empty())
}

/// `method SP request-target SP HTTP-version` (RFC 9112, 3).
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: HttpVersion,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HttpVersion {
    Http10,
    Http11,
}

impl<'a> RequestLine<'a> {
    /// Parses a line whose bytes have passed [`check_request_line`].
    fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(REQUEST_LINE));
        };
        if target.is_empty() {
            return Err(malformed(REQUEST_LINE));
        }
        let version = match version {
            b"HTTP/1.0" => HttpVersion::Http10,
            b"HTTP/1.1" => HttpVersion::Http11,
            // The preface of HTTP/2 is such a line too (RFC 9113, 3.4).
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Reason::VersionNotSupported.into());
            }
            _ => return Err(malformed(REQUEST_LINE)),
        };
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

/// Scans for the blank line, and gives the length of the head with it. Refuses as soon as no head
/// can come of the bytes.
fn find_end(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        // A CR at the end of the bytes may still get its LF. Anywhere else a CR is a control
        // character.
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let content = text.strip_suffix(b"\r").unwrap_or(text);
        if start == 0 {
            check_request_line(content)?;
        } else {
            check_field_line(content)?;
        }
        if text.len() == line.len() {
            break;
        }
        if content.len() == text.len() {
            return Err(malformed("a line ends in CR LF"));
        }
        match (start, content.is_empty()) {
            (0, true) => return Err(malformed("a blank line before the request")),
            (0, false) => {
                RequestLine::parse(content)?;
            }
            (_, true) => return Ok(Some(end)),
            (_, false) => {}
        }
        start = end;
    }
    Ok(None)
}

/// Checks the bytes of the first line, which may be unfinished.
fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    if let Some(at) = line.iter().position(|byte| !is_token(*byte))
        && (at == 0 || line[at] != b' ')
    {
        return Err(malformed("a method is a token, with one space behind it"));
    }
    if !line
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return Err(malformed("a request line is visible ASCII"));
    }
    Ok(())
}

/// Checks the bytes of a field line, which may be unfinished. httparse checks names and colons
/// later.
fn check_field_line(line: &[u8]) -> Result<(), Refusal> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(malformed("a field doesn't go on over lines (obs-fold)"));
    }
    if line
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        return Err(malformed("a field has no control characters"));
    }
    Ok(())
}

/// Decides on a head that is complete.
fn judge(head: &[u8]) -> Result<Request, Refusal> {
    // `find_end` has refused a CR anywhere but before an LF, so the first CR ends the first line.
    let end = head.iter().position(|byte| *byte == b'\r').unwrap_or(0);
    let line = RequestLine::parse(&head[..end])?;

    let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let fields = match httparse::parse_headers(&head[end + CRLF..], &mut storage) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Err(malformed("a field line is cut off")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(Reason::HeadTooLarge, "more than 100 fields"));
        }
        Err(httparse::Error::HeaderName) => {
            return Err(malformed(
                "a field name is a token, with the colon right behind it",
            ));
        }
        Err(_) => return Err(malformed("a field line is malformed")),
    };
    check_host(fields, line.version)?;
    if line.method == b"CONNECT" {
        check_no_content(fields)?;
        return Authority::parse(line.target)
            .map(Request::Connect)
            .map_err(|error| Refusal::new(Reason::MalformedTarget, error.to_string()));
    }
    check_local(&line, fields).map(|()| Request::Local)
}

/// Validates the Host field (RFC 9112, 3.2), because a peer that gets it wrong can't be trusted
/// with the rest. Nothing is decided by its value.
fn check_host(fields: &[httparse::Header<'_>], version: HttpVersion) -> Result<(), Refusal> {
    let mut hosts = values(fields, "host");
    match (hosts.next(), hosts.next()) {
        (None, _) if version == HttpVersion::Http10 => Ok(()),
        (None, _) => Err(malformed("HTTP/1.1 needs a Host field")),
        (Some(_), Some(_)) => Err(malformed("more than one Host field")),
        (Some(host), None) if Authority::is_host_field(host) => Ok(()),
        (Some(_), None) => Err(malformed("Host is no uri-host with an optional port")),
    }
}

/// Refuses content on a CONNECT. It has none (RFC 9110, 9.3.6), and a byte taken for content would
/// be missing in the tunnel.
///
/// `Content-Length: 0` means no content too, and `WinHTTP` sends it.
fn check_no_content(fields: &[httparse::Header<'_>]) -> Result<(), Refusal> {
    if values(fields, "transfer-encoding").next().is_some() {
        return Err(malformed("a CONNECT has no Transfer-Encoding"));
    }
    let mut lengths = values(fields, "content-length");
    match (lengths.next(), lengths.next()) {
        (None, _) | (Some(b"0"), None) => Ok(()),
        _ => Err(malformed("the Content-Length of a CONNECT is a single 0")),
    }
}

/// Checks whether a request that is no CONNECT may be handed on.
///
/// Its content is never read. So a GET or HEAD with content gets the same 405 as a method that
/// isn't served. A browser that takes the relay for its proxy must learn what is wrong, and
/// "malformed" wouldn't tell it.
fn check_local(line: &RequestLine<'_>, fields: &[httparse::Header<'_>]) -> Result<(), Refusal> {
    let not_allowed = |detail| Err(Refusal::new(Reason::MethodNotAllowed, detail));
    if !line.target.starts_with(b"/") {
        return not_allowed("the request is for an origin server, in the clear");
    }
    if !matches!(line.method, b"GET" | b"HEAD") {
        return not_allowed("only CONNECT is served, and GET and HEAD of the relay's own pages");
    }
    if check_no_content(fields).is_err() {
        return not_allowed("a GET or HEAD with content");
    }
    if !is_origin_form(line.target) {
        return Err(Refusal::new(
            Reason::MalformedTarget,
            "a path has no such characters",
        ));
    }
    Ok(())
}

fn values<'a>(
    fields: &'a [httparse::Header<'_>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// Matches `absolute-path [ "?" query ]` (RFC 9112, 3.2.1). The characters are those of RFC 3986,
/// 3.3.
fn is_origin_form(target: &[u8]) -> bool {
    let mut rest = target;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, after) if byte.is_ascii_alphanumeric() => after,
            (byte, after) if b"-._~!$&'()*+,;=:@/?".contains(byte) => after,
            _ => return false,
        };
    }
    true
}

/// Matches `tchar` (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn malformed(rule: &'static str) -> Refusal {
    Refusal::new(Reason::MalformedRequest, rule)
}

const CRLF: usize = 2;
const REQUEST_LINE: &str = "a request line is method, target and version, with single spaces";

/// More fields than any client sends. A head with more of them is meant to cost time.
const MAX_FIELDS: usize = 100;

#[cfg(test)]
mod tests;
