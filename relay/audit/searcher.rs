//! The thread that searches for tunnels of earlier runs without an end, and records them as lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::inbox::{Inbox, RecordKind};
use super::recover::LostSearch;

/// Ends the search when it is dropped.
#[derive(Debug)]
pub(super) struct Searcher {
    thread: Option<thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Searcher {
    pub(super) fn start(search: LostSearch, inbox: Arc<Inbox>) -> io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let run = move || {
            if let Err(error) = hand_over(&search, &inbox, &stopped) {
                tracing::warn!(%error, "tunnels that the relay lost can't be searched for: the next start tries again");
            }
        };
        let thread = thread::Builder::new().name("search".into()).spawn(run)?;
        Ok(Self {
            thread: Some(thread),
            stop,
        })
    }
}

/// Hands over a closing record for each tunnel that was lost. The writer hears that the search is
/// over only when all of them are in the queue.
fn hand_over(search: &LostSearch, inbox: &Inbox, stop: &AtomicBool) -> io::Result<()> {
    let Some(lost) = search.run(stop)? else {
        return Ok(());
    };
    if !lost.is_empty() {
        tracing::warn!(
            tunnels = lost.len(),
            "tunnels were open when the relay ended: they are recorded as lost"
        );
    }
    for mut lost in lost {
        lost.relay = inbox.relay.clone().into();
        inbox.write(&lost, RecordKind::Closing, None);
    }
    inbox.lock().searched = true;
    inbox.wake.notify_one();
    Ok(())
}

impl Drop for Searcher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A search that has just begun may end by itself. One that takes longer is left to the next
        // start, because a stop must not wait for it.
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.stop.store(true, Ordering::Relaxed);
        // The result is ignored: the thread returns nothing, and the panic hook has reported a
        // panic.
        let _ = thread.join();
    }
}

/// How long a stop waits for the search.
const PATIENCE: Duration = Duration::from_secs(2);
