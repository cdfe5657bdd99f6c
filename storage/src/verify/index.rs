//! The index against itself, both ways. Every definition claims its place in the lists of its metric,
//! its dimensions and its hash; every id in a list is a claim too. The sums of both kinds of claims,
//! hashed, are equal in a healthy store, so nothing but sums is kept in memory; only the lists whose
//! sums differ are compared one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use super::Verified;
use super::problem::{Affected, Findings, Part};
use super::segments::Present;
use crate::error::Error;
use crate::index::{self, id_set};
use crate::key::{self, Fact, Family, Key, PostingKind};
use crate::kv::Kv;
use crate::model::{MetricNo, SeriesId, SeriesKey, TenantId};

/// Sums of claims: so many that few lists share one.
const SUMS: usize = 1 << 16;

/// A list of ids that is not what the definitions ask for.
pub(crate) struct Difference {
    pub(crate) family: Family,
    pub(crate) key: Vec<u8>,
    /// What definitions ask for.
    pub(crate) wanted: RoaringBitmap,
    /// What is there.
    pub(crate) found: RoaringBitmap,
}

impl Difference {
    /// Whose list it is.
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        match self.family {
            Family::Posting => key::decode_posting_tenant(&self.key),
            Family::Meta
            | Family::Series
            | Family::Activity
            | Family::Wal
            | Family::Manifest
            | Family::Record
            | Family::Journal => key::decode_hash(&self.key).map(|(tenant, _)| tenant),
        }
    }
}

/// What the check has found out of the index.
#[derive(Default)]
pub(crate) struct Indexed {
    pub(crate) tenants: BTreeMap<TenantId, String>,
    pub(crate) metrics: HashMap<(TenantId, MetricNo), String>,
    pub(crate) seed: u64,
    /// Series with a definition that decodes.
    pub(crate) defined: BTreeMap<TenantId, RoaringBitmap>,
    pub(crate) differences: Vec<Difference>,
    /// Metrics that definitions name and that have no name of their own.
    pub(crate) nameless: BTreeMap<(TenantId, MetricNo), String>,
    /// Definitions that do not decode.
    pub(crate) unreadable: Vec<(TenantId, SeriesId)>,
}

/// Reads all of the index.
pub(crate) fn check(
    kv: &Kv,
    findings: &Findings,
    verified: &mut Verified,
) -> Result<Indexed, Error> {
    let mut indexed = names(kv, findings)?;
    let mut wanted = vec![0_u64; SUMS];
    definitions(kv, &mut indexed, findings, verified, &mut |family, key, id| {
        add(&mut wanted, family, key, id);
    })?;
    let mut found = vec![0_u64; SUMS];
    let report = Some((findings, &mut *verified));
    lists(kv, report, &mut |family, key, ids| {
        ids.iter().for_each(|id| add(&mut found, family, key, id));
    })?;
    if wanted != found {
        indexed.differences = differences(kv, &indexed, &wanted, &found)?;
    }
    for difference in &indexed.differences {
        report_difference(difference, findings);
    }
    Ok(indexed)
}

/// Tenants, metrics and the seed of the hash.
pub(crate) fn names(kv: &Kv, findings: &Findings) -> Result<Indexed, Error> {
    let mut indexed = Indexed::default();
    match kv.get(&Key::Fact(Fact::HashSeed))?.map(<[u8; 8]>::try_from) {
        Some(Ok(bytes)) => indexed.seed = u64::from_le_bytes(bytes),
        Some(Err(_)) | None => {
            findings.add(Part::Facts, "hash seed", "missing or bad", Affected::default());
        }
    }
    kv.scan(Family::Meta, &key::TENANT_PREFIX, &key::TENANT_PREFIX, |key, value| {
        match (key::decode_tenant(key), index::text(value, "tenant")) {
            (Some(tenant), Ok(name)) => drop(indexed.tenants.insert(tenant, name)),
            _ => findings.add(
                Part::Definition,
                format!("tenant {key:02x?}"),
                "bad name",
                Affected::default(),
            ),
        }
        Ok::<_, Error>(true)
    })?;
    let mut next: BTreeMap<TenantId, u32> = BTreeMap::new();
    kv.scan(Family::Series, &key::METRIC_PREFIX, &key::METRIC_PREFIX, |key, value| {
        let place = || format!("metric {key:02x?}");
        match (key::decode_metric(key), index::text(value, "metric")) {
            (Some((tenant, metric)), Ok(name)) => {
                let next = next.entry(tenant).or_default();
                if metric.number() != *next || !indexed.tenants.contains_key(&tenant) {
                    let affects = Affected { tenant: Some(tenant), ..Affected::default() };
                    let what = "number does not follow the one before";
                    findings.add(Part::Definition, place(), what, affects);
                }
                *next = metric.number().saturating_add(1);
                indexed.metrics.insert((tenant, metric), name);
            }
            _ => findings.add(Part::Definition, place(), "bad name", Affected::default()),
        }
        Ok::<_, Error>(true)
    })?;
    Ok(indexed)
}

