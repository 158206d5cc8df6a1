//! A destination without TLS that keeps what it receives, so that a test can show what never
//! reached it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// It stops when it is dropped.
pub(super) struct Plain {
    pub(super) address: SocketAddr,
    received: Received,
    _tasks: JoinSet<()>,
}

/// What the server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It reads until the end.
    Listens,
    /// It sends back what it reads.
    Echoes,
    /// It sends something first, then reads until the end.
    Greets(&'static [u8]),
    Resets,
    Closes,
}

/// Holds the bytes of each connection.
type Received = Arc<Mutex<Vec<Vec<u8>>>>;

impl Plain {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), manner).await
    }

    pub(super) async fn at(address: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Received::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, manner, received.clone()));
        Self {
            address,
            received,
            _tasks: tasks,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Returns what the `n`th connection has brought so far.
    pub(super) fn received(&self, n: usize) -> Vec<u8> {
        self.received
            .lock()
            .unwrap()
            .get(n)
            .cloned()
            .unwrap_or_default()
    }

    /// Tells whether any connection has brought anything.
    pub(super) fn heard_nothing(&self) -> bool {
        self.received.lock().unwrap().iter().all(Vec::is_empty)
    }

    /// Waits until the `n`th connection has brought this many bytes, and returns all it brought.
    pub(super) async fn receives(&self, n: usize, length: usize) -> Vec<u8> {
        let wait = async {
            while self.received(n).len() < length {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(super::PATIENCE, wait).await;
        self.received(n)
    }
}

async fn accept(listener: TcpListener, manner: Manner, received: Received) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let n = {
            let mut received = received.lock().unwrap();
            received.push(Vec::new());
            received.len() - 1
        };
        connections.spawn(serve(stream, manner, received.clone(), n));
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, received: Received, n: usize) {
    match manner {
        Manner::Listens | Manner::Echoes => {}
        Manner::Greets(greeting) => stream.write_all(greeting).await.unwrap(),
        Manner::Resets => return super::reset(stream),
        Manner::Closes => return,
    }
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        received.lock().unwrap()[n].extend_from_slice(&chunk[..count]);
        if manner == Manner::Echoes && stream.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
