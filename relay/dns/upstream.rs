//! The name servers. hickory-resolver speaks the protocol with one server at a time.
//!
//! Which server is asked when, and what counts as an answer, is decided here. The library's own
//! pool would take the first SERVFAIL for final, even when another server has the answer.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ResolverError;
use super::resolution::LookupError;
use crate::authority::DnsName;

#[derive(Debug)]
pub(super) struct Upstream {
    servers: Vec<TokioResolver>,
    timeout: Duration,
}

/// The reply to a question, for one record type or for both together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Addresses(Vec<IpAddr>, Duration),
    /// A server answered that there are none, and for how long this may be kept.
    Negative(&'static str, Duration),
    /// No server gave an answer.
    Failed(LookupError),
}

impl Upstream {
    /// Sets up a client for each server. `timeout` bounds everything together: servers,
    /// retransmissions, both record types.
    pub(super) fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, ResolverError> {
        if servers.is_empty() {
            return Err(ResolverError::NoServer);
        }
        let servers = servers
            .iter()
            .map(|&server| client(server, timeout))
            .collect::<Result<_, _>>()
            .map_err(|error| ResolverError::Client(error.to_string()))?;
        Ok(Self { servers, timeout })
    }

    /// Asks for A and AAAA at once. It must run on a runtime that outlives the question.
    pub(super) async fn resolve(&self, name: &DnsName) -> Reply {
        // The name is fully qualified, so that neither search domains nor ndots apply.
        let Ok(name) = Name::from_ascii(format!("{name}.")) else {
            return Reply::Failed(LookupError::Unanswered("not a name for DNS".to_owned()));
        };
        let mut ipv4 = pin!(self.ask(&name, RecordType::A));
        let mut ipv6 = pin!(self.ask(&name, RecordType::AAAA));
        let (ipv4, ipv6) = tokio::select! {
            ipv4 = &mut ipv4 => { let ipv6 = settle(&ipv4, ipv6).await; (ipv4, ipv6) }
            ipv6 = &mut ipv6 => { let ipv4 = settle(&ipv6, ipv4).await; (ipv4, ipv6) }
        };
        combine(ipv6, ipv4)
    }

    /// Gives the first answer of any server.
    ///
    /// The servers are asked in their order. The next is asked when the one before failed, or was
    /// silent for a while; a silent one may still win.
    async fn ask(&self, name: &Name, record_type: RecordType) -> Reply {
        let patience = (self.timeout / 2).min(PATIENCE);
        let first_answer = async {
            let mut waiting = self.servers.iter();
            let mut asked = JoinSet::new();
            let mut failure = LookupError::Timeout;
            loop {
                if let Some(server) = waiting.next() {
                    let (server, name) = (server.clone(), name.clone());
                    asked.spawn(async move {
                        let result = server.lookup(name.clone(), record_type).await;
                        read(&name, result)
                    });
                }
                tokio::select! {
                    reply = asked.join_next() => match reply {
                        Some(Ok(Reply::Failed(other))) => failure = failure.more_telling(other),
                        Some(Ok(answer)) => return answer,
                        // The library panicked for this server, so there is no answer to use.
                        Some(Err(_)) => {}
                        None => return Reply::Failed(failure),
                    },
                    // The server may still answer, but the next one is asked too.
                    () = sleep(patience), if waiting.len() > 0 => {}
                }
            }
        };
        timeout(self.timeout, first_answer)
            .await
            .unwrap_or(Reply::Failed(LookupError::Timeout))
    }
}

fn client(server: SocketAddr, timeout: Duration) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    // This would ask again after a failure. Lost datagrams are sent again in any case.
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // With it, a server that doesn't keep the case of a question would fail every lookup.
    options.case_randomization = false;
    options.max_active_requests = 512;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
}

/// Waits for the other record type as long as it takes, or only shortly when there are addresses
/// already (RFC 8305, 3).
///
/// The delay is longer than the RFC's 50 ms, because no user waits for a page here.
async fn settle(first: &Reply, rest: impl Future<Output = Reply>) -> Reply {
    match first {
        Reply::Addresses(..) => timeout(RESOLUTION_DELAY, rest)
            .await
            .unwrap_or(Reply::Failed(LookupError::Timeout)),
        _ => rest.await,
    }
}

/// Makes one reply of those for the two record types.
fn combine(ipv6: Reply, ipv4: Reply) -> Reply {
    match (ipv6, ipv4) {
        (Reply::Addresses(mut addresses, ttl), Reply::Addresses(ipv4, other)) => {
            addresses.extend(ipv4);
            Reply::Addresses(addresses, ttl.min(other))
        }
        // A negative answer for the other type doesn't shorten the life of the addresses.
        (addresses @ Reply::Addresses(..), Reply::Negative(..))
        | (Reply::Negative(..), addresses @ Reply::Addresses(..)) => addresses,
        // Half an answer is used too, but isn't kept, so that the next request asks again.
        (Reply::Addresses(addresses, _), Reply::Failed(_))
        | (Reply::Failed(_), Reply::Addresses(addresses, _)) => {
            Reply::Addresses(addresses, Duration::ZERO)
        }
        // A name that doesn't exist has no records of any type (RFC 8020).
        (Reply::Negative(NXDOMAIN, ttl), _) | (_, Reply::Negative(NXDOMAIN, ttl)) => {
            Reply::Negative(NXDOMAIN, ttl)
        }
        (Reply::Negative(rcode, ttl), Reply::Negative(_, other)) => {
            Reply::Negative(rcode, ttl.min(other))
        }
        (Reply::Failed(failure), Reply::Failed(other)) => {
            Reply::Failed(failure.more_telling(other))
        }
        (Reply::Failed(failure), Reply::Negative(..))
        | (Reply::Negative(..), Reply::Failed(failure)) => Reply::Failed(failure),
    }
}

