//! Appending: entries join a batch of records, each id once.
//!
//! Looking an id up and storing it must be one step, or an event sent twice at once is stored twice.
//! No lock is held while RocksDB reads or syncs: a batch *reserves* its ids, another one with any of
//! them waits until the first is committed, and others go on beside it and share its sync.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicI64;
use std::sync::{Condvar, Mutex, MutexGuard};

use xxhash_rust::xxh3::xxh3_128;

use super::derived::Derived;
use super::entry::{Entry, Place};
use super::keep::{AHEAD_MAX, ids_from, visible_from};
use super::{ID_DAYS, JournalKind, partition_of};
use crate::error::Error;
use crate::key::{self, Family, JournalPart, Key};
use crate::kv::Batch;
use crate::model::{Moment, TenantId};
use crate::threads::Shared;

/// Ids looked up together.
const LOOK_UP: usize = 4096;
/// Words remembered as written. When there are more, all are forgotten and written once again.
const WORDS_MAX: usize = 1 << 16;

/// An entry with its owner.
pub(crate) type Journaled = (TenantId, JournalKind, Entry);

/// Why an entry is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is older than the journal is kept.
    TooOld,
    /// It is more than a day ahead of the clock.
    TooNew,
}

/// An entry that is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its place among those appended, from 0.
    pub item: usize,
    /// Why.
    pub why: Refusal,
}

/// What became of the entries of a batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// How many are stored now.
    pub stored: usize,
    /// How many were stored before, or twice in the batch.
    pub duplicates: usize,
    /// The others.
    pub refused: Vec<Refused>,
}

type Id = (TenantId, JournalKind, Vec<u8>);

#[derive(Default)]
struct State {
    /// Ids being stored. Bounded by the writers and the size of their batches.
    reserved: HashSet<Id>,
    /// Hashes of the keys of words that are stored.
    words: HashSet<u128>,
}

/// What writers of journals share.
pub(crate) struct Admission {
    state: Mutex<State>,
    released: Condvar,
    /// When the keeper last removed what is over.
    pub(super) expired_ms: AtomicI64,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Admission {
            state: Mutex::default(),
            released: Condvar::new(),
            expired_ms: AtomicI64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the state of journals")
    }

    pub(super) fn forget_words(&self) {
        self.lock().words.clear();
    }

    /// Waits until nobody is storing any of `ids`, then reserves them.
    fn reserve(&self, ids: &HashSet<Id>) {
        let mut state = self.lock();
        while ids.iter().any(|id| state.reserved.contains(id)) {
            state = self.released.wait(state).expect("no code panics while it holds the state");
        }
        state.reserved.extend(ids.iter().cloned());
    }
}

/// Entries that are part of a batch. Their ids are free again when this goes.
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    ids: HashSet<Id>,
    words: HashSet<u128>,
    appended: Appended,
}

impl Admitted<'_> {
    /// The batch is durable.
    pub(crate) fn committed(mut self) -> Appended {
        if !self.words.is_empty() {
            let mut state = self.admission.lock();
            if state.words.len() + self.words.len() > WORDS_MAX {
                state.words.clear();
            }
            state.words.extend(self.words.drain().take(WORDS_MAX));
        }
        std::mem::take(&mut self.appended)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut state = self.admission.lock();
        for id in &self.ids {
            state.reserved.remove(id);
        }
        drop(state);
        self.admission.released.notify_all();
    }
}

/// Adds those of `entries` that are to be stored to `changes`.
pub(crate) fn admit<'a>(
    shared: &'a Shared,
    entries: Vec<Journaled>,
    changes: &mut Batch,
) -> Result<Admitted<'a>, Error> {
    let mut admitted = Admitted {
        admission: &shared.journals,
        ids: HashSet::new(),
        words: HashSet::new(),
        appended: Appended::default(),
    };
    let entries = timely(shared, entries, &mut admitted.appended)?;
    let ids: HashSet<Id> = entries
        .iter()
        .filter(|(_, kind, _)| kind.has_unique_ids())
        .map(|(tenant, kind, entry)| (*tenant, *kind, entry.id.clone()))
        .collect();
    shared.journals.reserve(&ids);
    admitted.ids = ids;
    let mut taken = stored_ids(shared, &entries)?;
    for (tenant, kind, entry) in entries {
        if kind.has_unique_ids() && !taken.insert((tenant, kind, entry.id.clone())) {
            admitted.appended.duplicates += 1;
            continue;
        }
        admitted.appended.stored += 1;
        put(changes, &mut admitted, tenant, kind, entry);
    }
    Ok(admitted)
}

