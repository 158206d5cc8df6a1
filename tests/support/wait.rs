//! Waiting for what happens by itself, but not for ever.

use std::time::{Duration, Instant};

/// Waits until the condition holds.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}: it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls until there is something, and returns it.
pub(crate) async fn found<T, F: Future<Output = Option<T>>>(mut poll: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "it never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
