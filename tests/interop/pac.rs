//! `/proxy.pac`, run by Node alone and by Chromium.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use callhome_relay::authority::{Authority, Host};
use callhome_relay::config::{Config, ConfigSource};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::foreign::tools;
use crate::support::client::{Answer, ask, ask_from, get};
use crate::support::command::finish_within;
use crate::support::relay::{Relay, upstream};
use crate::support::tls::{TlsServer, digest};

/// One client may go anywhere and another may not. Some hosts are nearer to another destination
/// than to their own wildcard.
const SITE: &str = r#"
[[client]]
name = "all"
sources = ["127.0.0.1"]

[[client]]
name = "some"
sources = ["127.0.0.2"]
destinations = ["own*"]

[[client]]
name = "none"
sources = ["127.0.0.3"]
destinations = []

[[destination]]
name = "own"
hosts = ["ch3.zerto.com", "*.example.com", "deep.others.example.com", "constructor.example.net", "xn--bcher-kva.example"]

[[destination]]
name = "others"
hosts = ["autologs.zerto.com", "*.others.example.com", "single.example.com", "example.com"]
ports = [8443]

[[destination]]
name = "own-range"
hosts = ["*.deep.example.org"]
ip_ranges = ["192.0.2.0/24"]
"#;

#[tokio::test]
async fn hosts_go_where_policy_has_them() {
    let relay = Relay::start(SITE).await;
    let hosts = hosts();
    let config = Config::load(&ConfigSource::File(relay.file())).unwrap();
    let via = format!("PROXY {}", relay.proxy);
    let mut ways = [0, 0];
    for source in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let found = evaluate(&fetch_from(source, &relay).await.body, &hosts);
        let client = config.policy.admit(source.parse().unwrap()).unwrap();
        for (host, found) in hosts.iter().zip(found) {
            // The relay itself is asked, for the port that each destination has.
            let relayed = [443, 8443].into_iter().any(|port| {
                let target = Authority::parse(format!("{host}:{port}").as_bytes());
                target.is_ok_and(|target| {
                    // A PAC file can't compare text with a range, so it sends a literal address
                    // directly, even an allowed one.
                    if let Host::Literal(_) = target.host {
                        return false;
                    }
                    let decided = config.policy.decide(&client, &target, Timestamp::now());
                    decided.is_ok()
                })
            });
            let way = if relayed { via.as_str() } else { "DIRECT" };
            assert_eq!(found, way, "{host} of {source}");
            ways[usize::from(relayed)] += 1;
        }
    }
    assert!(ways[0] > 50 && ways[1] > 50, "{ways:?}");
}

/// The same for a few hosts, with the answers written by hand.
#[tokio::test]
async fn only_what_is_allowed_goes_to_the_relay() {
    let relay = Relay::start(SITE).await;
    let via = format!("PROXY {}", relay.proxy);
    let script = fetch_from("127.0.0.2", &relay).await.body;
    let expected = [
        ("ch3.zerto.com", true),
        ("CH3.Zerto.COM.", true),
        ("ch3.zerto.com..", false),
        ("xch3.zerto.com", false),
        ("ch3.zerto.com.example.org", false),
        ("a.example.com", true),
        ("a.b.example.com.", true),
        ("example.com", false),
        ("badexample.com", false),
        ("single.example.com", false),
        ("x.single.example.com", true),
        ("a.others.example.com", false),
        ("deep.others.example.com", true),
        ("autologs.zerto.com", false),
        ("vcenter", false),
        ("vcenter.corp.local", false),
        ("localhost", false),
        ("10.20.0.5", false),
        ("192.0.2.7", false),
        ("constructor", false),
        ("__proto__", false),
        ("", false),
        (".", false),
    ];
    let hosts = expected.map(|(host, _)| host.to_owned());
    for ((host, relayed), found) in expected.into_iter().zip(evaluate(&script, &hosts)) {
        let way = if relayed { via.as_str() } else { "DIRECT" };
        assert_eq!(found, way, "{host}");
    }
    // Nor does a client's file name the hosts of others.
    assert!(!script.contains("autologs"), "{script}");
}

