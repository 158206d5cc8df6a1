//! curl and haproxy at each kind of listener.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::foreign::tools;
use crate::haproxy::HaProxy;
use crate::support::command::{Ran, binary, finish_within};
use crate::support::pki::{Pki, Use};
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest};

/// An upload: its content and its server.
struct Upload {
    server: TlsServer,
    directory: TempDir,
    body: Vec<u8>,
}

impl Upload {
    async fn new() -> Self {
        let server = TlsServer::start_http(&["billing.example"]).await;
        let directory = tempfile::tempdir().unwrap();
        let body: Vec<u8> = (0..2_u32 << 20).flat_map(u32::to_le_bytes).collect();
        fs::write(directory.path().join("body"), &body).unwrap();
        fs::write(directory.path().join("server.pem"), &*server.ca_pem).unwrap();
        Self {
            server,
            directory,
            body,
        }
    }

    async fn relay(&self, keys: &str) -> Relay {
        let destination = upstream("billing.example", self.server.address.port());
        Relay::start(&[keys, &destination].concat()).await
    }

    /// Runs curl through a proxy, with these further arguments.
    async fn curl(&self, proxy: &str, args: &[&str]) -> Ran {
        let mut command = tools::command("curl");
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        command
            .args(["--silent", "--show-error", "--fail", "--noproxy", ""])
            .args(["--header", "Expect:", "--proxy", proxy])
            .args(["--cacert", &file("server.pem")])
            .args(["--data-binary", &format!("@{}", file("body"))])
            .args(args)
            .arg(format!(
                "https://billing.example:{}/",
                self.server.address.port()
            ));
        run(command).await
    }

    fn is_whole(&self, ran: &Ran) {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(ran.stdout, digest(&self.body));
    }
}

async fn run(command: Command) -> Ran {
    tokio::task::spawn_blocking(|| finish_within(command, Duration::from_mins(1)))
        .await
        .unwrap()
}

#[tokio::test]
async fn curl_with_a_certificate() {
    let upload = Upload::new().await;
    let pki = Pki::with_relay();
    let client = "[[client]]\nname = \"zvm\"\ncertificate_names = [\"zvm-1\"]\n";
    let relay = upload
        .relay(&[&pki.listener(Some(&pki), ""), client].concat())
        .await;
    let proxy = format!("https://{}", relay.proxy);
    let ca = pki.name("ca.pem");
    pki.issue("client", Use::Client, &["zvm-1"]);
    pki.issue("server", Use::Server, &["zvm-1"]);
    let with = |stem: &str| {
        let (pem, key) = (
            pki.name(&format!("{stem}.pem")),
            pki.name(&format!("{stem}.key")),
        );
        [
            "--proxy-cacert",
            &ca,
            "--proxy-cert",
            &pem,
            "--proxy-key",
            &key,
        ]
        .map(str::to_owned)
    };
    let certified = with("client");
    let ran = upload
        .curl(&proxy, &certified.each_ref().map(String::as_str))
        .await;
    upload.is_whole(&ran);
    let record = relay.closing(0).await;
    assert_eq!(record["client"]["name"], "zvm");
    assert_eq!(record["client"]["certificate"], "zvm-1");
    // Neither a server's certificate nor none at all is accepted here.
    let wrong = with("server");
    let ran = upload
        .curl(&proxy, &wrong.each_ref().map(String::as_str))
        .await;
    assert_ne!(ran.code, Some(0));
    assert_eq!(relay.closing(1).await["reason"], "certificate_untrusted");
    let ran = upload.curl(&proxy, &["--proxy-cacert", &ca]).await;
    assert_ne!(ran.code, Some(0));
    assert_eq!(relay.closing(2).await["reason"], "certificate_missing");
}

