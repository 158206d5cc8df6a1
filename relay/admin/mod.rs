//! The admin listener: how the relay is, for machines.
//!
//! | route | answers | token |
//! |---|---|---|
//! | `/livez` | 200 while the process serves | no |
//! | `/readyz` | 200, or 503 when no new request can be served; the body says what is down or degraded | no |
//! | `/metrics` | OpenMetrics text | where `token_file` is set |
//!
//! A browser that was lured here is refused: `Host` must be an address of the listener, localhost, or in `[admin] hosts`.

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
    /// Holds the bearer token for everything but the health routes.
    pub token_file: Option<PathBuf>,
    /// Allows an address that isn't loopback without TLS.
    pub insecure: bool,
}

/// How the relay is at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why no new request can be served; empty when one can.
    pub down: Vec<String>,
    /// What is wrong without stopping the service.
    pub degraded: Vec<String>,
}

/// The bound listener.
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

type Shared = Arc<Inner>;

struct Inner {
    metrics: Arc<Metrics>,
    status: Box<dyn Fn() -> Status + Send + Sync>,
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
        status: impl Fn() -> Status + Send + Sync + 'static,
    ) -> io::Result<()> {
        let state = Arc::new(Inner {
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

async fn readyz(State(state): State<Shared>) -> impl IntoResponse {
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
            // Writing to a String can't fail.
            let _ = writeln!(body, "{kind}: {line}");
        }
    }
    (code, body)
}

async fn metrics(State(state): State<Shared>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], state.metrics.encode())
}

async fn require_host(State(state): State<Shared>, request: Request<Body>, next: Next) -> Response {
    if is_own_host(request.headers(), &state) {
        return next.run(request).await;
    }
    let body =
        "Host is not this listener's: use its address, localhost, or a name in [admin] hosts\n";
    (StatusCode::MISDIRECTED_REQUEST, body).into_response()
}

/// Whether Host names this listener, by any address (which no DNS can forge), by localhost, or by a name it was given.
fn is_own_host(headers: &HeaderMap, state: &Inner) -> bool {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
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
    State(state): State<Shared>,
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

/// Compares digests, so that the time says nothing of the token.
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
