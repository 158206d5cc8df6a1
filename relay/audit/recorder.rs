//! The guard of a session. It leaves exactly one closing record, also when the session panics or is
//! cancelled.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callhome_trail::{ABANDONED, Client, Decision, Event, Outcome, Record, Text, Upload};
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;
use uuid::Uuid;

use super::inbox::{Handed, RecordKind, STALL};
use super::options::OnFailure;
use super::{Audit, Unavailable, hello, upload};
use crate::authority::{Authority, DnsName};
use crate::dns::AddressSource;
use crate::proxy_error::{Reason, Refusal, Verdict};
use crate::telemetry::ByteDirection;
use crate::tls::ClientHello;
use crate::tunnel::{Closed, ClosedBy, Counters};

/// Records one session. Every method that ends the session consumes it. Dropped without one, it
/// records a defect.
#[derive(Debug)]
pub struct Recorder {
    audit: Audit,
    record: Box<Record>,
    /// The client's address, under which refusals are counted.
    address: IpAddr,
    started: Instant,
    counters: Arc<Counters>,
    stage: RecordStage,
    /// Whether the client asks more often than it may. Its refusals are then counted together.
    over_rate: bool,
    /// Whether the opening was recorded, and not just counted.
    recorded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordStage {
    Pending,
    Opened,
    Ended,
}

impl Audit {
    /// Begins to record a session. Nothing is written until it opens a tunnel or ends.
    pub fn session(&self, listener: Arc<str>, policy: Arc<str>, peer: SocketAddr) -> Recorder {
        let address = peer.ip().to_canonical();
        let client = Client {
            address,
            port: peer.port(),
            via: None,
            certificate: None,
            name: None,
            role: None,
            claimed: None,
        };
        let id = Uuid::now_v7().to_string();
        let relay = self.0.relay.clone();
        Recorder {
            audit: self.clone(),
            record: Box::new(Record::of_session(
                relay.into(),
                id.into(),
                listener.into(),
                policy.into(),
                client,
            )),
            address,
            started: Instant::now(),
            counters: Arc::default(),
            stage: RecordStage::Pending,
            over_rate: false,
            recorded: true,
        }
    }
}

/// What a session learns before its tunnel opens.
impl Recorder {
    pub fn id(&self) -> &str {
        self.record.session.as_deref().unwrap_or_default()
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub fn policy(&mut self, policy: &Arc<str>) {
        self.record.policy = Some(policy.into());
    }

    pub fn client(&mut self, name: Option<&Arc<str>>, role: Option<&'static str>) {
        if let Some(client) = &mut self.record.client {
            client.name = name.map(Into::into);
            client.role = role.map(Into::into);
        }
    }

    /// Notes that this request is beyond its client's rate.
    pub fn over_rate(&mut self) {
        self.over_rate = true;
    }

    /// Notes the client that a load balancer announced for this connection.
    pub fn announced(&mut self, client: SocketAddr, balancer: IpAddr) {
        self.address = client.ip().to_canonical();
        if let Some(known) = &mut self.record.client {
            known.address = self.address;
            known.port = client.port();
            known.via = Some(balancer.to_canonical());
        }
    }

    /// Notes a name from the client's certificate.
    pub fn certificate(&mut self, name: &DnsName) {
        if let Some(client) = &mut self.record.client {
            client.certificate = Some(name.as_str().to_owned().into());
        }
    }

    /// Notes the target as it was sent.
    pub fn sent(&mut self, raw: &[u8]) {
        self.record.target.sent(raw);
    }

    /// Notes the target as it was understood.
    pub fn target(&mut self, authority: &Authority) {
        self.record.target.host = Some(authority.host.to_string().into());
        self.record.target.port = Some(authority.port);
    }

    pub fn destination(&mut self, name: Option<&Arc<str>>) {
        self.record.destination = name.map(Into::into);
    }

    /// Notes whether the request is for a billing destination that counts for the client. It is
    /// none for a name on no list.
    pub fn billing(&mut self, counts: Option<bool>) {
        self.record.billing = counts;
    }

    pub fn allowed(&mut self, enforced: bool) {
        self.record.decision = Some(Decision::Allow);
        self.record.enforced = Some(enforced);
    }

    /// Notes how long name resolution took, whether it succeeded or not.
    pub fn resolved(&mut self, took: Duration) {
        self.record.dns_ms = Some(took.into());
        self.audit.0.metrics.resolved(took);
    }

    pub fn address_source(&mut self, source: AddressSource) {
        self.record.target.address_source = Some(source.as_str().into());
    }

    pub fn connected(&mut self, took: Duration, remote: SocketAddr, local: SocketAddr) {
        self.record.connect_ms = Some(took.into());
        self.record.target.address = Some(remote.ip());
        self.record.upstream_local = Some(local);
        self.audit.0.metrics.connected(took);
    }

    pub fn client_hello(&mut self, hello: ClientHello) {
        self.record.tls = Some(hello::described(hello));
    }
}

/// How a session goes on and ends.
impl Recorder {
    /// Records the opening of the tunnel. The client may get its answer only after this has
    /// succeeded.
    pub async fn opened(&mut self) -> Result<(), Unavailable> {
        if !self.audit.admits() {
            return Err(Unavailable);
        }
        self.stage = RecordStage::Opened;
        self.record.outcome = Some(Outcome::Open);
        self.audit.0.metrics.tunnels.inc();
        self.audit.0.metrics.clients.tunnel(self.client_name());
        self.audit.0.metrics.tunnels_open.inc();
        match self.write(Event::TunnelOpened, RecordKind::Opening) {
            Handed::Over => Ok(()),
            Handed::Durably(durable) => match timeout(STALL, durable).await {
                Ok(Ok(())) => Ok(()),
                _ => self.not_durable(),
            },
            Handed::Counted => {
                self.recorded = false;
                self.not_durable()
            }
        }
    }

