//! Holds what all sessions of a server have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::guards::{Limiter, Loops, Tunnels, Warnings};
use super::settings::Settings;
use crate::audit::Audit;
use crate::telemetry::Metrics;

/// The settings of the moment, the guards, the trail and the metrics. Every session borrows it.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) settings: ArcSwap<Settings>,
    pub(super) limiter: Limiter,
    pub(super) tunnels: Tunnels,
    pub(super) loops: Loops,
    pub(super) warnings: Warnings,
    pub(super) audit: Audit,
    pub(super) metrics: Arc<Metrics>,
    draining: AtomicBool,
}

impl Common {
    pub(super) fn new(
        settings: Settings,
        loops: Loops,
        warnings: Warnings,
        audit: Audit,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            limiter: Limiter::default(),
            tunnels: Tunnels::default(),
            loops,
            warnings,
            audit,
            metrics,
            draining: AtomicBool::new(false),
        }
    }

    /// From now on a session that isn't a tunnel yet is refused.
    pub(super) fn refuse_new(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
