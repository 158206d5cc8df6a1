//! Answers a GET or HEAD: hyper gives one page, and the connection ends.

use std::convert::Infallible;
use std::io::Cursor;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io;

use super::downstream::Downstream;
use crate::authority::Authority;
use crate::pac::{self, Hosts, ProxyType, Rule};
use crate::policy::{Client, HostPattern, Policy};
use crate::server::settings::Settings;

type PageResponse = Response<Full<Bytes>>;

/// Replays the head to hyper and lets it answer. `asker` is the client at the other end, as policy
/// knows it.
pub(super) async fn answer(mut client: Downstream, asker: &Client, settings: &Settings) {
    let (sealed, head) = (client.is_sealed(), Cursor::new(client.take_read()));
    let mut answer = Vec::new();
    let connection = http1::Builder::new()
        .keep_alive(false)
        // The reader ends after the head, which must not count as the client's departure.
        .half_close(true)
        .serve_connection(
            TokioIo::new(io::join(head, &mut answer)),
            service_fn(async |request| {
                Ok::<_, Infallible>(page(&request, asker, settings, sealed))
            }),
        );
    // An error needs no handling: hyper writes an answer to a head that it refuses, too.
    let _ = connection.await;
    client.finish(&answer).await;
}

fn page(
    request: &Request<Incoming>,
    asker: &Client,
    settings: &Settings,
    sealed: bool,
) -> PageResponse {
    match request.uri().path() {
        "/" => text(StatusCode::OK, ABOUT),
        "/proxy.pac" => proxy_pac(request, asker, settings, sealed),
        _ => text(StatusCode::NOT_FOUND, "There is no such page here.\n"),
    }
}

/// The script that names the configured relays, or else this one, as the request reached it: by its
/// Host and by TLS or not.
fn proxy_pac(
    request: &Request<Incoming>,
    asker: &Client,
    settings: &Settings,
    sealed: bool,
) -> PageResponse {
    let rules = rules(asker, &settings.policy);
    let script = if let [first, more @ ..] = settings.pac_relays.as_slice() {
        pac::script(rules, ProxyType::Proxy, first, more)
    } else {
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        // A Host without port means the port of the scheme (RFC 9110, 4.2).
        let (way, port) = if sealed {
            (ProxyType::Https, 443)
        } else {
            (ProxyType::Proxy, 80)
        };
        match host.map(|host| Authority::parse_host_field(host, port)) {
            Some(Ok(relay)) => pac::script(rules, way, &relay, &[]),
            _ => return text(StatusCode::BAD_REQUEST, NAMELESS),
        }
    };
    let mut page = respond(StatusCode::OK, script, PAC);
    let headers = page.headers_mut();
    // The script is this client's alone, so a shared cache must not keep it: another client may
    // reach other destinations.
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=300"),
    );
    headers.insert(VARY, HeaderValue::from_static("host"));
    page
}

/// The rules for the script: each listed name, and whether this client may reach it.
///
/// Ranges have no rule, because a script would have to compare addresses, and it has only the text
/// of the host.
fn rules<'a>(asker: &Client, policy: &'a Policy) -> impl Iterator<Item = Rule<'a>> {
    policy.destinations().iter().flat_map(|destination| {
        let relayed = asker.may_reach(&destination.name);
        destination.hosts.iter().map(move |pattern| Rule {
            hosts: match pattern {
                HostPattern::Exact(name) => Hosts::Exact(name),
                HostPattern::Below(parent) => Hosts::Below(parent),
            },
            relayed,
        })
    })
}

fn text(status: StatusCode, text: &'static str) -> PageResponse {
    respond(status, text, "text/plain; charset=utf-8")
}

fn respond(status: StatusCode, body: impl Into<Bytes>, media_type: &'static str) -> PageResponse {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

const ABOUT: &str = "\
This port is an HTTP CONNECT proxy, callhome-relay. It forwards to an allowlist and to nothing else.
Set it as the proxy of a machine that must call home, best by its /proxy.pac; a browser finds nothing here.
";
const NAMELESS: &str = "\
A /proxy.pac says where the relay is, and this request has no Host that would. [pac] relays can say it too.
";
/// Not registered with IANA, but the type that PAC clients expect.
const PAC: &str = "application/x-ns-proxy-autoconfig";
