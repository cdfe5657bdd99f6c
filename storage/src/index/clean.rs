//! Removing series that have no samples left: definition, hash entry, posting lists, metric, cache.
//!
//! ```text
//! caller     candidates − series with activity on any day ▶ chunks, with their definitions
//!            ▶ committer's queue
//! committer  has activity moved to the index since? ▶ back to the caller
//!            − series with activity in the head − held ones ▶ ONE synced batch
//!            ▶ metrics ▶ cache ▶ the tenant's count of removals
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
    series: Vec<(SeriesId, Vec<u8>, SeriesKey)>,
    /// How often activity had moved from the head to the index when the index had none of them; `None`:
    /// that is not known.
    moves: Option<u64>,
    reply: SyncSender<Result<Cleaned, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleaned {
    /// So many were unused, and are removed.
    Removed(u64),
    /// Activity has moved since.
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
        let Some(last) = some.last().filter(|_| !shared.is_closing()) else { return Ok(removed) };
        let mut series = Vec::with_capacity(some.len());
        for (id, canonical) in some.iter().zip(shared.index.canonicals(tenant, &some)?) {
            if let Some(canonical) = canonical {
                let key = SeriesKey::decode(&canonical)?;
                series.push((*id, canonical, key));
            }
        }
        // Flushes may come one after the other: at the second time the committer has the last word.
        match ask(shared, tenant, series, (!again).then_some(moves))? {
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
    series: Vec<(SeriesId, Vec<u8>, SeriesKey)>,
    moves: Option<u64>,
) -> Result<Cleaned, Error> {
    let (reply, answer) = mpsc::sync_channel(1);
    let order = Clean { tenant, series, moves, reply };
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
        let removed = match shared.stopped() {
            Some(reason) => Err(Error::Stopped { reason }),
            None => self.remove(shared, meter),
        };
        // The one who asked may have gone.
        let _ = self.reply.send(removed);
    }

    fn remove(&self, shared: &Shared, meter: &mut Meter) -> Result<Cleaned, Error> {
        let none = Ok(Cleaned::Removed(0));
        let Some(tenant) = shared.index.tenant_by_id(self.tenant) else { return none };
        let mut unused: RoaringBitmap = self.series.iter().map(|(id, ..)| id.number()).collect();
        // The head before the index: a flush moves days from there to here.
        let moves = {
            let live = shared.live.lock();
            unused -= live.active(self.tenant, i32::MIN, i32::MAX);
            live.activity_moves
        };
        match self.moves {
            // Reading the whole index would hold up writes.
            Some(known) if known != moves => return Ok(Cleaned::Outdated),
            Some(_) => {}
            None => unused -= shared.index.active(self.tenant, i32::MIN, i32::MAX)?,
        }
        tenant.without_held(&mut unused);
        if unused.is_empty() {
            return none;
        }
        let given = {
            let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
            metrics.series_count()
        };
        let batch = self.batch(&shared.index, &unused, given)?;
        if let Err(error) = shared.kv.commit(batch, Sync::Disk) {
            shared.stop(&error);
            return Err(error);
        }
        fail_point::pass(Point::SeriesRemoved);
        tenant.metrics.write().expect("no code panics while it holds metrics").remove(&unused);
        shared.cache.forget(&unused);
        meter.remove(self.tenant, &unused);
        tenant.count_removal();
        Ok(Cleaned::Removed(unused.len()))
    }

    fn batch(&self, index: &Index, unused: &RoaringBitmap, given: u32) -> Result<Batch, Error> {
        let tenant = self.tenant;
        let mut batch = Batch::default();
        batch.put(&Key::SeriesCount(tenant), series_count(given));
        let mut postings: BTreeMap<(u8, &str, &str), (PostingKind, RoaringBitmap)> =
            BTreeMap::new();
        let mut hashes: BTreeMap<u128, Vec<SeriesId>> = BTreeMap::new();
        for (id, canonical, key) in &self.series {
            if !unused.contains(id.number()) {
                continue;
            }
            batch.delete(&Key::Series(tenant, *id));
            hashes.entry(index.hash(canonical)).or_default().push(*id);
            let mut leave = |kind: PostingKind, name, value| {
                let list = postings.entry((kind as u8, name, value));
                list.or_insert_with(|| (kind, RoaringBitmap::new())).1.insert(id.number());
            };
            leave(PostingKind::Metric, "", &key.metric);
            for (name, value) in key.dimensions.iter() {
                leave(PostingKind::Dimension, name, value);
                leave(PostingKind::Name, "", name);
            }
        }
        for (hash, removed) in hashes {
            let mut ids = index.ids_with_hash(tenant, hash)?;
            ids.retain(|id| !removed.contains(id));
            let key = Key::SeriesHash(tenant, hash);
            if ids.is_empty() { batch.delete(&key) } else { batch.put(&key, id_list(&ids)) }
        }
        for ((_, name, value), (kind, removed)) in postings {
            let left = index.posting(tenant, kind, name, value)? - removed;
            let key = Key::Posting(tenant, kind, name, value);
            if left.is_empty() {
                batch.delete(&key)
            } else {
                batch.put(&key, id_set::encode(&left))
            }
        }
        Ok(batch)
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
        let id = SeriesId::new(0);
        let some = shared.index.canonicals(tenant, &[id]).unwrap();
        let canonical = some.into_iter().next().unwrap().unwrap();
        let key = SeriesKey::decode(&canonical).unwrap();
        let series = || vec![(id, canonical.clone(), key.clone())];
        assert_eq!(ask(shared, tenant, series(), Some(before)).unwrap(), Cleaned::Outdated);
        assert_eq!(ask(shared, tenant, series(), None).unwrap(), Cleaned::Removed(0));
        without_active(shared, tenant, &mut ids).unwrap();
        assert!(ids.is_empty());
        assert_eq!(store.clean(tenant).unwrap(), 0);
    }
}
