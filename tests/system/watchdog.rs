//! When the relay stops telling systemd that it lives.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::support::manager::{MICROSECONDS, Manager, PERIOD, ask};
use crate::support::process::Process;
use crate::support::relay::upstream;

#[test]
fn a_trail_whose_disk_hangs_stops_the_watchdog() {
    let manager = Manager::with("");
    let fault = Fault::hanging(manager.directory.path());
    let process = start(&manager, &fault, "fdatasync");
    manager.until_fed();
    fault.begin();
    // The trail needs something to write.
    drop(ask(process.proxy, "b.example:443"));
    until_silent(&manager);
    fault.end();
    manager.until_fed();
}

#[test]
fn a_worker_that_hangs_stops_the_watchdog() {
    let manager = Manager::with(&upstream("a.example", 9));
    let fault = Fault::hanging(manager.directory.path());
    let process = start(&manager, &fault, "connect");
    manager.until_fed();
    fault.begin();
    let _client = ask(process.proxy, "a.example:9");
    until_silent(&manager);
    fault.end();
    manager.until_fed();
}

/// Starts the relay with a watchdog, and with the fault in this call.
fn start(manager: &Manager, fault: &Fault, call: &str) -> Process {
    let mut environment = vec![("WATCHDOG_USEC", MICROSECONDS), ("FAULTY", call)];
    environment.extend(fault.environment());
    manager.start(&environment)
}

/// Returns when the watchdog was last fed a whole period ago.
fn until_silent(manager: &Manager) {
    manager.socket.set_read_timeout(Some(PERIOD)).unwrap();
    let start = Instant::now();
    let mut buffer = [0; 8192];
    // Another message could only be a status, which comes with a sign of life.
    while manager.socket.recv(&mut buffer).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still says that all is well");
    }
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
}

const PATIENCE: Duration = Duration::from_secs(20);
