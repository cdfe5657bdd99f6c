//! Correcting the activity index after samples have gone.
//!
//! "Series X may have samples on day D" is noted once, by the first write that is not known to follow
//! another one, and committed with a flush. So taking it back has to make sure that writers note it
//! again: first they are made to forget what they have noted, then everything that is stored of the
//! day is counted. A write that began before is looked at row by row by the committer, because its
//! count of removals is old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::census::{self, Scope};
use crate::deletion::Tombstone;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::index::{clean, id_set};
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Sync};
use crate::model::{TenantId, TimeRange, Timestamp};
use crate::output::metric_lookup;
use crate::segment::{PARTITION_MS, SeriesPlace, partition_of};
use crate::threads::Shared;

/// Makes the index say of a day what is stored, for all tenants. On the keeper's thread alone: it is
/// the one that adds to the activity index. A day of which a segment is in quarantine is left alone: a
/// repair may bring back what is noted of it.
pub(crate) fn correct(shared: &Shared, day: i32) -> Result<(), Error> {
    if shared.live.quarantined().iter().any(|missing| missing.address.partition == day) {
        return Ok(());
    }
    shared.cache.forget_days();
    let tenants = shared.index.tenants();
    for &tenant in &tenants {
        if let Some(tenant) = shared.index.tenant_by_id(tenant) {
            tenant.count_removal();
        }
    }
    // What is committed from here on has been looked at with the new counts.
    clean::pass_committer(shared)?;
    let stored = match stored(shared, day) {
        Err(error @ Error::Corrupt { .. }) => {
            tracing::error!(%error, day, "the activity of a day is left as it is");
            return Ok(());
        }
        stored => stored?,
    };
    let mut batch = Batch::default();
    for tenant in tenants {
        let key = Key::Activity(tenant, day);
        let Some(noted) = shared.kv.get(&key)? else { continue };
        match stored.get(&tenant) {
            Some(there) if *there == id_set::decode(&noted)? => {}
            Some(there) => batch.put(&key, id_set::encode(there)),
            None => batch.delete(&key),
        }
    }
    fail_point::pass(Point::ActivityBefore);
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
    fail_point::pass(Point::ActivityCorrected);
    Ok(())
}

/// Which series have rows on a day.
fn stored(shared: &Shared, day: i32) -> Result<BTreeMap<TenantId, RoaringBitmap>, Error> {
    let mut found: BTreeMap<TenantId, RoaringBitmap> = BTreeMap::new();
    let metric_of = metric_lookup(&shared.index);
    let moment = shared.live.moment();
    let mut note = |place: SeriesPlace| {
        found.entry(place.tenant).or_default().insert(place.series.number());
        Ok(())
    };
    census::of_head(&moment, &metric_of, |stretch| {
        let first = partition_of(stretch.times.start.millis());
        let last = partition_of(stretch.times.end.millis().saturating_sub(1));
        if (first..=last).contains(&day) { note(stretch.place) } else { Ok(()) }
    })?;
    for segment in moment.segments.iter().chain(moment.rollups.iter()) {
        if segment.address.partition == day {
            census::of_segment(segment, Scope::ALL, &metric_of, |stretch| note(stretch.place))?;
        }
    }
    Ok(found)
}

/// Days of which the index knows and on which one of `tombstones` hides something.
pub(crate) fn days_of(
    shared: &Shared,
    tombstones: &[&Arc<Tombstone>],
) -> Result<BTreeSet<i32>, Error> {
    let mut found = BTreeSet::new();
    if tombstones.is_empty() {
        return Ok(found);
    }
    each_day(shared, |tenant, day, _| {
        let start = Timestamp::from_millis(i64::from(day).saturating_mul(PARTITION_MS));
        let span = TimeRange::new(start, start.plus_millis(PARTITION_MS));
        let hides =
            |tombstone: &&Arc<Tombstone>| tombstone.tenant == tenant && tombstone.overlaps(span);
        if tombstones.iter().any(hides) {
            found.insert(day);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Days of which the index knows and that have no segment, in quarantine or not.
pub(crate) fn empty_days(shared: &Shared) -> Result<BTreeSet<i32>, Error> {
    let moment = shared.live.moment();
    let missing = shared.live.quarantined().iter().map(|missing| missing.address.partition);
    let all = moment.segments.iter().chain(moment.rollups.iter());
    let with_segments: BTreeSet<i32> =
        all.map(|segment| segment.address.partition).chain(missing).collect();
    let mut found = BTreeSet::new();
    each_day(shared, |_, day, _| {
        if !with_segments.contains(&day) {
            found.insert(day);
        }
        Ok(())
    })?;
    Ok(found)
}

fn each_day(
    shared: &Shared,
    mut each: impl FnMut(TenantId, i32, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    shared.kv.scan(Family::Activity, &[], &[], |key, ids| {
        let (tenant, day) =
            key::decode_activity(key).ok_or_else(|| Error::corrupt("key", "activity"))?;
        each(tenant, day, ids).map(|()| true)
    })
}
