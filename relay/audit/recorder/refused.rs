//! How a refusal gets into the trail: by a record of its own, or counted.

use std::time::Instant;

use callhome_trail::Event;
use jiff::Timestamp;

use super::super::bounds;
use super::super::inbox::{Handed, RecordKind};
use super::super::throttle::CountedRefusal;
use super::{RecordStage, Recorder};
use crate::proxy_error::Reason;

impl Recorder {
    /// Writes a record or, when throttled, increments the aggregated count for `why`.
    pub(super) fn end_unopened(&mut self, event: Event, why: &'static str) {
        self.stage = RecordStage::Ended;
        // A refusal because the trail can't be written can't be written either. It is counted for
        // the gap, and the throttle keeps samples until the trail is back.
        if why == Reason::AuditUnavailable.token() {
            self.audit.0.lock().uncounted += 1;
            self.count(why);
        } else if !self.may_have_own_record()
            || matches!(self.write(event, RecordKind::Refusal), Handed::Counted)
        {
            self.count(why);
        }
    }

    /// Whether the refusal gets a record, for which its client is then charged.
    fn may_have_own_record(&mut self) -> bool {
        let length = bounds::fit(&mut self.record);
        let mut queue = self.audit.0.lock();
        let throttle = &mut queue.throttle;
        let (wall, now) = (Timestamp::now(), Instant::now());
        let may = throttle.has_room(&self.party)
            && (!self.over_rate || throttle.begin(&self.party, self.address, wall, now));
        if may {
            throttle.charge(&self.party, length);
        }
        may
    }

    /// Counts the refusal under `why`, with a sample of what was asked for.
    fn count(&self, why: &'static str) {
        let refusal = CountedRefusal::of(&self.record, self.address, why);
        let (wall, now) = (Timestamp::now(), Instant::now());
        let mut queue = self.audit.0.lock();
        let is_first = queue.throttle.count(&self.party, &refusal, wall, now);
        drop(queue);
        // The writer must learn of the new time at which something is due.
        if is_first {
            self.audit.0.wake.notify_one();
        }
    }
}
