//! Which series exist, and which carry what: ids, metric numbers, posting lists, activity.

pub(crate) mod cache;
mod cardinality;
pub(crate) mod clean;
pub(crate) mod id_set;
mod names;
mod select;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use roaring::RoaringBitmap;

use crate::error::Error;
use crate::key::{self, Fact, Family, Key, PostingKind};
use crate::kv::{Batch, Kv, Sync};
use crate::model::{MetricNo, SeriesId, SeriesKey, TenantId};

pub(crate) use cardinality::hour_of;
pub use cardinality::{CARDINALITY_TOP_MAX, Cardinality};
pub(crate) use names::Within;
pub(crate) use tenant::Tenant;

/// Most tenants of a store.
const TENANTS_MAX: usize = 100_000;
/// Longest tenant name, characters.
const TENANT_NAME_MAX: usize = 255;
/// Version of the values written here.
const VALUE_VERSION: u8 = 1;

/// The index. Shared; readers and the committer use it at the same time.
pub(crate) struct Index {
    kv: Kv,
    /// Seed of the hash under which canonical series keys are found. Fixed for the life of a store.
    seed: u64,
    tenants: RwLock<Tenants>,
    creating: Mutex<()>,
    /// The greatest number of a tenant that was removed: none is given again.
    removed_upto: AtomicU32,
}

#[derive(Default)]
struct Tenants {
    by_name: HashMap<Arc<str>, TenantId>,
    by_id: HashMap<TenantId, Arc<Tenant>>,
}

impl Index {
    /// Loads tenants and metrics.
    pub(crate) fn open(kv: Kv) -> Result<Self, Error> {
        let seed = match kv.get(&Key::Fact(Fact::HashSeed))? {
            Some(bytes) => u64::from_le_bytes(
                bytes.try_into().map_err(|_| Error::corrupt("hash seed", "meta"))?,
            ),
            None => {
                let seed = cache::random_u64();
                let mut batch = Batch::default();
                batch.put(&Key::Fact(Fact::HashSeed), seed.to_le_bytes().to_vec());
                kv.commit(batch, Sync::Disk)?;
                seed
            }
        };
        let removed = match kv.get(&Key::Fact(Fact::RemovedTenant))? {
            Some(bytes) => bytes
                .try_into()
                .ok()
                .and_then(|bytes| u32::try_from(u64::from_le_bytes(bytes)).ok())
                .ok_or_else(|| Error::corrupt("number", "removed tenants"))?,
            None => 0,
        };
        let index = Index {
            kv,
            seed,
            tenants: RwLock::default(),
            creating: Mutex::default(),
            removed_upto: AtomicU32::new(removed),
        };
        index.load()?;
        Ok(index)
    }

