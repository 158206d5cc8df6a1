//! The admin listener, which tells other machines how the relay is.
//!
//! | route | answers | token |
//! |---|---|---|
//! | `/livez` | 200 while the process serves | no |
//! | `/readyz` | 200, or 503 when no new request can be served; the body tells what is wrong | no |
//! | `/metrics` | OpenMetrics text | where `token_file` is set |
//!
//! `Host` must be an address of the listener, localhost, or in `[admin] hosts`. So a foreign page
//! can't read this port through a browser whose DNS it rebinds.

use std::fmt::Write as _;
use std::future::IntoFuture;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::Metrics;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminOptions {
    pub bind: SocketAddr,
    /// Names that `Host` may have beside the listener's addresses and localhost.
    pub hosts: Vec<String>,
    /// The file with the bearer token, which all routes but the health routes need.
    pub token_file: Option<PathBuf>,
    /// Allows an address that isn't loopback without TLS.
    pub insecure: bool,
}

/// Whether the relay can serve at this moment, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Why no new request can be served. It is empty when one can.
    pub down: Vec<String>,
    /// What is wrong without stopping the service.
    pub degraded: Vec<String>,
}

/// The admin listener, bound and not serving yet.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<String>,
    hosts: Vec<String>,
}

/// Why the admin listener can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the admin listener can't listen on {address}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the admin token can't be read from {}", path.display())]
    Token { path: PathBuf, source: io::Error },
    #[error("the admin token in {} has fewer than {MIN_TOKEN} characters", path.display())]
    ShortToken { path: PathBuf },
}

struct AdminState {
    metrics: Arc<Metrics>,
    status: Box<dyn Fn() -> Readiness + Send + Sync>,
    token: Option<String>,
    hosts: Vec<String>,
    port: u16,
}

impl Admin {
    pub async fn bind(options: &AdminOptions) -> Result<Self, AdminError> {
        let token = options.token_file.as_deref().map(read_token).transpose()?;
        let bind = |source| AdminError::Bind {
            address: options.bind,
            source,
        };
        let listener = TcpListener::bind(options.bind).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            token,
            hosts: options.hosts.clone(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the listener fails.
    pub async fn serve(
        self,
        measured: Arc<Metrics>,
        status: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> io::Result<()> {
        let state = Arc::new(AdminState {
            metrics: measured,
            status: Box::new(status),
            token: self.token,
            hosts: self.hosts,
            port: self.address.port(),
        });
        let private = Router::new()
            .route("/metrics", get(metrics))
            .route_layer(from_fn_with_state(state.clone(), require_token));
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .merge(private)
            .layer(from_fn_with_state(state.clone(), require_host))
            .with_state(state);
        axum::serve(self.listener, router).into_future().await
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

async fn readyz(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    let status = (state.status)();
    let code = match status.down.as_slice() {
        [] => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut body = String::from(if code.is_success() {
        "ready\n"
    } else {
        "not ready\n"
    });
    for (kind, lines) in [("down", &status.down), ("degraded", &status.degraded)] {
        for line in lines {
            // Writing to a `String` can't fail.
            let _ = writeln!(body, "{kind}: {line}");
        }
    }
    (code, body)
}

async fn metrics(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], state.metrics.encode())
}

async fn require_host(
    State(state): State<Arc<AdminState>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if is_own_host(request.headers(), &state) {
        return next.run(request).await;
    }
    let body =
        "Host is not this listener's: use its address, localhost, or a name in [admin] hosts\n";
    (StatusCode::MISDIRECTED_REQUEST, body).into_response()
}

/// Tells whether Host names this listener: by an address, by localhost, or by a configured name.
/// Any address will do, because an attacker's page has a name as its Host.
fn is_own_host(headers: &HeaderMap, state: &AdminState) -> bool {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    // A colon may also be part of an IPv6 address, so only this listener's port is cut off.
    let name = host
        .rsplit_once(':')
        .and_then(|(name, port)| (port.parse() == Ok(state.port)).then_some(name))
        .unwrap_or(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || state.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

async fn require_token(
    State(state): State<Arc<AdminState>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let Some(token) = &state.token else {
        return next.run(request).await;
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| equal(given, token.as_bytes())) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (
        StatusCode::UNAUTHORIZED,
        challenge,
        "a bearer token is needed\n",
    )
        .into_response()
}

/// Compares digests, so that the time it takes tells nothing about the token.
fn equal(given: &[u8], token: &[u8]) -> bool {
    let digest = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    digest(given).as_ref() == digest(token).as_ref()
}

fn read_token(path: &Path) -> Result<String, AdminError> {
    let text = std::fs::read_to_string(path).map_err(|source| AdminError::Token {
        path: path.to_owned(),
        source,
    })?;
    let token = text.trim();
    if token.len() < MIN_TOKEN {
        return Err(AdminError::ShortToken {
            path: path.to_owned(),
        });
    }
    Ok(token.to_owned())
}

const MIN_TOKEN: usize = 16;
