//! Servers without TLS, for what TLS would hide: the exact bytes, and how a connection ends.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A listener whose connections the test serves itself.
pub(crate) struct PlainServer {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

/// A port that accepts no connection and refuses none, because its backlog is full.
pub(crate) struct SilentServer {
    pub(crate) address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl PlainServer {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            listener,
        }
    }

    /// Returns a destination named "upstream" for `host`, which is this server and needs no TLS.
    pub(crate) fn destination(&self, host: &str) -> String {
        let upstream = super::relay::upstream(host, self.address.port());
        format!("{upstream}sni = \"any\"\ntls_only = false\n")
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.listener.accept());
        accepted.await.expect("a connection in time").unwrap().0
    }

    /// Accepts the next connection, and returns all that it brings until its end.
    pub(crate) async fn receive(&self) -> Vec<u8> {
        read_to_end(&mut self.accept().await).await
    }
}

impl SilentServer {
    pub(crate) fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // The kernel lets in one more than the backlog allows, and drops the SYN of any other.
        let mut sockets = vec![listener];
        sockets.extend((0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        }));
        Self {
            address,
            _sockets: sockets,
        }
    }
}

/// Returns all bytes until the FIN. A reset is a failure.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("an end in time")
        .unwrap();
    bytes
}

const PATIENCE: Duration = Duration::from_secs(10);
