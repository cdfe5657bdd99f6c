//! The evaluation core: a deterministic machine without threads, clock or input and output.
//!
//! It is given samples, commands and the passing of time, all in one order, and yields [`Effect`]s;
//! whoever drives it makes them durable. At one instant timers come first, then held-back samples that
//! are released, then arrivals and commands.
//!
//! A sample costs a lookup of its series, and where its time is newer than every one seen of that
//! series an O(1) update of each slot it feeds. Whatever else it means for a slot is read from the
//! stored [`Samples`] as of its place in the log. A series is matched to definitions once, when it
//! appears; one that matches nothing costs the lookup alone until its tenant gets a new definition.

mod arrival;
mod command;
mod effect;
mod grouping;
mod stored;
mod verdict;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use moneta_storage::feed::FeedRow;
use moneta_storage::model::{Sequence, SeriesId, SeriesKey, TenantId, Timestamp};
use uuid::Uuid;

pub use crate::held::Held;
pub use crate::samples::Samples;
pub use crate::sight::Position;
pub use effect::Effect;
pub(crate) use stored::LOOK_BACK_MS;
pub use stored::{StoredAlarm, StoredGroup, StoredPart};

use crate::error::Error;
use crate::group::Group;
use crate::id_map::IdMap;
use crate::judge::Depth;
use crate::matching::GroupNo;
use crate::rule::Rule;
use crate::sight::Sight;

/// Settings of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// From the end of a view until it is judged, milliseconds.
    pub alarm_delay_ms: i64,
    /// How far a sample may lie ahead of the clock and still be judged at once, milliseconds.
    pub future_tolerance_ms: i64,
}

/// What the engine knows of a series.
enum Entry {
    /// It qualifies for none of the definitions of this epoch of its tenant.
    Unmatched(u64),
    /// It feeds, or has fed, some. Boxed: the others are the many.
    Known(Box<Known>),
}

struct Known {
    key: Arc<SeriesKey>,
    /// The epoch of the tenant's definitions it has been matched with.
    epoch: u64,
    /// No sample of it in any window is newer, milliseconds.
    newest: i64,
    /// The parts of alarms it feeds, by group.
    feeds: Vec<(GroupNo, usize)>,
}

/// The definitions of a tenant.
#[derive(Default)]
struct Tenant {
    /// Grows when a series has to be matched anew.
    epoch: u64,
    by_metric: HashMap<String, Vec<Uuid>>,
    rules: BTreeSet<Uuid>,
}

/// See the head of this file.
pub struct Engine {
    delay_ms: i64,
    sight: Sight,
    new_id: Box<dyn FnMut() -> Uuid + Send>,
    /// The last number given to a group, or age to an alarm.
    last_ordinal: u64,
    tenants: IdMap<TenantId, Tenant>,
    rules: IdMap<Uuid, Rule>,
    groups: IdMap<GroupNo, Group>,
    by_id: IdMap<Uuid, GroupNo>,
    series: IdMap<(TenantId, SeriesId), Entry>,
    /// (instant in milliseconds, group, part): when each view is due.
    timers: BTreeSet<(i64, GroupNo, usize)>,
    effects: Vec<Effect>,
    /// Alarms whose state is not what was last exported.
    dirty: BTreeSet<GroupNo>,
}

