//! The resolver against a name server on loopback: what real servers do, and what broken and
//! hostile ones do.

mod answers;
mod files;
mod keeping;
mod servers;
mod sharing;

use std::net::SocketAddr;
use std::time::Duration;

use callhome_relay::dns::{
    AddressSource, DnsOptions, LookupError, Resolution, Resolver, SystemFiles,
};
use tokio::net::UdpSocket;

use crate::support::dns::{NameServer, parse};

const NAME: &str = "billing.example";
const NXDOMAIN: LookupError = LookupError::Negative { rcode: "NXDOMAIN" };
const NODATA: LookupError = LookupError::Negative { rcode: "NOERROR" };
const SERVFAIL: LookupError = LookupError::Negative { rcode: "SERVFAIL" };

fn options(servers: &[SocketAddr]) -> DnsOptions {
    DnsOptions {
        servers: servers.to_vec(),
        timeout: Duration::from_secs(2),
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_mins(5),
        serve_stale: Duration::from_hours(1),
    }
}

/// Paths where no file is, so that the machine's own files don't count.
fn no_files() -> SystemFiles {
    SystemFiles {
        hosts: "/nonexistent/hosts".into(),
        resolv_conf: "/nonexistent/resolv.conf".into(),
    }
}

fn resolver_of(servers: &[SocketAddr]) -> Resolver {
    Resolver::with_files(options(servers), no_files()).unwrap()
}

fn resolver(server: &NameServer) -> Resolver {
    resolver_of(&[server.address])
}

/// An address where no server is.
async fn nobody() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

fn impatient(servers: &[SocketAddr]) -> Resolver {
    let options = DnsOptions {
        timeout: Duration::from_millis(300),
        ..options(servers)
    };
    Resolver::with_files(options, no_files()).unwrap()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "stands beside what resolve() gives"
)]
fn found(addresses: &[&str], source: AddressSource) -> Result<Resolution, LookupError> {
    Ok(Resolution {
        addresses: parse(addresses),
        source,
    })
}

/// Moves the runtime's clock. It must only be called while nothing is under way, because a paused
/// clock runs ahead of the sockets.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}
