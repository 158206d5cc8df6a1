//! Takes from the machine what a server needs, before the process is confined.

use std::io;
use std::net::IpAddr;

use super::listeners::{self, BindError, Listener, PassedError};
use super::options::ListenerOptions;
use crate::os::{self, PassedSockets};

/// The bound listeners, and what the kernel says about this machine.
#[derive(Debug)]
pub struct Ports {
    pub(super) listeners: Vec<Listener>,
    /// Whether a service manager keeps the sockets, so that a successor can go on with them.
    pub(super) kept: bool,
    pub(super) gateways: Vec<IpAddr>,
    pub(super) cores: usize,
}

/// Why the server can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Passed(#[from] PassedError),
    #[error("threads or descriptors can't be had")]
    Resources(#[from] io::Error),
}

impl Ports {
    /// Binds every listener, or takes the sockets that were passed in for them.
    pub fn bind(listeners: &[ListenerOptions], passed: PassedSockets) -> Result<Self, SetupError> {
        let kept = !passed.is_empty();
        let listeners = if kept {
            listeners::adopt(listeners, passed)?
        } else {
            let bound = listeners.iter().map(Listener::bind);
            bound.collect::<Result<Vec<_>, _>>()?
        };
        Ok(Self {
            listeners,
            kept,
            gateways: os::default_gateways(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}
