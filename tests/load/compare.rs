//! Measures proxies in interleaved rounds, and prints the table of their medians.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::time::sleep;

use crate::client::{Payload, Target};
use crate::origin;
use crate::proxies::{Kind, RAW_HOST, Running, TLS_HOST};
use crate::workload;

#[derive(Args)]
pub(crate) struct Options {
    /// The relay's binary
    #[arg(long, default_value = "target/dist/callhome-relay")]
    relay: PathBuf,
    /// A second binary of the relay, to hold the first against
    #[arg(long)]
    baseline: Option<PathBuf>,
    #[arg(long, default_value = "/usr/sbin/squid")]
    squid: PathBuf,
    #[arg(long)]
    skip_squid: bool,
    /// Put the relay as an HTTPS proxy beside itself
    #[arg(long)]
    https: bool,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Short tunnels a measurement
    #[arg(long, default_value_t = 20_000)]
    tunnels: usize,
    /// GiB a measurement
    #[arg(long, default_value_t = 4)]
    gib: u64,
    /// Idle tunnels a measurement, at most 6000
    #[arg(long, default_value_t = 4000)]
    idle: usize,
}

/// A proxy, and what each round measured of it.
struct Subject {
    name: &'static str,
    kind: Kind,
    rounds: Vec<Figures>,
}

/// Each figure with its name, in the same order for every proxy and round.
type Figures = Vec<(String, f64)>;

/// Measures every proxy and returns the table.
pub(crate) async fn run(options: Options) -> anyhow::Result<String> {
    let origin = origin::start(0).await?;
    let mut subjects = vec![Subject::relay("relay", &options.relay)?];
    if let Some(binary) = &options.baseline {
        subjects.push(Subject::relay("baseline", binary)?);
    }
    if options.https {
        let mut https = Subject::relay("https", &options.relay)?;
        if let Kind::Relay(binary) = https.kind {
            https.kind = Kind::Https(binary);
        }
        subjects.push(https);
    }
    if !options.skip_squid {
        subjects.push(Subject {
            name: "squid",
            kind: Kind::Squid(options.squid.clone()),
            rounds: Vec::new(),
        });
    }
    for round in 1..=options.rounds {
        // The order turns each round, because the machine may slow down or speed up meanwhile.
        let first = (round - 1) % subjects.len();
        for index in 0..subjects.len() {
            let place = (first + index) % subjects.len();
            let subject = &mut subjects[place];
            writeln!(io::stderr(), "round {round}: {}", subject.name)?;
            let measured = measure(&subject.kind, origin, &options)
                .await
                .with_context(|| format!("{}, round {round}", subject.name))?;
            subject.rounds.push(measured);
        }
    }
    Ok(table(&subjects))
}

/// Measures one proxy for one round. Every workload gets a process of its own, so that memory left
/// by one doesn't count for another.
async fn measure(kind: &Kind, origin: u16, options: &Options) -> anyhow::Result<Figures> {
    let mut figures = Figures::new();
    for (label, host, payload) in [
        ("raw", RAW_HOST, Payload::raw()),
        ("TLS", TLS_HOST, Payload::hello()),
    ] {
        let (proxy, target) = start(kind, origin, host, &payload).await?;
        let before = proxy.tree().pss_kib()? as f64;
        let held = workload::idle(&target, options.idle).await?;
        sleep(SETTLE).await;
        let grown = proxy.tree().pss_kib()? as f64 - before;
        figures.push((
            format!("{label}: PSS KiB per idle tunnel"),
            grown / held.len() as f64,
        ));
        drop((held, proxy));

        let (proxy, target) = start(kind, origin, host, &payload).await?;
        let before = proxy.tree().cpu()?;
        let rate = workload::rate(&target, WORKERS, options.tunnels, None, LONGEST).await?;
        let spent = spent(&proxy, before).await?;
        figures.extend([
            (
                format!("{label}: CPU µs per tunnel"),
                spent * 1e6 / rate.tunnels as f64,
            ),
            (format!("{label}: tunnels/s"), rate.per_second()),
            (format!("{label}: p50 ms"), rate.quantile(0.5)),
            (format!("{label}: p99 ms"), rate.quantile(0.99)),
        ]);
    }
    for upload in [true, false] {
        let (proxy, target) = start(kind, origin, RAW_HOST, &Payload::raw()).await?;
        let before = proxy.tree().cpu()?;
        let (label, moved) = if upload {
            (
                "upload",
                workload::upload(&target, BULK, options.gib << 30).await?,
            )
        } else {
            (
                "download",
                workload::download(&target, BULK, options.gib << 30).await?,
            )
        };
        let spent = spent(&proxy, before).await?;
        figures.extend([
            (
                format!("{label}: CPU ms per GiB"),
                spent * 1e3 / moved.gib(),
            ),
            (format!("{label}: MiB/s"), moved.mib_per_second()),
        ]);
    }
    Ok(figures)
}

