//! The guard of a session. It leaves exactly one closing record, also when the session panics or is
//! cancelled.

mod learnt;
mod refused;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use callhome_trail::{ABANDONED, Client, Decision, Event, Outcome, Record, Text, Upload};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::inbox::{Handed, RecordKind, STALL, TICK};
use super::open_tunnels::{TunnelKey, TunnelStep};
use super::options::OnFailure;
use super::throttle::Party;
use super::{Audit, Unavailable, bounds, upload};
use crate::proxy_error::{Reason, Refusal, Verdict};
use crate::telemetry::ByteDirection;
use crate::tunnel::{Closed, ClosedBy, Counters};

/// Records one session. Every method that ends the session consumes it. Dropped without one, it
/// records a defect.
#[derive(Debug)]
pub struct Recorder {
    audit: Audit,
    record: Box<Record>,
    address: IpAddr,
    /// The client that refusals are charged to.
    party: Party,
    started: Instant,
    /// What its opening and its end have in common for the writer.
    tunnel: TunnelKey,
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
        let id = Uuid::now_v7();
        let relay = self.0.relay.clone();
        Recorder {
            audit: self.clone(),
            record: Box::new(Record::of_session(
                relay.into(),
                id.to_string().into(),
                listener.into(),
                policy.into(),
                client,
            )),
            address,
            party: Party::stranger(address),
            started: Instant::now(),
            tunnel: TunnelKey::of(id),
            counters: Arc::default(),
            stage: RecordStage::Pending,
            over_rate: false,
            recorded: true,
        }
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
            Handed::Awaited(written) => {
                if wait(written).await {
                    Ok(())
                } else {
                    self.not_written()
                }
            }
            Handed::Counted => {
                self.recorded = false;
                self.not_written()
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
        self.write(Event::TunnelProgress, RecordKind::Progress);
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

    /// Decides about an opening whose record waits in memory, or was only counted.
    fn not_written(&self) -> Result<(), Unavailable> {
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
        bounds::fit(&mut self.record);
        let step = TunnelStep::of(event, self.tunnel);
        self.audit.0.write(&self.record, kind, step)
    }
}

/// Waits until a record is written. It gives up when the writer has failed, or takes too long.
async fn wait(mut written: oneshot::Receiver<()>) -> bool {
    // Waiting in ticks, a session that was frozen with the process has waited for one of them.
    for _ in 0..=STALL {
        if let Ok(result) = timeout(TICK, &mut written).await {
            return result.is_ok();
        }
    }
    false
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
