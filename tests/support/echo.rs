//! A destination without TLS that first sends its client's address, then echoes.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::relay::upstream;

/// Starts the server. Its first line is the peer's address, which the trail has as
/// `upstream_local`.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(format!("{peer}\n").as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// Returns the destination's table for a relay's file.
pub(crate) fn destination(echo: SocketAddr) -> String {
    format!(
        "{}tls_only = false\nsni = \"any\"\n",
        upstream(HOST, echo.port())
    )
}

/// Returns the target that a client has to ask for.
pub(crate) fn target(echo: SocketAddr) -> String {
    format!("{HOST}:{}", echo.port())
}

const HOST: &str = "echo.example";
