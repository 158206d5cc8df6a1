//! The trail at Debian's rsyslog, which is stopped, killed and started meanwhile.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use callhome_trail::verify::{Evidence, Verification, verify};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::foreign::tools;
use crate::support::client;
use crate::support::process::{Process, relay, write_config};

/// A foreground rsyslogd on loopback with its own configuration, which writes every message to a
/// file unchanged.
struct Rsyslog {
    directory: PathBuf,
    port: u16,
    daemon: Option<Child>,
}

impl Rsyslog {
    fn new(directory: &Path) -> Self {
        Self::with(directory, "", "")
    }

    /// Prepares a server that shows this certificate.
    fn with_tls(directory: &Path, certificate: &Path, key: &Path) -> Self {
        tools::need(&["lmnsd_ossl"]);
        let files = format!(
            "defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{certificate}\" \
             defaultNetstreamDriverCertFile=\"{certificate}\" defaultNetstreamDriverKeyFile=\"{key}\"",
            certificate = certificate.display(),
            key = key.display()
        );
        let driver =
            "streamDriver.name=\"ossl\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\"";
        Self::with(directory, &files, driver)
    }

    fn with(directory: &Path, global: &str, imtcp: &str) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // This port is below those that the kernel hands out, so it stays free while the daemon is
        // down.
        let process = u16::try_from(std::process::id() % 200).unwrap();
        let port = loop {
            let port = 30_000 + process * 10 + NEXT.fetch_add(1, Ordering::SeqCst);
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
        let own = directory.join("rsyslog");
        fs::create_dir(&own).unwrap();
        // This is the configuration of docs/syslog.md, and what makes it a process of its own.
        let text = format!(
            "global(maxMessageSize=\"300k\" workDirectory=\"{own}\" {global})\n\
             main_queue(queue.workerThreads=\"1\")\n\
             module(load=\"imtcp\" {imtcp})\n\
             template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{own}/received.log\" template=\"raw\")\n",
            own = own.display()
        );
        fs::write(own.join("rsyslog.conf"), text).unwrap();
        Self {
            directory: own,
            port,
            daemon: None,
        }
    }

    async fn start(&mut self) {
        let daemon = tools::command("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(self.directory.join("rsyslog.conf"))
            .arg("-i")
            .arg(self.directory.join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        wait("rsyslogd listens", || TcpStream::connect(address).is_ok()).await;
    }

    fn end(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().unwrap();
        kill_process(Pid::from_child(&daemon), signal).unwrap();
        daemon.wait().unwrap();
        // A kill leaves a pid file behind, which would keep the next daemon from starting.
        let _ = fs::remove_file(self.directory.join("pid"));
    }

    fn received(&self) -> PathBuf {
        self.directory.join("received.log")
    }

    fn count(&self) -> usize {
        fs::read_to_string(self.received()).map_or(0, |text| text.lines().count())
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.end(Signal::KILL);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rsyslog_keeps_is_a_witness() {
    let directory = tempfile::tempdir().unwrap();
    let mut rsyslog = Rsyslog::new(directory.path());
    let keys = format!("syslog = \"tcp://127.0.0.1:{}\"", rsyslog.port);
    write_config(
        directory.path(),
        "[limits]\nrate_per_client = \"100000/s\"",
        &format!("{keys}\nsync = \"20ms\"\nrotate_size = \"64KiB\""),
    );
    let mut process = Process::serve(directory.path());

    // The server is missing at first. Then it is stopped properly, and killed.
    refusals(process.proxy, 20).await;
    for end in [Signal::TERM, Signal::KILL, Signal::TERM] {
        rsyslog.start().await;
        let before = rsyslog.count();
        refusals(process.proxy, 20).await;
        wait("records arrive", || rsyslog.count() > before).await;
        rsyslog.end(end);
        refusals(process.proxy, 20).await;
    }
    rsyslog.start().await;
    let before = rsyslog.count();
    wait("records arrive", || rsyslog.count() > before).await;
    process.signal(Signal::INT);
    assert!(process.wait().success());
    rsyslog.end(Signal::TERM);

    let audit = directory.path().join("audit");
    let (original, copy) = both_whole(&audit, &rsyslog.received());
    assert!(copy.duplicates > 0, "no record stood in doubt");
    let witnessed = verify(
        &audit,
        &Evidence {
            witness: Some(&rsyslog.received()),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap();
    assert_eq!(witnessed.witnessed, Some(original.records));
    let output = relay()
        .args(["audit", "verify"])
        .arg(rsyslog.received())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    // One record is gone from the trail, with the files that know of it. The trail can't show which
    // record is gone, and the copy can.
    let active = audit.join("access.jsonl");
    let text = fs::read_to_string(&active).unwrap();
    let last = text.trim_end().lines().last().unwrap();
    let shorter = text.replace(&format!("{last}\n"), "");
    fs::write(&active, shorter).unwrap();
    for known in ["head.json", "seals.jsonl"] {
        fs::remove_file(audit.join(known)).unwrap();
    }
    let error = verify(&audit, &Evidence::default(), |_| ()).unwrap_err();
    assert!(
        error.to_string().contains("head.json is missing"),
        "{error}"
    );
    let error = verify(
        &audit,
        &Evidence {
            witness: Some(&rsyslog.received()),
            ..Evidence::default()
        },
        |_| (),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("the witness has record"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_it_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key);
    let (certificate_file, key_file) = (directory.path().join("c"), directory.path().join("k"));
    fs::write(&certificate_file, certificate.unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let mut rsyslog = Rsyslog::with_tls(directory.path(), &certificate_file, &key_file);
    let keys = format!(
        "syslog = \"tls://localhost:{}\"\nsyslog_ca = \"{}\"\nsync = \"20ms\"",
        rsyslog.port,
        certificate_file.display()
    );
    write_config(directory.path(), "", &keys);
    let mut process = Process::serve(directory.path());
    rsyslog.start().await;
    wait("records arrive", || rsyslog.count() > 0).await;
    rsyslog.end(Signal::TERM);
    refusals(process.proxy, 20).await;
    rsyslog.start().await;
    let before = rsyslog.count();
    wait("records arrive", || rsyslog.count() > before).await;
    process.signal(Signal::INT);
    assert!(process.wait().success());
    rsyslog.end(Signal::TERM);

    let audit = directory.path().join("audit");
    let (original, _) = both_whole(&audit, &rsyslog.received());
    // The server has confirmed the end, so a next start would not send it again.
    let position = fs::read_to_string(audit.join("ship.json")).unwrap();
    let last = format!(":{}}}}}", original.to);
    assert!(position.ends_with(&last), "{position}");
}

/// Sends this many requests for a name on no list. Each leaves a record.
async fn refusals(proxy: SocketAddr, count: usize) {
    for _ in 0..count {
        let answer = client::tunnel(proxy, "elsewhere.example:443")
            .await
            .unwrap_err();
        assert_eq!(answer.phrase, "destination_not_allowed");
    }
}

async fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "not yet: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Verifies the trail and its copy, which has all of it.
fn both_whole(audit: &Path, received: &Path) -> (Verification, Verification) {
    let original = verify(audit, &Evidence::default(), |_| ()).unwrap();
    let copy = verify(received, &Evidence::default(), |_| ()).unwrap();
    assert_eq!((copy.from, copy.to), (1, original.to));
    (original, copy)
}