    fn load(&self) -> Result<(), Error> {
        let mut tenants = self.tenants.write().expect("no code panics while it holds the index");
        self.kv.scan(Family::Meta, &key::TENANT_PREFIX, &key::TENANT_PREFIX, |key, value| {
            let id = key::decode_tenant(key).ok_or_else(|| Error::corrupt("key", "tenant"))?;
            let name: Arc<str> = text(value, "tenant")?.into();
            tenants.by_name.insert(name.clone(), id);
            tenants.by_id.insert(id, Arc::new(Tenant::new(name)));
            Ok::<_, Error>(true)
        })?;
        let mut metrics: Vec<(TenantId, MetricNo, String)> = Vec::new();
        self.kv.scan(Family::Series, &key::METRIC_PREFIX, &key::METRIC_PREFIX, |key, value| {
            let (tenant, metric) =
                key::decode_metric(key).ok_or_else(|| Error::corrupt("key", "metric"))?;
            metrics.push((tenant, metric, text(value, "metric")?));
            Ok::<_, Error>(true)
        })?;
        for (tenant, metric, name) in metrics {
            let missing = || Error::corrupt("tenant", format!("metric {name}"));
            let ids = self.posting(tenant, PostingKind::Metric, "", &name)?;
            let tenant = tenants.by_id.get(&tenant).ok_or_else(missing)?;
            let mut loaded = tenant.metrics.write().expect("nobody else has it yet");
            loaded.add_metric(&name);
            if loaded.number(&name) != Some(metric) {
                return Err(Error::corrupt("order", format!("metric {name}")));
            }
            loaded.load(metric, &ids);
        }
        let given = |key: &[u8], value: &[u8]| {
            let tenant = key::decode_series_count(key).and_then(|id| tenants.by_id.get(&id));
            let count =
                value.strip_prefix(&[VALUE_VERSION]).and_then(|count| count.try_into().ok());
            let corrupt = || Error::corrupt("number", "count of series");
            let (tenant, count) = tenant.zip(count).ok_or_else(corrupt)?;
            let mut metrics = tenant.metrics.write().expect("nobody else has it yet");
            metrics.reserve(u32::from_le_bytes(count));
            Ok::<_, Error>(true)
        };
        self.kv.scan(
            Family::Series,
            &key::SERIES_COUNT_PREFIX,
            &key::SERIES_COUNT_PREFIX,
            given,
        )?;
        self.kv.scan(
            Family::Series,
            &key::SERIES_HOUR_PREFIX,
            &key::SERIES_HOUR_PREFIX,
            |key, value| {
                let corrupt = || Error::corrupt("entry", "series by hour");
                let (tenant, hour) = key::decode_series_hour(key).ok_or_else(corrupt)?;
                let before = value.strip_prefix(&[VALUE_VERSION]);
                let before =
                    before.and_then(|before| before.try_into().ok()).ok_or_else(corrupt)?;
                let tenant = tenants.by_id.get(&tenant).ok_or_else(corrupt)?;
                let mut metrics = tenant.metrics.write().expect("nobody else has it yet");
                metrics.begin_hour(hour, u32::from_le_bytes(before));
                Ok::<_, Error>(true)
            },
        )?;
        for tenant in tenants.by_id.values() {
            tenant.metrics.write().expect("nobody else has it yet").loaded();
        }
        Ok(())
    }

    /// The tenant called `name`, created if need be.
    pub(crate) fn tenant(&self, name: &str) -> Result<TenantId, Error> {
        if let Some(id) = self.find_tenant(name) {
            return Ok(id);
        }
        let length = name.chars().count();
        if length == 0 || length > TENANT_NAME_MAX || name.chars().any(char::is_control) {
            return Err(Error::Invalid(format!(
                "a tenant's name has 1 to {TENANT_NAME_MAX} characters, none of them a control character"
            )));
        }
        // Held over the sync, so that two do not take the same number; readers go on meanwhile.
        let _one_at_a_time =
            self.creating.lock().expect("no code panics while it creates a tenant");
        if let Some(id) = self.find_tenant(name) {
            return Ok(id);
        }
        let known = self.tenants();
        let newest = known.last().map_or(0, |id| id.number()).max(self.removed_upto());
        if known.len() >= TENANTS_MAX || newest == u32::MAX {
            return Err(Error::Limit { limit: "tenants", max: TENANTS_MAX as u64 });
        }
        let id = TenantId::new(newest + 1);
        let mut batch = Batch::default();
        batch.put(&Key::Tenant(id), versioned(name.as_bytes()));
        self.kv.commit(batch, Sync::Disk)?;
        let name: Arc<str> = name.into();
        let mut tenants = self.tenants.write().expect("no code panics while it holds the index");
        tenants.by_name.insert(name.clone(), id);
        tenants.by_id.insert(id, Arc::new(Tenant::new(name)));
        Ok(id)
    }

    /// The greatest number of a tenant that was removed; 0 if none was.
    pub(crate) fn removed_upto(&self) -> u32 {
        self.removed_upto.load(Ordering::Acquire)
    }

    /// Forgets a tenant whose removal is committed.
    pub(crate) fn forget_tenant(&self, id: TenantId) {
        self.removed_upto.fetch_max(id.number(), Ordering::AcqRel);
        let mut tenants = self.tenants.write().expect("no code panics while it holds the index");
        if let Some(tenant) = tenants.by_id.remove(&id) {
            tenants.by_name.remove(&tenant.name);
        }
    }