    /// Lets the counters notice an upload: so many bytes after the ClientHello, and an answer.
    ///
    /// It is called before the tunnel carries anything.
    pub fn look_for_upload(&self, min_bytes: u64) {
        if self.record.billing == Some(true) {
            let question = self.hello_bytes().saturating_add(min_bytes);
            self.counters.look_for_answer(question);
        }
    }

    /// Records that the tunnel is still open. It is called once an hour.
    pub fn progress(&mut self) {
        let has_grown = self.counters.up() > self.record.bytes_up;
        self.judge_upload(None);
        if has_grown && self.record.upload == Some(Upload::Probable) {
            self.uploaded(Timestamp::now());
        }
        self.write(Event::TunnelProgress, RecordKind::Opening);
    }

    /// Records the end of the tunnel.
    pub fn closed(mut self, closed: Closed) {
        self.record.error = closed.error.map(Into::into);
        self.end_tunnel(Outcome::Closed, Some(closed.by));
    }

    /// Records that the client left before its tunnel carried anything.
    pub fn abandoned(mut self) {
        if self.stage == RecordStage::Opened {
            return self.end_tunnel(Outcome::Abandoned, Some(ClosedBy::Client));
        }
        self.record.outcome = Some(Outcome::Abandoned);
        self.record.closed_by = Some(ClosedBy::Client.as_str().into());
        self.end_unopened(Event::RequestFailed, ABANDONED);
    }

    /// Records that the request was refused or failed, before or after the tunnel was opened.
    pub fn refused(mut self, refusal: &Refusal) {
        self.refuse(refusal);
    }

    /// Ends the session without a record: its connection brought no byte, or was answered with a
    /// page.
    pub fn dismissed(mut self) {
        self.stage = RecordStage::Ended;
    }

