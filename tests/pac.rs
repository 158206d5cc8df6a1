//! `/proxy.pac` as a page: its fields, and who gets it. `tests/interop/pac.rs` runs its script.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{ask, ask_from, get};
use crate::support::relay::Relay;

const SITE: &str = r#"
[[client]]
name = "zvm"
sources = ["127.0.0.1"]

[[destination]]
name = "billing"
hosts = ["ch3.zerto.com"]
"#;

#[tokio::test]
async fn the_page_is_what_clients_take_for_such_a_file() {
    let relay = Relay::start(SITE).await;
    let page = get(relay.proxy, "/proxy.pac?x=%22%3B").await;
    assert_eq!(page.status, 200);
    let media_type = "application/x-ns-proxy-autoconfig";
    assert_eq!(page.field("Content-Type"), Some(media_type));
    // The file is for one client and for a moment, because other clients have others and a reload
    // changes it.
    assert_eq!(page.field("Cache-Control"), Some("private, max-age=300"));
    assert_eq!(page.field("Vary"), Some("host"));
    assert!(!page.body.contains("%22"), "{}", page.body);

    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    let head = format!("HEAD /proxy.pac HTTP/1.1\r\nHost: {}\r\n\r\n", relay.proxy);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains(&format!("content-type: {media_type}")));
    assert!(answer.contains(&format!("content-length: {}\r\n", page.body.len())));
    assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");

    for path in ["/proxy.pac/", "/PROXY.PAC", "/wpad.dat", "//proxy.pac"] {
        assert_eq!(get(relay.proxy, path).await.status, 404, "{path}");
    }
    // Pages leave no record.
    relay.until_metric("callhome_relay_pages_total", 6).await;
    let session = |record: &Value| record["session"] != Value::Null;
    assert_eq!(relay.count_of(session), 0);
}

#[tokio::test]
async fn a_host_that_could_leave_its_string_gets_no_file() {
    let relay = Relay::start(SITE).await;
    for host in [
        "a\";alert(1);\":80",
        "a:80; DIRECT",
        "a:80\";//",
        "a\\:80",
        "a</script>:80",
        "a:0",
        "a\u{2028}b:80",
    ] {
        let head = format!("GET /proxy.pac HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = ask(relay.proxy, head.as_bytes()).await;
        assert_eq!((answer.status, &*answer.phrase), (400, "malformed_request"));
        assert!(!answer.body.contains("Find"), "{answer:?}");
    }
    // The answer to HTTP/1.0 is HTTP/1.0, which `ask` doesn't read.
    let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
    stream
        .write_all(b"GET /proxy.pac HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(answer.contains("text/plain") && !answer.contains("FindProxy"));
}

#[tokio::test]
async fn who_is_not_admitted_gets_no_file() {
    let relay = Relay::start(SITE).await;
    for path in ["/proxy.pac", "/", "/nowhere"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", relay.proxy);
        let answer = ask_from("127.0.0.9", relay.proxy, head.as_bytes()).await;
        assert_eq!(
            (answer.status, &*answer.phrase),
            (403, "client_not_allowed"),
            "{path}"
        );
        assert!(!answer.body.contains("FindProxy"));
    }
}
