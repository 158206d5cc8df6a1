//! A client that opens tunnels through a proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// The end of a tunnel, and the payload that is echoed in it first.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) proxy: SocketAddr,
    pub(crate) authority: String,
    pub(crate) payload: Payload,
    /// How to shake hands with the proxy, if it is one for HTTPS.
    pub(crate) tls: Option<TlsConnector>,
}

/// A connection with a proxy, plain or under TLS.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The 1 KiB that each tunnel carries both ways.
#[derive(Clone)]
pub(crate) struct Payload(Arc<[u8; SIZE]>);

impl Payload {
    /// Bytes that are no TLS.
    pub(crate) fn raw() -> Self {
        Self(Arc::new([b'e'; SIZE]))
    }

    /// A ClientHello that names ch3.zerto.com, with more bytes behind it.
    pub(crate) fn hello() -> Self {
        let mut bytes = [0x17; SIZE];
        bytes[..HELLO.len()].copy_from_slice(HELLO);
        Self(Arc::new(bytes))
    }
}

/// Opens a tunnel. The proxy must send nothing but a 200.
pub(crate) async fn open(target: &Target) -> anyhow::Result<Stream> {
    let stream = TcpStream::connect(target.proxy).await?;
    stream.set_nodelay(true)?;
    let mut stream = match &target.tls {
        None => Either::Left(stream),
        Some(tls) => {
            let name = target.proxy.ip().into();
            Either::Right(Box::new(tls.connect(name, stream).await?))
        }
    };
    let authority = &target.authority;
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = [0; 1024];
    let mut length = 0;
    while !answer[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut answer[length..]).await? {
            0 => break,
            count => length += count,
        }
    }
    let answer = &answer[..length];
    // Squid answers in HTTP/1.1 or 1.0, so accept both.
    if answer.get(8..13) != Some(b" 200 ") {
        bail!("refused: {}", String::from_utf8_lossy(answer).trim_end());
    }
    Ok(stream)
}

/// Sends the payload and reads it back.
pub(crate) async fn echo(stream: &mut Stream, payload: &Payload) -> anyhow::Result<()> {
    stream.write_all(&*payload.0).await?;
    stream.flush().await?;
    let mut back = [0; SIZE];
    stream.read_exact(&mut back).await.context("the echo")?;
    ensure!(back == *payload.0, "the echo is not what was sent");
    Ok(())
}

const SIZE: usize = 1024;
const HELLO: &[u8] = include_bytes!("../../relay/tls/testdata/openssl.bin");
