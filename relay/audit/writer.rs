//! The writer thread: numbers, chains, writes, syncs, seals, rotates and prunes.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use callhome_trail::{
    AuditGap, Chain, Checkpoint, ClockStepped, Data, PublicKey, Record, TrailPruned,
};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::clock::WallClock;
use super::compress;
use super::intake::{Batch, Intake, RelayRecord, WriterState, members};
use super::kept::Kept;
use super::options::{Options, Sync};
use super::recover::{self, Recovered};
use super::seal::Seal;
use super::stdout::Stdout;
use super::store::{self, Pruned, Store};
use crate::os;

/// What the thread works with.
pub(super) struct Writer {
    intake: Arc<Intake>,
    options: Options,
    chain: Chain,
    store: Option<Store>,
    stdout: Option<Stdout>,
    sealer: Option<Sealer>,
    /// What was taken last; emptied, the next are exchanged for it.
    taken: Batch,
    /// Room for the line that is being made.
    line: Vec<u8>,
    clock: WallClock,
    /// Sessions that wait until their record is durable.
    waiters: Vec<oneshot::Sender<()>>,
    /// Records that were handed over and are not durable.
    held: usize,
    sync_at: Option<Instant>,
    /// While the trail fails.
    retry_at: Option<Instant>,
    tend_at: Instant,
    /// Without segments, when refusals get room again.
    refill_at: Instant,
}

struct Sealer {
    seal: Seal,
    kept: Kept,
    records: u64,
    due: Instant,
    /// A checkpoint that isn't durable yet.
    on_its_way: Option<Vec<u8>>,
}

/// A directory taken and put in order.
pub(super) struct OpenedTrail {
    pub(super) chain: Chain,
    store: Option<Store>,
    seal: Option<Seal>,
    kept: Option<Kept>,
    gaps: Vec<AuditGap>,
    lost: Vec<Record>,
    /// The public half of a key that was made just now.
    pub(super) new_key: Option<PublicKey>,
}

/// Opens the trail: takes the directory, recovers it, finds or makes its key.
pub(super) fn open(options: &Options) -> io::Result<OpenedTrail> {
    let Some(directory) = &options.directory else {
        // Without a place to keep a state, each run is a trail of its own.
        return Ok(OpenedTrail {
            chain: Chain::new(uuid::Uuid::now_v7().to_string().into_boxed_str()),
            store: None,
            seal: None,
            kept: None,
            gaps: Vec::new(),
            lost: Vec::new(),
            new_key: None,
        });
    };
    let lock = store::lock(directory)?;
    let Recovered {
        chain,
        mut gaps,
        lost,
        successor,
        kept,
    } = recover::recover(directory)?;
    let (seal, new) = Seal::open(directory, successor.as_ref())?;
    if successor.is_some_and(|named| named != seal.public()) {
        gaps.push(AuditGap::unnumbered(
            "the key isn't the one that the last checkpoint names: the end of the trail was cut off, or the key replaced",
        ));
    }
    let store = Store::open(directory, lock, &chain)?;
    Ok(OpenedTrail {
        chain,
        store: Some(store),
        new_key: new.then(|| seal.public()),
        seal: Some(seal),
        kept: Some(kept),
        gaps,
        lost,
    })
}

impl Writer {
    pub(super) fn new(
        intake: Arc<Intake>,
        options: &Options,
        opened: OpenedTrail,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut writer = Self {
            intake,
            options: options.clone(),
            chain: opened.chain,
            store: opened.store,
            stdout: options.stdout.then(Stdout::open).transpose()?,
            sealer: opened.seal.zip(opened.kept).map(|(seal, kept)| Sealer {
                seal,
                kept,
                records: 0,
                due: now + options.seal_every,
                on_its_way: None,
            }),
            taken: Batch::default(),
            line: Vec::new(),
            clock: WallClock::start(Timestamp::now(), now),
            waiters: Vec::new(),
            held: 0,
            sync_at: None,
            retry_at: None,
            tend_at: now,
            refill_at: now,
        };
        for gap in opened.gaps {
            writer.append_event(&Data::AuditGap(gap));
        }
        for mut lost in opened.lost {
            lost.relay = writer.intake.relay.clone().into();
            let mut json = Vec::new();
            writer.append(Timestamp::now(), members(&lost, &mut json));
        }
        // The trail is tied to its key from the start.
        writer.seal(now)?;
        Ok(writer)
    }

    /// Runs until the trail is closed and everything is written, or can't be.
    pub(super) fn run(mut self) {
        loop {
            let closing = self.take_records();
            let result = self.step(closing);
            self.report(result.as_ref().err());
            if closing {
                match result {
                    Ok(()) if self.held == 0 => return,
                    Ok(()) => {}
                    Err(_) => {
                        tracing::error!(
                            records = self.held,
                            "the end of the audit trail is lost: it can't be written"
                        );
                        return;
                    }
                }
            } else if self.options.sync != Sync::Always && result.is_ok() {
                // Sessions that end within the same moment share a write and a wake-up.
                thread::sleep(COALESCE);
            }
        }
    }

