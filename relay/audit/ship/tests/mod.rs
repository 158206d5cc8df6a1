//! Tests that every record arrives at the servers, also when connections, servers or files fail.

mod server;
mod trouble;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use callhome_trail::segments;
use callhome_trail::verify::{Evidence, Verification, verify};

use super::super::tests::{options, refuse, start, tunnel, wait_for, whole};
use super::super::{Audit, AuditOptions, WriterHandle};
use super::*;
use crate::telemetry::Metrics;
use server::{Server, authority};

fn shipped(directory: &Path, server: &str, ca: Option<PathBuf>) -> AuditOptions {
    AuditOptions {
        syslog: Some(Syslog {
            server: server.parse().unwrap(),
            ca,
        }),
        ..options(directory)
    }
}

fn start_with(options: &AuditOptions, metrics: &Arc<Metrics>) -> (Audit, WriterHandle) {
    Audit::start(options, "test", metrics.clone()).unwrap()
}

/// The file of a server that writes a line for each message.
fn copy(directory: &Path, messages: &[Vec<u8>]) -> PathBuf {
    let path = directory.join("copy.log");
    fs::write(&path, [messages.join(&b'\n'), b"\n".to_vec()].concat()).unwrap();
    path
}

/// Checks that the copy can be proved, and that every record of the trail is in it.
fn compare(trail: &Path, messages: &[Vec<u8>]) -> Verification {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = copy(elsewhere.path(), messages);
    let original = whole(trail);
    let received = whole(&copy);
    assert_eq!(
        (received.from, received.to),
        (original.from, original.to),
        "{} messages",
        messages.len()
    );
    let witnessed = verify(
        trail,
        &Evidence {
            witness: Some(&copy),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();
    assert_eq!(witnessed.witnessed, Some(original.records));
    received
}

#[test]
fn a_server_that_is_killed_again_and_again_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(None);
    let options = AuditOptions {
        rotate_size: 20_000,
        ..shipped(directory.path(), &format!("tcp://{}", server.address), None)
    };
    let (audit, writer) = start(&options);
    for round in 0..4 {
        for _ in 0..20 {
            tunnel(&audit);
            thread::sleep(Duration::from_millis(2));
        }
        if round < 3 {
            // It is unknown which records have arrived when the connection breaks.
            let count = server.messages().len();
            refuse(&audit);
            wait_for(|| server.messages().len() > count);
            server.kill();
            // The records of now wait in files that are closed and compressed meanwhile.
            for _ in 0..20 {
                tunnel(&audit);
                thread::sleep(Duration::from_millis(2));
            }
            server.run();
        }
    }
    // The end waits only a moment for the server, so make sure first that it is back.
    let count = server.messages().len();
    wait_for(|| server.messages().len() > count);
    writer.close();
    let received = compare(directory.path(), &server.messages());
    assert!(received.records > 280);
    assert!(received.duplicates > 0, "no record stood in doubt");

    // The last connection was closed in order, so a new start sends only new records.
    let count = server.messages().len();
    let (audit, writer) = start(&options);
    refuse(&audit);
    writer.close();
    compare(directory.path(), &server.messages());
    let new = u64::try_from(server.messages().len() - count).unwrap();
    assert_eq!(new, whole(directory.path()).records - received.records);
}

#[test]
fn a_trail_that_was_there_before_is_shipped_from_its_first_record() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&AuditOptions {
        rotate_size: 8_000,
        max_size: 16_000,
        ..options(directory.path())
    });
    for _ in 0..20 {
        for _ in 0..10 {
            tunnel(&audit);
        }
        thread::sleep(Duration::from_millis(30));
    }
    writer.close();
    assert!(whole(directory.path()).from > 1, "nothing was pruned");

    let server = Server::new(None);
    let server_name = format!("tcp://{}", server.address);
    let (_audit, writer) = start(&shipped(directory.path(), &server_name, None));
    writer.close();
    compare(directory.path(), &server.messages());
}

#[test]
fn records_that_are_gone_are_passed_over_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions {
        rotate_size: 8_000,
        ..options(directory.path())
    };
    let (audit, writer) = start(&options);
    for _ in 0..10 {
        for _ in 0..10 {
            tunnel(&audit);
        }
        thread::sleep(Duration::from_millis(30));
    }
    writer.close();
    let Verification {
        trail, to: last, ..
    } = whole(directory.path());
    let segments = segments::list(directory.path()).unwrap();
    let second = segments[1].first;

    // A file from elsewhere seems to hold the record that is due.
    let foreign = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&super::super::tests::options(foreign.path()));
    (0..10).for_each(|_| tunnel(&audit));
    writer.close();
    let text = fs::read_to_string(foreign.path().join("access.jsonl")).unwrap();
    let (_, text) = text.split_once('\n').unwrap();
    fs::write(directory.path().join("access-000000000002.jsonl"), text).unwrap();

    let mut cursor = Cursor::new(directory.path(), &trail, 5);
    assert_eq!(cursor.read(last).unwrap().unwrap().seq, 5);
    assert_eq!(cursor.take_missed(), None);
    cursor.seek(1);
    assert_eq!(cursor.read(last).unwrap().unwrap().seq, 1);
    super::super::compress::delete(&segments[0]).unwrap();
    // The segment that is being read stays readable until its end.
    for seq in 2..=last {
        assert!(cursor.read(seq - 1).unwrap().is_none(), "not durable yet");
        assert_eq!(cursor.read(last).unwrap().unwrap().seq, seq);
    }
    assert_eq!(cursor.take_missed(), None);
    assert!(cursor.read(last + 1).is_err(), "durable, and not there");

    cursor.seek(1);
    assert_eq!(cursor.read(last).unwrap().unwrap().seq, second);
    assert_eq!(cursor.take_missed(), Some((1, second - 1)));
    assert_eq!(cursor.take_missed(), None);
}

