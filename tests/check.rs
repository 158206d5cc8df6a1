//! `check`, as an operator runs it: the binary, a file, and servers that are right or wrong in one
//! way each.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::ServerConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::dns::{NameServer, Script};
use crate::support::relay::upstream;
use crate::support::tls::server_config;

const HOST: &str = "billing.example";

/// A certificate authority that some machine may trust.
struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Ca {
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Configures a server with a certificate that `edit` has changed.
    fn issue(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        edit(&mut params);
        server_config(&params, &self.issuer)
    }

    fn good(&self) -> ServerConfig {
        self.issue(HOST, |_| ())
    }
}

/// Starts an HTTPS server that answers every request with 403 and a clock of its own.
struct Https {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Https {
    async fn start(config: ServerConfig) -> Self {
        Self::start_ahead(config, SignedDuration::ZERO).await
    }

    async fn start_ahead(config: ServerConfig, ahead: SignedDuration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let requests = server.requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                if !head.starts_with(b"HEAD / HTTP/1.1\r\nhost: billing.example:") {
                    continue;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                let date = Timestamp::now() + ahead;
                let date = DateTimePrinter::new()
                    .timestamp_to_rfc9110_string(&date)
                    .unwrap();
                let answer =
                    format!("HTTP/1.1 403 Forbidden\r\nDate: {date}\r\nContent-Length: 9\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        server
    }

    fn destination(&self) -> String {
        upstream(HOST, self.address.port())
    }
}

/// Holds the result of one run.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// Returns the line of a hop of the only destination, without its name.
    fn hop(&self, hop: &str) -> String {
        let mut hops = self.out.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let status = words.next()?;
            (words.next()? == hop && line.starts_with("  "))
                .then(|| format!("{status} {}", words.collect::<Vec<_>>().join(" ")))
        });
        hops.next()
            .unwrap_or_else(|| panic!("no {hop} in:\n{}{}", self.out, self.err))
    }

    #[track_caller]
    fn has(&self, hop: &str, expected: &str) {
        let line = self.hop(hop);
        assert!(line.contains(expected), "{line:?} lacks {expected:?}");
    }

    /// Returns how each hop came out, up to the clock.
    fn statuses(&self) -> Vec<String> {
        ["name", "ranges", "tcp", "tls", "http", "clock"]
            .map(|hop| self.hop(hop).split(' ').next().unwrap().to_owned())
            .to_vec()
    }
}

/// Prepares the command on a file with these keys and no preset. The machine trusts `ca` and
/// nothing else.
fn command(directory: &TempDir, keys: &str, args: &[&str], ca: Option<&Ca>) -> Command {
    let dns = if keys.contains("[dns]") {
        ""
    } else {
        "[dns]\nservers = [\"127.0.0.1:9\"]\n"
    };
    let preset = if keys.contains("preset = ") {
        ""
    } else {
        "preset = \"none\"\n"
    };
    let file = directory.path().join("relay.toml");
    fs::write(&file, format!("{preset}{keys}\n{dns}")).unwrap();
    let roots = ca.map_or_else(|| directory.path().join("no-roots.pem"), Ca::file);
    let mut command = Command::new(env!("CARGO_BIN_EXE_callhome-relay"));
    command
        .arg("check")
        .arg("--config")
        .arg(file)
        .args(args)
        .env_remove("SSL_CERT_DIR")
        .env_remove("STATE_DIRECTORY")
        .env("SSL_CERT_FILE", roots)
        .stdin(Stdio::null());
    command
}

async fn check_with(keys: &str, args: &[&str], ca: Option<&Ca>) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&directory, keys, args, ca);
    let output: Output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn check(keys: &str) -> Ran {
    check_with(keys, &[], None).await
}

/// Adds a destination whose name is looked up at `dns`.
fn looked_up(dns: &NameServer, ranges: &str) -> String {
    format!(
        "[[destination]]\nname = \"upstream\"\nhosts = [\"{HOST}\"]\n{ranges}\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\n",
        dns.address
    )
}