impl Engine {
    /// An engine without definitions that goes on from `position`. `new_id` makes ids of alarms.
    #[must_use]
    pub fn new(
        settings: EngineSettings,
        position: Position,
        new_id: impl FnMut() -> Uuid + Send + 'static,
    ) -> Self {
        Engine {
            delay_ms: settings.alarm_delay_ms,
            sight: Sight::new(position, settings.future_tolerance_ms),
            new_id: Box::new(new_id),
            last_ordinal: 0,
            tenants: IdMap::default(),
            rules: IdMap::default(),
            groups: IdMap::default(),
            by_id: IdMap::default(),
            series: IdMap::default(),
            timers: BTreeSet::new(),
            effects: Vec::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// How far the engine has come.
    #[must_use]
    pub fn position(&self) -> Position {
        self.sight.position
    }

    /// The instant of the next timer or release.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(instant, _, _)| *instant);
        let release = self.next_release();
        timer.into_iter().chain(release).min().map(Timestamp::from_millis)
    }

    fn next_release(&self) -> Option<i64> {
        self.sight.held.first_time().map(|time| time.saturating_sub(self.sight.tolerance_ms))
    }

    /// Samples that could not wait because too many do already.
    #[must_use]
    pub fn refused_ahead(&self) -> u64 {
        self.sight.held.refused
    }

    /// Number of candidates over all definitions of a tenant.
    #[must_use]
    pub fn candidates(&self, tenant: TenantId) -> usize {
        self.groups.values().filter(|group| group.tenant == tenant && group.live.is_none()).count()
    }

    /// Lets time pass up to and with `now`: everything due happens, in order of time.
    ///
    /// # Errors
    /// `Store` if stored samples cannot be read; the engine must not be used any more then.
    pub fn advance(&mut self, samples: &dyn Samples, now: Timestamp) -> Result<(), Error> {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            let instant = due.max(self.sight.position.instant);
            self.sight.position.instant = instant;
            self.fire_timers(due.millis());
            self.release(samples, instant)?;
        }
        self.sight.position.instant = self.sight.position.instant.max(now);
        Ok(())
    }

    /// Judges the views that are due at one instant: all parts of an alarm, then the alarm once.
    fn fire_timers(&mut self, instant: i64) {
        let mut last: Option<(GroupNo, bool)> = None;
        while let Some((_, no, at)) = self.timers.first().copied().filter(|(at, ..)| *at <= instant)
        {
            self.timers.pop_first();
            let decided = self.judge_part(no, at, Depth::Full);
            if let Some((before, decided)) = last.filter(|(before, _)| *before != no)
                && decided
            {
                self.settle(before);
            }
            let earlier = last.is_some_and(|(before, decided)| before == no && decided);
            last = Some((no, earlier || decided));
            self.slide(no, at);
        }
        if let Some((no, true)) = last {
            self.settle(no);
        }
    }

    fn slide(&mut self, no: GroupNo, at: usize) {
        let live = self.groups.get_mut(&no).and_then(|group| group.live.as_mut());
        if let Some(part) = live.and_then(|live| live.parts.get_mut(at)) {
            part.window.slide();
            let due = part.window.view_end_ms().saturating_add(self.delay_ms);
            self.timers.insert((due, no, at));
        }
    }

    fn release(&mut self, samples: &dyn Samples, instant: Timestamp) -> Result<(), Error> {
        let horizon = self.sight.horizon_ms();
        while let Some((tenant, series, time)) = self.sight.held.release(horizon) {
            self.released(samples, (tenant, series), time.millis(), instant)?;
        }
        Ok(())
    }

    /// Takes a committed batch of writes; `last` is its last sequence. Timers due until its arrival
    /// are run first. Rows up to the engine's position have been handled and are left out.
    ///
    /// # Errors
    /// As for [`advance`](Self::advance).
    pub fn batch(
        &mut self,
        samples: &dyn Samples,
        rows: impl IntoIterator<Item = FeedRow>,
        last: Sequence,
        arrival: Timestamp,
    ) -> Result<(), Error> {
        self.advance(samples, arrival)?;
        let done = self.sight.position.sequence;
        for row in rows.into_iter().filter(|row| row.sequence > done) {
            self.row(samples, row)?;
        }
        self.sight.end(last);
        Ok(())
    }

    /// How much [`take_effects`](Self::take_effects) would give.
    #[must_use]
    pub fn pending_effects(&self) -> usize {
        self.effects.len()
    }

    /// What has happened since this was last asked for, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}
