//! Tests servers that are away for long, that hang, that read slowly or that talk: logged, counted,
//! and never waited for.

use std::io::Write as _;
use std::iter;
use std::net::TcpListener;

use super::super::super::generate;
use super::server::free_address;
use super::*;

#[test]
fn what_is_pruned_while_a_server_is_away_is_a_gap_of_the_copy() {
    let directory = tempfile::tempdir().unwrap();
    let key = generate(directory.path()).unwrap();
    let mut server = Server::new(None);
    let options = AuditOptions {
        rotate_size: 8_000,
        max_size: 16_000,
        ..shipped(directory.path(), &format!("tcp://{}", server.address), None)
    };
    let metrics = Arc::new(Metrics::new());
    let (audit, writer) = start_with(&options, &metrics);
    refuse(&audit);
    wait_for(|| server.messages().len() >= 2);
    writer.close();
    server.kill();
    let before = server.messages().len();
    let (audit, writer) = start_with(&options, &metrics);
    for _ in 0..20 {
        (0..10).for_each(|_| tunnel(&audit));
        thread::sleep(Duration::from_millis(30));
    }
    writer.close();
    let original = whole(directory.path());
    let gone = original.from - 1 - u64::try_from(before).unwrap();
    assert!(gone > 10, "nothing was pruned");

    server.run();
    // Otherwise this run would go on pruning, beside the shipper.
    let roomy = AuditOptions {
        max_size: 1 << 30,
        ..options.clone()
    };
    let (audit, writer) = start_with(&roomy, &metrics);
    refuse(&audit);
    writer.close();
    let elsewhere = tempfile::tempdir().unwrap();
    let messages = server.messages();
    let path = copy(elsewhere.path(), &messages);
    let received = whole(&path);
    let [gap] = received.gaps.as_slice() else {
        panic!("{received:?}");
    };
    let numbers = (gap.from.unwrap(), gap.to.unwrap());
    assert_eq!(numbers, (before as u64 + 1, before as u64 + gone));
    let counted = format!(
        "audit_ship_missed_total{{server=\"tcp://{}\"}} {gone}\n",
        server.address
    );
    assert!(metrics.encode().contains(&counted), "{}", metrics.encode());
    verify(
        directory.path(),
        &Evidence {
            key: Some(key.clone()),
            witness: Some(&path),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();
    // The keys in between are gone with the records, so the seals are proved up to there.
    let sealed = verify(
        &path,
        &Evidence {
            key: Some(key),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();
    assert_eq!(sealed.sealed_to, Some(before as u64));

    // No pruning explains a record that was deleted from the copy itself, before the hole or behind
    // it.
    for (from, to) in [
        (before, before + 1),
        (messages.len() - 3, messages.len() - 2),
    ] {
        let mut less = messages.clone();
        less.drain(from..to);
        let error =
            verify(&copy(elsewhere.path(), &less), &Evidence::default(), |_| ()).unwrap_err();
        assert!(error.to_string().contains("missing before it"), "{error}");
    }
}

#[test]
fn what_a_server_has_not_read_it_has_not_got() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    // The kernel takes the connections, and acknowledges the bytes.
    let stalled = TcpListener::bind(address).unwrap();
    let name = format!("tcp://{address}");
    let metrics = Arc::new(Metrics::new());
    let (audit, writer) = start_with(&shipped(directory.path(), &name, None), &metrics);
    (0..10).for_each(|_| tunnel(&audit));
    let gauge = |gauge: &str, value: u32| {
        let line = format!("audit_ship_{gauge}{{server=\"{name}\"}} {value}\n");
        metrics.encode().contains(&line)
    };
    wait_for(|| gauge("unconfirmed", 21) && gauge("up", 1));
    wait_for(|| gauge("up", 0));
    let start = Instant::now();
    writer.close();
    assert!(start.elapsed() < Duration::from_secs(4));
    drop(stalled);

    let server = Server::at(address, None);
    let (audit, writer) = start_with(&shipped(directory.path(), &name, None), &metrics);
    refuse(&audit);
    // Records are confirmed also before the end.
    wait_for(|| {
        let text = fs::read_to_string(directory.path().join("ship.json"));
        text.is_ok_and(|text| text.contains(":24}"))
    });
    wait_for(|| gauge("unconfirmed", 0) && gauge("up", 1));
    writer.close();
    let received = compare(directory.path(), &server.messages());
    assert_eq!(received.duplicates, 0);
}

#[test]
fn a_server_that_drips_is_one_that_hangs() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (ca, _) = authority(elsewhere.path(), "ca.pem");
    for scheme in ["tls", "tcp"] {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!(
            "{scheme}://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Over TLS, a handshake record that never ends; over TCP, endless bytes.
                let mut bytes = [22, 3, 3, 0x40, 0].into_iter().chain(iter::repeat(0));
                thread::spawn(move || {
                    while stream.write_all(&[bytes.next().unwrap()]).is_ok() {
                        thread::sleep(Duration::from_millis(if scheme == "tls" { 100 } else { 0 }));
                    }
                });
            }
        });
        let metrics = Arc::new(Metrics::new());
        let ca = (scheme == "tls").then(|| ca.clone());
        let (audit, writer) = start_with(&shipped(directory.path(), &name, ca), &metrics);
        refuse(&audit);
        let told = |up| {
            let line = format!("audit_ship_up{{server=\"{name}\"}} {up}\n");
            metrics.encode().contains(&line)
        };
        // The first failure takes a moment, and is logged.
        let lag = format!("audit_ship_lag{{server=\"{name}\"}} 2\n");
        wait_for(|| told(0) && metrics.encode().contains(&lag));
        writer.close();
    }
}

#[test]
fn an_end_waits_for_no_server() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (ca, _) = authority(elsewhere.path(), "ca.pem");
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stalled.local_addr().unwrap().port();
    let nobody = free_address();
    for (server, ca) in [
        (format!("tls://localhost:{port}"), Some(ca)),
        (format!("tcp://{nobody}"), None),
        ("unix:///nowhere/log".into(), None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (audit, writer) = start(&shipped(directory.path(), &server, ca));
        tunnel(&audit);
        let start = Instant::now();
        writer.close();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "{server}: {took:?}");
        assert_eq!(whole(directory.path()).records, 4);
    }
}
