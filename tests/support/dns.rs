//! A name server on loopback that answers as a test tells it to, over UDP and TCP on one port.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use callhome_relay::authority::DnsName;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// It stops when it is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

/// How the server answers a query for a name.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// It answers with the addresses of the family asked for. No such address means NODATA.
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// It answers with an alias, and with what follows it if the server knows that.
    Cname {
        target: String,
        ttl: u32,
    },
    /// It answers with the alias alone, so that the client must ask on.
    BareCname {
        target: String,
        ttl: u32,
    },
    /// It answers that there is no such name, with an SOA of this TTL.
    NoSuchName {
        ttl: u32,
    },
    Rcode(ResponseCode),
    Silence,
    /// It sets only the TC bit over UDP, and answers over TCP.
    Truncated {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// It answers with the right id and no DNS behind it.
    Garbage,
    /// It sends noise with a wrong id first, then the addresses.
    NoiseFirst {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// It answers with the addresses of another name.
    Foreign {
        addresses: Vec<IpAddr>,
    },
    /// It answers A and AAAA differently.
    PerFamily {
        a: Box<Script>,
        aaaa: Box<Script>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

#[derive(Default)]
struct Zone {
    scripts: HashMap<Name, Script>,
    queries: Vec<(Name, RecordType, Transport)>,
    upper_case: bool,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        Self::on(bind().await)
    }

    /// Serves on these sockets, which have the same port.
    pub(crate) fn on((udp, tcp): (UdpSocket, TcpListener)) -> Self {
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, zone.clone()));
        tasks.spawn(serve_tcp(tcp, zone.clone()));
        Self {
            address,
            zone,
            _tasks: tasks,
        }
    }

    /// Returns the table of a relay's file that makes it the only server.
    pub(crate) fn table(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\n", self.address)
    }

    /// Sets or changes the answer for a name. A name without a script doesn't exist.
    pub(crate) fn script(&self, name: &str, script: Script) {
        self.zone.lock().unwrap().scripts.insert(fqdn(name), script);
    }

    pub(crate) fn addresses(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = parse(addresses);
        self.script(name, Script::Addresses { addresses, ttl });
    }

    /// Answers with every name in capitals, the question's too.
    pub(crate) fn shout(&self) {
        self.zone.lock().unwrap().upper_case = true;
    }

    /// Counts the queries for a record type of a name.
    pub(crate) fn queries(&self, name: &str, record_type: RecordType) -> usize {
        self.count(|query| query.0 == fqdn(name) && query.1 == record_type)
    }

    pub(crate) fn all_queries(&self) -> usize {
        self.count(|_| true)
    }

    pub(crate) fn queries_over_tcp(&self) -> usize {
        self.count(|query| query.2 == Transport::Tcp)
    }

    fn count(&self, counts: impl Fn(&(Name, RecordType, Transport)) -> bool) -> usize {
        let zone = self.zone.lock().unwrap();
        zone.queries.iter().filter(|query| counts(query)).count()
    }
}

pub(crate) fn parse(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

/// Binds UDP and TCP on the same port.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        for datagram in replies(&buffer[..length], &zone, Transport::Udp) {
            let _ = socket.send_to(&datagram, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_connection(stream, zone.clone()));
    }
}

async fn serve_connection(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        for reply in replies(&query, &zone, Transport::Tcp) {
            let length = u16::try_from(reply.len()).unwrap();
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
    }
}

/// Returns the datagrams (or TCP messages) that answer a query.
fn replies(query: &[u8], zone: &Mutex<Zone>, transport: Transport) -> Vec<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let mut zone = zone.lock().unwrap();
    let asked = (question.name().clone(), question.query_type(), transport);
    zone.queries.push(asked);

    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    let id = query.metadata.id.to_be_bytes();
    let mut noise = Vec::new();
    let script = zone.script(question.name(), question.query_type()).cloned();
    match script {
        Some(Script::Silence) => return Vec::new(),
        Some(Script::Garbage) => return vec![[&id[..], &[0xff; 30]].concat()],
        Some(Script::Truncated { .. }) if transport == Transport::Udp => {
            reply.metadata.truncation = true;
        }
        Some(Script::NoiseFirst { addresses, ttl }) => {
            let other = query.metadata.id.wrapping_add(1).to_be_bytes();
            noise = vec![Vec::new(), vec![0], [&other[..], &[0xff; 30]].concat()];
            add_addresses(
                &mut reply,
                question.name(),
                question.query_type(),
                &addresses,
                ttl,
            );
        }
        Some(Script::Foreign { addresses }) => {
            let other = fqdn("somebody.else.example");
            add_addresses(&mut reply, &other, question.query_type(), &addresses, 60);
        }
        _ => zone.answer(&mut reply, question.name(), question.query_type()),
    }
    if zone.upper_case {
        shout(&mut reply);
    }
    noise.push(reply.to_vec().unwrap());
    noise
}

impl Zone {
    fn script(&self, owner: &Name, record_type: RecordType) -> Option<&Script> {
        match self.scripts.get(owner)? {
            Script::PerFamily { a, .. } if record_type == RecordType::A => Some(a),
            Script::PerFamily { aaaa, .. } => Some(aaaa),
            script => Some(script),
        }
    }

    fn answer(&self, reply: &mut Message, owner: &Name, record_type: RecordType) {
        // A loop of aliases ends here, as it does in real servers.
        if reply.answers.len() > 10 {
            return;
        }
        match self.script(owner, record_type) {
            Some(Script::Addresses { addresses, ttl } | Script::Truncated { addresses, ttl }) => {
                add_addresses(reply, owner, record_type, addresses, *ttl);
            }
            Some(Script::Cname { target, ttl }) => {
                add_cname(reply, owner, target, *ttl);
                self.answer(reply, &fqdn(target), record_type);
            }
            Some(Script::BareCname { target, ttl }) => add_cname(reply, owner, target, *ttl),
            Some(Script::Rcode(code)) => reply.metadata.response_code = *code,
            Some(Script::NoSuchName { ttl }) => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                let root = fqdn("example");
                let soa = SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, *ttl);
                reply.add_authority(Record::from_rdata(root, *ttl, RData::SOA(soa)));
            }
            _ => reply.metadata.response_code = ResponseCode::NXDomain,
        }
    }
}

fn add_addresses(
    reply: &mut Message,
    owner: &Name,
    record_type: RecordType,
    addresses: &[IpAddr],
    ttl: u32,
) {
    for address in addresses {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        };
        if data.record_type() == record_type {
            reply.add_answer(Record::from_rdata(owner.clone(), ttl, data));
        }
    }
}

fn add_cname(reply: &mut Message, owner: &Name, target: &str, ttl: u32) {
    let data = RData::CNAME(CNAME(fqdn(target)));
    reply.add_answer(Record::from_rdata(owner.clone(), ttl, data));
}

fn shout(reply: &mut Message) {
    let upper = |name: &Name| Name::from_ascii(name.to_ascii().to_ascii_uppercase()).unwrap();
    for query in &mut reply.queries {
        let name = upper(query.name());
        query.set_name(name);
    }
    for record in &mut reply.answers {
        record.name = upper(&record.name);
        if let RData::CNAME(target) = &mut record.data {
            target.0 = upper(&target.0);
        }
    }
}

fn fqdn(name: &str) -> Name {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap()
}