/// A relay and its clients work with the certificates that `certs` makes.
#[tokio::test]
async fn with_the_certificates_of_the_command() {
    let upload = Upload::new().await;
    let pki = upload.directory.path().join("pki");
    let file = |name: &str| pki.join(name).display().to_string();
    let made = [
        "certs",
        "--dir",
        &file(""),
        "--name",
        "127.0.0.1",
        "--client",
        "zvm-ams-1",
    ];
    let ran = run(binary(&made)).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let (relay_pem, relay_key, ca) = (file("relay.pem"), file("relay.key"), file("ca.pem"));
    let relay = upload
        .relay(&format!(
            "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n\
             tls = {{ certificate = \"{relay_pem}\", key = \"{relay_key}\", client_ca = \"{ca}\" }}\n\
             [[client]]\nname = \"zvm-ams-1\"\ncertificate_names = [\"zvm-ams-1\"]\n"
        ))
        .await;
    let (pem, key) = (file("client-zvm-ams-1.pem"), file("client-zvm-ams-1.key"));
    let args = [
        "--proxy-cacert",
        &ca,
        "--proxy-cert",
        &pem,
        "--proxy-key",
        &key,
    ];
    let ran = upload
        .curl(&format!("https://{}", relay.proxy), &args)
        .await;
    upload.is_whole(&ran);
    assert_eq!(relay.closing(0).await["client"]["name"], "zvm-ams-1");
}

/// curl sends the header to its server. Here the relay is that server, so curl fetches the PAC
/// file.
#[tokio::test]
async fn curl_with_a_proxy_header() {
    let relay = Relay::start(
        "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]\n",
    )
    .await;
    let url = format!("http://{}/proxy.pac", relay.proxy);
    let curl = |args: &[&str]| {
        let mut command = tools::command("curl");
        command
            .args(["--silent", "--show-error", "--noproxy", "*"])
            .args(args)
            .arg(&url);
        command
    };
    let ran = run(curl(&["--fail", "--haproxy-protocol"])).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("FindProxyForURL"));
    let ran = run(curl(&[])).await;
    assert!(
        ran.stdout.starts_with("proxy_header_invalid "),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn haproxy_announces_clients() {
    let upload = Upload::new().await;
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,cert-cn",
    ] {
        let relay = upload
            .relay(
                "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.77\"]\n",
            )
            .await;
        let haproxy = HaProxy::start(relay.proxy, &format!("source 127.0.0.77 {options}")).await;
        let proxy = format!("http://{}", haproxy.address);
        let ran = upload.curl(&proxy, &["--interface", "127.0.0.9"]).await;
        upload.is_whole(&ran);
        let wanted = |record: &serde_json::Value| record["event"] == "tunnel_closed";
        let record = relay.record(wanted).await;
        assert_eq!(record["client"]["address"], "127.0.0.9", "{options}");
        assert_eq!(record["client"]["via"], "127.0.0.77", "{options}");
    }
}

/// haproxy's own checks are probes, which are counted and leave no record. They have to find the
/// relay healthy, because otherwise haproxy forwards nothing.
#[tokio::test]
async fn haproxy_checks_the_relay() {
    let pki = Pki::with_relay();
    for (tls, options) in [
        (false, "send-proxy check inter 50ms check-send-proxy"),
        (false, "send-proxy-v2 check inter 50ms check-send-proxy"),
        (
            true,
            "send-proxy-v2 check inter 50ms check-send-proxy check-ssl verify none",
        ),
    ] {
        let balancers = "proxy_protocol_from = [\"127.0.0.77\"]\n";
        let plain = format!("[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n{balancers}");
        let front = if tls {
            pki.listener(None, balancers)
        } else {
            plain
        };
        let relay = Relay::start(&front).await;
        let _haproxy = HaProxy::start(relay.proxy, &format!("source 127.0.0.77 {options}")).await;
        let start = Instant::now();
        // The first connection was made by `HaProxy::start`.
        while relay
            .metric("callhome_relay_connections_silent_total")
            .await
            < 5
        {
            assert!(start.elapsed() < Duration::from_secs(10), "{options}");
            sleep(Duration::from_millis(20)).await;
        }
        let refused = relay.records();
        assert!(
            refused
                .iter()
                .all(|record| record["event"] != "request_denied"),
            "{options}: {refused:?}"
        );
    }
}
