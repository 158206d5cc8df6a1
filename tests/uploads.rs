//! What the trail says of uploads: which tunnels carried one, probably, and which requests were
//! for a destination where one counts.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client;
use crate::support::plain::{PlainServer, read_to_end};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, client_hello};

/// An open tunnel to a destination whose keys the test chooses. Its hello has arrived.
struct Upload {
    relay: Relay,
    client: TcpStream,
    server: TcpStream,
    hello: usize,
}

impl Upload {
    async fn begin(keys: &str) -> Self {
        let server = PlainServer::start().await;
        let port = server.address.port();
        let relay = Relay::start(&format!("{}{keys}", upstream("a.example", port))).await;
        let target = format!("a.example:{port}");
        let mut client = client::tunnel(relay.proxy, &target).await.unwrap();
        let hello = client_hello("a.example");
        client.write_all(&hello).await.unwrap();
        let mut server = server.accept().await;
        server.read_exact(&mut vec![0; hello.len()]).await.unwrap();
        Self {
            relay,
            client,
            server,
            hello: hello.len(),
        }
    }

    async fn sends(&mut self, count: usize) {
        self.client.write_all(&vec![1; count]).await.unwrap();
        self.server.read_exact(&mut vec![0; count]).await.unwrap();
    }

    async fn answers(&mut self, count: usize) {
        self.server.write_all(&vec![2; count]).await.unwrap();
        self.client.read_exact(&mut vec![0; count]).await.unwrap();
    }

    /// Lets the client leave, and gives the closing record.
    async fn record(self) -> Value {
        drop(self.client);
        let mut server = self.server;
        assert_eq!(read_to_end(&mut server).await, b"");
        drop(server);
        let record = self.relay.closing(0).await;
        assert_eq!(record["tls"]["hello_bytes"], self.hello);
        record
    }
}

const BILLING: &str = "purpose = \"billing\"\n";

#[tokio::test]
async fn an_upload_is_probable_once_enough_went_up_and_was_answered() {
    let mut tunnel = Upload::begin(BILLING).await;
    // The certificate comes before the upload, so it is no answer to it.
    tunnel.answers(3000).await;
    tunnel.sends(1000).await;
    tunnel.sends(24).await;
    tunnel.answers(1).await;
    let record = tunnel.record().await;
    assert_eq!(record["upload"], "probable");
    assert_eq!(record["billing"], true);
}

#[tokio::test]
async fn what_no_byte_answers_is_unanswered() {
    let mut tunnel = Upload::begin(BILLING).await;
    tunnel.answers(3000).await;
    tunnel.sends(1024).await;
    assert_eq!(tunnel.record().await["upload"], "unanswered");
    // A black hole answers nothing at all, so nothing speaks of the certificate.
    let tunnel = Upload::begin(BILLING).await;
    assert_eq!(tunnel.record().await["upload"], "unanswered");
}

/// curl sends about 220 bytes after its ClientHello for a GET.
#[tokio::test]
async fn a_request_without_a_body_is_small() {
    let mut tunnel = Upload::begin(BILLING).await;
    tunnel.answers(3000).await;
    tunnel.sends(220).await;
    tunnel.answers(5000).await;
    assert_eq!(tunnel.record().await["upload"], "small");
    let mut tunnel = Upload::begin(&format!("{BILLING}upload_min_bytes = \"200B\"\n")).await;
    tunnel.answers(3000).await;
    tunnel.sends(220).await;
    tunnel.answers(5000).await;
    assert_eq!(tunnel.record().await["upload"], "probable");
}

#[tokio::test]
async fn a_client_that_distrusts_the_certificate_uploads_nothing() {
    let server = TlsServer::start(&["a.example"]).await;
    let other = TlsServer::start(&["a.example"]).await;
    let port = server.address.port();
    let relay = Relay::start(&format!("{}{BILLING}", upstream("a.example", port))).await;
    let target = format!("a.example:{port}");
    let stream = client::tunnel(relay.proxy, &target).await.unwrap();
    assert!(other.upload(stream, "a.example", b"").await.is_err());
    let record = relay.closing(0).await;
    assert_eq!(record["upload"], "distrusted", "{record}");
    assert!(record["bytes_down"].as_u64().unwrap() > 500);

    let stream = client::tunnel(relay.proxy, &target).await.unwrap();
    let body = vec![7; 2048];
    server.upload(stream, "a.example", &body).await.unwrap();
    assert_eq!(relay.closing(1).await["upload"], "probable");
}

#[tokio::test]
async fn no_other_destination_has_uploads() {
    let client = "[[client]]\nname = \"old\"\nversion = \"8.5\"\nsources = [\"127.0.0.1\"]\n";
    for keys in [
        String::new(),
        format!("{BILLING}versions = \">=9\"\n{client}"),
    ] {
        let mut tunnel = Upload::begin(&keys).await;
        tunnel.answers(3000).await;
        tunnel.sends(5000).await;
        tunnel.answers(1).await;
        let record = tunnel.record().await;
        assert_eq!(record["upload"], Value::Null);
        assert_eq!(record["billing"], false);
    }
}

#[tokio::test]
async fn a_refusal_tells_whether_it_was_for_a_billing_destination() {
    let server = PlainServer::start().await;
    let port = server.address.port();
    let billing = format!("{}{BILLING}", upstream("billing.example", port));
    let other = format!(
        "[[destination]]\nname = \"other\"\nhosts = [\"other.example\"]\nports = [{port}]\n"
    );
    let relay = Relay::start(&format!("{billing}{other}")).await;
    let mut expected = Vec::new();
    for (target, billing) in [
        (format!("billing.example:{}", port ^ 1), json!(true)),
        (format!("other.example:{}", port ^ 1), json!(false)),
        (format!("unknown.example:{port}"), Value::Null),
    ] {
        assert!(client::tunnel(relay.proxy, &target).await.is_err());
        expected.push(billing);
    }
    // The tunnel opens, and then another name comes in its ClientHello.
    let target = format!("billing.example:{port}");
    let mut stream = client::tunnel(relay.proxy, &target).await.unwrap();
    stream.write_all(&client_hello("x.example")).await.unwrap();
    expected.push(json!(true));
    for (n, billing) in expected.iter().enumerate() {
        let record = relay.closing(n).await;
        assert_eq!(&record["billing"], billing, "{record}");
        assert_eq!(record["upload"], Value::Null);
    }
    assert_eq!(relay.closing(3).await["reason"], "sni_mismatch");
}