fn read(name: &Name, result: Result<Lookup, NetError>) -> Reply {
    match result {
        Ok(lookup) => addresses(name, lookup.answers()),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain | ResponseCode::NoError => {
                // Without an SOA, no time is given for which this may be kept (RFC 2308, 5).
                let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
                Reply::Negative(rcode(none.response_code), ttl)
            }
            code => Reply::Failed(LookupError::Negative { rcode: rcode(code) }),
        },
        Err(NetError::Dns(DnsError::ResponseCode(code))) => {
            Reply::Failed(LookupError::Negative { rcode: rcode(code) })
        }
        Err(NetError::Timeout) => Reply::Failed(LookupError::Timeout),
        Err(error) => Reply::Failed(LookupError::Unanswered(error.to_string())),
    }
}

/// Collects the addresses at the end of the CNAME chain. Records of other names are ignored,
/// because they don't answer the question.
fn addresses(name: &Name, answers: &[Record]) -> Reply {
    let mut owner = name;
    let mut ttl = u32::MAX;
    // The bound also ends a chain that is a loop.
    for _ in 0..MAX_ALIASES {
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, target_ttl)) = next else {
            break;
        };
        owner = target;
        ttl = ttl.min(target_ttl);
    }
    let mut found = Vec::new();
    for record in answers.iter().filter(|record| record.name == *owner) {
        if found.len() == MAX_ADDRESSES {
            break;
        }
        let address = match &record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            _ => continue,
        };
        ttl = ttl.min(record.ttl);
        found.push(address);
    }
    if found.is_empty() {
        return Reply::Negative(NOERROR, Duration::ZERO);
    }
    Reply::Addresses(found, Duration::from_secs(ttl.into()))
}

/// Gives the mnemonic of the IANA registry, which RFC 9209 asks for.
fn rcode(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => NOERROR,
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => NXDOMAIN,
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::NotZone => "NOTZONE",
        ResponseCode::BADVERS => "BADVERS",
        ResponseCode::BADCOOKIE => "BADCOOKIE",
        _ => "OTHER",
    }
}

const NXDOMAIN: &str = "NXDOMAIN";
/// The name exists, but has no address (NODATA, RFC 2308, 2.2).
const NOERROR: &str = "NOERROR";
/// The most aliases that are followed; resolvers follow about as many. A chain through a whole
/// answer of 64 KiB would take millions of comparisons.
const MAX_ALIASES: usize = 16;
/// The most addresses of one record type. An answer may hold thousands, which would be kept and
/// screened at every request, and never dialled.
const MAX_ADDRESSES: usize = 256;
/// How long a server may be silent before the next one is asked too.
const PATIENCE: Duration = Duration::from_secs(1);
const RESOLUTION_DELAY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, CNAME};

    use super::*;

    #[test]
    fn an_endless_answer_is_read_as_far_as_it_is_of_use() {
        let name = |n: usize| Name::from_ascii(format!("n{n}.example.")).unwrap();
        let alias = |n| Record::from_rdata(name(n), 60, RData::CNAME(CNAME(name(n + 1))));
        let address =
            |owner| Record::from_rdata(name(owner), 60, RData::A(A([192, 0, 2, 1].into())));
        for (aliases, addresses_at_the_end, expected) in [
            (0, 1, 1),
            (0, MAX_ADDRESSES + 1, MAX_ADDRESSES),
            (MAX_ALIASES, 1, 1),
            (MAX_ALIASES + 1, 1, 0),
        ] {
            // This is the worst order: each alias is found last.
            let mut answers: Vec<_> = (0..aliases).rev().map(alias).collect();
            answers.extend((0..addresses_at_the_end).map(|_| address(aliases)));
            let found = match addresses(&name(0), &answers) {
                Reply::Addresses(found, _) => found.len(),
                _ => 0,
            };
            assert_eq!(found, expected, "{aliases} aliases");
        }
    }

    #[test]
    fn two_record_types_make_one_reply() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let seconds = Duration::from_secs;
        let some = |address, ttl| Reply::Addresses(vec![address], seconds(ttl));
        let nxdomain = |ttl| Reply::Negative(NXDOMAIN, seconds(ttl));
        let nodata = |ttl| Reply::Negative(NOERROR, seconds(ttl));
        let silent = || Reply::Failed(LookupError::Timeout);
        let servfail = || Reply::Failed(LookupError::Negative { rcode: "SERVFAIL" });
        let broken = || Reply::Failed(LookupError::Unanswered(String::new()));
        for (ipv6, ipv4, expected) in [
            (
                some(v6, 9),
                some(v4, 7),
                Reply::Addresses(vec![v6, v4], seconds(7)),
            ),
            (some(v6, 9), nodata(7), some(v6, 9)),
            (nodata(0), some(v4, 7), some(v4, 7)),
            (some(v6, 9), silent(), some(v6, 0)),
            (servfail(), some(v4, 7), some(v4, 0)),
            (nxdomain(9), nodata(7), nxdomain(9)),
            (nodata(9), nxdomain(7), nxdomain(7)),
            (silent(), nxdomain(7), nxdomain(7)),
            (nodata(9), nodata(7), nodata(7)),
            (nodata(9), servfail(), servfail()),
            (silent(), nodata(7), silent()),
            (silent(), servfail(), servfail()),
            (servfail(), silent(), servfail()),
            (silent(), broken(), broken()),
            (broken(), servfail(), servfail()),
        ] {
            let given = format!("{ipv6:?} and {ipv4:?}");
            assert_eq!(combine(ipv6, ipv4), expected, "{given}");
        }
    }
}
