//! Deletion of samples by selector and span of time.
//!
//! A deletion first hides: its tombstone is durable and in force when [`Store::delete`] returns. Its
//! space comes back when the sweeper has rewritten every segment that holds hidden rows;
//! then the tombstone goes. The record of a deletion stays as an audit trail.

mod again;
mod stored;
mod tenant;
mod tombstone;
#[cfg(test)]
mod whole;

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

pub(crate) use again::{is_record, remove_again};
pub(crate) use stored::load_tombstones;
pub(crate) use tombstone::Tombstone;

use roaring::RoaringBitmap;

use crate::census::{self, Scope, Stretch};
use crate::commit::Meter;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Sync};
use crate::model::{Selector, SeriesId, TenantId, TimeRange, Timestamp};
use crate::output::metric_lookup;
use crate::retention::RollupStep;
use crate::segment::partition_of;
use crate::store::Store;
use crate::threads::Shared;

/// Longest text about a deletion, bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Deletions that may be on their way at once.
const TOMBSTONES_MAX: usize = 1000;
/// Records of finished deletions that are kept.
const DELETIONS_KEPT: usize = 10_000;

/// What a deletion would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletionPlan {
    /// Series with samples in the span.
    pub series: u64,
    /// Stored samples; one that was overwritten since the last merge counts more than once, those of a
    /// damaged block do not count.
    pub samples: u64,
    /// Bytes of segments that they take, about.
    pub bytes: u64,
}

/// Who wants to delete what.
#[derive(Clone, Debug)]
pub struct DeletionRequest {
    /// Owner of the samples.
    pub tenant: TenantId,
    /// Series to delete from. Its span of activity is not looked at.
    pub selector: Selector,
    /// Half-open.
    pub times: TimeRange,
    /// Who asks, for the record.
    pub by: String,
    /// What is deleted, in the words of the request, for the record.
    pub what: String,
}

/// How far a deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionState {
    /// Nothing of it is seen any more; its space comes back in the background.
    Hidden,
    /// As before, but nothing is done to give its space back: ordinary merges will.
    Cancelled,
    /// Nothing of it is left.
    Done,
}

/// A deletion, also one that is long over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its number.
    pub number: u64,
    /// Name of the tenant.
    pub tenant: String,
    /// What was deleted, in the words of the request.
    pub what: String,
    /// Who asked.
    pub by: String,
    /// Half-open.
    pub times: TimeRange,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When it ended; `None` while it goes on.
    pub finished: Option<Timestamp>,
    /// What it removes, as counted before.
    pub plan: DeletionPlan,
    /// How far it has come.
    pub state: DeletionState,
    /// Segments that are still to be rewritten.
    pub segments_left: u64,
}

impl Store {
    /// What [`delete`](Self::delete) would remove.
    ///
    /// # Errors
    /// `Io` if a file cannot be read.
    pub fn plan_deletion(
        &self,
        tenant: TenantId,
        selector: &Selector,
        times: TimeRange,
    ) -> Result<DeletionPlan, Error> {
        let ids = self.with_samples_in(tenant, selector, times)?;
        plan(self.shared(), tenant, &ids, times)
    }