/// Calls `claim` with family, key and id of every list that a definition asks to be in.
fn definitions(
    kv: &Kv,
    indexed: &mut Indexed,
    findings: &Findings,
    verified: &mut Verified,
    claim: &mut dyn FnMut(Family, &[u8], u32),
) -> Result<(), Error> {
    let prefix = key::DEFINITION_PREFIX;
    kv.scan(Family::Series, &prefix, &prefix, |key, value| {
        let Some((tenant, series)) = key::decode_definition(key) else {
            let place = format!("definition {key:02x?}");
            findings.add(Part::Definition, place, "bad key", Affected::default());
            return Ok(true);
        };
        verified.definitions += 1;
        let wrong = |what: &str| {
            let place = format!("definition of series {series} of tenant {tenant}");
            findings.add(Part::Definition, place, what, one(tenant, series));
        };
        let split = index::split_definition(value);
        let decoded = split
            .and_then(|(metric, canonical)| Ok((metric, canonical, SeriesKey::decode(canonical)?)));
        let Ok((metric, canonical, series_key)) = decoded else {
            wrong("does not decode");
            indexed.unreadable.push((tenant, series));
            return Ok(true);
        };
        indexed.defined.entry(tenant).or_default().insert(series.number());
        match indexed.metrics.get(&(tenant, metric)) {
            Some(name) if *name == series_key.metric => {}
            Some(_) => wrong("names another metric than its number"),
            None => {
                if indexed.nameless.insert((tenant, metric), series_key.metric.clone()).is_none() {
                    wrong("has a metric without a name");
                }
            }
        }
        if !indexed.tenants.contains_key(&tenant) {
            wrong("has an unknown tenant");
        }
        claims(tenant, canonical, &series_key, indexed.seed, |family, key| {
            claim(family, key, series.number());
        });
        Ok::<_, Error>(true)
    })
}

/// Calls `each` with family and key of every list a series belongs in.
pub(crate) fn claims(
    tenant: TenantId,
    canonical: &[u8],
    key: &SeriesKey,
    seed: u64,
    mut each: impl FnMut(Family, &[u8]),
) {
    let hash = xxh3_128_with_seed(canonical, seed);
    each(Family::Series, &Key::SeriesHash(tenant, hash).encode());
    let metric = Key::Posting(tenant, PostingKind::Metric, "", &key.metric);
    each(Family::Posting, &metric.encode());
    for (name, value) in key.dimensions.iter() {
        let dimension = Key::Posting(tenant, PostingKind::Dimension, name, value);
        each(Family::Posting, &dimension.encode());
        each(Family::Posting, &Key::Posting(tenant, PostingKind::Name, "", name).encode());
    }
}

/// Calls `each` with every list there is.
fn lists(
    kv: &Kv,
    mut report: Option<(&Findings, &mut Verified)>,
    each: &mut dyn FnMut(Family, &[u8], &RoaringBitmap),
) -> Result<(), Error> {
    let prefix = key::HASH_PREFIX;
    kv.scan(Family::Series, &prefix, &prefix, |key, value| {
        match index::split_id_list(value) {
            Some(ids) => each(Family::Series, key, &ids.iter().map(|id| id.number()).collect()),
            None => bad_list(&report, key, "list of series by hash"),
        }
        Ok::<_, Error>(true)
    })?;
    kv.scan(Family::Posting, &[], &[], |key, value| {
        match id_set::decode(value) {
            Ok(ids) => each(Family::Posting, key, &ids),
            Err(_) => bad_list(&report, key, "posting list"),
        }
        if let Some((_, verified)) = &mut report {
            verified.postings += 1;
        }
        Ok::<_, Error>(true)
    })
}

fn bad_list(report: &Option<(&Findings, &mut Verified)>, key: &[u8], what: &str) {
    if let Some((findings, _)) = report {
        let place = format!("{what} {key:02x?}");
        findings.add(Part::Posting, place, "does not decode", Affected::default());
    }
}

fn sum_of(family: Family, key: &[u8]) -> (usize, u64) {
    let hash = xxh3_64_with_seed(key, family as u64);
    let at = usize::try_from(hash % (1 << 16)).unwrap_or(0);
    (at, hash)
}

fn add(sums: &mut [u64], family: Family, key: &[u8], id: u32) {
    let (at, hash) = sum_of(family, key);
    let claim = xxh3_64(&(u128::from(hash) << 32 | u128::from(id)).to_le_bytes());
    if let Some(sum) = sums.get_mut(at) {
        *sum = sum.wrapping_add(claim);
    }
}

