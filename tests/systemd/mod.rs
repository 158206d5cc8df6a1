//! The relay as a service: what it tells the service manager, and what is shipped for systemd.

mod notify;