    /// Hides the samples of the selected series in a span of time that were written so far. When this
    /// returns they are gone for every reader, also after a crash; their space comes back later.
    /// Samples that are written there afterwards are seen; of those written meanwhile, the later ones.
    ///
    /// # Errors
    /// `Invalid` if nothing is selected or a text is too long, `Busy` while too many deletions are on
    /// their way, `Stopped` if writes have stopped.
    pub fn delete(&self, request: DeletionRequest) -> Result<Deletion, Error> {
        let shared = self.shared();
        if let Some(reason) = shared.stopped() {
            return Err(Error::Stopped { reason });
        }
        if request.by.len() + request.what.len() > TEXT_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "the text about a deletion has at most {TEXT_BYTES_MAX} bytes"
            )));
        }
        let name = self.tenant_name(request.tenant);
        let name = name.ok_or_else(|| Error::Invalid("there is no such tenant".into()))?;
        let ids = self.with_samples_in(request.tenant, &request.selector, request.times)?;
        if ids.is_empty() {
            return Err(Error::Invalid("no series with samples there is selected".into()));
        }
        // Before the lock: it reads what is stored.
        let plan = plan(shared, request.tenant, &ids, request.times)?;
        let _one_at_a_time =
            shared.deleting.lock().expect("no code panics while it begins a deletion");
        if shared.live.lock().tombstones.len() >= TOMBSTONES_MAX {
            return Err(Error::Busy { what: "the list of deletions" });
        }
        let number = next_number(shared)?;
        let series: RoaringBitmap = ids.iter().map(|id| id.number()).collect();
        let deletion = Deletion {
            number,
            tenant: name.to_string(),
            what: request.what,
            by: request.by,
            times: request.times,
            requested: shared.clock.now(),
            finished: None,
            plan,
            state: DeletionState::Hidden,
            segments_left: 0,
        };
        let tombstone = between_commits(shared, {
            let (shared, deletion, tenant) = (shared.clone(), deletion.clone(), request.tenant);
            move |_| hide(&shared, tenant, series, &deletion, Batch::default())
        })?;
        bound(shared, tombstone)?;
        shared.sweeper.nudge();
        tracing::info!(number, tenant = %deletion.tenant, by = %deletion.by, series = plan.series, "samples were deleted");
        Ok(deletion)
    }

    /// Stops giving back the space of a deletion. What it hides stays hidden.
    ///
    /// # Errors
    /// `Invalid` if there is no such deletion or it has ended.
    pub fn cancel_deletion(&self, number: u64) -> Result<Deletion, Error> {
        let shared = self.shared();
        let _one_at_a_time =
            shared.deleting.lock().expect("no code panics while it begins a deletion");
        let Some(mut deletion) = self.deletion(number)? else {
            return Err(Error::Invalid(format!("there is no deletion {number}")));
        };
        if deletion.state != DeletionState::Hidden {
            return Err(Error::Invalid(format!("deletion {number} has ended")));
        }
        deletion.state = DeletionState::Cancelled;
        deletion.finished = Some(shared.clock.now());
        let mut batch = Batch::default();
        batch.put(&Key::Deletion(number), stored::encode(&deletion));
        shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
        Ok(deletion)
    }

    /// A deletion by its number.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if its record does not decode.
    pub fn deletion(&self, number: u64) -> Result<Option<Deletion>, Error> {
        deletion(self.shared(), number)
    }

    /// All deletions that are remembered, oldest first.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if a record does not decode.
    pub fn deletions(&self) -> Result<Vec<Deletion>, Error> {
        let mut found = Vec::new();
        let prefix = key::DELETION_PREFIX;
        self.shared().kv.scan(Family::Meta, &prefix, &prefix, |key, value| {
            let number = key::decode_numbered(key);
            let decoded = number.and_then(|number| stored::decode(number, value));
            found.push(decoded.ok_or_else(|| Error::corrupt("record", "a deletion"))?);
            Ok::<_, Error>(true)
        })?;
        Ok(found)
    }

    fn with_samples_in(
        &self,
        tenant: TenantId,
        selector: &Selector,
        times: TimeRange,
    ) -> Result<Vec<SeriesId>, Error> {
        let seen = self.select(tenant, &Selector { active: Some(times), ..selector.clone() })?;
        let rules = self.shared().retention.rules();
        if RollupStep::ALL.into_iter().all(|step| rules.longest(step).is_none()) || times.is_empty()
        {
            return Ok(seen);
        }
        // Rows that have expired may wait for a rollup to be made of them.
        let first = partition_of(times.start.millis());
        let last = partition_of(times.end.millis().saturating_sub(1));
        let stored = self.active_days(tenant, first, last)?;
        let mut ids: RoaringBitmap = seen.into_iter().map(SeriesId::number).collect();
        let all = self.select(tenant, &Selector { active: None, ..selector.clone() })?;
        ids.extend(all.into_iter().map(SeriesId::number).filter(|&id| stored.contains(id)));
        Ok(ids.into_iter().map(SeriesId::new).collect())
    }
}

/// Has the committer do something between two commits, and waits for it.
fn between_commits<T: Send + 'static>(
    shared: &Shared,
    call: impl FnOnce(&mut Meter) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (reply, answer) = mpsc::sync_channel(1);
    shared.queue.call(Box::new(move |_, meter| {
        // The one who asked waits.
        let _ = reply.send(call(meter));
    }));
    answer.recv().map_err(|_| Error::Stopped { reason: "the store is closed".into() })?
}

/// Makes the tombstone of a deletion durable together with `batch`, and puts it in force. On the
/// committer's thread: what is committed before is hidden, and nothing comes between "so far" and the
/// tombstone's being known to flushes and merges. One that did not know it could join hidden rows
/// with newer ones in a series block, whose rows cannot be told apart.
fn hide(
    shared: &Shared,
    tenant: TenantId,
    series: RoaringBitmap,
    deletion: &Deletion,
    mut batch: Batch,
) -> Result<Tombstone, Error> {
    if let Some(reason) = shared.stopped() {
        return Err(Error::Stopped { reason });
    }
    let tombstone = Tombstone {
        number: deletion.number,
        tenant,
        series,
        times: deletion.times,
        upto: shared.feed.newest(),
        clean_from: u64::MAX,
    };
    batch.put(&Key::Tombstone(tombstone.number), tombstone.encode());
    batch.put(&Key::Deletion(deletion.number), stored::encode(deletion));
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
    fail_point::pass(Point::DeletionDurable);
    shared.live.lock().add_tombstone(Arc::new(tombstone.clone()));
    fail_point::pass(Point::DeletionHidden);
    Ok(tombstone)
}

