//! Runs the threads that serve sessions: one per core, each with a single-threaded runtime.
//!
//! A session stays on the thread to which it was dealt. That costs about 15 % less CPU per tunnel
//! than a runtime that moves tasks between threads. It also lets all tunnels of a thread share one
//! buffer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The running threads. Their drop ends them.
#[derive(Debug)]
pub(super) struct Workers {
    dealer: Dealer,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

/// Deals sessions to the workers. It doesn't keep them running, so a worker may hold it. A clone
/// shares it.
#[derive(Clone, Debug)]
pub(super) struct Dealer {
    workers: Arc<[WorkerThread]>,
    tracker: TaskTracker,
}

/// Tells whether the workers still run their tasks. It doesn't keep them running.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<[WorkerThread]>);

#[derive(Debug)]
struct WorkerThread {
    runtime: Handle,
    sessions: Arc<AtomicUsize>,
}

/// Counts a session, on its worker and in all.
struct Dealt {
    sessions: Arc<AtomicUsize>,
    _open: TaskTrackerToken,
}

impl Workers {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let started = (0..count.max(1))
            .map(|number| WorkerThread::start(number, stop.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let (workers, threads): (Vec<_>, _) = started.into_iter().unzip();
        Ok(Self {
            dealer: Dealer {
                workers: workers.into(),
                tracker: TaskTracker::new(),
            },
            threads,
            stop,
        })
    }

    pub(super) fn dealer(&self) -> Dealer {
        self.dealer.clone()
    }

    /// The runtime on which the `number`th listener accepts. It is a worker's, because then a
    /// session that is dealt to the same worker wakes no other thread.
    pub(super) fn for_listener(&self, number: usize) -> &Handle {
        let workers = &self.dealer.workers;
        &workers[number % workers.len()].runtime
    }

    /// Asks each thread for a sign of life.
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(self.dealer.workers.clone())
    }

    /// Completes when no session is left.
    pub(super) async fn idle(&self) {
        self.dealer.tracker.close();
        self.dealer.tracker.wait().await;
    }
}

impl Drop for Workers {
    /// Ends the threads. A session that still runs is dropped, and its `Recorder` writes the record
    /// of that.
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // An error means that the thread panicked, and the panic hook has reported that.
            let _ = thread.join();
        }
    }
}

impl Dealer {
    /// Runs a session on the worker that has the fewest.
    ///
    /// `begin` makes the session's future on the worker itself. Moving a built future into `spawn`
    /// would keep room for two copies of it: the captured one and the awaited one.
    pub(super) fn deal<F>(&self, begin: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let Some(worker) = self
            .workers
            .iter()
            .min_by_key(|worker| worker.sessions.load(Ordering::Relaxed))
        else {
            return;
        };
        worker.sessions.fetch_add(1, Ordering::Relaxed);
        let dealt = Dealt {
            sessions: worker.sessions.clone(),
            _open: self.tracker.token(),
        };
        worker.runtime.spawn(async move {
            let _dealt = dealt;
            begin().await;
        });
    }
}

impl Pulse {
    /// Completes when every worker has run a task, so never while one is stuck. False where a
    /// worker has ended.
    pub async fn beat(&self) -> bool {
        for worker in &*self.0 {
            if worker.runtime.spawn(async {}).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl WorkerThread {
    fn start(number: usize, stop: CancellationToken) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(stop.cancelled()))?;
        let worker = Self {
            runtime: handle,
            sessions: Arc::default(),
        };
        Ok((worker, thread))
    }
}

impl Drop for Dealt {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::guards::{Claim, Limiter};
    use super::super::options::Limits;
    use super::*;
    use crate::audit::{self, Audit, OnFailure};
    use crate::policy::Rate;
    use crate::telemetry::Metrics;

    /// They allow one tunnel at a time, so that a slot which isn't freed is missed.
    const LIMITS: Limits = Limits {
        connections: 1,
        connections_per_client: 1,
        tunnels: 1,
        tunnels_per_client: 1,
        inventory_reserve: 0,
        rate_per_client: Rate {
            count: 1,
            per: Duration::from_secs(1),
        },
        request_head: 1024,
    };

    #[tokio::test]
    async fn a_worker_that_is_stuck_has_no_pulse() {
        let workers = Workers::start(2).unwrap();
        let pulse = workers.pulse();
        assert!(pulse.beat().await);
        let (release, stuck) = mpsc::channel::<()>();
        workers.dealer().deal(async move || {
            // This blocks the thread, which no task of a runtime may do.
            let _ = stuck.recv();
        });
        let beat = tokio::time::timeout(Duration::from_millis(100), pulse.beat());
        assert!(beat.await.is_err());
        drop(release);
        assert!(pulse.beat().await);
        drop(workers);
        assert!(!pulse.beat().await);
    }

    #[test]
    fn a_session_that_panics_leaves_one_record_and_frees_its_slots() {
        let directory = tempfile::tempdir().unwrap();
        let options = audit::AuditOptions {
            directory: Some(directory.path().to_owned()),
            stdout: false,
            rotate_size: 1 << 20,
            rotate_every: Duration::from_hours(1),
            keep: Duration::from_hours(1),
            max_size: 1 << 30,
            sync: audit::Sync::Never,
            on_failure: OnFailure::Refuse,
            seal_every: Duration::from_hours(1),
            syslog: None,
        };
        let metrics = Arc::<Metrics>::default();
        let (audit, writer) = Audit::start(&options, "test", metrics.clone()).unwrap();
        let limiter = Arc::new(Limiter::default());
        let workers = Workers::start(1).unwrap();
        let (ended, end) = mpsc::channel();
        for panics in [true, false] {
            let (audit, limiter, ended) = (audit.clone(), limiter.clone(), ended.clone());
            workers.dealer().deal(async move || {
                let peer = ([10, 0, 0, 1], 4000).into();
                let claim = Claim {
                    source: [10, 0, 0, 1].into(),
                    listed: false,
                    tunnels: None,
                };
                let _connection = limiter.connection(Some(claim.source), &LIMITS).unwrap();
                let _tunnel = limiter.tunnel(claim, &LIMITS, false).unwrap();
                let mut session = audit.session("proxy".into(), "1:p".into(), peer);
                session.opened().await.unwrap();
                assert!(!panics, "a defect, made for a test");
                session.abandoned();
                ended.send(()).unwrap();
            });
            // The second one would find the slots taken if it came before the panic.
            while panics && metrics.session_panics.get() == 0 {
                thread::sleep(Duration::from_millis(5));
            }
        }
        // The second session finds the worker alive, and both slots free.
        end.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(workers);
        writer.close();

        let text = std::fs::read_to_string(directory.path().join("access.jsonl")).unwrap();
        let events: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|record| record["session"].is_string())
            .map(|record| format!("{} {}", record["event"], record["reason"]).replace('"', ""))
            .collect();
        assert_eq!(
            events,
            [
                "tunnel_opened null",
                "tunnel_closed internal",
                "tunnel_opened null",
                "tunnel_closed null",
            ]
        );
        assert_eq!(metrics.tunnels_open.get(), 0);
    }
}