#[tokio::test]
async fn a_ca_of_this_machine_reads_as_inspection_and_the_walk_goes_on() {
    let ca = Ca::named("Corp Inspection CA");
    let server = Https::start(ca.good()).await;
    let ran = check_with(&server.destination(), &[], Some(&ca)).await;
    assert_eq!(ran.statuses(), ["ok", "ok", "ok", "warn", "ok", "ok"]);
    ran.has("name", "127.0.0.1 (loopback), from the configuration");
    ran.has("ranges", "inside 127.0.0.0/8");
    ran.has("tcp", &server.address.to_string());
    ran.has("tls", "TLS 1.3 in ");
    ran.has("tls", "SNI billing.example");
    ran.has(
        "tls",
        "inspected by a locally trusted CA: Corp Inspection CA",
    );
    ran.has("tls", "days left");
    ran.has("http", "HEAD / answered 403");
    assert!(ran.out.contains("relay's own path"), "{}", ran.out);
    assert!(
        ran.out
            .ends_with("0 ok, 1 with warnings, 0 failed, 0 not walked\n")
    );
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_ca_that_nobody_trusts_is_named_and_gets_no_request() {
    let ca = Ca::named("Who Is This");
    let server = Https::start(ca.good()).await;
    let other = Ca::named("Somebody Else");
    // The check fails both with the roots of another CA and on a machine without any.
    for trusted in [Some(&other), None] {
        let ran = check_with(&server.destination(), &[], trusted).await;
        let rootless = ran.out.contains("this machine has no root certificates");
        assert_eq!(rootless, trusted.is_none(), "{}", ran.out);
        assert_eq!(ran.statuses(), ["ok", "ok", "ok", "FAIL", "skip", "skip"]);
        ran.has(
            "tls",
            "not publicly trusted: interception or a private CA, compare the issuer Who Is This",
        );
        assert!(ran.out.contains("        next "), "{}", ran.out);
        assert_eq!(ran.code, Some(1));
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn faults_of_a_certificate_are_told_apart() {
    let ca = Ca::named("The CA");
    let expired = ca.issue(HOST, |it| it.not_after = date_time_ymd(2020, 3, 4));
    let early = ca.issue(HOST, |it| it.not_before = date_time_ymd(2200, 3, 4));
    let foreign = ca.issue("portal.example", |_| ());
    for (config, expected) in [
        (expired, "expired on 2020-03-04T00:00:00Z"),
        (early, "isn't valid before 2200-03-04T00:00:00Z"),
        (foreign, "is for portal.example, not for billing.example"),
    ] {
        let server = Https::start(config).await;
        let ran = check_with(&server.destination(), &[], Some(&ca)).await;
        ran.has("tls", expected);
        ran.has("tls", "(issuer The CA)");
        assert_eq!(ran.hop("http"), "skip not reached");
        assert_eq!(ran.code, Some(1));
    }
}

#[tokio::test]
async fn a_clock_two_hours_off_is_a_warning() {
    let ca = Ca::named("The CA");
    let ahead = SignedDuration::from_hours(2);
    let server = Https::start_ahead(ca.good(), ahead).await;
    let ran = check_with(&server.destination(), &[], Some(&ca)).await;
    ran.has("clock", "warn 7");
    ran.has("clock", " s behind the answer's Date");
    assert_eq!(ran.code, Some(0));
}

#[tokio::test]
async fn a_name_server_that_says_no_is_named() {
    let dns = NameServer::start().await;
    dns.script(HOST, Script::NoSuchName { ttl: 60 });
    let ran = check(&looked_up(&dns, "")).await;
    assert_eq!(
        ran.statuses(),
        ["FAIL", "skip", "skip", "skip", "skip", "skip"]
    );
    ran.has("name", "NXDOMAIN");
    ran.has("name", &dns.address.to_string());
    assert_eq!(ran.code, Some(1));

    dns.script(HOST, Script::Silence);
    let ran = check(&looked_up(&dns, "")).await;
    ran.has("name", "no name server answered in time");
    assert!(ran.out.contains("port 53"), "{}", ran.out);
}

#[tokio::test]
async fn addresses_are_screened_before_anything_is_dialled() {
    let dns = NameServer::start().await;
    dns.addresses(HOST, &["10.9.9.9"], 60);
    let ran = check(&looked_up(&dns, "")).await;
    assert_eq!(
        ran.statuses(),
        ["ok", "FAIL", "skip", "skip", "skip", "skip"]
    );
    ran.has("name", "10.9.9.9 (private_use), dns in ");
    ran.has("ranges", "10.9.9.9 (private_use)");
    assert_eq!(ran.code, Some(1));

    // One address is let through, and the other isn't.
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = refused.local_addr().unwrap().port();
    drop(refused);
    dns.addresses(HOST, &["10.9.9.9", "127.0.0.1"], 60);
    let keys = format!("ip_ranges = [\"127.0.0.0/8\"]\nports = [{port}]");
    let ran = check(&looked_up(&dns, &keys)).await;
    ran.has(
        "ranges",
        "warn 127.0.0.1 inside 127.0.0.0/8; never dialled: 10.9.9.9",
    );
    ran.has("tcp", &format!("FAIL 127.0.0.1:{port}: Connection refused"));
    assert!(ran.out.contains("firewall"), "{}", ran.out);
    assert_eq!(ran.code, Some(1));
}

#[tokio::test]
async fn a_way_back_to_the_relay_is_a_loop() {
    let keys = format!(
        "{}[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:8443\"\n",
        upstream(HOST, 8443)
    );
    let ran = check(&keys).await;
    ran.has("ranges", "FAIL loop_detected");
    assert_eq!(ran.hop("tcp"), "skip not reached");
}

#[tokio::test]
async fn what_is_no_tls_server_is_seen_to_be_none() {
    for (answer, expected) in [
        ("HTTP/1.0 302 Found\r\n\r\n", "the handshake broke off"),
        ("", "the handshake broke off"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let ran = check(&upstream(HOST, port)).await;
        ran.has("tls", expected);
        let captive = ran.out.contains("doesn't speak TLS");
        assert_eq!(captive, !answer.is_empty(), "{}", ran.out);
        assert_eq!(ran.code, Some(1));
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_walked_to_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = upstream(HOST, port) + "sni = \"any\"\ntls_only = false\n";
    let ran = check(&keys).await;
    assert_eq!(ran.statuses(), ["ok", "ok", "ok", "skip", "skip", "skip"]);
    ran.has("tls", "tls_only = false");
    assert_eq!(ran.code, Some(0));
}

#[tokio::test]
async fn destinations_keep_their_order_and_some_have_nowhere_to_go() {
    let dns = NameServer::start().await;
    dns.script("slow.example", Script::Silence);
    let keys = format!(
        "[[destination]]\nname = \"slow\"\nhosts = [\"slow.example\"]\n\
         [[destination]]\nname = \"wild\"\nhosts = [\"*.wild.example\"]\n\
         [[destination]]\nname = \"ranges\"\nip_ranges = [\"198.51.100.0/24\"]\n\
         [[destination]]\nname = \"quick\"\nhosts = [\"quick.example\"]\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\n",
        dns.address
    );
    let ran = check_with(&keys, &["--json"], None).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let walks = report["destinations"].as_array().unwrap();
    let names: Vec<_> = walks
        .iter()
        .map(|walk| walk["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["slow", "wild", "ranges", "quick"]);
    assert_eq!(walks[1]["not_walked"], "no exact host, only wildcards");
    assert_eq!(walks[2]["not_walked"], "no host, only ip_ranges");
    assert_eq!(walks[1]["hops"], Value::Array(Vec::new()));
    assert_eq!(report["summary"]["fail"], 2);
    assert_eq!(report["summary"]["not_walked"], 2);
    assert_eq!(ran.code, Some(1));
}

#[tokio::test]
async fn the_json_has_what_the_lines_have() {
    let ca = Ca::named("The CA");
    let server = Https::start(ca.good()).await;
    let keys = server.destination() + "[clients]\nunlisted = \"any\"\n";
    let ran = check_with(&keys, &["--json"], Some(&ca)).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(report["config"].as_str().unwrap().ends_with("relay.toml"));
    assert_eq!(report["offline"], false);
    assert!(report["warnings"][0].as_str().unwrap().contains("unlisted"));
    assert!(report["notes"][0].as_str().unwrap().contains("own path"));
    let walk = &report["destinations"][0];
    assert_eq!(walk["name"], "upstream");
    assert_eq!(walk["host"], HOST);
    assert_eq!(walk["port"], server.address.port());
    assert_eq!(walk["not_walked"], Value::Null);
    let hops: Vec<_> = walk["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| {
            (
                hop["hop"].as_str().unwrap(),
                hop["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        hops,
        [
            ("name", "ok"),
            ("ranges", "ok"),
            ("tcp", "ok"),
            ("tls", "warn"),
            ("http", "ok"),
            ("clock", "ok")
        ]
    );
    assert!(walk["hops"][0].get("cause").is_none());
    assert!(walk["hops"][3]["cause"].is_string() && walk["hops"][3]["next"].is_string());
    assert_eq!(report["summary"]["warn"], 1);
    assert_eq!(ran.code, Some(0));
}

#[tokio::test]
async fn offline_sends_nothing() {
    let dns = NameServer::start().await;
    dns.addresses(HOST, &["127.0.0.1"], 60);
    let keys = format!(
        "preset = \"zerto\"\n[clients]\nunlisted = \"any\"\n{}",
        looked_up(&dns, "")
    );
    let ran = check_with(&keys, &["--offline"], None).await;
    assert!(
        ran.out.contains("copy them from FTN-20210401"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("unlisted = \"any\""), "{}", ran.out);
    assert!(ran.out.contains("nothing was walked"), "{}", ran.out);
    assert_eq!((ran.code, dns.all_queries()), (Some(0), 0));

    // Without `--offline` the same server is asked, so a count of 0 does show something.
    let keys = looked_up(&dns, "");
    assert_eq!(check(&keys).await.code, Some(1));
    assert!(dns.all_queries() > 0);
}

#[tokio::test]
async fn a_bad_file_is_shown_where_it_is_bad() {
    let ran = check("destinations = 1").await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(78), ""));
    assert!(ran.err.contains("relay.toml:2"), "{}", ran.err);
}

#[tokio::test]
async fn a_closed_pipe_is_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&directory, &upstream(HOST, 9), &[], None);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
