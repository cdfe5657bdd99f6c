//! Removing series that have no samples left: definition, hash entry, posting lists, metric, cache.
//!
//! ```text
//! caller     candidates − series with activity on any day ▶ chunks, with their definitions and the
//!            lists they stand in, without them ▶ committer's queue
//! committer  has activity moved to the index since, or something been removed? ▶ back to the caller
//!            lists + series that came since + those with activity in the head + held ones
//!            ▶ ONE synced batch ▶ metrics ▶ cache ▶ the tenant's count of removals
//! ```
//!
//! Only the committer creates series and notes activity, so what it finds unused stays unused while
//! it removes it. A write that found an id before it was removed carries an older count of removals:
//! the committer looks at its rows and refuses it. An id is never given again: how many have been
//! given is stored with the first removal, for the greatest of them may be gone.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, SyncSender};

use roaring::RoaringBitmap;

use super::{Index, id_list, id_set, series_count};
use crate::commit::Meter;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::key::{Key, PostingKind};
use crate::kv::{Batch, Sync};
use crate::model::{SeriesId, SeriesKey, TenantId};
use crate::store::Store;
use crate::threads::Shared;

/// Series removed in one step. Writes wait for it, for about a tenth of a second; and lists that
/// hold every series, as that of a metric may, are rewritten in each.
const SERIES_AT_ONCE: usize = 16 * 1024;

/// Some series to be removed if the committer finds them unused, with what is known of them.
pub(crate) struct Clean {
    tenant: TenantId,
    series: Vec<(SeriesId, SeriesKey, u128)>,
    /// What was read before; `None`: it has been outdated too often.
    prepared: Option<Prepared>,
    reply: SyncSender<Result<Cleaned, Error>>,
}

/// What was read of some series, and of when it is.
struct Prepared {
    /// How often activity had moved from the head to the index when the index had none of them.
    moves: u64,
    /// How often series of the tenant had been removed, and how many there had been, before the lists
    /// were read.
    removals: u64,
    series_count: u32,
    lists: Lists,
}

