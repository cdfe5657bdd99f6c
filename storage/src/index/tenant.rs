//! What is kept in memory of a tenant: its metrics, the metric of each series, which ids have been
//! taken back. 4 bytes a series, and 4 a metric.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use roaring::RoaringBitmap;

use crate::model::{MetricNo, SeriesId};

/// What is kept in memory of a tenant.
pub(crate) struct Tenant {
    pub(crate) name: Arc<str>,
    pub(crate) metrics: RwLock<Metrics>,
    /// How often series have been removed. A request that is older may hold an id that is gone.
    removals: AtomicU64,
    /// Series that must not be removed, with the number of those who hold them. Bounded by the
    /// series there are.
    held: Mutex<HashMap<SeriesId, u32>>,
}

impl Tenant {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Tenant {
            name,
            metrics: RwLock::default(),
            removals: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    /// How many series ids have been given.
    pub(crate) fn series_count(&self) -> u32 {
        let metrics = self.metrics.read().expect("no code panics while it holds metrics");
        metrics.series_count()
    }

    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Called when ids are gone from index and cache.
    pub(crate) fn count_removal(&self) {
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn hold(&self, ids: &[SeriesId]) {
        let mut held = self.held.lock().expect("no code panics while it holds the held series");
        for &id in ids {
            *held.entry(id).or_default() += 1;
        }
    }

    pub(crate) fn release(&self, ids: &[SeriesId]) {
        let mut held = self.held.lock().expect("no code panics while it holds the held series");
        for id in ids {
            if let Some(holders) = held.get_mut(id) {
                *holders -= 1;
                if *holders == 0 {
                    held.remove(id);
                }
            }
        }
    }

    /// Takes the series out of `ids` that somebody holds.
    pub(crate) fn without_held(&self, ids: &mut RoaringBitmap) {
        let held = self.held.lock().expect("no code panics while it holds the held series");
        for id in held.keys() {
            ids.remove(id.number());
        }
    }
}

/// Metrics of a tenant, and the metric of each series.
#[derive(Default)]
pub(crate) struct Metrics {
    by_name: HashMap<Arc<str>, MetricNo>,
    names: Vec<Arc<str>>,
    of_series: Vec<MetricNo>,
    /// Series of each metric.
    counts: Vec<u32>,
    /// Ids that were given once and have no series now.
    removed: RoaringBitmap,
    /// How many ids had been given before the first one of an hour: the last two days.
    hours: BTreeMap<i32, u32>,
}

/// Hours of which it is known how many series were created.
const HOURS_KEPT: i32 = 48;
/// Stands for the metric of an id without a series. Sorts last.
const NO_METRIC: MetricNo = MetricNo::new(u32::MAX);

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Metrics {
    pub(crate) fn number(&self, name: &str) -> Option<MetricNo> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name(&self, metric: MetricNo) -> Option<&Arc<str>> {
        self.names.get(place(metric.number()))
    }

    /// The metric of a series; of an unknown series one that sorts last.
    pub(crate) fn of(&self, series: SeriesId) -> MetricNo {
        self.of_series.get(place(series.number())).copied().unwrap_or(NO_METRIC)
    }

    pub(crate) fn metric_count(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// How many ids have been given: the next one.
    pub(crate) fn series_count(&self) -> u32 {
        u32::try_from(self.of_series.len()).unwrap_or(u32::MAX)
    }

    /// How many series there are.
    pub(crate) fn present_count(&self) -> u64 {
        u64::from(self.series_count()).saturating_sub(self.removed.len())
    }

    /// The ids of all series.
    pub(crate) fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series_count());
        all -= &self.removed;
        all
    }

    /// Names of the metrics that have series and how many, in no order.
    pub(crate) fn with_series(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.names.iter().zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn is_removed(&self, series: SeriesId) -> bool {
        self.removed.contains(series.number())
    }

    /// The hour to which a series counts that is created in `hour`, and whether it is the first one.
    /// Ids are given in order of time, so an hour that lies before a known one, because the clock was
    /// set back, counts as that.
    pub(crate) fn hour_of_creation(&self, hour: i32) -> (i32, bool) {
        match self.hours.last_key_value() {
            Some((&last, _)) if last >= hour => (last, false),
            Some(_) | None => (hour, true),
        }
    }

    /// Notes how many ids had been given before the first one of `hour`, and forgets old hours.
    pub(crate) fn begin_hour(&mut self, hour: i32, before: u32) {
        self.hours.insert(hour, before);
        self.hours = self.hours.split_off(&hour.saturating_sub(HOURS_KEPT));
    }

    /// Hours that are forgotten when `hour` begins.
    pub(crate) fn hours_before(&self, hour: i32) -> Vec<i32> {
        self.hours.range(..hour.saturating_sub(HOURS_KEPT)).map(|(&hour, _)| hour).collect()
    }

    /// How many series were created in an hour.
    pub(crate) fn created_in(&self, hour: i32) -> u64 {
        let Some(&before) = self.hours.get(&hour) else { return 0 };
        let next = self.hours.range(hour.saturating_add(1)..).next();
        let after = next.map_or(self.series_count(), |(_, &after)| after);
        u64::from(after.saturating_sub(before))
    }

    /// Adds a metric. Numbers are dense, so the new one is the count so far.
    pub(crate) fn add_metric(&mut self, name: &str) {
        let name: Arc<str> = name.into();
        self.by_name.insert(name.clone(), MetricNo::new(self.metric_count()));
        self.names.push(name);
        self.counts.push(0);
    }

    /// Adds a series. Ids are dense, so the new one is the count so far.
    pub(crate) fn add_series(&mut self, metric: MetricNo) {
        self.of_series.push(metric);
        if let Some(count) = self.counts.get_mut(place(metric.number())) {
            *count += 1;
        }
    }

    /// Takes the series over that a metric has, at start.
    pub(crate) fn load(&mut self, metric: MetricNo, ids: &RoaringBitmap) {
        self.reserve(ids.max().map_or(0, |last| last.saturating_add(1)));
        for id in ids {
            if let Some(slot) = self.of_series.get_mut(place(id)) {
                *slot = metric;
            }
        }
        if let Some(count) = self.counts.get_mut(place(metric.number())) {
            *count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        }
    }

    /// Makes sure that ids below `count` count as given.
    pub(crate) fn reserve(&mut self, count: u32) {
        if self.of_series.len() < place(count) {
            self.of_series.resize(place(count), NO_METRIC);
        }
    }

    /// Notes the ids without a series, when all metrics are loaded.
    pub(crate) fn loaded(&mut self) {
        self.of_series.shrink_to_fit();
        let of_series = (0..u32::MAX).zip(&self.of_series);
        let missing = of_series.filter(|(_, metric)| **metric == NO_METRIC).map(|(id, _)| id);
        self.removed = missing.collect();
    }

    pub(crate) fn remove(&mut self, ids: &RoaringBitmap) {
        for id in ids {
            let Some(slot) = self.of_series.get_mut(place(id)) else { continue };
            let metric = std::mem::replace(slot, NO_METRIC);
            if let Some(count) = self.counts.get_mut(place(metric.number())) {
                *count = count.saturating_sub(1);
            }
            self.removed.insert(id);
        }
    }
}
