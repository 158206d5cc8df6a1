//! Puts load on a CONNECT proxy and measures its cost.
//!
//! This compares the relay with Debian's squid, in three interleaved rounds, within four minutes:
//!
//! ```text
//! apt-get install -y --no-install-recommends squid
//! cargo build --profile dist --locked --bin callhome-relay
//! cargo build --release --locked --example load
//! target/release/examples/load compare --relay target/dist/callhome-relay
//! ```
//!
//! It starts a fresh process for each measurement, and ends only those that it started.
//! `--skip-squid` leaves squid out. `--https` adds the relay as an HTTPS proxy. `--baseline OTHER`
//! adds a second binary of the relay, to measure a change.
//!
//! This runs one workload against a proxy that runs already. The proxy must allow the origin's name
//! and port. With `--pid`, its cost is measured too:
//!
//! ```text
//! target/release/examples/load rate --proxy 127.0.0.1:3128 --host raw.load.example \\
//!     --origin 19443 --pid $(pgrep -o squid)
//! ```
//!
//! Everything stays on loopback. The origin is built in and shares the machine's cores with the
//! proxy and the load, so compare within one run only. CPU per tunnel and per GiB are steady;
//! throughput and tail latency are not.
//!
//! - rate: workers each open a tunnel (TCP, CONNECT, 200), echo 1 KiB, half-close, wait for the close.
//!   `--per-second` begins them at that rate.
//! - upload, download: a few tunnels push to the origin, or pull from it, a fixed number of bytes.
//! - idle: tunnels that have carried one echo of 1 KiB stay open. The growth of the proxy's PSS is
//!   divided by their number.
//!
//! `--hello` begins each tunnel with a recorded ClientHello for ch3.zerto.com, for proxies that
//! read it.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is counted here stays far below 2^53 and above zero"
)]

mod client;
mod compare;
mod origin;
mod process;
mod proxies;
mod workload;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::{Payload, Target};
use crate::process::Tree;

#[derive(Parser)]
#[command(about = "Puts load on a CONNECT proxy and says what that costs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Short tunnels, as many as go
    Rate {
        #[command(flatten)]
        proxy: Proxy,
        #[arg(long, default_value_t = 64)]
        workers: usize,
        #[arg(long, default_value_t = 20_000)]
        tunnels: usize,
        /// Begin no more tunnels than this in a second
        #[arg(long)]
        per_second: Option<u32>,
    },
    /// Bytes to the origin
    Upload(Bulk),
    /// Bytes from the origin
    Download(Bulk),
    /// Tunnels that carry nothing more
    Idle {
        #[command(flatten)]
        proxy: Proxy,
        #[arg(long, default_value_t = 4000)]
        tunnels: usize,
    },
    /// The relay beside squid
    Compare(compare::Options),
}

#[derive(Args)]
struct Proxy {
    /// The proxy's address
    #[arg(long = "proxy")]
    address: SocketAddr,
    /// The name to ask the proxy for; it must resolve to 127.0.0.1 there
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port that the built-in origin listens on
    #[arg(long, default_value_t = 19_443)]
    origin: u16,
    /// Begin each tunnel with a ClientHello for ch3.zerto.com
    #[arg(long)]
    hello: bool,
    /// The proxy's process, whose cost and whose children's is measured
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Args)]
struct Bulk {
    #[command(flatten)]
    proxy: Proxy,
    #[arg(long, default_value_t = 8)]
    tunnels: usize,
    /// In all
    #[arg(long, default_value_t = 4)]
    gib: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    callhome_relay::os::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let text = match cli.command {
            Command::Compare(options) => compare::run(options).await?,
            Command::Rate {
                proxy,
                workers,
                tunnels,
                per_second,
            } => {
                let target = proxy.target().await?;
                let rate = workload::rate(&target, workers, tunnels, per_second, LONGEST);
                proxy
                    .report(rate, |rate| rate.tunnels as f64, "tunnel")
                    .await?
            }
            Command::Upload(bulk) => {
                let target = bulk.proxy.target().await?;
                let upload = workload::upload(&target, bulk.tunnels, bulk.gib * GIB);
                bulk.proxy
                    .report(upload, workload::Moved::gib, "GiB")
                    .await?
            }
            Command::Download(bulk) => {
                let target = bulk.proxy.target().await?;
                let download = workload::download(&target, bulk.tunnels, bulk.gib * GIB);
                bulk.proxy
                    .report(download, workload::Moved::gib, "GiB")
                    .await?
            }
            Command::Idle { proxy, tunnels } => {
                let target = proxy.target().await?;
                let before = proxy.tree().map(Tree::pss_kib).transpose()?;
                let held = workload::idle(&target, tunnels).await?;
                let growth = match (proxy.tree(), before) {
                    (Some(tree), Some(before)) => {
                        let grown = tree.pss_kib()? as f64 - before as f64;
                        format!(", {:.2} KiB of PSS each", grown / held.len() as f64)
                    }
                    _ => String::new(),
                };
                format!("{} tunnels held{growth}\n", held.len())
            }
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    })
}

impl Proxy {
    /// Starts the origin.
    async fn target(&self) -> anyhow::Result<Target> {
        origin::start(self.origin).await?;
        Ok(Target {
            proxy: self.address,
            authority: format!("{}:{}", self.host, self.origin),
            payload: if self.hello {
                Payload::hello()
            } else {
                Payload::raw()
            },
            tls: None,
        })
    }

    fn tree(&self) -> Option<Tree> {
        self.pid.map(Tree::of)
    }

    /// Runs a workload and prints what it did, and what a unit of it cost the proxy.
    async fn report<T: std::fmt::Display>(
        &self,
        workload: impl Future<Output = anyhow::Result<T>>,
        units: impl FnOnce(&T) -> f64,
        unit: &str,
    ) -> anyhow::Result<String> {
        let before = self.tree().map(Tree::cpu).transpose()?;
        let result = workload.await?;
        let cost = match (self.tree(), before) {
            (Some(tree), Some(before)) => {
                let spent = tree.cpu()?.saturating_sub(before).as_secs_f64();
                format!(", CPU {:.1} µs a {unit}", spent * 1e6 / units(&result))
            }
            _ => String::new(),
        };
        Ok(format!("{result}{cost}\n"))
    }
}

const GIB: u64 = 1 << 30;
/// A workload that counts ends after this time at the latest.
const LONGEST: Duration = Duration::from_secs(30);
