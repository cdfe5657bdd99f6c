//! Where a tenant's series come from: by metric, by dimension, by value, and when they were created.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::{Index, id_set};
use crate::error::Error;
use crate::key::{self, Family, PostingKind};
use crate::model::{TenantId, Timestamp};
use crate::segment::partition_of;
use crate::store::Store;

const HOUR_MS: i64 = 3_600_000;
/// Hours that [`Cardinality::new_per_hour`] tells of.
const HOURS: i32 = 24;
/// Most entries of each list of a [`Cardinality`].
pub const CARDINALITY_TOP_MAX: usize = 1000;

/// Where a tenant's series come from. Lists are descending by series, then ascending by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cardinality {
    /// Series there are.
    pub series: u64,
    /// Series with a sample today or yesterday (UTC days of the samples' times).
    pub active_series: u64,
    /// Metric names there are.
    pub metric_names: u64,
    /// Dimension names there are.
    pub dimension_names: u64,
    /// Metric name, series.
    pub by_metric: Vec<(String, u64)>,
    /// Dimension name, series, distinct values.
    pub by_dimension: Vec<(String, u64, u64)>,
    /// Dimension name, value, series.
    pub by_value: Vec<(String, String, u64)>,
    /// Start of an hour, series created in it; the last 24 hours, the current one last.
    pub new_per_hour: Vec<(Timestamp, u64)>,
}

/// The hour, counted from the epoch, in which something is done.
pub(crate) fn hour_of(time: Timestamp) -> i32 {
    i32::try_from(time.millis().div_euclid(HOUR_MS)).unwrap_or(i32::MAX)
}

/// The greatest of many counts; as many as are asked for.
struct Top<T: Ord> {
    most: usize,
    /// Count, and what it is of, reversed so that the alphabet decides among equal counts.
    found: BTreeSet<(u64, Reverse<T>)>,
}

impl<T: Ord> Top<T> {
    fn new(most: usize) -> Self {
        Top { most, found: BTreeSet::new() }
    }

    /// Whether an entry with this count may be among them; saves making it.
    fn takes(&self, count: u64) -> bool {
        self.found.len() < self.most
            || self.found.first().is_some_and(|(smallest, _)| count >= *smallest)
    }

    fn add(&mut self, count: u64, of: T) {
        self.found.insert((count, Reverse(of)));
        if self.found.len() > self.most {
            self.found.pop_first();
        }
    }

    fn into_list(self) -> impl Iterator<Item = (T, u64)> {
        self.found.into_iter().rev().map(|(count, Reverse(of))| (of, count))
    }
}

impl Index {
    fn cardinality(
        &self,
        tenant: TenantId,
        top: usize,
        now: Timestamp,
    ) -> Result<Cardinality, Error> {
        let Some(known) = self.tenant_by_id(tenant) else { return Ok(Cardinality::default()) };
        let mut report = Cardinality::default();
        let mut metrics_top = Top::new(top);
        {
            let metrics = known.metrics.read().expect("no code panics while it holds metrics");
            report.series = metrics.present_count();
            for (name, count) in metrics.with_series() {
                report.metric_names += 1;
                if metrics_top.takes(count.into()) {
                    metrics_top.add(count.into(), str::to_owned(name));
                }
            }
            let this_hour = hour_of(now);
            report.new_per_hour = (this_hour.saturating_sub(HOURS - 1)..=this_hour)
                .map(|hour| {
                    let start = Timestamp::from_millis(i64::from(hour).saturating_mul(HOUR_MS));
                    (start, metrics.created_in(hour))
                })
                .collect();
        }
        report.by_metric = metrics_top.into_list().collect();
        let mut values: HashMap<String, u64> = HashMap::new();
        let mut values_top = Top::new(top);
        let prefix = key::posting_prefix(tenant, PostingKind::Dimension, None);
        self.kv.scan(Family::Posting, &prefix, &prefix, |key, stored| {
            let corrupt = || Error::corrupt("key", "posting");
            let (name, value) = key::decode_posting(key).ok_or_else(corrupt)?;
            let count = id_set::count(stored)?;
            match values.get_mut(&name) {
                Some(values) => *values += 1,
                None => {
                    values.insert(name.clone(), 1);
                }
            }
            if values_top.takes(count) {
                values_top.add(count, (name, value));
            }
            Ok::<_, Error>(true)
        })?;
        report.by_value =
            values_top.into_list().map(|((name, value), count)| (name, value, count)).collect();
        let mut names_top = Top::new(top);
        self.each_text((tenant, PostingKind::Name, ""), "", None, |name, stored| {
            report.dimension_names += 1;
            names_top.add(id_set::count(stored)?, name.to_owned());
            Ok(true)
        })?;
        report.by_dimension = names_top
            .into_list()
            .map(|(name, count)| {
                let values = values.get(&name).copied().unwrap_or(0);
                (name, count, values)
            })
            .collect();
        Ok(report)
    }
}

impl Store {
    /// Where a tenant's series come from; up to `top` entries in each list, at most
    /// [`CARDINALITY_TOP_MAX`]. Reads every posting list of the tenant: about a second for a million
    /// distinct values.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if a posting list does not verify.
    pub fn cardinality(&self, tenant: TenantId, top: usize) -> Result<Cardinality, Error> {
        let now = self.shared.clock.now();
        let top = top.clamp(1, CARDINALITY_TOP_MAX);
        let mut report = self.shared.index.cardinality(tenant, top, now)?;
        let yesterday = partition_of(now.millis()).saturating_sub(1);
        report.active_series = self.active_days(tenant, yesterday, i32::MAX)?.len();
        Ok(report)
    }
}
