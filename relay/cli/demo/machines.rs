//! Simulates the machines: what each tries through the relay, and what it sees.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::proxy_error::Alert;
use callhome_trail::Hash;

/// Describes a simulated machine, which the relay knows by its source address. Each machine can
/// have its own, because every address of 127.0.0.0/8 belongs to this host.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
}

/// Describes an upload that a machine attempts.
#[derive(Debug, Serialize)]
pub(super) struct Attempt {
    /// The host of the CONNECT.
    pub(super) host: &'static str,
    pub(super) port: u16,
    /// The server name of the TLS handshake inside the tunnel. Without one the machine speaks plain
    /// HTTP.
    pub(super) server_name: Option<&'static str>,
    /// The upload's size in bytes.
    pub(super) size: usize,
}

/// Tells what became of an attempt, as far as the machine can see.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Saw {
    /// The server answered. Both digests are SHA-256: `sent` is made by the machine, `received` by
    /// the server.
    Answer { sent: String, received: String },
    /// The CONNECT was answered with something other than 200.
    Refusal { status: u16, phrase: String },
    /// The tunnel opened and the TLS handshake ended with a fatal alert (RFC 8446, 6.2).
    Alert { number: u8 },
    /// The tunnel opened and was closed without a byte.
    Close,
    /// Anything else went wrong.
    Trouble { error: String },
}

impl Machine {
    /// Binds a socket to the machine's address, to connect from.
    pub(super) fn socket(self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.address, 0).into())?;
        Ok(socket)
    }
}

impl Attempt {
    /// Makes the attempt. Gives the machine's own address and port, and what it saw.
    pub(super) async fn run(
        &self,
        socket: TcpSocket,
        relay: SocketAddr,
        tls: Arc<ClientConfig>,
    ) -> io::Result<(SocketAddr, Saw)> {
        let stream = socket.connect(relay).await?;
        let own = stream.local_addr()?;
        let saw = match timeout(PATIENCE, self.make(stream, tls)).await {
            Ok(Ok(saw)) => saw,
            Ok(Err(error)) => Saw::Trouble {
                error: format!("{error:#}"),
            },
            Err(_) => Saw::Trouble {
                error: format!("no end within {} s", PATIENCE.as_secs()),
            },
        };
        Ok((own, saw))
    }

    async fn make(&self, mut stream: TcpStream, tls: Arc<ClientConfig>) -> anyhow::Result<Saw> {
        let target = format!("{}:{}", self.host, self.port);
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let (status, phrase) = read_status(&mut stream).await?;
        if status != 200 {
            return Ok(Saw::Refusal { status, phrase });
        }
        let Some(name) = self.server_name else {
            let request = format!("POST / HTTP/1.1\r\nHost: {target}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut rest = Vec::new();
            return match stream.read_to_end(&mut rest).await? {
                0 => Ok(Saw::Close),
                count => bail!("{count} bytes came back"),
            };
        };
        let name = ServerName::try_from(name)?;
        match TlsConnector::from(tls).connect(name, stream).await {
            Ok(stream) => self.upload(TokioIo::new(stream)).await,
            Err(error) => match fatal_alert(&error) {
                Some(number) => Ok(Saw::Alert { number }),
                None => Err(error).context("the TLS handshake"),
            },
        }
    }

    async fn upload<S>(&self, stream: S) -> anyhow::Result<Saw>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        let body = random(self.size)?;
        let sent = Hash::of(&body).as_str().to_owned();
        let request = Request::post("/")
            .header(header::HOST, self.host)
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            bail!("the server answered {}", answer.status());
        }
        let received = answer.into_body().collect().await?.to_bytes();
        Ok(Saw::Answer {
            sent,
            received: String::from_utf8(received.into())?,
        })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host, port, size, ..
        } = self;
        let size = size >> 20;
        match self.server_name {
            None => write!(f, "plain HTTP to {host}:{port}"),
            Some(name) if name != *host => write!(f, "{size} MiB, TLS for {name}"),
            Some(_) => write!(f, "{size} MiB to {host}:{port}"),
        }
    }
}

impl fmt::Display for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { sent, received } if sent == received => {
                write!(f, "200, same SHA-256: {sent:.8}…")
            }
            Self::Answer { sent, received } => {
                write!(f, "200, sent {sent:.8}…, arrived {received:.8}…")
            }
            Self::Refusal { status, phrase } => write!(f, "{status} {phrase}"),
            Self::Alert { number } => match alert_name(*number) {
                Some(name) => write!(f, "200, TLS alert {name}"),
                None => write!(f, "200, TLS alert {number}"),
            },
            Self::Close => f.write_str("200, closed without a byte"),
            Self::Trouble { error } => f.write_str(error),
        }
    }
}

/// Reads the head of the answer to a CONNECT. It may read past the head, because no byte follows a
/// 200 before the client has sent something.
async fn read_status(stream: &mut TcpStream) -> anyhow::Result<(u16, String)> {
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            bail!("the relay closed without an answer");
        }
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        if response.parse(&head)?.is_complete() {
            let status = response.code.context("an answer without a status")?;
            return Ok((status, response.reason.unwrap_or_default().to_owned()));
        }
    }
}

fn fatal_alert(error: &io::Error) -> Option<u8> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(description) => Some((*description).into()),
        _ => None,
    }
}

/// Gives the name that RFC 8446 or RFC 6066 has for an alert, if the relay sends that alert.
fn alert_name(number: u8) -> Option<&'static str> {
    const ACCESS_DENIED: u8 = Alert::AccessDenied as u8;
    const INTERNAL_ERROR: u8 = Alert::InternalError as u8;
    const UNRECOGNIZED_NAME: u8 = Alert::UnrecognizedName as u8;
    match number {
        ACCESS_DENIED => Some("access_denied"),
        INTERNAL_ERROR => Some("internal_error"),
        UNRECOGNIZED_NAME => Some("unrecognized_name"),
        _ => None,
    }
}

/// Makes a random body. With a body of zeros, equal digests would prove little.
fn random(size: usize) -> anyhow::Result<Bytes> {
    let mut body = vec![0; size];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut body)
        .map_err(|_| anyhow::anyhow!("the kernel has no random bytes"))?;
    Ok(body.into())
}

/// Bounds one attempt. All of them together take less than a second.
const PATIENCE: Duration = Duration::from_secs(5);
