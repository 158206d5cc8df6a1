//! Real clients upload through the relay: each program of `clients`, through each of the `ways` that it knows.
//!
//! `.ci/run` installs them. Where one is missing its tests fail, and say what to install.

mod clients;
mod ways;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::support::command::{Ran, finish_within};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest, pattern};

/// A test for each client and way.
macro_rules! interop {
    ($($client:ident: $($way:ident)*;)*) => {$(
        mod $client {
            use super::{clients, uploads, ways};
            $(
                #[tokio::test]
                async fn $way() {
                    uploads(&clients::$client(), &ways::$way()).await;
                }
            )*
        }
    )*};
}

interop! {
    curl: http http_with_credentials;
    openssl: http;
    requests: http http_with_credentials;
    httpx: http http_with_credentials;
    java: http;
    undici: http;
}

use clients::{Client, Upload};
use ways::Way;

/// What is allowed arrives and is recorded; what isn't fails, and the user is told why.
async fn uploads(client: &Client, way: &Way) {
    let server = TlsServer::start_http(&[NAME]).await;
    let (port, counted) = count(server.address).await;
    let mut relay = Relay::start(&format!("{}{}", way.keys, upstream(NAME, port))).await;
    let body = pattern(8 << 20);
    let directory = Directory::new(&server.ca_pem, &body);

    let ran = client
        .run(&directory.upload(way, &relay, &format!("{NAME}:{port}")))
        .await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stderr, client.missing());
    assert_eq!(ran.stdout.lines().last(), Some(digest(&body).as_str()));
    let (up, down) = counted.await.unwrap();
    assert!(up > body.len() as u64 && down > 0);
    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed", "{record}");
    assert_eq!(record["bytes_up"], up, "{record}");
    assert_eq!(record["bytes_down"], down, "{record}");
    assert_eq!(record["tls"]["sni"], NAME);
    assert_eq!(record["closed_by"], "client", "{record}");
    assert_eq!(record["error"], Value::Null, "{record}");

    let ran = client
        .run(&directory.upload(way, &relay, "elsewhere.example:443"))
        .await;
    assert_ne!(ran.code, Some(0), "{}", ran.stdout);
    assert!(ran.stderr.contains(client.refusal), "{}", ran.stderr);
    let record = relay.closing(1).await;
    assert_eq!(record["reason"], "destination_not_allowed", "{record}");
    assert_eq!(record["target"]["raw"], "elsewhere.example:443");

    relay.stop().await;
    let trail = fs::read_to_string(relay.trail()).unwrap();
    assert!(!trail.contains(ways::SECRET));
}

/// Stands before the server and counts the bytes of its first connection, up and down: what the relay has to have counted.
async fn count(server: SocketAddr) -> (u16, JoinHandle<(u64, u64)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = tokio::spawn(async move {
        let (mut relay, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        copy_bidirectional(&mut relay, &mut server).await.unwrap()
    });
    (port, counted)
}

/// The files that a client is given.
struct Directory(TempDir);

impl Directory {
    fn new(ca: &str, body: &[u8]) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        fs::write(directory.path("ca.pem"), ca).unwrap();
        fs::write(directory.path("body"), body).unwrap();
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn upload(&self, way: &Way, relay: &Relay, target: &str) -> Upload {
        Upload {
            proxy: (way.proxy)(relay.proxy),
            target: target.to_owned(),
            directory: self.0.path().to_owned(),
        }
    }
}

impl Client {
    async fn run(&self, upload: &Upload) -> Ran {
        let command = (self.command)(upload);
        spawn_blocking(move || finish_within(command, PATIENCE))
            .await
            .unwrap_or_else(|error| panic!("{error}{}", self.missing()))
    }

    fn missing(&self) -> String {
        format!("\nIs it installed? It is in Debian's {}.", self.package)
    }
}

const NAME: &str = "billing.example";
/// A Java program is compiled first, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(1);