/// Starts a proxy and warms it up, because some of its work is done once only.
async fn start(
    kind: &Kind,
    origin: u16,
    host: &str,
    payload: &Payload,
) -> anyhow::Result<(Running, Target)> {
    let proxy = kind.start(origin).await?;
    let target = Target {
        proxy: proxy.address,
        authority: format!("{host}:{origin}"),
        payload: payload.clone(),
        tls: proxy.tls.clone(),
    };
    workload::rate(&target, WORKERS, WARM_UP, None, LONGEST).await?;
    sleep(SETTLE).await;
    Ok((proxy, target))
}

/// Returns the seconds of CPU since `before`, with the work that follows the last tunnel.
async fn spent(proxy: &Running, before: Duration) -> anyhow::Result<f64> {
    sleep(SETTLE).await;
    Ok(proxy.tree().cpu()?.saturating_sub(before).as_secs_f64())
}

/// Writes a line per figure, with a column per proxy for its median.
///
/// The last column compares the first proxy with the last one, in per cent: the median of the
/// rounds' differences, with their quartiles.
fn table(subjects: &[Subject]) -> String {
    let mut out = String::new();
    let row = |cells: Vec<String>| cells.join(" | ");
    let names = subjects
        .iter()
        .map(|subject| format!("{:>9}", subject.name));
    let head = row(names.collect());
    // Writing to a String doesn't fail.
    let _ = writeln!(out, "| {:30} | {head} | difference, % (quartiles) |", "");
    let rule = "---------: |".repeat(subjects.len());
    let _ = writeln!(
        out,
        "|{}|{rule}-------------------------: |",
        "-".repeat(32)
    );
    for (index, (figure, _)) in subjects[0].rounds[0].iter().enumerate() {
        let medians = subjects
            .iter()
            .map(|subject| format!("{:>9.2}", quantile(&subject.values(index), 0.5)));
        let cells = row(medians.collect());
        let (first, last) = (&subjects[0], &subjects[subjects.len() - 1]);
        let more: Vec<_> = first
            .values(index)
            .iter()
            .zip(last.values(index))
            .map(|(first, last)| 100.0 * (first / last - 1.0))
            .collect();
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|at| quantile(&more, at));
        let difference = format!("{middle:+.1} ({low:+.1} to {high:+.1})");
        let _ = writeln!(out, "| {figure:30} | {cells} | {difference:>25} |");
    }
    out
}

/// The value below which this share of the values lies, interpolated between its neighbours.
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = at * (values.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    values[below] + (values[above] - values[below]) * place.fract()
}

impl Subject {
    fn relay(name: &'static str, binary: &Path) -> anyhow::Result<Self> {
        let binary = binary
            .canonicalize()
            .with_context(|| format!("{}: build it first", binary.display()))?;
        Ok(Self {
            name,
            kind: Kind::Relay(binary),
            rounds: Vec::new(),
        })
    }

    /// What each round measured of a figure.
    fn values(&self, figure: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[figure].1).collect()
    }
}

const WORKERS: usize = 64;
const BULK: usize = 8;
const WARM_UP: usize = 500;
const SETTLE: Duration = Duration::from_millis(500);
/// A measurement that counts tunnels ends after this time at the latest.
const LONGEST: Duration = Duration::from_secs(30);
