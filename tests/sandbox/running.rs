//! The real relay with `mode = "require"`: what holds for each of its threads, and that it goes on
//! working.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::client::{answer, connect};
use crate::support::pki::{Pki, Use};
use crate::support::plain::PlainServer;
use crate::support::process::{Process, relay, write_config};
use crate::support::wait::{self, PATIENCE};

/// Returns the measures that the trail lists.
pub(super) fn measures(directory: &Path) -> Value {
    let mut measures = Value::Null;
    wait::until("relay_started", || {
        let text = fs::read_to_string(directory.join("audit/access.jsonl")).unwrap_or_default();
        let mut started = text
            .lines()
            .filter(|line| line.contains("\"relay_started\""));
        let record = started
            .next()
            .and_then(|line| serde_json::from_str::<Value>(line).ok());
        measures = record.map_or(Value::Null, |mut record| record["data"]["sandbox"].take());
        !measures.is_null()
    });
    measures
}

#[test]
fn every_thread_has_given_up_the_same() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), "[sandbox]\nmode = \"require\"", "");
    let process = Process::serve(directory.path());
    for (field, value) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapInh", NONE),
        ("CapPrm", NONE),
        ("CapEff", NONE),
        ("CapAmb", NONE),
    ] {
        assert_eq!(process.status(field), [value], "{field}");
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(process.status("CapBnd"), [NONE]);
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().skip(4).collect::<Vec<_>>(),
        ["0", "0", "bytes"]
    );
    let measures = measures(directory.path());
    for measure in [
        "core dumps off",
        "no capabilities",
        "no debugging",
        "no_new_privs",
        "seccomp",
    ] {
        assert!(
            measures.as_array().unwrap().contains(&measure.into()),
            "{measures}"
        );
    }
    wait::until("the log", || {
        process.said().contains("INFO confined: core dumps off, ")
    });
}

#[test]
fn off_is_off() {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), "[sandbox]\nmode = \"off\"", "");
    let process = Process::serve(directory.path());
    assert_eq!(process.status("Seccomp"), ["0"]);
    assert_eq!(process.status("NoNewPrivs"), ["0"]);
    assert_eq!(measures(directory.path()), Value::Array(Vec::new()));
}

/// Replaces a file as an editor does: by another one of its name.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_replaced_and_the_trail_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::with_relay();
    let server = PlainServer::start().await;
    let destination = server.destination("a.example");
    let head = connect(&format!("a.example:{}", server.address.port()));
    let tls = pki.tls(None);
    let file = directory.path().join("relay.toml");
    let configuration = |rate: &str| {
        write_config(
            directory.path(),
            &format!(
                "{destination}[sandbox]\nmode = \"require\"\n[limits]\nrate_per_client = \"{rate}/s\""
            ),
            "sync = \"20ms\"\nrotate_size = \"16KiB\"\nkeep = \"1s\"",
        );
        let text = fs::read_to_string(&file).unwrap();
        text.replace(
            "bind = \"127.0.0.1:0\"\n[admin]",
            &format!("bind = \"127.0.0.1:0\"\n{tls}\n[admin]"),
        )
    };
    replace(&file, configuration("1000"));
    let mut process = Process::serve(directory.path());
    let shown = async |process: &Process| {
        let stream = pki.connect(process.proxy).await;
        let certificates = stream.get_ref().1.peer_certificates().unwrap();
        certificates[0].to_vec()
    };
    let first = pki.certificate("relay.pem").to_vec();
    assert_eq!(shown(&process).await, first);

    // The certificate and the configuration are each replaced by another file.
    pki.issue("next", Use::Server, &["relay.example"]);
    replace(
        &pki.path("relay.key"),
        fs::read(pki.path("next.key")).unwrap(),
    );
    replace(
        &pki.path("relay.pem"),
        fs::read(pki.path("next.pem")).unwrap(),
    );
    replace(&file, configuration("2000"));
    process.signal(Signal::HUP);
    wait::until("the reload", || {
        process.said().contains("configuration loaded")
    });
    assert_ne!(shown(&process).await, first);
    assert_eq!(shown(&process).await, pki.certificate("next.pem").to_vec());

    // Tunnels fill segments, which are closed, compressed and pruned.
    let audit = directory.path().join("audit");
    let is_over = || {
        let names = fs::read_dir(&audit)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let closed = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".jsonl.zst");
        names.filter(closed).count() > 0
            && !fs::exists(audit.join("access-000000000001.jsonl.zst")).unwrap()
            && !fs::exists(audit.join("access-000000000001.jsonl")).unwrap()
    };
    let start = std::time::Instant::now();
    while !is_over() {
        assert!(start.elapsed() < 2 * PATIENCE, "nothing is pruned");
        let mut stream = pki.connect(process.proxy).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.status, 200);
        drop(stream);
        drop(server.accept().await);
    }
    process.signal(Signal::INT);
    assert!(process.wait().success());
    let verified = relay()
        .args(["audit", "verify"])
        .arg(&audit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(said.contains("pruned"), "{said}");
}

const NONE: &str = "0000000000000000";
