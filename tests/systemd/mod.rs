//! The relay as a service: what it tells the service manager, and what is shipped for systemd.
//! `.ci/packages` runs that under a real one.

mod notify;
mod units;
