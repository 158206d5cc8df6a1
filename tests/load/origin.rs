//! The server behind the proxy. The first byte of a connection selects what it does.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A `u64` follows, and that number of bytes. The origin then sends the number back.
pub(crate) const SINK: u8 = b'U';
/// A `u64` follows. The origin sends that number of bytes, and then ends.
pub(crate) const SOURCE: u8 = b'D';
// Anything else comes back as it is.

/// Makes the request to sink or source this number of bytes.
pub(crate) fn request(what: u8, length: u64) -> [u8; HEAD] {
    let mut request = [what; HEAD];
    request[1..].copy_from_slice(&length.to_be_bytes());
    request
}

/// Listens on loopback and returns the port; zero picks one. The origin lives as long as the
/// runtime.
pub(crate) async fn start(port: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                // The client reports a tunnel that breaks.
                tokio::spawn(async move { serve(stream).await.ok() });
            }
        }
    });
    Ok(port)
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // The buffer is small, because thousands of them wait at a time.
    let mut first = [0; 2048];
    let count = stream.read(&mut first).await?;
    match asked(&first[..count]) {
        Some((SINK, length)) => sink(stream, length, (count - HEAD) as u64).await,
        Some((SOURCE, length)) => source(stream, length).await,
        _ => echo(stream, &mut first, count).await,
    }
}

fn asked(bytes: &[u8]) -> Option<(u8, u64)> {
    let (what, length) = bytes.split_first()?;
    Some((*what, u64::from_be_bytes(*length.first_chunk()?)))
}

async fn echo(mut stream: TcpStream, buffer: &mut [u8], first: usize) -> std::io::Result<()> {
    let mut count = first;
    while count > 0 {
        stream.write_all(&buffer[..count]).await?;
        count = stream.read(buffer).await?;
    }
    Ok(())
}

async fn sink(mut stream: TcpStream, length: u64, first: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut taken = first;
    while taken < length {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => taken += count as u64,
        }
    }
    stream.write_all(&taken.to_be_bytes()).await?;
    // The client ends the connection.
    stream.read(&mut buffer).await.map(drop)
}

async fn source(mut stream: TcpStream, length: u64) -> std::io::Result<()> {
    let buffer = vec![0x5a; BLOCK];
    let mut left = length;
    while left > 0 {
        let block = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.write_all(&buffer[..block]).await?;
        left -= block as u64;
    }
    Ok(())
}

const HEAD: usize = 9;
const BLOCK: usize = 256 * 1024;
