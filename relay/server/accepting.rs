//! Keeps a server at work, and stops it.

use std::io;

use tokio::task::JoinSet;

use super::handle::Handle;
use super::workers::{Pulse, Workers};

/// A server that accepts connections.
#[derive(Debug)]
pub struct Accepting {
    pub(super) handle: Handle,
    pub(super) listeners: JoinSet<io::Result<()>>,
    pub(super) workers: Workers,
    pub(super) kept: bool,
}

impl Accepting {
    /// Completes when a listener has ended, which none does by itself.
    pub async fn failed(&mut self) -> String {
        match self.listeners.join_next().await {
            Some(Ok(Ok(()))) => "a listener ended".into(),
            Some(Ok(Err(error))) => format!("a listener failed: {error}"),
            Some(Err(error)) => format!("a listener failed: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Asks the threads that serve the sessions for a sign of life.
    pub fn pulse(&self) -> Pulse {
        self.workers.pulse()
    }

    /// Whether new connections wait for a successor once this server has stopped listening.
    pub fn keeps_backlog(&self) -> bool {
        self.kept
    }

    /// Closes the listeners. From then on the port is refused, and a session that isn't a tunnel
    /// yet won't become one.
    ///
    /// Where a service manager keeps the sockets no attempt is lost: a new connection waits for the
    /// successor, and an accepted one is served.
    pub async fn stop_listening(&mut self) {
        // Set `draining` before closing the sockets. Otherwise a client that finds the port closed
        // could still see an earlier connection become a tunnel.
        if !self.kept {
            self.handle.0.refuse_new();
        }
        self.listeners.shutdown().await;
    }

    /// Completes when the last session has ended.
    pub async fn idle(&self) {
        self.workers.idle().await;
    }
}
