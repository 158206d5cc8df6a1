//! Runs every command and writes every file of the pages, in their order, as their reader would.
//! The network namespace has the names and addresses of the pages, and a stand-in for the vendor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use callhome_trail::{Line, Record};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::foreign::tools;
use crate::namespace::{self, need_root};
use crate::support::command::{BINARY, finish_within};
use crate::support::dns::NameServer;
use crate::support::pages::{self, Block, ELSEWHERE, Page};
use crate::support::tls::TlsServer;

/// Each page starts with this relay, which has a trail, and with a copy of the trail as a log
/// server has it.
const SITE: &str = r#"
name = "dmz-1"
zerto_v9_ip_ranges = ["192.0.2.0/24"]
preset_groups = ["billing"]

[[listener]]
name = "proxy"
bind = "[::]:3128"

[[listener]]
name = "passthrough"
mode = "sni"
bind = "[::]:443"

[[client]]
name = "zvm-ams-1"
sources = ["10.20.0.11"]

[clients]
unlisted = "any"

[audit]
directory = "/var/lib/callhome-relay/audit"
"#;

#[test]
fn what_the_pages_say_works() {
    need_root();
    tools::need(&["ip", "nft", "mount", "bash", "curl", "openssl", "pidof"]);
    let layer = tempfile::tempdir().unwrap();
    // The overlays keep the machine's own /etc and /var unchanged.
    let prepare = format!(
        "ip link set lo up\n\
         for address in 192.0.2.7 10.20.0.11; do ip address add $address/32 dev lo; done\n\
         for address in 192.0.2.10 192.0.2.53; do ip route add $address dev lo src 192.0.2.7; done\n\
         mount -t tmpfs tmpfs '{layer}'\n\
         for directory in etc var; do\n\
         mkdir -p '{layer}'/$directory '{layer}'/work-$directory\n\
         mount -t overlay overlay -o lowerdir=/$directory,upperdir='{layer}'/$directory,workdir='{layer}'/work-$directory /$directory\n\
         done\n\
         rm -f /etc/resolv.conf /etc/hosts\n\
         echo 'nameserver 192.0.2.53' > /etc/resolv.conf\n\
         printf '127.0.0.1 localhost\\n192.0.2.7 relay.dmz.example\\n' > /etc/hosts\n\
         rm -rf /etc/callhome-relay /var/lib/callhome-relay\n\
         mkdir -p /etc/callhome-relay /var/lib/callhome-relay /var/log",
        layer = layer.path().display()
    );
    let kinds = [
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    namespace::run_test(&kinds, &prepare, "docs::in_a_namespace");
}

#[tokio::test]
#[ignore = "what_the_pages_say_works runs this in a namespace"]
async fn in_a_namespace() {
    let server = TlsServer::start_http(&["ch3.zerto.com"]).await;
    let names = NameServer::start().await;
    names.addresses("ch3.zerto.com", &["192.0.2.10"], 60);
    forward("192.0.2.10", 443, server.address.port());
    forward("192.0.2.53", 53, names.address.port());
    let ca = server.ca_pem.to_string();
    spawn_blocking(move || {
        for page in pages::all() {
            if !ELSEWHERE.iter().any(|(name, _)| *name == page.name) {
                Session::start(&ca).run(&page);
            }
        }
    })
    .await
    .unwrap();
}

/// Redirects what is sent to a port of an address to another port of loopback.
fn forward(address: &str, port: u16, to: u16) {
    let rules = [
        "add table ip docs".to_owned(),
        "add chain ip docs out { type nat hook output priority -100 ; }".to_owned(),
        format!("add rule ip docs out ip daddr {address} tcp dport {port} dnat to 127.0.0.1:{to}"),
        format!("add rule ip docs out ip daddr {address} udp dport {port} dnat to 127.0.0.1:{to}"),
    ];
    for rule in rules {
        let status = tools::command("nft").arg(&rule).status().unwrap();
        assert!(status.success(), "{rule}");
    }
}

/// A reader at a terminal, with a directory of their own.
struct Session {
    directory: TempDir,
    first_key: String,
    trail: String,
    closed_id: String,
    serving: Option<Child>,
}

impl Session {
    fn start(ca: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("bin")).unwrap();
        std::os::unix::fs::symlink(BINARY, at("bin/callhome-relay")).unwrap();
        std::os::unix::fs::symlink(pages::root().join("certs"), at("certs")).unwrap();
        fs::write(at("ca.pem"), ca).unwrap();
        fs::write("/etc/callhome-relay/relay.toml", SITE).unwrap();
        let trail = Path::new("/var/lib/callhome-relay/audit");
        let _ = fs::remove_dir_all(trail);
        let mut session = Self {
            directory,
            first_key: String::new(),
            trail: String::new(),
            closed_id: String::new(),
            serving: None,
        };
        session.first_key = session
            .run_command("callhome-relay audit keygen /var/lib/callhome-relay/audit")
            .trim()
            .to_owned();
        session.serve("callhome-relay serve");
        for _ in 0..2 {
            session.run_command("curl -v -x http://relay.dmz.example:3128 https://ch3.zerto.com/");
        }
        let start = Instant::now();
        let records = loop {
            let text = fs::read_to_string(trail.join("access.jsonl")).unwrap();
            if text.matches("\"tunnel_closed\"").count() == 2 && text.ends_with('\n') {
                break text;
            }
            assert!(start.elapsed() < PATIENCE, "no tunnel was closed: {text}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let first = Line::parse(records.lines().next().unwrap().as_bytes()).unwrap();
        session.trail = first.trail.into_owned();
        let closed = records.lines().find(|it| it.contains("tunnel_closed"));
        let closed = Line::parse(closed.unwrap().as_bytes()).unwrap();
        let closed = Record::of(&closed).unwrap();
        session.closed_id = closed.session.unwrap().to_string();
        let half = records[..records.len() / 2].rfind('\n').unwrap() + 1;
        fs::write("/var/log/callhome-relay.log", &records).unwrap();
        fs::write("/var/log/callhome-relay.log.1", &records[..half]).unwrap();
        fs::write(session.at("from-the-log-server.jsonl"), &records).unwrap();
        session
    }

    fn run(mut self, page: &Page) {
        for block in page.blocks() {
            match block.info.split_once(' ').unwrap_or((&block.info, "")) {
                ("sh", "") => self.type_in(&block),
                ("toml", file) => self.write(&block, file),
                _ => {}
            }
        }
    }

    fn type_in(&mut self, block: &Block) {
        for line in block.commands() {
            // These two would run this test again.
            if line.starts_with("cargo test ") || line.starts_with("tests/run") {
                continue;
            }
            eprintln!("{}: {line}", block.place);
            let line = line.replace("cargo run --release --", "callhome-relay");
            if line.starts_with("callhome-relay serve") {
                self.serve(&line);
            } else {
                self.run_command(&line);
            }
        }
    }

    /// Writes a file for the commands that follow, under its name if it has one. The relay must
    /// accept each.
    fn write(&self, block: &Block, file: &str) {
        let path = if file.is_empty() {
            "fragment.toml"
        } else {
            file
        };
        eprintln!("{}: {path}", block.place);
        fs::write(self.at(path), &block.text).unwrap();
        for file in ["relay.pem", "relay.key", "ca.pem"] {
            self.have_certificate(file, &block.text);
        }
        self.run_command(&format!("callhome-relay check --offline --config {path}"));
    }

    /// Copies a certificate to the place that the page names.
    fn have_certificate(&self, file: &str, text: &str) {
        let place = Path::new("/etc/callhome-relay").join(file);
        if text.contains(place.to_str().unwrap()) && !place.exists() {
            fs::copy(self.at("pki").join(file), place).unwrap();
        }
    }

    fn run_command(&self, line: &str) -> String {
        let follows = line.contains(" tail -f");
        let mut command = self.bash(line);
        if follows {
            command = self.bash(&format!("timeout 1 {line}"));
        }
        let ran = finish_within(command, PATIENCE);
        let expected = if follows { 124 } else { 0 };
        assert_eq!(
            ran.code,
            Some(expected),
            "{line}\n{}{}",
            ran.stdout,
            ran.stderr
        );
        ran.stdout
    }

    /// Starts this relay in place of the one that serves already.
    fn serve(&mut self, line: &str) {
        self.stop();
        let mut command = self.bash(&format!("exec {line}"));
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        self.serving = Some(command.spawn().unwrap());
        let start = Instant::now();
        while !self
            .bash("callhome-relay health")
            .output()
            .unwrap()
            .status
            .success()
        {
            let running = self.serving.as_mut().unwrap().try_wait().unwrap().is_none();
            assert!(running && start.elapsed() < PATIENCE, "{line}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            let _ = kill_process(Pid::from_child(&serving), Signal::INT);
            serving.wait().unwrap();
        }
    }

    fn bash(&self, line: &str) -> Command {
        let mut command = tools::command("bash");
        let path = std::env::var("PATH").unwrap();
        command
            .args(["-c", line])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env("CURL_CA_BUNDLE", self.at("ca.pem"))
            .env("SSL_CERT_FILE", self.at("ca.pem"))
            .env("FIRST_KEY", &self.first_key)
            .env("TRAIL", &self.trail)
            .env("SESSION", &self.closed_id)
            .env_remove("CALLHOME_RELAY_CONFIG")
            .env_remove("STATE_DIRECTORY");
        command
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