/// The lists that some series stand in, without them.
#[derive(Default)]
struct Lists {
    hashes: BTreeMap<u128, Vec<SeriesId>>,
    postings: BTreeMap<(u8, String, String), (PostingKind, RoaringBitmap)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleaned {
    /// So many were unused, and are removed.
    Removed(u64),
    /// What was read does not hold any more.
    Outdated,
}

/// Removes those of `left` that have samples neither in the head nor on a day of the activity index, and
/// that nobody holds. Returns how many. Not for the committer's own thread.
fn clean(shared: &Shared, tenant: TenantId, mut left: RoaringBitmap) -> Result<u64, Error> {
    let mut removed = 0;
    let mut moves = without_active(shared, tenant, &mut left)?;
    let mut again = false;
    loop {
        let some: Vec<SeriesId> = left.iter().take(SERIES_AT_ONCE).map(SeriesId::new).collect();
        let Some(&last) = some.last().filter(|_| !shared.is_closing()) else { return Ok(removed) };
        let Some(known) = shared.index.tenant_by_id(tenant) else { return Ok(removed) };
        let (removals, series_count) = (known.removals(), known.series_count());
        let series = definitions(&shared.index, tenant, &some)?;
        // Flushes may come one after the other: at the second time the committer has the last word.
        let prepared = if again {
            None
        } else {
            let lists = Lists::without(&shared.index, tenant, &series)?;
            Some(Prepared { moves, removals, series_count, lists })
        };
        match ask(shared, tenant, series, prepared)? {
            Cleaned::Removed(some) => {
                removed += some;
                left.remove_range(..=last.number());
                again = false;
            }
            Cleaned::Outdated => {
                moves = without_active(shared, tenant, &mut left)?;
                again = true;
            }
        }
    }
}

/// What identifies some series, and its hash.
fn definitions(
    index: &Index,
    tenant: TenantId,
    ids: &[SeriesId],
) -> Result<Vec<(SeriesId, SeriesKey, u128)>, Error> {
    let mut series = Vec::with_capacity(ids.len());
    for (id, canonical) in ids.iter().zip(index.canonicals(tenant, ids)?) {
        if let Some(canonical) = canonical {
            series.push((*id, SeriesKey::decode(&canonical)?, index.hash(&canonical)));
        }
    }
    Ok(series)
}

/// Takes out what the index knows samples of. Returns how often activity had moved there before.
fn without_active(
    shared: &Shared,
    tenant: TenantId,
    ids: &mut RoaringBitmap,
) -> Result<u64, Error> {
    let moves = shared.live.lock().activity_moves;
    *ids -= shared.index.active(tenant, i32::MIN, i32::MAX)?;
    Ok(moves)
}

fn ask(
    shared: &Shared,
    tenant: TenantId,
    series: Vec<(SeriesId, SeriesKey, u128)>,
    prepared: Option<Prepared>,
) -> Result<Cleaned, Error> {
    let (reply, answer) = mpsc::sync_channel(1);
    let order = Clean { tenant, series, prepared, reply };
    shared.queue.call(Box::new(|shared, meter| order.carry_out(shared, meter)));
    answer.recv().unwrap_or_else(|_| Err(Error::Stopped { reason: "the store is closed".into() }))
}

/// Removes every series of a tenant that has no samples on any day and that nobody holds.
pub(crate) fn clean_unused(shared: &Shared, tenant: TenantId) -> Result<u64, Error> {
    let mut candidates = shared.index.all_series(tenant);
    candidates -= shared.live.lock().active(tenant, i32::MIN, i32::MAX);
    clean(shared, tenant, candidates)
}

/// Returns when everything that the committer had begun before is committed.
pub(crate) fn pass_committer(shared: &Shared) -> Result<(), Error> {
    let (reply, answer) = mpsc::sync_channel(1);
    shared.queue.call(Box::new(move |_, _| {
        // The one who asked may have gone.
        let _ = reply.send(());
    }));
    answer.recv().map_err(|_| Error::Stopped { reason: "the store is closed".into() })
}

impl Clean {
    /// Removes what is unused. On the committer's thread.
    pub(crate) fn carry_out(self, shared: &Shared, meter: &mut Meter) {
        let reply = self.reply.clone();
        let removed = match shared.stopped() {
            Some(reason) => Err(Error::Stopped { reason }),
            None => self.remove(shared, meter),
        };
        // The one who asked may have gone.
        let _ = reply.send(removed);
    }