/// The lists whose sums differ, compared.
fn differences(
    kv: &Kv,
    indexed: &Indexed,
    wanted: &[u64],
    found: &[u64],
) -> Result<Vec<Difference>, Error> {
    let differs = |family, key: &[u8]| {
        let (at, _) = sum_of(family, key);
        wanted.get(at) != found.get(at)
    };
    type Lists = HashMap<(Family, Vec<u8>), (RoaringBitmap, RoaringBitmap)>;
    let mut both: Lists = HashMap::new();
    let mut again = Indexed {
        metrics: indexed.metrics.clone(),
        tenants: indexed.tenants.clone(),
        seed: indexed.seed,
        ..Indexed::default()
    };
    let nowhere = Findings::default();
    definitions(kv, &mut again, &nowhere, &mut Verified::default(), &mut |family, key, id| {
        if differs(family, key) {
            both.entry((family, key.to_vec())).or_default().0.insert(id);
        }
    })?;
    lists(kv, None, &mut |family, key, ids| {
        if differs(family, key) {
            both.entry((family, key.to_vec())).or_default().1 = ids.clone();
        }
    })?;
    let mut differences: Vec<Difference> = both
        .into_iter()
        .filter(|(_, (wanted, found))| wanted != found)
        .map(|((family, key), (wanted, found))| Difference { family, key, wanted, found })
        .collect();
    differences.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(differences)
}

fn report_difference(difference: &Difference, findings: &Findings) {
    let Difference { family, key, wanted, found } = difference;
    let tenant = difference.tenant();
    let place = if *family == Family::Posting {
        let (name, value) = key::decode_posting(key).unwrap_or_default();
        if name.is_empty() {
            format!("posting list of metric {value}")
        } else {
            format!("posting list of {name}={value}")
        }
    } else {
        let hash = key::decode_hash(key).map_or(0, |(_, hash)| hash);
        format!("series with hash {hash:032x}")
    };
    for (ids, what) in [(wanted - found, "lacks"), (found - wanted, "has too many:")] {
        if let (Some(first), Some(last)) = (ids.min(), ids.max()) {
            let affects = Affected {
                tenant,
                series: Some((first, last)),
                series_count: Some(ids.len()),
                ..Affected::default()
            };
            let what = format!("{what} {} series", ids.len());
            findings.add(Part::Posting, place.clone(), what, affects);
        }
    }
}

/// Series whose activity is missing on a day, and ids there that no series has.
pub(crate) struct Inactive {
    pub(crate) tenant: TenantId,
    pub(crate) day: i32,
    pub(crate) missing: RoaringBitmap,
    pub(crate) unknown: RoaringBitmap,
}

/// Compares activity with the rows of segments and with the definitions. Of tenants that are `leaving` some
/// may be there: a flush that was under way when they were removed has left it, and it goes with their
/// tombstone.
pub(crate) fn check_activity(
    kv: &Kv,
    present: &Present,
    defined: &BTreeMap<TenantId, RoaringBitmap>,
    leaving: &BTreeSet<TenantId>,
    findings: &Findings,
) -> Result<Vec<Inactive>, Error> {
    let mut wrong = Vec::new();
    let nothing = RoaringBitmap::new();
    let defined = |tenant| defined.get(&tenant).unwrap_or(&nothing);
    kv.scan(Family::Activity, &[], &[], |key, value| {
        let Some((tenant, day)) = key::decode_activity(key) else {
            let place = format!("activity {key:02x?}");
            findings.add(Part::Activity, place, "bad key", Affected::default());
            return Ok(true);
        };
        let active = id_set::decode(value).unwrap_or_else(|_| {
            let affects = Affected { tenant: Some(tenant), ..Affected::default() };
            let place = format!("activity of day {day}");
            findings.add(Part::Activity, place, "does not decode", affects);
            RoaringBitmap::new()
        });
        let rows = present.get(&(tenant, day)).unwrap_or(&nothing);
        let missing = (rows - &active) & defined(tenant);
        let unknown = active - defined(tenant);
        if leaving.contains(&tenant) {
            return Ok(true);
        }
        if !missing.is_empty() || !unknown.is_empty() {
            wrong.push(Inactive { tenant, day, missing, unknown });
        }
        Ok::<_, Error>(true)
    })?;
    for (&(tenant, day), rows) in present {
        let missing = rows & defined(tenant);
        if !missing.is_empty() && kv.get(&Key::Activity(tenant, day))?.is_none() {
            wrong.push(Inactive { tenant, day, missing, unknown: RoaringBitmap::new() });
        }
    }
    for inactive in &wrong {
        let Inactive { tenant, day, missing, unknown } = inactive;
        let both = missing | unknown;
        let affects = Affected {
            tenant: Some(*tenant),
            series: both.min().zip(both.max()),
            series_count: Some(both.len()),
            ..Affected::default()
        };
        let what =
            format!("lacks {} series and has {} that do not exist", missing.len(), unknown.len());
        findings.add(Part::Activity, format!("activity of day {day}"), what, affects);
    }
    Ok(wrong)
}

/// One series.
fn one(tenant: TenantId, series: SeriesId) -> Affected {
    Affected {
        tenant: Some(tenant),
        series: Some((series.number(), series.number())),
        series_count: Some(1),
        ..Affected::default()
    }
}
