//! Rollups: count, sum, extremes, first, last and increase of the samples of a series in slots of five
//! minutes or an hour, for metrics whose policy asks for them.
//!
//! A rollup of a day is a segment like those of samples, in a tier of its own; a row of it is one
//! component of one slot, and its time carries the component in its upper part. The `roller` makes
//! it when the day is over and quiet, and makes it anew when something of the day has changed since. A
//! record says what it was made of; while anything of the day is newer, samples are read. What has
//! expired of the samples is *frozen* in the rollup: its slots are carried on as they are, and a
//! deletion takes those away that it overlaps.

pub(crate) mod plan;
mod record;
pub(crate) mod roller;
mod slot;

pub(crate) use record::{Home, Record, load};
pub use slot::Slot;
pub(crate) use slot::{Component, Gathering, REACH_MS};

use crate::deletion::Tombstone;
use crate::error::Error;
use crate::live::Moment;
use crate::model::{TimeRange, Timestamp};
use crate::retention::{Pending, RollupStep, Rules};
use crate::segment::PARTITION_MS;
use crate::store::Store;
use crate::sweep::Order;
use crate::threads::Shared;

impl Store {
    /// Makes the rollups that policies ask for, of all days that are over, now: those that are missing
    /// and those of days that have changed since. Returns how many.
    ///
    /// # Errors
    /// `Stopped` or an I/O error if files cannot be written. Samples are read as long as a rollup is
    /// missing.
    pub fn roll(&self) -> Result<u64, Error> {
        self.shared().sweeper.ask(Order::Roll)
    }
}

/// The span of a day.
pub(crate) fn span_of(day: i32) -> TimeRange {
    let start = Timestamp::from_millis(i64::from(day).saturating_mul(PARTITION_MS));
    TimeRange::new(start, start.plus_millis(PARTITION_MS))
}

/// Whether a rollup is what samples would say, as far as these tombstones are concerned.
pub(crate) fn is_current<'a>(
    moment: &Moment,
    generation: u64,
    (tier, day): Home,
    tombstones: impl IntoIterator<Item = &'a Tombstone>,
) -> bool {
    let Some(record) = moment.rolled.get(&(tier, day)) else { return false };
    let span = span_of(day);
    record.generation == generation
        && !moment.head_days.contains(&day)
        && !moment.segments.iter().any(|segment| {
            segment.address.partition == day && segment.facts.sequences.1 > record.covered
        })
        && !tombstones
            .into_iter()
            .any(|tombstone| tombstone.number > record.deletions && tombstone.overlaps(span))
}

/// From when on rollups may still have to be made for the first time: rows that are needed for it stay.
pub(crate) fn pending(shared: &Shared, rules: &Rules, now: Timestamp) -> Pending {
    let moment = shared.live.moment();
    RollupStep::ALL.map(|step| {
        let Some(keep) = rules.longest(step) else { return i64::MAX };
        let days = moment.segments.iter().map(|segment| segment.address.partition);
        let waiting = days.chain(moment.head_days.iter().copied()).filter(|&day| {
            roller::can_be_rolled(shared, day)
                && !moment.rolled.contains_key(&(step.tier(), day))
                && !roller::is_over(day, keep, now)
        });
        waiting.min().map_or(i64::MAX, |day| span_of(day).start.millis())
    })
}