    fn remove(self, shared: &Shared, meter: &mut Meter) -> Result<Cleaned, Error> {
        let Clean { tenant: id, series, prepared, reply: _ } = self;
        let Some(tenant) = shared.index.tenant_by_id(id) else { return Ok(Cleaned::Removed(0)) };
        let mut unused: RoaringBitmap = series.iter().map(|(id, ..)| id.number()).collect();
        // The head before the index: a flush moves days from there to here.
        let moves = {
            let live = shared.live.lock();
            unused -= live.active(id, i32::MIN, i32::MAX);
            live.activity_moves
        };
        let count = tenant.series_count();
        // Reading the whole index, and every list, would hold up writes.
        let mut lists = match prepared {
            Some(prepared) => {
                let since = count.saturating_sub(prepared.series_count);
                if (prepared.moves, prepared.removals) != (moves, tenant.removals())
                    || usize::try_from(since).is_ok_and(|since| since > SERIES_AT_ONCE)
                {
                    return Ok(Cleaned::Outdated);
                }
                let mut lists = prepared.lists;
                let new: Vec<SeriesId> =
                    (prepared.series_count..count).map(SeriesId::new).collect();
                for (id, key, hash) in definitions(&shared.index, id, &new)? {
                    lists.add(id, &key, hash);
                }
                lists
            }
            None => {
                unused -= shared.index.active(id, i32::MIN, i32::MAX)?;
                Lists::without(&shared.index, id, &series)?
            }
        };
        tenant.without_held(&mut unused);
        if unused.is_empty() {
            return Ok(Cleaned::Removed(0));
        }
        let mut batch = Batch::default();
        batch.put(&Key::SeriesCount(id), series_count(count));
        for (series, key, hash) in &series {
            if unused.contains(series.number()) {
                batch.delete(&Key::Series(id, *series));
            } else {
                lists.add(*series, key, *hash);
            }
        }
        lists.write(id, &mut batch);
        if let Err(error) = shared.kv.commit(batch, Sync::Disk) {
            shared.stop(&error);
            return Err(error);
        }
        fail_point::pass(Point::SeriesRemoved);
        tenant.metrics.write().expect("no code panics while it holds metrics").remove(&unused);
        shared.cache.forget(&unused);
        meter.remove(id, &unused);
        tenant.count_removal();
        Ok(Cleaned::Removed(unused.len()))
    }
}

/// The posting lists that a series stands in: kind, name and value.
fn places(key: &SeriesKey) -> impl Iterator<Item = (PostingKind, &str, &str)> {
    let metric = [(PostingKind::Metric, "", key.metric.as_str())];
    let dimensions = key.dimensions.iter();
    metric.into_iter().chain(dimensions.flat_map(|(name, value)| {
        [(PostingKind::Dimension, name, value), (PostingKind::Name, "", name)]
    }))
}

impl Lists {
    /// Reads the lists that `series` stand in, and takes these out.
    fn without(
        index: &Index,
        tenant: TenantId,
        series: &[(SeriesId, SeriesKey, u128)],
    ) -> Result<Self, Error> {
        let mut lists = Lists::default();
        let mut removed = RoaringBitmap::new();
        for (id, key, hash) in series {
            removed.insert(id.number());
            lists.hashes.entry(*hash).or_default();
            for (kind, name, value) in places(key) {
                let list = (kind as u8, name.to_owned(), value.to_owned());
                lists.postings.entry(list).or_insert_with(|| (kind, RoaringBitmap::new()));
            }
        }
        let hashes: Vec<u128> = lists.hashes.keys().copied().collect();
        let found = index.ids_with_hashes(tenant, &hashes)?;
        for (ids, mut found) in lists.hashes.values_mut().zip(found) {
            found.retain(|id| !removed.contains(id.number()));
            *ids = found;
        }
        let wanted: Vec<(PostingKind, &str, &str)> = lists
            .postings
            .iter()
            .map(|((_, name, value), (kind, _))| (*kind, name.as_str(), value.as_str()))
            .collect();
        let found = index.postings(tenant, &wanted)?;
        for ((_, ids), found) in lists.postings.values_mut().zip(found) {
            *ids = found - &removed;
        }
        Ok(lists)
    }

    /// Puts a series into those of the lists that it belongs to.
    fn add(&mut self, series: SeriesId, key: &SeriesKey, hash: u128) {
        if let Some(ids) = self.hashes.get_mut(&hash)
            && !ids.contains(&series)
        {
            ids.push(series);
        }
        for (kind, name, value) in places(key) {
            let list = (kind as u8, name.to_owned(), value.to_owned());
            if let Some((_, ids)) = self.postings.get_mut(&list) {
                ids.insert(series.number());
            }
        }
    }

    fn write(&self, tenant: TenantId, batch: &mut Batch) {
        for (&hash, ids) in &self.hashes {
            let key = Key::SeriesHash(tenant, hash);
            if ids.is_empty() { batch.delete(&key) } else { batch.put(&key, id_list(ids)) }
        }
        for ((_, name, value), (kind, ids)) in &self.postings {
            let key = Key::Posting(tenant, *kind, name, value);
            if ids.is_empty() { batch.delete(&key) } else { batch.put(&key, id_set::encode(ids)) }
        }
    }
}

impl Store {
    /// Removes every series of a tenant that has no samples on any day and that nobody holds, and
    /// returns how many. Blocks until it is done; writes go on meanwhile.
    ///
    /// # Errors
    /// `Stopped` if the store is closed or RocksDB cannot write.
    pub fn clean(&self, tenant: TenantId) -> Result<u64, Error> {
        clean_unused(&self.shared, tenant)
    }