    /// Waits for something to do, takes what was handed over, and gives whether the trail is to be closed.
    fn take_records(&mut self) -> bool {
        let mut queue = self.intake.lock();
        loop {
            let now = Instant::now();
            let deadline = self.next_deadline(queue.throttle.due());
            // While it fails, only the time for another try counts: what comes meanwhile waits in the queue.
            let nothing = queue.batch.is_empty() && queue.uncounted == 0;
            let idle = nothing || self.retry_at.is_some();
            if !idle || queue.closing || deadline <= now {
                break;
            }
            queue = self
                .intake
                .wake
                .wait_timeout(queue, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut taken = mem::take(&mut self.taken);
        mem::swap(&mut taken, &mut queue.batch);
        queue.writing += taken.len();
        let (closing, available) = (queue.closing, queue.state == WriterState::Writing);
        // What was never recorded is told once the trail takes records again.
        let uncounted = if available {
            mem::take(&mut queue.uncounted)
        } else {
            0
        };
        // Counts have their own bound; as records that wait for the disk they would have none.
        let refusals = match (closing, available) {
            (true, _) => queue.throttle.take(None),
            (false, true) => queue.throttle.take(Some(Instant::now())),
            (false, false) => Vec::new(),
        };
        queue.busy_since = Some(Instant::now());
        #[cfg(test)]
        let fault = queue.fault.take();
        drop(queue);
        #[cfg(test)]
        fault
            .into_iter()
            .for_each(super::intake::WriterFault::happen);

        if let Some(step) = self.clock.step(Timestamp::now(), Instant::now()) {
            let seconds = step.as_secs_f64();
            self.append_event(&Data::ClockStepped(ClockStepped { seconds }));
        }
        if uncounted > 0 {
            let cause = "requests that came while the trail couldn't be written";
            self.append_event(&Data::AuditGap(AuditGap::of_count(uncounted, cause)));
        }
        let mut rest = taken.members.as_slice();
        for record in taken.records.drain(..) {
            let (members, next) = rest.split_at(record.length);
            rest = next;
            self.append(record.time, members);
            self.waiters.extend(record.ack);
        }
        taken.clear();
        self.taken = taken;
        for refusals in refusals {
            self.append_event(&Data::Refusals(refusals));
        }
        closing
    }

    fn next_deadline(&self, throttle: Option<Instant>) -> Instant {
        if let Some(retry_at) = self.retry_at {
            return retry_at;
        }
        let seal = self.sealer.as_ref().map(|sealer| sealer.due);
        [self.sync_at, seal, throttle, Some(self.tend_at)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.tend_at)
    }

    /// Writes, and does what is due.
    fn step(&mut self, closing: bool) -> io::Result<()> {
        let now = Instant::now();
        if closing {
            // The last checkpoint covers everything, so the one before must be done with.
            self.write()?;
            self.sync()?;
        }
        if self
            .sealer
            .as_ref()
            .is_some_and(|sealer| sealer.is_due(now) || closing && sealer.records > 0)
        {
            self.seal(now)?;
        }
        self.write()?;
        let due = closing || self.retry_at.is_some() || self.sync_at.is_some_and(|at| at <= now);
        if self.held > 0 && (due || self.is_batch_large() || self.is_segment_full()) {
            self.sync()?;
        }
        if self.tend_at <= now || self.is_segment_full() {
            self.tend(now)?;
        }
        if closing && let Some(store) = &mut self.store {
            store.save_head()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(stdout) = &mut self.stdout {
            stdout.write()?;
        }
        self.store.as_mut().map_or(Ok(()), Store::write)
    }

    /// Makes durable what was written, and tells who waits for that.
    fn sync(&mut self) -> io::Result<()> {
        if let Some(store) = &mut self.store {
            store.sync(&self.chain, self.options.sync != Sync::Never)?;
            if let Some(sealer) = &mut self.sealer
                && let Some(line) = &sealer.on_its_way
            {
                sealer.kept.add(line)?;
                sealer.seal.exchange()?;
                sealer.on_its_way = None;
            }
        }
        for waiter in self.waiters.drain(..) {
            // A session that was cancelled has no use for it.
            let _ = waiter.send(());
        }
        self.intake.durability.synced(self.chain.next() - 1);
        self.intake.lock().writing = 0;
        self.held = 0;
        self.sync_at = None;
        Ok(())
    }

    /// Appends a checkpoint, unless one is on its way.
    fn seal(&mut self, now: Instant) -> io::Result<()> {
        let Some(sealer) = &mut self.sealer else {
            return Ok(());
        };
        if sealer.on_its_way.is_some() {
            return Ok(());
        }
        sealer.seal.prepare()?;
        let checkpoint = Data::Checkpoint(Checkpoint {
            records: sealer.records,
            boot: os::boot_id().map(Into::into),
            uptime_ms: os::uptime_ms(),
            key: sealer.seal.public().to_string().into(),
            next: sealer.seal.successor().to_string().into(),
        });
        let mut json = Vec::new();
        let members = members(&RelayRecord::of(&self.intake.relay, &checkpoint), &mut json);
        let mut line = Vec::with_capacity(1024);
        self.chain
            .append_signed(Timestamp::now(), members, &mut line, |bytes| {
                Some(sealer.seal.sign(bytes))
            });
        sealer.records = 0;
        sealer.due = now + self.options.seal_every;
        sealer.on_its_way = Some(line.clone());
        self.push(&line);
        // A key lives no longer than it must.
        self.sync_at = Some(now);
        Ok(())
    }

    /// Rotates, and prunes: the record that says so is durable before anything goes.
    fn tend(&mut self, now: Instant) -> io::Result<()> {
        self.tend_at = now + TEND_EVERY;
        let options = &self.options;
        let Some(store) = &mut self.store else {
            if self.refill_at <= now {
                self.refill_at = now + options.rotate_every;
                self.intake.lock().refusal_room = options.refusal_room();
            }
            return Ok(());
        };
        if !store.is_synced() {
            // Soon; and then this comes round again.
            self.tend_at = now + COALESCE;
            return Ok(());
        }
        if store.rotate(options.rotate_size, options.rotate_every)? {
            self.intake.lock().refusal_room = options.refusal_room();
        }
        let Some(pruned) = store.take_prunable(options.keep, options.max_size, Timestamp::now())
        else {
            return Ok(());
        };
        self.prune(&pruned)
    }

    fn prune(&mut self, pruned: &Pruned) -> io::Result<()> {
        self.append_event(&Data::TrailPruned(TrailPruned {
            from: pruned.from,
            to: pruned.to,
            hash: pruned.hash.to_string().into(),
            segments: pruned.segments.len(),
            bytes: pruned.bytes,
        }));
        if let Some(store) = &mut self.store {
            store.write()?;
        }
        self.sync()?;
        for segment in &pruned.segments {
            // The trail has said that it goes; that it is in the way is no reason to refuse requests.
            if let Err(error) = compress::delete(segment) {
                tracing::warn!(path = %segment.path.display(), %error, "a pruned segment of the trail can't be deleted");
                break;
            }
        }
        Ok(())
    }

    fn is_batch_large(&self) -> bool {
        self.store
            .as_ref()
            .is_none_or(|store| store.unsynced() >= MAX_BATCH)
    }

    fn is_segment_full(&self) -> bool {
        self.store
            .as_ref()
            .is_some_and(|store| store.length() >= self.options.rotate_size)
    }

    fn append_event(&mut self, data: &Data) {
        let mut json = Vec::new();
        let record = RelayRecord::of(&self.intake.relay, data);
        let members = members(&record, &mut json);
        self.append(Timestamp::now(), members);
    }

    /// Chains a record and pushes its line everywhere.
    fn append(&mut self, time: Timestamp, members: &[u8]) {
        let mut line = mem::take(&mut self.line);
        line.clear();
        self.chain.append(time, members, &mut line);
        if let Some(sealer) = &mut self.sealer {
            sealer.records += 1;
        }
        self.push(&line);
        self.line = line;
    }

    fn push(&mut self, line: &[u8]) {
        if let Some(store) = &mut self.store {
            store.push(line);
        }
        if let Some(stdout) = &mut self.stdout {
            stdout.push(line);
        }
        self.held += 1;
        self.intake.metrics.audit_records.inc();
        let within = match self.options.sync {
            Sync::Always | Sync::Never => Duration::ZERO,
            Sync::Every(period) => period,
        };
        self.sync_at.get_or_insert_with(|| Instant::now() + within);
    }

    /// Says once that the trail fails, and once that it is back.
    fn report(&mut self, failure: Option<&io::Error>) {
        let metrics = &self.intake.metrics;
        let mut queue = self.intake.lock();
        let state = match failure {
            Some(_) => WriterState::Failing,
            None => WriterState::Writing,
        };
        let was = mem::replace(&mut queue.state, state) == WriterState::Failing;
        queue.busy_since = None;
        drop(queue);
        metrics.audit_available.set(i64::from(failure.is_none()));
        let Some(error) = failure else {
            self.retry_at = None;
            if was {
                tracing::info!("the audit trail is written again");
            }
            return;
        };
        metrics.audit_failures.inc();
        if !was {
            tracing::error!(%error, "the audit trail can't be written");
        }
        if let Some(store) = &mut self.store {
            store.abandon();
        }
        // Whoever waits is refused; the record itself is kept and will be followed by that of the refusal.
        self.waiters.clear();
        self.retry_at = Some(Instant::now() + RETRY);
    }
}

impl Sealer {
    fn is_due(&self, now: Instant) -> bool {
        self.due <= now || self.records >= SEAL_RECORDS
    }
}

const COALESCE: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that aren't synced; a faster trail is synced more often than it was told to.
const MAX_BATCH: usize = 4 << 20;
/// How often rotation by age and pruning are looked at.
const TEND_EVERY: Duration = Duration::from_secs(10);
/// A checkpoint comes at the latest after so many records.
const SEAL_RECORDS: u64 = 10_000;
