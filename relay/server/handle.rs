//! Gives the rest of the program a handle on a running server.

use std::sync::Arc;

use jiff::Timestamp;

use super::common::Common;
use super::settings::Settings;
use crate::tunnel::ClosedBy;

/// Reloads the server, and counts and ends its tunnels. A clone is for the same server.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Arc<Common>);

impl Handle {
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.load_full()
    }

    /// Replaces the settings, and ends the tunnels that the new policy would refuse. Returns their
    /// number.
    pub fn apply(&self, settings: Settings) -> usize {
        // Store before the review: the review raises the generation, and a session that then fails
        // to register decides again. It must find the new settings, otherwise it would go round
        // under the old ones.
        self.0.settings.store(Arc::new(settings));
        self.review()
    }

    /// Judges every open tunnel by the current policy. Returns the number of those that it ends.
    pub(super) fn review(&self) -> usize {
        let settings = self.0.settings.load();
        self.0
            .tunnels
            .review(settings.generation, &settings.policy, Timestamp::now())
    }

    /// Ends every tunnel, and lets no other begin. Returns the number of those that it ends.
    pub fn stop_tunnels(&self) -> usize {
        self.0.refuse_new();
        self.0.tunnels.stop_all(ClosedBy::Shutdown)
    }

    pub fn open_tunnels(&self) -> usize {
        self.0.tunnels.count()
    }
}
