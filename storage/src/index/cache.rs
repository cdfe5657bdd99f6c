//! The series cache: from the raw bytes by which a writer names a series to its id, without parsing
//! them. Bounded; an entry that is gone only costs a look-up in RocksDB.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Mutex;

use xxhash_rust::xxh3;

use crate::model::{SeriesId, TenantId};

const SHARDS: usize = 64;
/// Entries of a shard's young half: as many as a table of 32 Ki places takes before it doubles. A half
/// of all shards holds 1.8 million series, which may then all be active without a miss, in 52 MB; both
/// halves are full only while series come and go.
const YOUNG_ENTRIES_MAX: usize = 28 * 1024;

/// The hash of a series' raw bytes. 128 bits with a seed that nobody outside the process knows, so
/// that two series of a tenant share one only by an accident that will not happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RawHash([u64; 2]);

/// A series that a writer names, and what the cache knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    pub(crate) hash: RawHash,
    pub(crate) known: Option<Known>,
}

/// Passes a key's own hash on: it is as good as any made from it.
#[derive(Clone, Copy, Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Called for a part that is no integer; there is none.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 ^= half;
    }
}

type Entries = HashMap<Key, Known, BuildHasherDefault<OwnHash>>;

/// The hash of raw bytes and tenant. With what is known an entry takes 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u64; 2]);

impl Key {
    /// A tenant's number is multiplied to the whole width, so that no two tenants' entries meet.
    fn new(tenant: TenantId, hash: RawHash) -> Self {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let [low, high] = hash.0;
        Key([low ^ u64::from(tenant.number()).wrapping_mul(ODD), high])
    }
}

const _: () = assert!(size_of::<(Key, Known)>() == 24);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The shard is chosen by the other half.
        state.write_u64(self.0[0]);
    }
}

/// A day on which nothing is ever written.
pub(crate) const NO_DAY: i32 = i32::MIN;

/// What the cache knows of a series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) series: SeriesId,
    /// A day (since the epoch) for which its activity has been noted.
    pub(crate) day: i32,
}

/// Two halves a shard: entries enter the young one; when it is full it becomes the old one and the
/// old one is dropped. An entry found in the old half moves to the young one.
#[derive(Default)]
struct Shard {
    young: Entries,
    old: Entries,
}

pub(crate) struct SeriesCache {
    seed: u64,
    shards: Vec<Mutex<Shard>>,
}

impl SeriesCache {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        SeriesCache { seed: random_u64(), shards }
    }

    pub(crate) fn hash(&self, raw: &[u8]) -> RawHash {
        let hash = xxh3::xxh3_128_with_seed(raw, self.seed);
        let [low, high] = [hash, hash >> 64].map(|half| half & u128::from(u64::MAX));
        RawHash([low, high].map(|half| u64::try_from(half).unwrap_or(0)))
    }

    fn at(hash: RawHash) -> usize {
        usize::try_from(hash.0[1] % (SHARDS as u64)).unwrap_or(0)
    }

    fn shard(&self, hash: RawHash) -> &Mutex<Shard> {
        self.shards.get(Self::at(hash)).expect("there are SHARDS shards")
    }

    pub(crate) fn get(&self, tenant: TenantId, hash: RawHash) -> Option<Known> {
        let mut shard = self.shard(hash).lock().expect("no code panics while it holds a shard");
        shard.find(tenant, hash)
    }

    /// Looks many up. Each look-up in a big cache waits for memory; those in one shard wait together,
    /// as nothing but a lock, which they share, keeps the processor from going on to the next.
    pub(crate) fn get_many(&self, tenant: TenantId, sought: &mut [Sought]) {
        let mut ends = [0_usize; SHARDS];
        for sought in &*sought {
            count_in(&mut ends, Self::at(sought.hash));
        }
        let mut end = 0;
        for count in &mut ends {
            end += std::mem::replace(count, end);
        }
        // Each now begins where it is to be filled, and ends where it has been.
        let mut order = vec![0_usize; sought.len()];
        for (at, sought) in sought.iter().enumerate() {
            let place = ends.get_mut(Self::at(sought.hash));
            if let Some(next) = place
                && let Some(slot) = order.get_mut(*next)
            {
                (*slot, *next) = (at, *next + 1);
            }
        }
        let mut start = 0;
        for (shard, end) in self.shards.iter().zip(ends) {
            let here = order.get(start..end).unwrap_or_default();
            start = end;
            if here.is_empty() {
                continue;
            }
            let mut shard = shard.lock().expect("no code panics while it holds a shard");
            let mut missed = false;
            for &at in here {
                if let Some(sought) = sought.get_mut(at) {
                    sought.known = shard.young.get(&Key::new(tenant, sought.hash)).copied();
                    missed |= sought.known.is_none();
                }
            }
            if !missed || shard.old.is_empty() {
                continue;
            }
            for &at in here {
                if let Some(sought) = sought.get_mut(at)
                    && sought.known.is_none()
                {
                    sought.known = shard.find(tenant, sought.hash);
                }
            }
        }
    }

    pub(crate) fn insert(&self, tenant: TenantId, hash: RawHash, known: Known) {
        let mut shard = self.shard(hash).lock().expect("no code panics while it holds a shard");
        shard.insert(tenant, hash, known);
    }
}

