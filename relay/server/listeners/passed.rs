//! Makes listeners of sockets that a service manager keeps, so that the sockets outlive this
//! process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::listener::Listener;
use crate::os::PassedSockets;
use crate::server::options::ListenerOptions;

/// The sockets that were passed in don't fit the configuration.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    #[error(
        "the sockets that were passed in are named {passed}, and the listeners of the configuration {listeners}: each needs one of \
         its name (systemd: FileDescriptorName=), and there can be no other"
    )]
    Names { passed: String, listeners: String },
    #[error(
        "the socket that was passed in for listener \"{name}\" is on {passed}, and the configuration says {bind}"
    )]
    Address {
        name: Arc<str>,
        passed: SocketAddr,
        bind: SocketAddr,
    },
    #[error("the socket that was passed in for listener \"{name}\" has no address: {source}")]
    Unbound { name: Arc<str>, source: io::Error },
}

/// Gives each listener the socket of its name.
pub(in crate::server) fn adopt(
    listeners: &[ListenerOptions],
    mut sockets: PassedSockets,
) -> Result<Vec<Listener>, PassedError> {
    let passed = list(sockets.names());
    let wanted = list(listeners.iter().map(|it| &*it.name));
    if passed != wanted {
        return Err(PassedError::Names {
            passed: passed.join(", "),
            listeners: wanted.join(", "),
        });
    }
    let adopt = |options: &ListenerOptions| {
        let name = || options.name.clone();
        let socket = sockets.take(&options.name)?;
        let adopted = Listener::on(options, socket).map_err(|source| PassedError::Unbound {
            name: name(),
            source,
        });
        Some(adopted.and_then(|listener| {
            if is_meant(listener.address, options.bind) {
                Ok(listener)
            } else {
                Err(PassedError::Address {
                    name: name(),
                    passed: listener.address,
                    bind: options.bind,
                })
            }
        }))
    };
    listeners.iter().filter_map(adopt).collect()
}

/// Quotes and sorts names, so that two lists can be compared and shown.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    names.sort_unstable();
    names
}

/// Whether a socket is where the configuration says. Port 0 means any port, and `[::]` becomes
/// `0.0.0.0` where IPv6 is off.
fn is_meant(socket: SocketAddr, bind: SocketAddr) -> bool {
    let everywhere = |address: SocketAddr| address.ip().is_unspecified();
    (bind.port() == 0 || socket.port() == bind.port())
        && (socket.ip() == bind.ip() || (everywhere(socket) && everywhere(bind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_where_it_is_meant_to_be() {
        for (socket, bind, meant) in [
            ("10.0.0.1:3128", "10.0.0.1:3128", true),
            ("10.0.0.1:3128", "10.0.0.1:0", true),
            ("0.0.0.0:443", "[::]:443", true),
            ("[::]:443", "0.0.0.0:443", true),
            ("[::]:443", "[::]:3128", false),
            ("[::]:443", "10.0.0.1:443", false),
            ("10.0.0.2:443", "10.0.0.1:0", false),
        ] {
            let (socket, bind) = (socket.parse().unwrap(), bind.parse().unwrap());
            assert_eq!(is_meant(socket, bind), meant, "{socket} {bind}");
        }
    }
}
