//! Real clients upload through the relay: each program of `clients`, through each of the `ways`
//! that it supports.

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

use crate::foreign::tools;
use crate::haproxy::HaProxy;
use crate::support::command::{Ran, finish_within};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest, pattern};

/// Defines a test for each client and way.
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
    curl: http http_with_credentials https https_with_certificate balanced;
    curl_without_proxy: sni sni_balanced sni_with_proxy_header;
    openssl: http balanced;
    openssl_without_proxy: sni sni_balanced;
    requests: http http_with_credentials https balanced;
    // httpx trusts a proxy's certificate only if the machine does.
    httpx: http http_with_credentials balanced;
    java: http balanced;
    undici: http https balanced;
}

use clients::{Client, Upload};
use ways::Way;

/// Checks that an allowed upload arrives and is recorded, and that a refused one fails and tells
/// its user why.
async fn uploads(client: &Client, way: &Way) {
    tools::need(client.tools);
    let server = TlsServer::start_http(&[NAME]).await;
    let (port, counted) = count(server.address).await;
    let mut relay = Relay::start(&[way.keys(port), upstream(NAME, port)].concat()).await;
    let balancer = match way.balancer {
        Some(options) => Some(HaProxy::start(relay.proxy, options).await),
        None => None,
    };
    let front = balancer.as_ref().map_or(relay.proxy, |it| it.address);
    let body = pattern(8 << 20);
    let directory = Directory::new(way, &server.ca_pem, &body);

    let ran = client
        .run(&directory.upload(way, front, &format!("{NAME}:{port}")))
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().last(), Some(digest(&body).as_str()));
    let (up, down) = counted.await.unwrap();
    assert!(up > body.len() as u64 && down > 0);
    let record = relay.closing(0).await;
    assert_eq!(record["event"], "tunnel_closed", "{record}");
    assert_eq!(record["bytes_up"], up, "{record}");
    assert_eq!(record["bytes_down"], down, "{record}");
    assert_eq!(record["tls"]["sni"], NAME);
    assert_eq!(record["closed_by"], "client", "{record}");
    let abrupt = client.abrupt && way.pki.is_some();
    let error = abrupt.then_some("client: a FIN without close_notify");
    assert_eq!(record["error"], Value::from(error), "{record}");
    assert_eq!(record["client"]["address"], "127.0.0.1", "{record}");
    let via = (way.announces || way.balancer.is_some()).then_some("127.0.0.1");
    assert_eq!(record["client"]["via"], Value::from(via), "{record}");
    let certificate = way.certified.then_some("zvm-1");
    assert_eq!(record["client"]["certificate"], Value::from(certificate));

    let ran = client
        .run(&directory.upload(way, front, &format!("elsewhere.example:{port}")))
        .await;
    assert_ne!(ran.code, Some(0), "{}", ran.stdout);
    assert!(ran.stderr.contains(client.refusal), "{}", ran.stderr);
    let record = relay.closing(1).await;
    assert_eq!(record["reason"], "destination_not_allowed", "{record}");
    assert_eq!(record["target"]["host"], "elsewhere.example", "{record}");

    relay.stop().await;
    let trail = fs::read_to_string(relay.trail()).unwrap();
    assert!(!trail.contains(ways::SECRET));
}

/// Counts the bytes of the server's first connection, up and down, which the relay must have
/// counted too.
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
    fn new(way: &Way, ca: &str, body: &[u8]) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        let mut trusted = ca.to_owned();
        if let Some(pki) = &way.pki {
            trusted += &fs::read_to_string(pki.path("ca.pem")).unwrap();
        }
        fs::write(directory.path("ca.pem"), trusted).unwrap();
        fs::write(directory.path("body"), body).unwrap();
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn upload<'a>(&'a self, way: &'a Way, front: SocketAddr, target: &str) -> Upload<'a> {
        Upload {
            way,
            proxy: way.proxy(front),
            target: target.to_owned(),
            directory: self.0.path(),
        }
    }
}

impl Client {
    async fn run(&self, upload: &Upload<'_>) -> Ran {
        let command = (self.command)(upload);
        spawn_blocking(move || finish_within(command, PATIENCE))
            .await
            .unwrap()
    }
}

const NAME: &str = "billing.example";
/// A Java program is compiled first, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);
