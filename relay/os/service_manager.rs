//! Messages to the service manager that started this process, by the protocol of `sd_notify(3)`.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, process};

use rustix::time::{ClockId, clock_gettime};

/// The service manager. Where there is none, its methods do nothing.
///
/// One descriptor, connected at the start, serves for the whole run. So messages still arrive when
/// a sandbox has closed the file system, or the process has another root. A message waits for a
/// busy manager, but only for a while, and is then lost.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Connects to the manager that `NOTIFY_SOCKET` names. It takes the watchdog of `WATCHDOG_USEC`
    /// if that is meant for this process.
    ///
    /// # Errors
    ///
    /// The variable is set, and no manager can be reached there.
    pub fn from_env() -> io::Result<Self> {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let microseconds = env::var("WATCHDOG_USEC").ok();
        let another = env::var("WATCHDOG_PID").is_ok_and(|pid| pid != process::id().to_string());
        let watchdog = microseconds
            .and_then(|number| number.parse().ok())
            .filter(|period| !another && *period > 0);
        Self::at(&address, watchdog.map(Duration::from_micros))
    }

    /// Connects to a manager that listens at a path, or at an abstract name after `@`. The manager
    /// expects [`alive`](Self::alive) at least once per `watchdog`.
    pub fn at(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket: Some(socket),
            watchdog,
        })
    }

    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Gives how often to call [`alive`](Self::alive): twice in the time that the manager waits for
    /// it.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
            .map(|period| (period / 2).max(Duration::from_millis(1)))
    }

    /// Tells that the service is ready, for the first time or after a reload, even a rejected one.
    pub fn ready(&self, status: &str) {
        self.send("READY=1", Some(status));
    }

    /// Tells that a reload begins. The manager waits for [`ready`](Self::ready).
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        // By the time the manager tells this reload from a reload that it didn't ask for.
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"), None);
    }

    /// Tells that the service is about to stop, and may take this long. Otherwise the manager would
    /// kill it after its own timeout.
    pub fn stopping(&self, status: &str, within: Duration) {
        let microseconds = within.as_micros();
        self.send(
            &format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}"),
            Some(status),
        );
    }

    /// Sends one line for people, which `systemctl status` shows.
    pub fn status(&self, status: &str) {
        self.send("", Some(status));
    }

    /// Tells that the service is alive. A manager whose watchdog misses this kills the process, and
    /// starts another.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1", None);
        }
    }

    fn send(&self, state: &str, status: Option<&str>) {
        let Some(socket) = &self.socket else {
            return;
        };
        let mut message = state.to_owned();
        if let Some(status) = status {
            // Writing to a `String` can't fail.
            let _ = write!(message, "\nSTATUS={}", one_line(status));
        }
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(%error, "a message to the service manager was lost: {state}");
        }
    }
}

/// Removes line breaks, which would begin another assignment, and shortens the text. A message over
/// 4 KiB would be thrown away.
fn one_line(text: &str) -> String {
    text.chars()
        .take(MAX_STATUS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// How long a message may wait for a manager that doesn't read.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most characters of a status; each has up to four bytes.
const MAX_STATUS: usize = 512;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn manager() -> (UnixDatagram, ServiceManager) {
        let name = format!("@callhome-relay-test-{}", uuid::Uuid::now_v7());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let watchdog = Some(Duration::from_secs(20));
        let manager = ServiceManager::at(OsStr::new(&name), watchdog).unwrap();
        (socket, manager)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 8192];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_message_is_what_the_protocol_says() {
        let (socket, manager) = manager();
        assert_eq!(manager.watchdog(), Some(Duration::from_secs(10)));
        manager.ready("serving");
        assert_eq!(received(&socket), "READY=1\nSTATUS=serving");
        manager.status("well");
        assert_eq!(received(&socket), "\nSTATUS=well");
        manager.alive();
        assert_eq!(received(&socket), "WATCHDOG=1");
        manager.stopping("draining", Duration::from_hours(2));
        assert_eq!(
            received(&socket),
            "STOPPING=1\nEXTEND_TIMEOUT_USEC=7200000000\nSTATUS=draining"
        );
        let before = clock_gettime(ClockId::Monotonic).tv_sec;
        manager.reloading();
        let said = received(&socket);
        let now = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let now: i64 = now.parse().unwrap();
        assert!((0..5).contains(&(now / 1_000_000 - before)), "{said}");
    }

    /// A status quotes the configuration, so it must not be able to set anything but the status.
    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        let (socket, manager) = manager();
        manager.status("a\nMAINPID=1\r\n\u{85}b");
        assert_eq!(received(&socket), "\nSTATUS=a MAINPID=1   b");
        manager.status(&"\u{1F980}".repeat(5000));
        assert!(received(&socket).len() < 4096);
    }

    #[test]
    fn a_manager_that_doesnt_read_is_not_waited_for_for_ever() {
        let (_socket, manager) = manager();
        let started = std::time::Instant::now();
        // The kernel queues a few datagrams, up to `net.unix.max_dgram_qlen`.
        let full = (0..100_000).any(|_| {
            let before = std::time::Instant::now();
            manager.alive();
            before.elapsed() >= PATIENCE
        });
        assert!(full && started.elapsed() < PATIENCE * 10);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let nobody = ServiceManager::default();
        nobody.ready("serving");
        assert!(!nobody.is_there() && nobody.watchdog().is_none());
        assert!(ServiceManager::at(OsStr::new("/nowhere/notify"), None).is_err());
    }
}
