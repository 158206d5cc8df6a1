//! `health` asks a running relay. It reads no configuration, so that a container's health check
//! can't fail because of a file.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::Exit;
use super::out;

#[derive(Debug, clap::Args)]
pub(super) struct HealthArgs {
    /// The address of the relay's admin listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Ask only whether the process is alive, not whether the relay is ready
    #[arg(long)]
    live: bool,
}

pub(super) fn run(args: &HealthArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = if args.live { "/livez" } else { "/readyz" };
    let asked = runtime.block_on(async { timeout(WITHIN, get(args.admin, path)).await });
    match asked {
        Ok(Ok((status, body))) => {
            write!(out::stdout(), "{body}")?;
            Ok(if status.is_success() {
                Exit::Fine
            } else {
                Exit::No
            })
        }
        Ok(Err(error)) => {
            out::error_line(&format!("{} doesn't answer: {error:#}", args.admin));
            Ok(Exit::No)
        }
        Err(_) => {
            out::error_line(&format!(
                "{} doesn't answer within {} s",
                args.admin,
                WITHIN.as_secs()
            ));
            Ok(Exit::No)
        }
    }
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?;
    Ok((
        status,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    ))
}

/// Bounds the whole question, the connection included.
const WITHIN: Duration = Duration::from_secs(3);
