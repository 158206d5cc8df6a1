//! The TLS server for clients that speak HTTP.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::support::tls::{Stream, TlsServer, digest_of};

impl TlsServer {
    /// Starts a server that takes one POST on each connection and answers with the digest of its
    /// content. The client closes the connection. The server ends TLS, but only if it was asked to
    /// by `Connection: close`.
    pub(crate) async fn start_http(names: &[&str]) -> Self {
        Self::start_with(names, |stream| async { drop(take_post(stream).await) }).await
    }
}

async fn take_post(stream: Stream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut length, mut closes) = (0, false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some((name, "close")) if name.eq_ignore_ascii_case("connection") => closes = true,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let digest = digest_of(&mut (&mut stream).take(length)).await?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{digest}",
        digest.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    if closes {
        stream.get_mut().get_mut().1.send_close_notify();
    }
    // A write may stay in the TLS stream's buffer when the task has used up its turn, so flush it.
    stream.flush().await?;
    // Read what the client still sends, `close_notify` included, and answer nothing. Then the
    // client is always the first to close TCP.
    let (mut stream, _) = stream.into_inner().into_inner();
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}
