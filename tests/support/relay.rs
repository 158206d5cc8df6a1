//! A relay in this process: the same `App` that `serve` runs, on ports of its own, with a trail
//! that tests read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use callhome_relay::app::{App, Instruction};
use callhome_relay::config::{Config, ConfigSource};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::support::{client, schema};

pub(crate) struct Relay {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    commands: mpsc::Sender<Instruction>,
    directory: TempDir,
    thread: Option<JoinHandle<()>>,
}

/// Returns a destination named "upstream" for `host`, which is on loopback at `port`.
pub(crate) fn upstream(host: &str, port: u16) -> String {
    format!(
        "[[destination]]\nname = \"upstream\"\nhosts = [\"{host}\"]\nports = [{port}]\n\
         addresses = [\"127.0.0.1\"]\nip_ranges = [\"127.0.0.0/8\"]\n"
    )
}

/// Returns a policy that only reports, for this long, the names that it would refuse.
pub(crate) fn report_only(lasts: Duration) -> String {
    let end = jiff::Timestamp::now() + lasts;
    format!("[policy]\nmode = \"report-only\"\nreport_only_until = {end}\n")
}

impl Relay {
    /// Starts a relay with these further keys, which begin where the file's own tables end. There
    /// is no preset.
    pub(crate) async fn start(keys: &str) -> Self {
        Self::start_prepared(keys, |_| ()).await
    }

    /// Starts it after something was done to the directory of its trail.
    pub(crate) async fn start_prepared(keys: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("audit")).unwrap();
        prepare(&directory.path().join("audit"));
        fs::write(directory.path().join(FILE), file(&directory, keys)).unwrap();
        let config = Config::load(&ConfigSource::File(directory.path().join(FILE)))
            .unwrap_or_else(|error| panic!("{error}"));
        let (commands, received) = mpsc::channel(8);
        let (started, addresses) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let app = App::build(config).await.unwrap();
                let _ = started.send((app.listeners()[0].1, app.admin()));
                app.run(received).await.unwrap();
            });
        });
        let (proxy, admin) = addresses.await.expect("the relay starts");
        Self {
            proxy,
            admin,
            commands,
            directory,
            thread: Some(thread),
        }
    }

    /// Replaces the keys and reloads. Returns the outcome when the trail has it.
    pub(crate) async fn reload(&self, keys: &str) -> Value {
        self.reload_file(&file(&self.directory, keys)).await
    }

    /// Reloads a whole file, which may be broken.
    pub(crate) async fn reload_file(&self, text: &str) -> Value {
        fs::write(self.file(), text).unwrap();
        self.reload_same().await
    }

    /// Reloads the file as it is, and returns the record of the outcome. Every record of a session
    /// that closed before is in the trail then, because the writer keeps the order.
    pub(crate) async fn reload_same(&self) -> Value {
        // The outcome of the start may still be on its way to the trail.
        self.record(is_config_outcome).await;
        let before = self.count_of(is_config_outcome);
        self.command(Instruction::Reload).await;
        self.wait(|| {
            self.records()
                .into_iter()
                .filter(is_config_outcome)
                .nth(before)
        })
        .await
    }

    /// Returns the value of a metric, which is 0 before its first event.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = client::get(self.admin, "/metrics").await;
        let value = metrics
            .body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has this value.
    pub(crate) async fn until_metric(&self, name: &str, value: u64) {
        let start = Instant::now();
        loop {
            let now = self.metric(name).await;
            if now == value {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{name} is {now} and not {value}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn command(&self, command: Instruction) {
        self.commands.send(command).await.unwrap();
    }

    /// Drains what is open and waits for the end. The trail stays readable until the value is
    /// dropped.
    pub(crate) async fn stop(&mut self) {
        // A relay that has ended by itself takes no command.
        let _ = self.commands.send(Instruction::Stop).await;
        let thread = self.thread.take().expect("stopped once");
        tokio::task::spawn_blocking(|| thread.join())
            .await
            .unwrap()
            .unwrap();
    }

    /// Returns every record of the trail so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.trail()).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the first record that is wanted, and waits for it if need be.
    pub(crate) async fn record(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait(|| self.records().into_iter().find(&wanted)).await
    }

    /// Returns the record that closed the `n`th session, in the order of closing.
    pub(crate) async fn closing(&self, n: usize) -> Value {
        self.wait(|| self.records().into_iter().filter(is_closing).nth(n))
            .await
    }

    pub(crate) fn count_of(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.records()
            .iter()
            .filter(|record| wanted(record))
            .count()
    }

    /// Returns the path of the configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    pub(crate) fn trail(&self) -> PathBuf {
        self.directory.path().join("audit/access.jsonl")
    }

    /// Polls until there is something. A failure shows the whole trail.
    pub(crate) async fn wait<T>(&self, mut poll: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = poll() {
                return found;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it never came; the trail:\n{}",
                fs::read_to_string(self.trail()).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.commands.try_send(Instruction::Stop);
        let _ = self.commands.try_send(Instruction::End);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
        if !thread::panicking() {
            schema::validate(&self.directory.path().join("audit"));
        }
    }
}

/// Tells whether a record ends a session.
pub(crate) fn is_closing(record: &Value) -> bool {
    matches!(
        record["event"].as_str(),
        Some("tunnel_closed" | "request_denied" | "request_failed")
    )
}

/// Tells whether a record is the last one that a load of the configuration writes. A long
/// configuration is in several records, one for each part.
fn is_config_outcome(record: &Value) -> bool {
    match record["event"].as_str() {
        Some("config_loaded") => record["data"]["part"] == record["data"]["parts"],
        Some("config_rejected") => true,
        _ => false,
    }
}

/// Returns a whole file. Top-level keys come first in TOML, so `keys` may begin with some and go on
/// with tables.
fn file(directory: &TempDir, keys: &str) -> String {
    let audit = directory.path().join("audit");
    let dns = if keys.contains("[dns]") {
        ""
    } else {
        // No server is asked, because the tests' names have static addresses.
        "[dns]\nservers = [\"127.0.0.1:9\"]\n"
    };
    let listener = if keys.contains("name = \"proxy\"") {
        ""
    } else {
        "[[listener]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n"
    };
    format!(
        "name = \"test\"\npreset = \"none\"\n{keys}\n{dns}{listener}\
         [admin]\nbind = \"127.0.0.1:0\"\n\
         [audit]\ndirectory = \"{}\"\n",
        audit.display()
    )
}

const FILE: &str = "relay.toml";
const PATIENCE: Duration = Duration::from_secs(10);