impl SeriesCache {
    /// Forgets for which days activity has been noted. The series are still known.
    pub(crate) fn forget_days(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().expect("no code panics while it holds a shard");
            let Shard { young, old } = &mut *shard;
            for known in young.values_mut().chain(old.values_mut()) {
                known.day = NO_DAY;
            }
        }
    }

    /// Forgets series that have been removed. Entries of other tenants with the same ids go as well,
    /// which only costs them a look-up.
    pub(crate) fn forget(&self, ids: &roaring::RoaringBitmap) {
        for shard in &self.shards {
            let mut shard = shard.lock().expect("no code panics while it holds a shard");
            let keep = |_: &Key, known: &mut Known| !ids.contains(known.series.number());
            shard.young.retain(keep);
            shard.old.retain(keep);
        }
    }
}

impl Shard {
    fn find(&mut self, tenant: TenantId, hash: RawHash) -> Option<Known> {
        let key = Key::new(tenant, hash);
        if let Some(known) = self.young.get(&key) {
            return Some(*known);
        }
        let known = self.old.remove(&key)?;
        self.insert(tenant, hash, known);
        Some(known)
    }

    fn insert(&mut self, tenant: TenantId, hash: RawHash, known: Known) {
        if self.young.len() >= YOUNG_ENTRIES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(Key::new(tenant, hash), known);
    }
}

fn count_in(counts: &mut [usize], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

/// A number nobody can predict, from the standard library's hash keys.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_used() {
        let cache = SeriesCache::new();
        let tenant = TenantId::new(1);
        let known = |n: u32| Known { series: SeriesId::new(n), day: 0 };
        let hot = cache.hash(b"hot");
        cache.insert(tenant, hot, known(0));
        for n in 1..5_000_000_u32 {
            cache.insert(tenant, cache.hash(&n.to_le_bytes()), known(n));
            if n % 1000 == 0 {
                assert_eq!(cache.get(tenant, hot), Some(known(0)), "after {n}");
            }
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| shard.lock().map(|s| s.young.len() + s.old.len()).unwrap())
            .sum();
        assert!(held <= SHARDS * YOUNG_ENTRIES_MAX * 2 + SHARDS, "{held}");
        assert_eq!(cache.get(TenantId::new(2), hot), None, "tenants do not share entries");
    }

    /// Those of both halves, those that are not there, and some twice.
    #[test]
    fn many_are_found_as_one_by_one() {
        let cache = SeriesCache::new();
        let tenant = TenantId::new(1);
        let known = |n: u32| Known { series: SeriesId::new(n), day: 0 };
        let count = u32::try_from(SHARDS * YOUNG_ENTRIES_MAX * 3 / 2).unwrap();
        for n in 0..count {
            cache.insert(tenant, cache.hash(&n.to_le_bytes()), known(n));
        }
        let numbers = (0..count).step_by(997).chain([3, 3, count, count + 1]);
        let numbers: Vec<u32> = numbers.collect();
        let seek = |n: &u32| Sought { hash: cache.hash(&n.to_le_bytes()), known: None };
        let mut many: Vec<Sought> = numbers.iter().map(seek).collect();
        cache.get_many(tenant, &mut many);
        for (n, sought) in numbers.iter().zip(&many) {
            assert_eq!(sought.known, (*n < count).then(|| known(*n)), "{n}");
            assert_eq!(sought.known, cache.get(tenant, sought.hash), "{n}");
        }
    }
}
