//! The index, from what it can be derived from: definitions from series tables, lists from
//! definitions, activity from rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Mending;
use super::salvage::metric_of;
use crate::error::Error;
use crate::index::{self as stored, id_set};
use crate::key::{Fact, Family, Key};
use crate::kv::{Batch, Kv};
use crate::model::{MetricNo, SeriesId, SeriesKey, TenantId};
use crate::offline::{self, Offline};
use crate::roster;
use crate::segment::SeriesPlace;
use crate::verify::{Affected, Examination, Part};

/// Changes that are committed at a time.
const CHANGES_AT_ONCE: usize = 10_000;

impl Mending<'_> {
    /// Restores definitions that are missing and stand in a series table, with their metrics and
    /// tenants.
    pub(super) fn definitions(&mut self, examination: &Examination) -> Result<(), Error> {
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        let mut batch = Batch::default();
        if let Some(indexed) = &examination.indexed {
            for (tenant, series) in &indexed.unreadable {
                self.step(format!("remove the definition of series {series}: it does not decode"));
                batch.delete(&Key::Series(*tenant, *series));
            }
            for ((tenant, metric), name) in &indexed.nameless {
                self.step(format!("name metric {} of tenant {tenant}: {name}", metric.number()));
                batch.put(&Key::Metric(*tenant, *metric), stored::versioned(name.as_bytes()));
            }
            self.commit(std::mem::take(&mut batch))?;
        }
        let all = examination.database_damaged;
        let missing = self.missing(examination);
        let mut metrics: BTreeMap<(TenantId, MetricNo), String> = BTreeMap::new();
        let mut nameless: BTreeSet<TenantId> = BTreeSet::new();
        if let Some(indexed) = &examination.indexed {
            let unnamed = indexed.defined.keys().filter(|id| !indexed.tenants.contains_key(id));
            nameless.extend(unnamed);
            nameless.extend(indexed.nameless.keys().map(|(tenant, _)| tenant));
            metrics.extend(indexed.nameless.clone());
        }
        if !all && missing.is_empty() && examination.damaged.is_empty() {
            return self.names(&kv, &metrics, &nameless);
        }
        let mut restored: BTreeMap<TenantId, RoaringBitmap> = BTreeMap::new();
        let seed = Offline::fact(&kv, Fact::HashSeed).unwrap_or(0);
        for (address, facts) in offline::manifest_entries(&kv, |_| {})? {
            // Nothing is known of the rows of a damaged one, so all its series are wanted.
            let damaged = examination.damaged.contains(&address.number);
            let Some(segment) = offline::open_segment(self.directory, &address, &facts) else {
                continue;
            };
            for group in segment.table_groups() {
                // One that cannot be read is reported where the segment is.
                let Ok(entries) = segment.table_group(group) else { continue };
                for (place, canonical) in entries {
                    let SeriesPlace { tenant, metric, series } = place;
                    let wanted = all
                        || damaged && !is_defined_anew(&kv, tenant, &canonical, seed)
                        || missing.get(&tenant).is_some_and(|ids| ids.contains(series.number()));
                    let Ok(key) = SeriesKey::decode(&canonical) else { continue };
                    if !wanted
                        || self.removed.contains(tenant)
                        || metric_of(&kv, tenant, series).is_some()
                    {
                        continue;
                    }
                    metrics.insert((tenant, metric), key.metric);
                    batch.put(&Key::Series(tenant, series), stored::definition(metric, &canonical));
                    restored.entry(tenant).or_default().insert(series.number());
                    if batch.len() >= CHANGES_AT_ONCE {
                        self.commit(std::mem::take(&mut batch))?;
                    }
                }
            }
        }
        self.commit(batch)?;
        for (tenant, ids) in &restored {
            let count = ids.len();
            self.step(format!("define {count} series of tenant {tenant} from series tables"));
        }
        nameless.extend(restored.keys());
        self.names(&kv, &metrics, &nameless)
    }

    /// Series that something refers to and that are not defined.
    fn missing(&self, examination: &Examination) -> BTreeMap<TenantId, RoaringBitmap> {
        let mut missing = examination.undefined.clone();
        let Some(indexed) = &examination.indexed else { return missing };
        for difference in &indexed.differences {
            let extra = &difference.found - &difference.wanted;
            let Some(tenant) = difference.tenant() else { continue };
            let known = indexed.defined.get(&tenant).cloned().unwrap_or_default();
            *missing.entry(tenant).or_default() |= extra - known;
        }
        missing.retain(|_, ids| !ids.is_empty());
        missing
    }

    /// Names metrics and tenants, without gaps in their numbers.
    fn names(
        &mut self,
        kv: &Kv,
        metrics: &BTreeMap<(TenantId, MetricNo), String>,
        tenants: &BTreeSet<TenantId>,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        let known_names = roster::read(self.directory);
        for &tenant in tenants {
            if kv.get(&Key::Tenant(tenant))?.is_none() {
                let name = known_names.get(&tenant).cloned().flatten();
                let name = name.unwrap_or_else(|| format!("tenant-{tenant}"));
                self.step(format!("name tenant {tenant}: {name}"));
                batch.put(&Key::Tenant(tenant), stored::versioned(name.as_bytes()));
            }
            let of_tenant = metrics.keys().filter(|(id, _)| *id == tenant);
            let Some(last) = of_tenant.map(|(_, metric)| metric.number()).max() else { continue };
            for number in 0..=last {
                let metric = MetricNo::new(number);
                let key = Key::Metric(tenant, metric);
                if kv.get(&key)?.is_some() {
                    continue;
                }
                let name = match metrics.get(&(tenant, metric)) {
                    Some(name) => name.clone(),
                    None => format!("lost.metric.{number}"),
                };
                batch.put(&key, stored::versioned(name.as_bytes()));
            }
        }
        self.commit(batch)
    }

    /// Series with rows that are still not defined.
    pub(super) fn still_undefined(&self, examination: &Examination) -> HashSet<(u32, u32)> {
        let mut undefined = HashSet::new();
        for (tenant, ids) in &examination.undefined {
            for id in ids {
                let series = SeriesId::new(id);
                let defined =
                    self.kv.as_ref().is_some_and(|kv| metric_of(kv, *tenant, series).is_some());
                if !defined {
                    undefined.insert((tenant.number(), id));
                }
            }
        }
        undefined
    }

    /// Makes lists and activity what definitions and rows ask for.
    pub(super) fn lists(&mut self, examination: &Examination) -> Result<(), Error> {
        let Some(indexed) = &examination.indexed else { return Ok(()) };
        let mut batch = Batch::default();
        // Definitions that were restored in this round ask for more than was known when the lists
        // were compared; the next round compares again.
        let settled = self.missing(examination).is_empty();
        let mut changed = 0_u64;
        for difference in indexed.differences.iter().filter(|_| settled) {
            let (key, ids) = (difference.key.clone(), &difference.wanted);
            if ids.is_empty() {
                batch.delete_raw(difference.family, key);
            } else if difference.family == Family::Posting {
                batch.put_raw(Family::Posting, key, id_set::encode(ids));
            } else {
                let ids: Vec<SeriesId> = ids.iter().map(SeriesId::new).collect();
                batch.put_raw(Family::Series, key, stored::id_list(&ids));
            }
            changed += 1;
            if batch.len() >= CHANGES_AT_ONCE {
                self.commit(std::mem::take(&mut batch))?;
            }
        }
        if !settled {
            self.leftovers(examination, &mut batch)?;
        }
        if changed > 0 {
            self.step(format!("write {changed} lists of the index anew from the definitions"));
        }
        for inactive in &examination.inactive {
            let key = Key::Activity(inactive.tenant, inactive.day);
            let stored = match &self.kv {
                Some(kv) => kv.get(&key)?,
                None => None,
            };
            let there = stored.and_then(|bytes| id_set::decode(&bytes).ok()).unwrap_or_default();
            let right = (there | &inactive.missing) - &inactive.unknown;
            batch.put_raw(Family::Activity, key.encode(), id_set::encode(&right));
        }
        if !examination.inactive.is_empty() {
            let days = examination.inactive.len();
            self.step(format!("write the activity of {days} days anew from the segments"));
        }
        self.commit(batch)
    }

    /// Takes ids out of lists that stand for nothing: no table defines them.
    fn leftovers(&mut self, examination: &Examination, batch: &mut Batch) -> Result<(), Error> {
        let Some(indexed) = &examination.indexed else { return Ok(()) };
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        let mut gone = 0;
        for (tenant, ids) in self.missing(examination) {
            let defined = |id: &u32| metric_of(&kv, tenant, SeriesId::new(*id)).is_some();
            let undefined: RoaringBitmap = ids.iter().filter(|id| !defined(id)).collect();
            if undefined.is_empty() {
                continue;
            }
            gone += undefined.len();
            let affects = Affected {
                tenant: Some(tenant),
                series: undefined.min().zip(undefined.max()),
                series_count: Some(undefined.len()),
                ..Affected::default()
            };
            let place = format!("definitions of tenant {tenant}");
            self.lost.add(Part::Definition, place, "no series table has them", affects);
            for difference in &indexed.differences {
                if difference.tenant() != Some(tenant) || difference.found.is_disjoint(&undefined) {
                    continue;
                }
                let rest = &difference.found - &undefined;
                match (rest.is_empty(), difference.family == Family::Posting) {
                    (true, _) => batch.delete_raw(difference.family, difference.key.clone()),
                    (false, true) => {
                        let value = id_set::encode(&rest);
                        batch.put_raw(Family::Posting, difference.key.clone(), value);
                    }
                    (false, false) => {
                        let ids: Vec<SeriesId> = rest.iter().map(SeriesId::new).collect();
                        let value = stored::id_list(&ids);
                        batch.put_raw(Family::Series, difference.key.clone(), value);
                    }
                }
            }
        }
        if gone > 0 {
            self.step(format!("take {gone} series without definition out of the lists"));
        }
        Ok(())
    }
}

/// Whether a series with this key has a definition, under whatever id: one that was removed and written
/// to again.
fn is_defined_anew(kv: &Kv, tenant: TenantId, canonical: &[u8], seed: u64) -> bool {
    let hash = xxh3_128_with_seed(canonical, seed);
    let ids = kv.get(&Key::SeriesHash(tenant, hash)).ok().flatten();
    let ids = ids.and_then(|value| stored::split_id_list(&value)).unwrap_or_default();
    ids.iter().any(|&id| {
        let value = kv.get(&Key::Series(tenant, id)).ok().flatten().unwrap_or_default();
        stored::split_definition(&value).is_ok_and(|(_, there)| there == canonical)
    })
}