/// Stores which segments a tombstone in force has to be applied to. Numbers that are taken from here
/// on belong to segments whose writers know it. A crash before this is stored makes it be applied to
/// more than is needed.
fn bound(shared: &Shared, mut tombstone: Tombstone) -> Result<(), Error> {
    tombstone.clean_from = shared.next_segment.load(Ordering::Acquire);
    let mut batch = Batch::default();
    batch.put(&Key::Tombstone(tombstone.number), tombstone.encode());
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
    fail_point::pass(Point::DeletionBounded);
    shared.live.lock().add_tombstone(Arc::new(tombstone));
    Ok(())
}

/// A deletion by its number.
pub(crate) fn deletion(shared: &Shared, number: u64) -> Result<Option<Deletion>, Error> {
    shared
        .kv
        .get(&Key::Deletion(number))?
        .map(|value| {
            let corrupt = || Error::corrupt("record", format!("deletion {number}"));
            stored::decode(number, &value).ok_or_else(corrupt)
        })
        .transpose()
}

/// Ends a deletion of which nothing is left: its tombstone goes, its record says so.
pub(crate) fn finish(shared: &Shared, tombstone: &Tombstone) -> Result<(), Error> {
    let _one_at_a_time = shared.deleting.lock().expect("no code panics while it begins a deletion");
    let number = tombstone.number;
    let mut batch = Batch::default();
    batch.delete(&Key::Tombstone(number));
    if tombstone.is_of_tenant() {
        // What a flush or a record was about to write when the tenant was removed.
        batch.delete_tenant(tombstone.tenant);
    }
    if let Some(mut deletion) = deletion(shared, number)? {
        deletion.segments_left = 0;
        if deletion.state == DeletionState::Hidden {
            deletion.state = DeletionState::Done;
            deletion.finished = Some(shared.clock.now());
        }
        batch.put(&Key::Deletion(number), stored::encode(&deletion));
    }
    fail_point::pass(Point::TombstoneBefore);
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
    fail_point::pass(Point::TombstoneAfter);
    shared.live.lock().remove_tombstone(number);
    Ok(())
}

/// Notes how many segments a deletion still has to rewrite. Lost in a crash, which does no harm.
pub(crate) fn note_left(shared: &Shared, number: u64, left: u64) -> Result<(), Error> {
    let _one_at_a_time = shared.deleting.lock().expect("no code panics while it begins a deletion");
    let Some(mut deletion) = deletion(shared, number)? else { return Ok(()) };
    deletion.segments_left = left;
    let mut batch = Batch::default();
    batch.put(&Key::Deletion(number), stored::encode(&deletion));
    shared.kv.commit(batch, Sync::Os)
}

/// One more than the greatest number so far. Forgets the oldest records beyond those that are kept.
fn next_number(shared: &Shared) -> Result<u64, Error> {
    let mut numbers = Vec::new();
    let prefix = key::DELETION_PREFIX;
    shared.kv.scan(Family::Meta, &prefix, &prefix, |key, _| {
        numbers.extend(key::decode_numbered(key));
        Ok::<_, Error>(true)
    })?;
    let on_their_way: Vec<u64> =
        shared.live.lock().tombstones.iter().map(|tombstone| tombstone.number).collect();
    let mut batch = Batch::default();
    let surplus = (numbers.len() + 1).saturating_sub(DELETIONS_KEPT);
    for number in numbers.iter().take(surplus).filter(|number| !on_their_way.contains(number)) {
        batch.delete(&Key::Deletion(*number));
    }
    shared.kv.commit(batch, Sync::Os)?;
    Ok(numbers.last().map_or(1, |last| last + 1))
}

fn plan(
    shared: &Shared,
    tenant: TenantId,
    series: &[SeriesId],
    times: TimeRange,
) -> Result<DeletionPlan, Error> {
    let wanted: RoaringBitmap = series.iter().map(|id| id.number()).collect();
    let metric_of = metric_lookup(&shared.index);
    let moment = shared.live.moment();
    let mut plan = DeletionPlan { series: wanted.len(), ..DeletionPlan::default() };
    let hidden = |stretch: &Stretch<'_>| {
        let place = stretch.place;
        let is_wanted = place.tenant == tenant && wanted.contains(place.series.number());
        if is_wanted { stretch.rows_in(times) } else { Ok(0) }
    };
    census::of_head(&moment, &metric_of, |stretch| {
        plan.samples += hidden(stretch)?;
        Ok(())
    })?;
    let scope = Scope { tenant: Some(tenant), times };
    for segment in census::overlapping(&moment.segments, times) {
        let mut samples = 0;
        let counted = census::of_segment(segment, scope, &metric_of, |stretch| {
            samples += hidden(stretch)?;
            Ok(())
        });
        match counted {
            // What cannot be read is hidden all the same.
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(%error, "a deletion is counted without what follows there");
            }
            counted => counted?,
        }
        plan.samples += samples;
        plan.bytes += census::share(segment, samples);
    }
    Ok(plan)
}
