//! A client that sends exactly the bytes that a test gives it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A proxy's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) phrase: String,
    fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Returns all fields, for tests of what must not be in them.
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// Returns the value of a field. Names compare without case, and more than one value is a
    /// failure.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self
            .fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice");
        value
    }
}

/// Sends a head, or what should pass for one, and reads the answer to its end.
pub(crate) async fn ask(proxy: SocketAddr, head: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(head).await.unwrap();
    answer(&mut stream).await
}

/// Asks for a page of the admin listener or the proxy.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    ask(server, head.as_bytes()).await
}

/// Returns a CONNECT as most clients send it.
pub(crate) fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// Connects from this source address. All of 127.0.0.0/8 is this machine.
pub(crate) async fn dial_from(source: &str, proxy: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(source.parse().unwrap(), 0))
        .unwrap();
    socket.connect(proxy).await.unwrap()
}

/// Returns an address that no other test listens on, so that each of its ports is free. The tests
/// of a target share the numbers up to 191.
pub(crate) fn own_address(n: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + n, high, low)
}

/// Asks like [`ask`], from this source address.
pub(crate) async fn ask_from(source: &str, proxy: SocketAddr, head: &[u8]) -> Answer {
    let mut stream = dial_from(source, proxy).await;
    stream.write_all(head).await.unwrap();
    answer(&mut stream).await
}

/// Opens a tunnel, or fails with the proxy's answer.
pub(crate) async fn tunnel(proxy: SocketAddr, target: &str) -> Result<TcpStream, Answer> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(connect(target).as_bytes()).await.unwrap();
    let answer = answer(&mut stream).await;
    if answer.status == 200 {
        Ok(stream)
    } else {
        Err(answer)
    }
}

/// Reads one answer. A 200 ends with its head, because what follows is the tunnel's. Any other ends
/// with the connection.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    timeout(PATIENCE, read_answer(stream))
        .await
        .expect("an answer in time")
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&head));
        });
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut status_line = lines.next().unwrap().splitn(3, ' ');
    assert_eq!(status_line.next(), Some("HTTP/1.1"));
    let mut answer = Answer {
        status: status_line.next().unwrap().parse().unwrap(),
        phrase: status_line.next().unwrap_or_default().to_owned(),
        fields: lines
            .map(|line| line.split_once(": ").expect("a field"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: String::new(),
    };
    if answer.status != 200 || answer.field("Content-Length").is_some() {
        stream.read_to_string(&mut answer.body).await.unwrap();
        let length = answer
            .field("Content-Length")
            .map(|length| length.parse::<usize>().unwrap());
        assert_eq!(length, Some(answer.body.len()));
    }
    answer
}

const PATIENCE: Duration = Duration::from_secs(15);