    pub(crate) fn find_tenant(&self, name: &str) -> Option<TenantId> {
        let tenants = self.tenants.read().expect("no code panics while it holds the index");
        tenants.by_name.get(name).copied()
    }

    pub(crate) fn tenant_by_id(&self, id: TenantId) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.read().expect("no code panics while it holds the index");
        tenants.by_id.get(&id).cloned()
    }

    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let tenants = self.tenants.read().expect("no code panics while it holds the index");
        let mut ids: Vec<TenantId> = tenants.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Number of series of all tenants.
    pub(crate) fn series_count(&self) -> u64 {
        let tenants = self.tenants.read().expect("no code panics while it holds the index");
        tenants
            .by_id
            .values()
            .map(|tenant| {
                let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
                metrics.present_count()
            })
            .sum()
    }

    /// The hash under which a canonical key is found.
    pub(crate) fn hash(&self, canonical: &[u8]) -> u128 {
        xxhash_rust::xxh3::xxh3_128_with_seed(canonical, self.seed)
    }

    /// The id of the series with this canonical key.
    pub(crate) fn find(
        &self,
        tenant: TenantId,
        canonical: &[u8],
        hash: u128,
    ) -> Result<Option<SeriesId>, Error> {
        self.find_among(tenant, &self.ids_with_hash(tenant, hash)?, canonical)
    }

    /// Which of `ids` has this canonical key.
    pub(crate) fn find_among(
        &self,
        tenant: TenantId,
        ids: &[SeriesId],
        canonical: &[u8],
    ) -> Result<Option<SeriesId>, Error> {
        for &id in ids {
            if let Some(definition) = self.kv.get(&Key::Series(tenant, id))?
                && split_definition(&definition)?.1 == canonical
            {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    pub(crate) fn ids_with_hash(
        &self,
        tenant: TenantId,
        hash: u128,
    ) -> Result<Vec<SeriesId>, Error> {
        let Some(value) = self.kv.get(&Key::SeriesHash(tenant, hash))? else {
            return Ok(Vec::new());
        };
        split_id_list(&value)
            .ok_or_else(|| Error::corrupt("list of series", format!("hash {hash:032x}")))
    }

    /// Whether a tenant has been removed. What is stored of it goes in one batch, a moment before it is
    /// forgotten here, so who misses something of it asks RocksDB.
    pub(crate) fn is_removed(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(self.tenant_by_id(tenant).is_none() || self.kv.get(&Key::Tenant(tenant))?.is_none())
    }

    /// [`ids_with_hash`](Self::ids_with_hash) of many.
    pub(crate) fn ids_with_hashes(
        &self,
        tenant: TenantId,
        hashes: &[u128],
    ) -> Result<Vec<Vec<SeriesId>>, Error> {
        let keys: Vec<Vec<u8>> =
            hashes.iter().map(|&hash| Key::SeriesHash(tenant, hash).encode()).collect();
        let found = self.kv.get_many(Family::Series, &keys)?;
        let read = |(hash, value): (&u128, Option<Vec<u8>>)| {
            let Some(value) = value else { return Ok(Vec::new()) };
            split_id_list(&value)
                .ok_or_else(|| Error::corrupt("list of series", format!("hash {hash:032x}")))
        };
        hashes.iter().zip(found).map(read).collect()
    }

    /// The canonical key of a series.
    pub(crate) fn canonical(
        &self,
        tenant: TenantId,
        id: SeriesId,
    ) -> Result<Option<Vec<u8>>, Error> {
        match self.kv.get(&Key::Series(tenant, id))? {
            Some(value) => Ok(Some(split_definition(&value)?.1.to_vec())),
            None => Ok(None),
        }
    }

    /// The canonical keys of many series of one tenant, in order.
    pub(crate) fn canonicals(
        &self,
        tenant: TenantId,
        ids: &[SeriesId],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| Key::Series(tenant, *id).encode()).collect();
        self.kv
            .get_many(Family::Series, &keys)?
            .into_iter()
            .map(|value| match value {
                Some(value) => Ok(Some(split_definition(&value)?.1.to_vec())),
                None => Ok(None),
            })
            .collect()
    }

    /// What identifies a series.
    pub(crate) fn series(
        &self,
        tenant: TenantId,
        id: SeriesId,
    ) -> Result<Option<Arc<SeriesKey>>, Error> {
        match self.canonical(tenant, id)? {
            Some(canonical) => Ok(Some(Arc::new(SeriesKey::decode(&canonical)?))),
            None => Ok(None),
        }
    }

    pub(crate) fn posting(
        &self,
        tenant: TenantId,
        kind: PostingKind,
        name: &str,
        value: &str,
    ) -> Result<RoaringBitmap, Error> {
        match self.kv.get(&Key::Posting(tenant, kind, name, value))? {
            Some(bytes) => id_set::decode(&bytes),
            None => Ok(RoaringBitmap::new()),
        }
    }

    /// [`posting`](Self::posting) of many.
    pub(crate) fn postings(
        &self,
        tenant: TenantId,
        wanted: &[(PostingKind, &str, &str)],
    ) -> Result<Vec<RoaringBitmap>, Error> {
        let key = |&(kind, name, value): &(PostingKind, &str, &str)| {
            Key::Posting(tenant, kind, name, value).encode()
        };
        let keys: Vec<Vec<u8>> = wanted.iter().map(key).collect();
        let found = self.kv.get_many(Family::Posting, &keys)?.into_iter();
        let read = |value: Option<Vec<u8>>| {
            value.map_or_else(|| Ok(RoaringBitmap::new()), |bytes| id_set::decode(&bytes))
        };
        found.map(read).collect()
    }
}

/// A definition as it is stored.
pub(crate) fn definition(metric: MetricNo, canonical: &[u8]) -> Vec<u8> {
    let mut out = vec![VALUE_VERSION];
    out.extend_from_slice(&metric.number().to_le_bytes());
    out.extend_from_slice(canonical);
    out
}

/// Reads a definition as [`definition`] stores it.
pub(crate) fn split_definition(value: &[u8]) -> Result<(MetricNo, &[u8]), Error> {
    let parts = value.strip_prefix(&[VALUE_VERSION]).and_then(<[u8]>::split_first_chunk::<4>);
    let (metric, canonical) = parts.ok_or_else(|| Error::corrupt("definition", "series"))?;
    Ok((MetricNo::new(u32::from_le_bytes(*metric)), canonical))
}

/// A list of ids as it is stored under their hash.
pub(crate) fn id_list(ids: &[SeriesId]) -> Vec<u8> {
    let mut out = vec![VALUE_VERSION];
    for id in ids {
        out.extend_from_slice(&id.number().to_le_bytes());
    }
    out
}

/// A number of series as it is stored.
pub(crate) fn series_count(count: u32) -> Vec<u8> {
    versioned(&count.to_le_bytes())
}

/// Reads a list as [`id_list`] stores it.
pub(crate) fn split_id_list(value: &[u8]) -> Option<Vec<SeriesId>> {
    let (ids, rest) = value.strip_prefix(&[VALUE_VERSION])?.as_chunks::<4>();
    let id = |id: &[u8; 4]| SeriesId::new(u32::from_le_bytes(*id));
    rest.is_empty().then(|| ids.iter().map(id).collect())
}

/// A value with its version.
pub(crate) fn versioned(body: &[u8]) -> Vec<u8> {
    let mut out = vec![VALUE_VERSION];
    out.extend_from_slice(body);
    out
}

/// Reads a name as it is stored.
pub(crate) fn text(value: &[u8], what: &'static str) -> Result<String, Error> {
    value
        .strip_prefix(&[VALUE_VERSION])
        .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
        .ok_or_else(|| Error::corrupt("name", what))
}
