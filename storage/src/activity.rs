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

use crate::census::{self, Stretch};
use crate::deletion::Tombstone;
use crate::error::Error;
use crate::index::{clean, id_set};
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Sync};
use crate::model::{TenantId, TimeRange, Timestamp};
use crate::output::metric_lookup;
use crate::segment::{PARTITION_MS, partition_of};
use crate::threads::Shared;

/// Tenant and day.
type Day = (TenantId, i32);

/// Makes the index say of `days` what is stored, for all tenants. On the keeper's thread alone: it is
/// the one that adds to the activity index.
pub(crate) fn correct(shared: &Shared, days: &BTreeSet<i32>) -> Result<(), Error> {
    // What is in quarantine may come back, with series that have samples nowhere else.
    let missing = quarantined_days(shared);
    let days = &days.difference(&missing).copied().collect();
    shared.cache.forget_days();
    for tenant in shared.index.tenants() {
        if let Some(tenant) = shared.index.tenant_by_id(tenant) {
            tenant.count_removal();
        }
    }
    // What is committed from here on has been looked at with the new counts.
    clean::pass_committer(shared)?;
    let stored = stored(shared, days)?;
    let mut batch = Batch::default();
    for (day, ids) in noted(shared, days)? {
        match stored.get(&day) {
            Some(there) if *there == ids => {}
            Some(there) => batch.put(&Key::Activity(day.0, day.1), id_set::encode(there)),
            None => batch.delete(&Key::Activity(day.0, day.1)),
        }
    }
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))
}

/// Which series have rows on `days`.
fn stored(shared: &Shared, days: &BTreeSet<i32>) -> Result<BTreeMap<Day, RoaringBitmap>, Error> {
    let mut found: BTreeMap<Day, RoaringBitmap> = BTreeMap::new();
    let metric_of = metric_lookup(&shared.index);
    let moment = shared.live.moment();
    let mut note = |stretch: &Stretch<'_>| {
        let first = partition_of(stretch.times.start.millis());
        let last = partition_of(stretch.times.end.millis().saturating_sub(1));
        for &day in days.range(first..=last) {
            let ids = found.entry((stretch.place.tenant, day)).or_default();
            ids.insert(stretch.place.series.number());
        }
        Ok(())
    };
    census::of_head(&moment, &metric_of, &mut note)?;
    for segment in moment.segments.iter() {
        if days.contains(&segment.address.partition) {
            census::of_segment(segment, &metric_of, &mut note)?;
        }
    }
    Ok(found)
}

/// What the index says of `days`.
fn noted(shared: &Shared, days: &BTreeSet<i32>) -> Result<Vec<(Day, RoaringBitmap)>, Error> {
    let mut found = Vec::new();
    each_day(shared, |tenant, day, ids| {
        if days.contains(&day) {
            found.push(((tenant, day), id_set::decode(ids)?));
        }
        Ok(())
    })?;
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

/// Days of which the index knows and that have no segment.
pub(crate) fn empty_days(shared: &Shared) -> Result<BTreeSet<i32>, Error> {
    let with_segments: BTreeSet<i32> =
        shared.live.moment().segments.iter().map(|segment| segment.address.partition).collect();
    let missing = quarantined_days(shared);
    let mut found = BTreeSet::new();
    each_day(shared, |_, day, _| {
        if !with_segments.contains(&day) && !missing.contains(&day) {
            found.insert(day);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Days of which a segment could not be opened.
fn quarantined_days(shared: &Shared) -> BTreeSet<i32> {
    shared.live.quarantined().iter().map(|missing| missing.address.partition).collect()
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
