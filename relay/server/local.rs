//! What a GET or HEAD gets: one answer, by hyper, and the end of the connection.

use std::convert::Infallible;
use std::io::Cursor;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{self, AsyncReadExt};
use tokio::time::timeout;

use super::downstream::Downstream;

/// Replays the head to hyper and lets it answer.
pub(super) async fn answer(mut client: Downstream) {
    let head = Cursor::new(client.take_read());
    let mut stream = client.into_stream();
    let (read, write) = stream.split();
    let io = TokioIo::new(io::join(head.chain(read), write));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(io, service_fn(page));
    // Whether the page arrived is the client's concern.
    let _ = timeout(WITHIN, connection).await;
}

async fn page(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match request.uri().path() {
        "/" => (StatusCode::OK, ABOUT),
        _ => (StatusCode::NOT_FOUND, "There is no such page here.\n"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

const ABOUT: &str = "\
This port is an HTTP CONNECT proxy, callhome-relay. It forwards to an allowlist and to nothing else.
Set it as the proxy of a machine that must call home; a browser finds nothing here.
";
const WITHIN: Duration = Duration::from_secs(5);
