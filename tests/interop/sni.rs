//! Clients that were given no proxy, and what they make of a refusal.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

use crate::foreign::tools;
use crate::support::relay::{Relay, upstream};
use crate::support::sni::{CLIENT, HOST, listener, relay_to};
use crate::support::tls::{TlsServer, digest};

/// Runs the lines of the page that show how to try it, with a port and a name that exist here.
#[tokio::test]
async fn curl_as_the_page_has_it() {
    let lines: Vec<&str> = include_str!("../../docs/zvm.md")
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl --resolve") || line.starts_with("curl --connect-to"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let server = TlsServer::start_http(&[HOST]).await;
    let relay = relay_to(HOST, server.address.port(), "").await;
    let mut certificate = NamedTempFile::new().unwrap();
    certificate.write_all(server.ca_pem.as_bytes()).unwrap();
    let body = vec![7; 8 << 20];
    let port = relay.proxy.port().to_string();
    for (n, line) in lines.into_iter().enumerate() {
        let line = line
            .replace("192.0.2.7", "127.0.0.1")
            .replace("relay.dmz.example", "127.0.0.1")
            .replace("ch3.zerto.com", HOST)
            .replace("443", &port)
            .replace(
                &format!("https://{HOST}/"),
                &format!("https://{HOST}:{port}/"),
            );
        let mut arguments = line.split(' ');
        let mut command = tools::command(arguments.next().unwrap());
        command
            .args(arguments)
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
            .args(["--interface", CLIENT, "--data-binary", "@-"])
            .args(["--header", "Expect:", "--cacert"])
            .arg(certificate.path());
        let output = run(command, body.clone()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), digest(&body));
        let record = relay.closing(n).await;
        assert_eq!(record["listener"], "passthrough");
        assert_eq!(record["tls"]["sni"], HOST);
    }
}

/// OpenSSL names the alerts, and each refusal has its own.
#[tokio::test]
async fn openssl_is_told_by_an_alert() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let relay = Relay::start(&format!(
        "{}{}[[client]]\nname = \"zvm\"\nsources = [\"{}\"]\n",
        listener(closed),
        upstream(HOST, closed),
        CLIENT
    ))
    .await;
    for (n, (source, name, reason, alert)) in [
        (
            CLIENT,
            Some("elsewhere.example"),
            "destination_not_allowed",
            UNRECOGNIZED_NAME,
        ),
        (CLIENT, None, "sni_missing", UNRECOGNIZED_NAME),
        (CLIENT, Some(HOST), "connection_refused", INTERNAL_ERROR),
        ("127.0.0.3", Some(HOST), "client_not_allowed", ACCESS_DENIED),
    ]
    .into_iter()
    .enumerate()
    {
        let mut command = tools::command("openssl");
        command
            .args(["s_client", "-connect", &relay.proxy.to_string()])
            .args(["-bind", &format!("{source}:0")]);
        match name {
            Some(name) => command.args(["-servername", name]),
            None => command.arg("-noservername"),
        };
        let output = run(command, Vec::new()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(alert), "{reason}: {said}");
        let record = relay.closing(n).await;
        assert_eq!(record["reason"], reason, "{record}");
        assert_eq!(record["client"]["address"], source);
    }
}

async fn run(mut command: Command, input: Vec<u8>) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        output
    });
    let limit = std::time::Duration::from_secs(30);
    let output = tokio::time::timeout(limit, run);
    output.await.expect("an end in time").unwrap()
}

const UNRECOGNIZED_NAME: &str = "SSL alert number 112";
const ACCESS_DENIED: &str = "SSL alert number 49";
const INTERNAL_ERROR: &str = "SSL alert number 80";
