//! Listening sockets that a service manager keeps and passes to the relay (socket activation,
//! `sd_listen_fds(3)`).

use std::env;
use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The sockets that were passed to this process, with their names and in their order. It may be
/// empty.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<(String, TcpListener)>);

/// Why a passed socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    #[error(
        "{sockets} sockets were passed in (LISTEN_FDS) with {names} names (LISTEN_FDNAMES): each needs its own (systemd: \
         FileDescriptorName=)"
    )]
    Names { sockets: usize, names: usize },
    #[error(
        "what was passed in as \"{name}\" (LISTEN_FDNAMES) is no listening TCP socket: {source}"
    )]
    Socket { name: String, source: io::Error },
}

impl PassedSockets {
    /// Takes the sockets out of the environment, so that a second call finds none.
    ///
    /// It must be called before there are other threads, because it removes environment variables.
    /// They were meant for this process alone.
    pub fn from_env() -> Result<Self, ActivationError> {
        let mut passed = ListenFd::from_env();
        if passed.len() == 0 {
            return Ok(Self::default());
        }
        // A socket without a name has this name (`sd_listen_fds_with_names(3)`).
        let names = env::var("LISTEN_FDNAMES").unwrap_or_else(|_| "unknown".into());
        let names: Vec<&str> = names.split(':').collect();
        if names.len() != passed.len() {
            return Err(ActivationError::Names {
                sockets: passed.len(),
                names: names.len(),
            });
        }
        let mut sockets = Vec::with_capacity(names.len());
        for (index, name) in names.into_iter().enumerate() {
            let socket = take(&mut passed, index).map_err(|source| ActivationError::Socket {
                name: name.to_owned(),
                source,
            })?;
            sockets.push((name.to_owned(), socket));
        }
        Ok(Self(sockets))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Takes the socket of this name.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        let at = self.0.iter().position(|(it, _)| it == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Takes one socket, and makes it like a socket that the relay has bound itself: it doesn't block,
/// and its connections send at once.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<TcpListener> {
    let socket = passed
        .take_tcp_listener(index)?
        .ok_or_else(|| io::Error::other("it was taken before"))?;
    let options = SockRef::from(&socket);
    if !options.is_listener()? {
        return Err(io::Error::other("it doesn't listen"));
    }
    options.set_nonblocking(true)?;
    options.set_tcp_nodelay(true)?;
    Ok(socket)
}
