//! The workloads, and how fast each of them was.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::client::{self, Stream, Target};
use crate::origin;

/// The result of short tunnels, which each worker opens one after the other.
pub(crate) struct Rate {
    pub(crate) tunnels: usize,
    pub(crate) took: Duration,
    /// The duration of each tunnel, sorted.
    times: Vec<Duration>,
}

/// The result of moving bytes through a few tunnels.
pub(crate) struct Moved {
    bytes: u64,
    took: Duration,
}

impl Rate {
    pub(crate) fn per_second(&self) -> f64 {
        self.tunnels as f64 / self.took.as_secs_f64()
    }

    /// The time that this share of the tunnels stayed below, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1) as f64;
        let index = (last * share).round() as usize;
        self.times
            .get(index)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

impl Moved {
    pub(crate) fn gib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 30)
    }

    pub(crate) fn mib_per_second(&self) -> f64 {
        self.gib() * 1024.0 / self.took.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tunnels, {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
            self.tunnels,
            self.per_second(),
            self.quantile(0.5),
            self.quantile(0.99)
        )
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} GiB, {:.0} MiB/s",
            self.gib(),
            self.mib_per_second()
        )
    }
}

/// Opens, echoes, half-closes and waits for the close, until the tunnels are done or the time is
/// up. With `per_second`, no tunnel begins before its turn at that rate.
///
/// A tunnel that fails, or takes longer than [`PATIENCE`], is an error. Otherwise a proxy that
/// drops tunnels would look fast.
pub(crate) async fn rate(
    target: &Target,
    workers: usize,
    tunnels: usize,
    per_second: Option<u32>,
    longest: Duration,
) -> anyhow::Result<Rate> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let (target, next) = (target.clone(), next.clone());
        running.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tunnels || start.elapsed() >= longest {
                    break;
                }
                if let Some(rate) = per_second {
                    let turn = Duration::from_secs_f64(number as f64 / f64::from(rate));
                    sleep_until((start + turn).into()).await;
                }
                let began = Instant::now();
                timeout(PATIENCE, short(&target))
                    .await
                    .context("a short tunnel")??;
                times.push(began.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::with_capacity(tunnels);
    while let Some(worker) = running.join_next().await {
        times.extend(worker??);
    }
    let took = start.elapsed();
    times.sort_unstable();
    Ok(Rate {
        tunnels: times.len(),
        took,
        times,
    })
}

async fn short(target: &Target) -> anyhow::Result<()> {
    let mut stream = client::open(target).await?;
    client::echo(&mut stream, &target.payload).await?;
    stream.shutdown().await?;
    let rest = stream.read(&mut [0; 16]).await.context("the close")?;
    ensure!(rest == 0, "bytes after the echo");
    Ok(())
}

/// Pushes this number of bytes in all, and compares the origin's count with it.
pub(crate) async fn upload(target: &Target, tunnels: usize, bytes: u64) -> anyhow::Result<Moved> {
    bulk(target, tunnels, bytes, push).await
}

/// Pulls this number of bytes in all.
pub(crate) async fn download(target: &Target, tunnels: usize, bytes: u64) -> anyhow::Result<Moved> {
    bulk(target, tunnels, bytes, pull).await
}

async fn bulk<F>(
    target: &Target,
    tunnels: usize,
    bytes: u64,
    carry: impl Fn(Stream, u64) -> F,
) -> anyhow::Result<Moved>
where
    F: Future<Output = io::Result<u64>> + Send + 'static,
{
    let share = bytes / tunnels as u64;
    let mut streams = Vec::with_capacity(tunnels);
    for _ in 0..tunnels {
        streams.push(client::open(target).await?);
    }
    let start = Instant::now();
    let mut running: JoinSet<_> = streams
        .into_iter()
        .map(|stream| timeout(PATIENCE, carry(stream, share)))
        .collect();
    let mut moved = 0;
    while let Some(carried) = running.join_next().await {
        let count = carried?.context("a bulk transfer")??;
        ensure!(count == share, "{count} bytes arrived of {share}");
        moved += count;
    }
    Ok(Moved {
        bytes: moved,
        took: start.elapsed(),
    })
}

/// Returns the number of bytes that the origin received.
async fn push(mut stream: Stream, bytes: u64) -> io::Result<u64> {
    stream
        .write_all(&origin::request(origin::SINK, bytes))
        .await?;
    let buffer = vec![0x5a; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let block = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.write_all(&buffer[..block]).await?;
        left -= block as u64;
    }
    // Under TLS the written bytes may still wait in this process.
    stream.flush().await?;
    // Read the answer before the half-close, because squid passes nothing on after one.
    stream.read_u64().await
}

/// Returns the number of bytes that arrived.
async fn pull(mut stream: Stream, bytes: u64) -> io::Result<u64> {
    stream
        .write_all(&origin::request(origin::SOURCE, bytes))
        .await?;
    stream.flush().await?;
    let mut buffer = vec![0; BLOCK];
    let mut taken = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(taken),
            count => taken += count as u64,
        }
    }
}

/// Opens this number of tunnels, sends an echo through each, and returns them open.
pub(crate) async fn idle(target: &Target, tunnels: usize) -> anyhow::Result<Vec<Stream>> {
    let mut held = Vec::with_capacity(tunnels);
    while held.len() < tunnels {
        let mut opening = JoinSet::new();
        for _ in 0..AT_ONCE.min(tunnels - held.len()) {
            let target = target.clone();
            opening.spawn(async move {
                let mut stream = client::open(&target).await?;
                client::echo(&mut stream, &target.payload).await?;
                anyhow::Ok(stream)
            });
        }
        while let Some(opened) = opening.join_next().await {
            held.push(opened??);
        }
    }
    Ok(held)
}

const PATIENCE: Duration = Duration::from_mins(1);
const AT_ONCE: usize = 64;
const BLOCK: usize = 256 * 1024;
