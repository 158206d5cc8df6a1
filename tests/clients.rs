//! The clients that call home: what each sends to a proxy, byte for byte, and three of them in person.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client;
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest};

/// A head with the target's port left to the server: `PORT` stands for it.
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

/// Its Host is the proxy's: what a client takes the field for can't decide anything.
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

/// The relay takes no credentials; a client that has some all the same is served, and they are kept nowhere.
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
            // Lets the relay's threads have it, so that most segments are read alone.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        client.uploads().await;
    }
}

// The three below are what `.ci/run` installs; without them the tests fail rather than say nothing.

#[tokio::test]
async fn curl_in_person() {
    let person = Person::new().await;
    let (proxy, url) = (person.proxy(), person.url());
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--noproxy", ""])
        .args(["--proxy", &format!("http://{proxy}")])
        .args(["--cacert", person.certificate()])
        .args(["--data-binary", "@-", &url])
        // The server reads on without being asked to expect it.
        .args(["--header", "Expect:"]);
    let body = person.body.clone();
    let answer = run(command, body).await;
    person.check(&answer).await;
}

#[tokio::test]
async fn openssl_in_person() {
    let person = Person::new().await;
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-quiet", "-proxy", &person.proxy()])
        .args(["-connect", &person.target()])
        .args(["-servername", NAME, "-verify_hostname", NAME])
        .args(["-CAfile", person.certificate(), "-verify_return_error"]);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {}\r\n\r\n",
        person.body.len()
    );
    let answer = run(command, [request.as_bytes(), &person.body].concat()).await;
    person
        .check(answer.rsplit("\r\n").next().unwrap_or_default())
        .await;
}

#[tokio::test]
async fn python_in_person() {
    const SCRIPT: &str = "
import http.client, ssl, sys
proxy, target, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
connection = http.client.HTTPSConnection(proxy, context=context)
connection.set_tunnel(target)
connection.request('POST', '/', sys.stdin.buffer.read())
print(connection.getresponse().read().decode(), end='')
";
    let person = Person::new().await;
    let mut command = Command::new("python3");
    command
        .args(["-c", SCRIPT, &person.proxy(), &person.target()])
        .arg(person.certificate());
    let body = person.body.clone();
    let answer = run(command, body).await;
    person.check(&answer).await;
}

/// A connection to a relay that has one destination, a server that digests.
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

    /// Reads the 200, uploads, and reads of the upload in the trail.
    async fn uploads(mut self) -> Relay {
        let answer = client::answer(&mut self.stream).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = pattern(300_000);
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

/// A program that uploads through a relay.
struct Person {
    server: TlsServer,
    relay: Relay,
    certificate: NamedTempFile,
    body: Vec<u8>,
}

impl Person {
    async fn new() -> Self {
        let server = TlsServer::start_http(&[NAME]).await;
        let relay = Relay::start(&upstream(NAME, server.address.port())).await;
        let mut certificate = NamedTempFile::new().unwrap();
        certificate
            .write_all(server.certificate_pem.as_bytes())
            .unwrap();
        Self {
            server,
            relay,
            certificate,
            body: pattern(8 << 20),
        }
    }

    fn proxy(&self) -> String {
        self.relay.proxy.to_string()
    }

    fn target(&self) -> String {
        format!("{NAME}:{}", self.server.address.port())
    }

    fn url(&self) -> String {
        format!("https://{}/", self.target())
    }

    fn certificate(&self) -> &str {
        self.certificate.path().to_str().unwrap()
    }

    async fn check(&self, answer: &str) {
        assert_eq!(answer, digest(&self.body));
        let record = self.relay.closing(0).await;
        assert_eq!(record["event"], "tunnel_closed", "{record}");
        assert_eq!(record["decision"], "allow");
        assert_eq!(record["tls"]["sni"], NAME);
        assert!(record["bytes_up"].as_u64().unwrap() > self.body.len() as u64);
    }
}

/// Runs a program with this input; gives what it prints.
async fn run(mut command: Command, input: Vec<u8>) -> String {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        // It may end before it has read everything, and then it says why.
        let feeding = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        output
    });
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .expect("an end in time")
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Bytes that differ from each other wherever something could be lost, doubled or moved.
fn pattern(length: usize) -> Vec<u8> {
    (0..length.div_ceil(4))
        .flat_map(|n| u32::try_from(n).unwrap().to_le_bytes())
        .take(length)
        .collect()
}

const NAME: &str = "billing.example";
const PATIENCE: Duration = Duration::from_secs(30);