#[test]
fn a_damaged_segment_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&AuditOptions {
        rotate_size: 8_000,
        ..options(directory.path())
    });
    for _ in 0..4 {
        (0..10).for_each(|_| tunnel(&audit));
        thread::sleep(Duration::from_millis(30));
    }
    writer.close();
    let Verification { trail, to, .. } = whole(directory.path());
    let segments = segments::list(directory.path()).unwrap();
    let [first, second, ..] = segments.as_slice() else {
        panic!("{segments:?}");
    };
    let path = first.current_path();
    assert!(path.ends_with("access-000000000001.jsonl.zst"), "{path:?}");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes).unwrap();

    let mut cursor = Cursor::new(directory.path(), &trail, 1);
    let mut read = Vec::new();
    while cursor.next() <= to {
        read.push(cursor.read(to).unwrap().unwrap().seq);
    }
    let (from, until) = cursor.take_missed().unwrap();
    assert_eq!(until, second.first - 1);
    assert!(read.iter().copied().eq((1..from).chain(until + 1..=to)));
}

#[test]
fn in_the_trail_itself_nothing_stands_before_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    refuse(&audit);
    writer.close();
    let active = directory.path().join("access.jsonl");
    let text = fs::read_to_string(&active).unwrap();
    let prefixed = text.replace("{\"v\":1,", "<110>1 - {\"v\":1,");
    fs::write(&active, prefixed).unwrap();
    assert!(verify(directory.path(), &Evidence::default(), |_| ()).is_err());
    assert_eq!(whole(&active).records, 3);
}

#[test]
fn more_than_a_reader_looks_back_is_confirmed_on_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, writer) = start(&options(directory.path()));
    for _ in 0..10_000 {
        tunnel(&audit);
    }
    writer.close();
    let server = Server::new(None);
    let server_name = format!("tcp://{}", server.address);
    let (_audit, writer) = start(&shipped(directory.path(), &server_name, None));
    wait_for(|| server.messages().len() >= 20_000);
    writer.close();
    let received = compare(directory.path(), &server.messages());
    assert_eq!(received.duplicates, 0);
}

#[test]
fn a_tls_server_must_be_vouched_for() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (ca, config) = authority(elsewhere.path(), "ca.pem");
    let (other, _) = authority(elsewhere.path(), "other.pem");
    let server = Server::new(Some(config));
    let name = format!("tls://localhost:{}", server.address.port());

    let metrics = Arc::new(Metrics::new());
    // No known authority signed the first certificate, and the second is for another name.
    let by_address = format!("tls://{}", server.address);
    for (name, ca) in [(&name, other), (&by_address, ca.clone())] {
        let (audit, writer) = start_with(&shipped(directory.path(), name, Some(ca)), &metrics);
        refuse(&audit);
        let gauge = |gauge: &str, value: u64| {
            let line = format!("audit_ship_{gauge}{{server=\"{name}\"}} {value}\n");
            metrics.encode().contains(&line)
        };
        wait_for(|| gauge("up", 0) && !gauge("lag", 0));
        writer.close();
        assert!(server.messages().is_empty());
    }

    let (audit, writer) = start_with(&shipped(directory.path(), &name, Some(ca)), &metrics);
    refuse(&audit);
    let up = format!("audit_ship_up{{server=\"{name}\"}} 1");
    wait_for(|| metrics.encode().contains(&up));
    writer.close();
    compare(directory.path(), &server.messages());
    let none = format!("audit_ship_lag{{server=\"{name}\"}} 0");
    assert!(metrics.encode().contains(&none), "{}", metrics.encode());
}

#[test]
fn a_file_without_an_authority_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [("empty", ""), ("gone", "")] {
        let ca = directory.path().join(name);
        if name == "empty" {
            fs::write(&ca, text).unwrap();
        }
        let options = shipped(directory.path(), "tls://localhost:1", Some(ca));
        let error = Audit::start(&options, "test", Arc::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_local_socket_that_is_made_anew_gets_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("log");
    let bind = || {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let mut messages = Vec::new();
    let mut drain = |socket: &UnixDatagram| {
        let mut buffer = vec![0; 65536];
        while let Ok(count) = socket.recv(&mut buffer) {
            messages.push(buffer[..count].to_vec());
        }
        messages.clone()
    };
    let socket = bind();
    let name = format!("unix://{}", path.display());
    let (audit, writer) = start(&shipped(directory.path(), &name, None));
    wait_for(|| !drain(&socket).is_empty());
    drop(socket);
    fs::remove_file(&path).unwrap();
    refuse(&audit);
    wait_for(|| {
        fs::metadata(directory.path().join("access.jsonl"))
            .unwrap()
            .len()
            > 1000
    });
    let socket = bind();
    refuse(&audit);
    wait_for(|| drain(&socket).len() >= 3);
    writer.close();
    compare(directory.path(), &drain(&socket));
}

#[test]
fn a_datagram_is_a_message() {
    let directory = tempfile::tempdir().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let name = format!("udp://{}", socket.local_addr().unwrap());
    let (audit, writer) = start(&shipped(directory.path(), &name, None));
    refuse(&audit);
    writer.close();
    let mut messages = Vec::new();
    let mut buffer = vec![0; 65536];
    while messages.len() < 3 {
        let count = socket.recv(&mut buffer).unwrap();
        messages.push(buffer[..count].to_vec());
    }
    assert!(messages[0].starts_with(b"<110>1 20"));
    assert!(messages[1].starts_with(b"<109>1 20"));
    compare(directory.path(), &messages);
}
