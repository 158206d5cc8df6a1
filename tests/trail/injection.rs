//! Targets that try to be more than text in the trail.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::relay::Relay;

/// Each becomes one valid JSON line of printable ASCII, with one member `raw`, whatever it looks like.
#[tokio::test]
async fn a_target_is_text_and_nothing_else() {
    let relay = Relay::start("[limits]\nrate_per_client = \"1000/s\"\n").await;
    for (n, target) in TARGETS.iter().enumerate() {
        let mut stream = TcpStream::connect(relay.proxy).await.unwrap();
        let head = [b"CONNECT ", *target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        // It may be refused, and the connection closed, before all of it is sent.
        let _ = stream.write_all(&head).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{n}: {answer:?}");
        assert!(
            answer
                .iter()
                .all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')),
            "{n}: {answer:?}"
        );
        let record = relay.closing(n).await;
        assert_eq!(record["outcome"], "refused", "{n}: {record}");
        let raw = record["target"]["raw"].as_str();
        assert!(
            raw.is_none_or(|raw| !raw.contains("s3cret")),
            "{n}: {record}"
        );
    }
    let text = fs::read(relay.trail()).unwrap();
    assert!(text.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')));
    let records: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let refused = records.iter().filter(|record| !record["session"].is_null());
    assert_eq!(refused.count(), TARGETS.len());
    assert!(records.iter().all(|record| record["event"] != "forged"));
}

const TARGETS: &[&[u8]] = &[
    b"a\nb:443",
    b"a\r\nX-Injected: 1\r\n\r\n",
    b"a\rb:443",
    b"a\n{\"v\":1,\"event\":\"forged\"}\n:443",
    b"\",\"event\":\"forged\",\"x\":\"",
    b"\\\",\\\"event\\\":\\\"forged",
    b"\\u000a\\n:443",
    b"'; DROP TABLE t; --:443",
    b"\x1b[2J\x1b]0;title\x07:443",
    b"\x9b31m:443",
    b"\x00:443",
    b"a\tb:443",
    b"\x7f\x08\x08\x08:443",
    b"\xff\xfe\xc0\xaf:443",
    b"\xe2\x80\xaegnp.exe:443",
    b"\xe2\x80\xa8\xe2\x80\xa9:443",
    b"=cmd|'/c calc'!A1:443",
    b"+1+1:443",
    b"-1+1:443",
    b"@SUM(1):443",
    b"|ls:443",
    b"%0a%0d:443",
    b"%s%n%x:443",
    b"${jndi:ldap://example}:443",
    b"a,b;c\"d'e:443",
    b"<script>alert(1)</script>:443",
    b"user:s3cret@host:443",
    b"http://user:s3cret@host/",
    b"host:443/?token=s3cret",
];