    /// Keeps series from being removed while they have no samples, until they are released as often
    /// as they were held. In memory: whoever holds series says so again after a restart.
    pub fn hold(&self, tenant: TenantId, series: &[SeriesId]) {
        if let Some(tenant) = self.shared.index.tenant_by_id(tenant) {
            tenant.hold(series);
        }
    }

    /// Ends a [`hold`](Self::hold).
    pub fn release(&self, tenant: TenantId, series: &[SeriesId]) {
        if let Some(tenant) = self.shared.index.tenant_by_id(tenant) {
            tenant.release(series);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreConfig;
    use crate::scratch::{Scratch, request};

    /// A flush takes activity from the head, where the committer looks, to the index, where the caller
    /// has looked before.
    #[test]
    fn what_was_flushed_since_is_not_taken_for_unused() {
        let scratch = Scratch::new();
        let (store, _) = scratch.store(StoreConfig::default(), 1_700_000_000_000);
        let tenant = store.tenant("t").unwrap();
        let shared = &store.shared();
        let mut ids = RoaringBitmap::from([0]);
        let before = without_active(shared, tenant, &mut ids).unwrap();
        store.write(request(&store, tenant, [(0, 1_700_000_000_000, 1.0)])).unwrap();
        store.flush().unwrap();
        let series = || definitions(&shared.index, tenant, &[SeriesId::new(0)]).unwrap();
        let known = shared.index.tenant_by_id(tenant).unwrap();
        let prepared = Prepared {
            moves: before,
            removals: known.removals(),
            series_count: known.series_count(),
            lists: Lists::without(&shared.index, tenant, &series()).unwrap(),
        };
        let asked = ask(shared, tenant, series(), Some(prepared));
        assert_eq!(asked.unwrap(), Cleaned::Outdated);
        assert_eq!(ask(shared, tenant, series(), None).unwrap(), Cleaned::Removed(0));
        without_active(shared, tenant, &mut ids).unwrap();
        assert!(ids.is_empty());
        assert_eq!(store.clean(tenant).unwrap(), 0);
    }

    /// Lists are read before they are written: series that come meanwhile stand in them as well, and so
    /// do those that turn out to be in use.
    #[test]
    fn lists_keep_who_came_and_who_stays() {
        const NOW: i64 = 1_700_000_000_000;
        let scratch = Scratch::new();
        let (store, _) = scratch.store(StoreConfig::default(), NOW);
        let tenant = store.tenant("t").unwrap();
        let shared = store.shared();
        store.write(request(&store, tenant, (0..4).map(|series| (series, NOW, 1.0)))).unwrap();
        let ids: Vec<SeriesId> = (0..4).map(SeriesId::new).collect();
        let series = definitions(&shared.index, tenant, &ids).unwrap();
        let known = shared.index.tenant_by_id(tenant).unwrap();
        let prepared = Prepared {
            moves: shared.live.lock().activity_moves,
            removals: known.removals(),
            series_count: known.series_count(),
            lists: Lists::without(&shared.index, tenant, &series).unwrap(),
        };
        // Of the four only the last has no samples, as far as the head says.
        for active in shared.live.lock().open.activity.values_mut() {
            active.remove(3);
        }
        store.write(request(&store, tenant, [(9, NOW, 1.0)])).unwrap();
        let cleaned = ask(shared, tenant, series, Some(prepared)).unwrap();
        assert_eq!(cleaned, Cleaned::Removed(1));
        let metric = store.series(tenant, SeriesId::new(0)).unwrap().unwrap().metric.clone();
        let list = shared.index.posting(tenant, PostingKind::Metric, "", &metric).unwrap();
        assert_eq!(list, RoaringBitmap::from([0, 1, 2, 4]));
    }
}
