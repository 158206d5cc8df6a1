//! The clients that call home: what each sends to a proxy, byte for byte. `interop` runs some of
//! them.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client;
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{self, TlsServer, digest};

/// Sends a head, with the server's port in place of `PORT`.
async fn opens_a_tunnel(head: &str) {
    let mut client = Client::new().await;
    let head = client.head(head);
    client.stream.write_all(head.as_bytes()).await.unwrap();
    client.uploads().await;
}

#[tokio::test]
async fn net_framework() {
    opens_a_tunnel(
        "CONNECT billing.example:PORT HTTP/1.1\r\nHost: billing.example\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn net_5_and_later() {
    opens_a_tunnel("CONNECT billing.example:PORT HTTP/1.1\r\nHost: billing.example:PORT\r\n\r\n")
        .await;
}

#[tokio::test]
async fn winhttp() {
    opens_a_tunnel(
        "CONNECT billing.example:PORT HTTP/1.1\r\nUser-Agent: agent\r\nHost: billing.example:PORT\r\n\
         Content-Length: 0\r\nProxy-Connection: Keep-Alive\r\nPragma: no-cache\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn curl() {
    opens_a_tunnel(
        "CONNECT billing.example:PORT HTTP/1.1\r\nHost: billing.example:PORT\r\nUser-Agent: curl/7.88.1\r\n\
         Proxy-Connection: Keep-Alive\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn java() {
    opens_a_tunnel(
        "CONNECT billing.example:PORT HTTP/1.1\r\nUser-Agent: Java/17.0.15\r\nHost: billing.example\r\n\
         Accept: text/html, image/gif, image/jpeg, */*; q=0.2\r\nProxy-Connection: keep-alive\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn python_and_ncat() {
    opens_a_tunnel("CONNECT billing.example:PORT HTTP/1.0\r\n\r\n").await;
}

#[tokio::test]
async fn openssl() {
    opens_a_tunnel("CONNECT billing.example:PORT HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n")
        .await;
}

/// The Host field is the proxy's, so it must not decide anything, whatever a client puts there.
#[tokio::test]
async fn node() {
    opens_a_tunnel(
        "CONNECT billing.example:PORT HTTP/1.1\r\nHost: 10.0.0.1:3128\r\nConnection: keep-alive\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn node_agents() {
    for field in ["connection: close", "Proxy-Connection: close"] {
        opens_a_tunnel(&format!(
            "CONNECT billing.example:PORT HTTP/1.1\r\nhost: billing.example:PORT\r\n{field}\r\n\r\n"
        ))
        .await;
    }
}

/// The relay takes no credentials. A client that sends some is served, and they are kept nowhere.
#[tokio::test]
async fn credentials_are_ignored_and_forgotten() {
    let mut client = Client::new().await;
    let head = client.head(
        "CONNECT billing.example:PORT HTTP/1.1\r\nHost: billing.example:PORT\r\n\
         Proxy-Authorization: Basic UzNDUkVUOlMzQ1JFVA==\r\n\r\n",
    );
    client.stream.write_all(head.as_bytes()).await.unwrap();
    let relay = client.uploads().await;
    let trail = std::fs::read_to_string(relay.trail()).unwrap();
    assert!(!trail.contains("UzNDUkVU") && !trail.contains("S3CRET"));
}

#[tokio::test]
async fn a_name_in_capitals_with_a_dot_at_the_end() {
    opens_a_tunnel("CONNECT Billing.EXAMPLE.:PORT HTTP/1.1\r\nHOST: Billing.EXAMPLE.:PORT\r\n\r\n")
        .await;
}

#[tokio::test]
async fn a_head_in_segments() {
    for size in [1, 7, 40] {
        let mut client = Client::new().await;
        let head =
            client.head("CONNECT billing.example:PORT HTTP/1.1\r\nHost: billing.example\r\n\r\n");
        client.stream.set_nodelay(true).unwrap();
        for segment in head.as_bytes().chunks(size) {
            client.stream.write_all(segment).await.unwrap();
            // Yields to the relay's threads, so that they read most segments one by one.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        client.uploads().await;
    }
}

/// A connection to a relay whose only destination is a server that digests.
struct Client {
    server: TlsServer,
    relay: Relay,
    stream: TcpStream,
}

impl Client {
    async fn new() -> Self {
        let server = TlsServer::start(&[NAME]).await;
        let relay = Relay::start(&upstream(NAME, server.address.port())).await;
        let stream = TcpStream::connect(relay.proxy).await.unwrap();
        Self {
            server,
            relay,
            stream,
        }
    }

    fn head(&self, head: &str) -> String {
        head.replace("PORT", &self.server.address.port().to_string())
    }

    /// Reads the 200, uploads, and reads about the upload in the trail.
    async fn uploads(mut self) -> Relay {
        let answer = client::answer(&mut self.stream).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = tls::pattern(300_000);
        let received = self.server.upload(self.stream, NAME, &body).await.unwrap();
        assert_eq!(received, digest(&body));
        let record = self.relay.closing(0).await;
        assert_eq!(record["event"], "tunnel_closed", "{record}");
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["closed_by"], "client");
        assert_eq!(record["target"]["host"], NAME);
        assert_eq!(record["tls"]["sni"], NAME);
        self.relay
    }
}

const NAME: &str = "billing.example";