#[tokio::test]
async fn the_relay_is_called_what_the_client_calls_it() {
    let relay = Relay::start(SITE).await;
    for (host, named) in [
        ("relay.dmz.example:3128", "relay.dmz.example:3128"),
        ("Relay.DMZ.example.:3128", "relay.dmz.example:3128"),
        ("relay.dmz.example", "relay.dmz.example:80"),
        ("192.0.2.1:3128", "192.0.2.1:3128"),
        ("[2001:DB8::1]:3128", "[2001:db8::1]:3128"),
    ] {
        let head = format!("GET /proxy.pac HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let page = ask(relay.proxy, head.as_bytes()).await;
        let found = evaluate(&page.body, &["ch3.zerto.com".to_owned()]);
        assert_eq!(found, [format!("PROXY {named}")], "{host}");
    }
}

#[tokio::test]
async fn configured_relays_come_in_their_order_and_by_reload() {
    let relay = Relay::start(SITE).await;
    let ask = async || {
        let script = get(relay.proxy, "/proxy.pac").await.body;
        evaluate(&script, &["ch3.zerto.com".to_owned()]).remove(0)
    };
    assert_eq!(ask().await, format!("PROXY {}", relay.proxy));
    let keys =
        format!("{SITE}\n[pac]\nrelays = [\"relay-b.example:3128\", \"relay-a.example:8080\"]\n");
    assert_eq!(relay.reload(&keys).await["event"], "config_loaded");
    // There is no DIRECT behind them: where no relay answers, the upload fails and is noticed.
    assert_eq!(
        ask().await,
        "PROXY relay-b.example:3128; PROXY relay-a.example:8080"
    );
    let head = b"GET /proxy.pac HTTP/1.1\r\nHost: whatever.example\r\n\r\n";
    let page = crate::support::client::ask(relay.proxy, head).await;
    assert!(!page.body.contains("whatever"), "{}", page.body);
}

/// Chromium can reach nothing but loopback, because every other name resolves to nothing.
#[tokio::test]
async fn chromium_in_person() {
    let server = TlsServer::start_http(&["billing.example"]).await;
    let direct = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let direct_port = direct.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = direct.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer =
                "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nthe vcenter";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let port = server.address.port();
    let relay = Relay::start(&upstream("billing.example", port)).await;

    let shown = browse(&relay, &format!("https://billing.example:{port}/")).await;
    assert!(shown.contains(&digest(b"")), "{shown}");
    let record = relay.closing(0).await;
    assert_eq!(record["target"]["host"], "billing.example", "{record}");
    assert_eq!(record["tls"]["sni"], "billing.example");
    assert_eq!(record["decision"], "allow");

    let shown = browse(&relay, &format!("http://vcenter.example:{direct_port}/")).await;
    assert!(shown.contains("the vcenter"), "{shown}");
    let asked = |record: &Value| record["target"]["host"] == "vcenter.example";
    assert_eq!(relay.count_of(asked), 0);
}

/// Returns what Chromium shows of a page, with the relay's file as its proxy file.
async fn browse(relay: &Relay, url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = tools::command("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-dev-shm-usage", "--disable-sync", "--disable-extensions"])
        .arg("--ignore-certificate-errors")
        .arg("--host-resolver-rules=MAP vcenter.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--proxy-pac-url=http://{}/proxy.pac", relay.proxy))
        .args(["--dump-dom", url])
        .env("HOME", profile.path());
    let browsed = tokio::task::spawn_blocking(|| finish_within(command, PATIENCE));
    let ran = browsed.await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

async fn fetch_from(source: &str, relay: &Relay) -> Answer {
    let head = format!("GET /proxy.pac HTTP/1.1\r\nHost: {}\r\n\r\n", relay.proxy);
    let page = ask_from(source, relay.proxy, head.as_bytes()).await;
    assert_eq!(page.status, 200, "{page:?}");
    page
}

/// Returns the script's answer for each host. The script runs with nothing but the language, so
/// calling any helper of the format, such as those that ask DNS, is an error.
fn evaluate(script: &str, hosts: &[String]) -> Vec<String> {
    const RUN: &str = "
const { pac, hosts } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const vm = require('vm');
const world = vm.createContext(Object.create(null), { codeGeneration: { strings: false, wasm: false } });
vm.runInContext(pac, world, { timeout: 5000 });
const ways = hosts.map((host) => world.FindProxyForURL('https://' + host + '/', host));
console.log(JSON.stringify(ways));
";
    let mut child = tools::command("node")
        .args(["-e", RUN])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = json!({ "pac": script, "hosts": hosts }).to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}\n{script}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns names on the lists and around them: longer and shorter by a label, by a letter, in
/// capitals, with dots at the end.
fn hosts() -> Vec<String> {
    let listed = [
        "ch3.zerto.com",
        "autologs.zerto.com",
        "example.com",
        "a.example.com",
        "single.example.com",
        "others.example.com",
        "deep.others.example.com",
        "constructor.example.net",
        "xn--bcher-kva.example",
        "deep.example.org",
        "example.org",
        "com",
        "constructor",
        "192.0.2.7",
    ];
    let around = |host: &str| {
        vec![
            host.to_owned(),
            host.to_ascii_uppercase(),
            format!("{host}."),
            format!("{host}.evil.example"),
            format!("a.{host}"),
            format!("a.b.{host}."),
            format!("deep.{host}"),
            format!("x{host}"),
            format!("x-{host}"),
            format!("{host}x"),
        ]
    };
    listed.into_iter().flat_map(around).collect()
}

const PATIENCE: Duration = Duration::from_mins(1);
