//! Makes all walks, a few at a time, and hands them over in the order of the destinations.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::roots::TrustStores;
use super::target::{self, Stop};
use super::walk::Walk;
use super::walker::{ProbeOptions, Walker};

/// Holds the walks to every destination. Dropping the value ends the walks that aren't done.
#[derive(Debug)]
pub struct Walks(VecDeque<AbortOnDropHandle<Walk>>);

/// Tells that a walk ended in a panic.
#[derive(Debug, thiserror::Error)]
#[error("a walk broke off")]
pub struct WalkError(#[from] JoinError);

impl Walks {
    /// Starts to walk to every exact host of every destination. Must be called in a runtime: the
    /// walks are tasks of it.
    pub fn start(options: ProbeOptions, stores: Arc<TrustStores>) -> Self {
        let stops = target::stops(&options.policy);
        let walker = Arc::new(Walker::new(options, stores));
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let walks = stops.into_iter().map(|stop| {
            let (walker, slots) = (walker.clone(), slots.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                match stop {
                    Stop::NotWalked { name, because } => Walk::not_walked(&name, because),
                    Stop::Target(target) => {
                        let _slot = slots.acquire().await;
                        walker.walk(&target).await
                    }
                }
            }))
        });
        Self(walks.collect())
    }

    /// Waits for the next walk, in the order of the destinations. Gives none after the last.
    /// Dropping the future loses no walk, so it may be raced against others.
    pub async fn next(&mut self) -> Option<Result<Walk, WalkError>> {
        let walk = self.0.front_mut()?.await;
        self.0.pop_front();
        Some(walk.map_err(WalkError::from))
    }
}

/// Limits the walks under way at the same time. Several are needed: otherwise one silent
/// destination would hold up the others.
const AT_ONCE: usize = 4;