/// Those of `entries` that may be stored by their time. State changes always may: they commit with
/// the state they lead to.
fn timely(
    shared: &Shared,
    entries: Vec<Journaled>,
    appended: &mut Appended,
) -> Result<Vec<Journaled>, Error> {
    let newest = Moment::from(shared.clock.now()).plus(AHEAD_MAX);
    let mut horizons = HashMap::new();
    let mut kept = Vec::with_capacity(entries.len());
    for (item, (tenant, kind, entry)) in entries.into_iter().enumerate() {
        if kind.has_unique_ids() {
            let oldest = match horizons.get(&(tenant, kind)) {
                Some(&oldest) => oldest,
                None => visible_from(shared, tenant, kind)?,
            };
            horizons.insert((tenant, kind), oldest);
            if entry.time < oldest {
                appended.refused.push(Refused { item, why: Refusal::TooOld });
                continue;
            }
            if entry.time > newest {
                appended.refused.push(Refused { item, why: Refusal::TooNew });
                continue;
            }
        }
        kept.push((tenant, kind, entry));
    }
    Ok(kept)
}

fn put(
    changes: &mut Batch,
    admitted: &mut Admitted<'_>,
    tenant: TenantId,
    kind: JournalKind,
    entry: Entry,
) {
    let Entry { time, id, value, terms, words } = entry;
    let place = Place { time, id };
    let derived = Derived::of(tenant, kind, &place, terms, &words);
    for (key, value) in derived.rows {
        changes.put_raw(Family::Journal, key, value);
    }
    let unknown: Vec<_> = {
        let state = (!derived.words.is_empty()).then(|| admitted.admission.lock());
        let known = |hash: &u128| {
            admitted.words.contains(hash)
                || state.as_ref().is_some_and(|state| state.words.contains(hash))
        };
        let hashed = derived.words.into_iter().map(|key| (xxh3_128(&key), key));
        hashed.filter(|(hash, _)| !known(hash)).collect()
    };
    for (hash, key) in unknown {
        admitted.words.insert(hash);
        changes.put_raw(Family::Journal, key, Vec::new());
    }
    changes.put(&Key::JournalEntry(tenant, kind, place.time, &place.id), value);
}

/// Those ids of `entries` that are stored already.
fn stored_ids(shared: &Shared, entries: &[Journaled]) -> Result<HashSet<Id>, Error> {
    let mut taken = HashSet::new();
    let mut owners: HashMap<(TenantId, JournalKind), Vec<&[u8]>> = HashMap::new();
    for (tenant, kind, entry) in entries {
        if kind.has_unique_ids() {
            owners.entry((*tenant, *kind)).or_default().push(&entry.id);
        }
    }
    for ((tenant, kind), ids) in owners {
        let from = ids_from(shared, tenant, kind)?;
        for ids in ids.chunks(LOOK_UP) {
            for (id, time) in ids.iter().zip(times_of(shared, tenant, kind, ids, from)?) {
                if time.is_some() {
                    taken.insert((tenant, kind, id.to_vec()));
                }
            }
        }
    }
    Ok(taken)
}

/// The time of the entry with `id`, unless it lies before `from`.
pub(super) fn time_of(
    shared: &Shared,
    tenant: TenantId,
    kind: JournalKind,
    id: &[u8],
    from: Moment,
) -> Result<Option<Moment>, Error> {
    Ok(times_of(shared, tenant, kind, &[id], from)?.into_iter().next().flatten())
}

/// The times of the entries with `ids`, in order, of those that do not lie before `from`.
fn times_of(
    shared: &Shared,
    tenant: TenantId,
    kind: JournalKind,
    ids: &[&[u8]],
    from: Moment,
) -> Result<Vec<Option<Moment>>, Error> {
    let mut times = vec![None; ids.len()];
    for partition in id_partitions(shared, tenant, kind, from)? {
        let keys: Vec<_> =
            ids.iter().map(|id| Key::JournalId(tenant, kind, partition, id).encode()).collect();
        let found = shared.kv.get_many(Family::Journal, &keys)?;
        for (time, value) in times.iter_mut().zip(found) {
            let Some(value) = value else { continue };
            let corrupt = |_| Error::corrupt("time", format!("an id of tenant {tenant}'s journal"));
            let micros = i64::from_le_bytes(value.as_slice().try_into().map_err(corrupt)?);
            let found = Moment::from_micros(micros);
            if found >= from {
                *time = Some(found);
            }
        }
    }
    Ok(times)
}

/// The partitions that hold ids from `from` on, leaping from one to the next: of a journal that is kept
/// for a year there are some thirteen, of one that is kept for ever as many as it is old.
fn id_partitions(
    shared: &Shared,
    tenant: TenantId,
    kind: JournalKind,
    from: Moment,
) -> Result<Vec<i32>, Error> {
    let prefix = key::journal_prefix(tenant, kind, JournalPart::Id);
    let first = partition_of(from, ID_DAYS);
    let mut cursor =
        shared.kv.cursor(Family::Journal, &Key::JournalId(tenant, kind, first, &[]).encode());
    let mut partitions = Vec::new();
    while let Some((key, _)) = cursor.entry()? {
        if !key.starts_with(&prefix) {
            break;
        }
        let corrupt = || Error::corrupt("key", "the ids of a journal");
        let (partition, _) = key::decode_partition(key).ok_or_else(corrupt)?;
        partitions.push(partition);
        let Some(next) = partition.checked_add(1) else { break };
        cursor.seek(&Key::JournalId(tenant, kind, next, &[]).encode());
    }
    Ok(partitions)
}