    /// Decides about an opening that isn't durable. Its record waits in memory, and
    /// `sync = "always"` promises more.
    fn not_durable(&self) -> Result<(), Unavailable> {
        match self.audit.0.on_failure {
            OnFailure::Refuse => Err(Unavailable),
            OnFailure::Count => Ok(()),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let reason = refusal.reason;
        self.record.reason = Some(reason.token().into());
        self.record.error = refusal.detail.clone().map(text_of);
        let (event, outcome) = match reason.verdict() {
            Verdict::Denied => (Event::RequestDenied, Outcome::Refused),
            Verdict::Failed => (Event::RequestFailed, Outcome::Failed),
        };
        if reason.verdict() == Verdict::Denied {
            self.record.decision = Some(Decision::Deny);
            // Report-only may have let the name through before, but this denial is enforced.
            self.record.enforced = Some(true);
        }
        self.audit.0.metrics.refused(reason);
        self.audit.0.metrics.clients.refused(self.client_name());
        tracing::debug!(
            session = self.id(),
            client = %self.address,
            target = self.record.target.raw.as_deref(),
            reason = reason.token(),
            detail = refusal.detail.as_deref(),
            "refused"
        );
        if self.stage == RecordStage::Opened {
            self.end_tunnel(outcome, None);
        } else {
            self.record.outcome = Some(outcome);
            self.end_unopened(event, reason.token());
        }
    }

    /// Writes a record or, when throttled, increments the aggregated count for `why`.
    fn end_unopened(&mut self, event: Event, why: &'static str) {
        let mut queue = self.audit.0.lock();
        let (wall, now) = (Timestamp::now(), Instant::now());
        let address = self.address;
        // A refusal because the trail can't be written can't be written either, so it is counted
        // for the gap.
        if why == Reason::AuditUnavailable.token() {
            queue.uncounted += 1;
        } else if queue.refusal_room == 0
            || self.over_rate && !queue.throttle.begin(address, wall, now)
        {
            queue.throttle.count(address, why, wall, now);
            drop(queue);
            self.audit.0.wake.notify_one();
        } else {
            drop(queue);
            self.write(event, RecordKind::Refusal);
        }
        self.stage = RecordStage::Ended;
    }

    fn end_tunnel(&mut self, outcome: Outcome, by: Option<ClosedBy>) {
        let metrics = self.audit.0.metrics.clone();
        let is_dated = self.record.upload == Some(Upload::Probable);
        self.judge_upload(by);
        if self.record.upload == Some(Upload::Probable) {
            metrics.clients.upload(self.client_name());
            // An upload that a `tunnel_progress` has shown keeps the date of that.
            if !is_dated {
                let open = SignedDuration::try_from(self.started.elapsed()).unwrap_or_default();
                self.uploaded(Timestamp::now() - open);
            }
        }
        let by = by.map(ClosedBy::as_str);
        self.record.outcome = Some(outcome);
        self.record.closed_by = by.map(Into::into);
        self.end(Event::TunnelClosed);
        metrics.tunnels_open.dec();
        metrics.tunnel_closed(by.unwrap_or("refused"), self.started.elapsed());
        metrics.relayed(ByteDirection::Up, self.record.bytes_up);
        metrics.relayed(ByteDirection::Down, self.record.bytes_down);
    }

    /// Notes what the bytes say about an upload. Other tunnels than those to a billing destination
    /// that counts have none.
    fn judge_upload(&mut self, by: Option<ClosedBy>) {
        let carried = self.counters.carried();
        self.record.upload = carried.map(|carried| upload::judge(carried, self.hello_bytes(), by));
    }

    fn uploaded(&self, at: Timestamp) {
        let now = Timestamp::now().as_second();
        let clients = &self.audit.0.metrics.clients;
        clients.uploaded(self.client_name(), at.as_second(), now);
    }

    /// The listed client of this session, also where it isn't let in as that.
    fn client_name(&self) -> Option<&str> {
        let client = self.record.client.as_ref()?;
        client.name.as_deref().or(client.claimed.as_deref())
    }

    fn hello_bytes(&self) -> u64 {
        self.record.tls.as_ref().map_or(0, |tls| tls.hello_bytes)
    }

    fn end(&mut self, event: Event) {
        self.stage = RecordStage::Ended;
        // Only a recorded opening has room for its end: the room is one record for each open
        // session.
        if self.recorded {
            self.write(event, RecordKind::Closing);
        }
    }

    fn write(&mut self, event: Event, kind: RecordKind) -> Handed {
        self.record.bytes_up = self.counters.up();
        self.record.bytes_down = self.counters.down();
        self.record.duration_ms = self.started.elapsed().into();
        self.record.event = event;
        self.audit.0.write(&self.record, kind)
    }
}

fn text_of(detail: Cow<'static, str>) -> Text {
    match detail {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.stage != RecordStage::Ended {
            self.audit.0.metrics.session_panics.inc();
            self.refuse(&Refusal::new(
                Reason::Internal,
                "the session ended without saying how",
            ));
        }
    }
}
