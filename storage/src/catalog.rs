//! The catalogue of a tenant: which series there are, their names and values, as a reader asks for
//! them. The index answers all of it; samples are looked at only for a span of time that begins or
//! ends within a day, and then only for as many series as the answer needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::error::Error;
use crate::index::Within;
use crate::key::PostingKind;
use crate::model::{Selector, SeriesId, SeriesKey, TenantId, TimeRange, Timestamp};
use crate::retention::RollupStep;
use crate::segment::partition_of;
use crate::sieve::{Basis, TenantSieve};
use crate::store::Store;
use crate::view::View;

/// Series looked up at a time where the first one with a sample is enough.
const LOOKED_UP_AT_ONCE: usize = 64;
/// A selection of so few series is put in order by itself, instead of metric by metric.
const SORTED_TOGETHER_MAX: u64 = 4096;

/// Selected series, as far as the index knows them.
struct Selection {
    /// Those with a sample in the span, and those that may have one.
    ids: RoaringBitmap,
    /// Those that may or may not have one: they have samples on a day that the span covers in part.
    open: RoaringBitmap,
    /// Where to find out.
    samples: Option<(View, TimeRange)>,
}

/// Series whose samples have expired up to some instant of one day.
struct Expired {
    earliest: i64,
    ids: RoaringBitmap,
}

impl Default for Expired {
    fn default() -> Self {
        Expired { earliest: i64::MAX, ids: RoaringBitmap::new() }
    }
}

impl Selection {
    fn of_all(ids: RoaringBitmap) -> Self {
        Selection { ids, open: RoaringBitmap::new(), samples: None }
    }

    /// Finds out about some open series, and returns those of them that have a sample.
    fn look_up(&mut self, some: &[SeriesId]) -> Result<RoaringBitmap, Error> {
        let Some((view, range)) = &self.samples else { return Ok(RoaringBitmap::new()) };
        let with: RoaringBitmap =
            view.with_samples(some, *range)?.into_iter().map(SeriesId::number).collect();
        for id in some.iter().map(|id| id.number()) {
            self.open.remove(id);
            if !with.contains(id) {
                self.ids.remove(id);
            }
        }
        Ok(with)
    }

    /// Finds out about all of `ids` that are open.
    fn settle(&mut self, ids: impl Iterator<Item = SeriesId>) -> Result<(), Error> {
        let open: Vec<SeriesId> = ids.filter(|id| self.open.contains(id.number())).collect();
        if !open.is_empty() {
            self.look_up(&open)?;
        }
        Ok(())
    }

    fn contains(&self, id: SeriesId) -> bool {
        self.ids.contains(id.number())
    }

    /// Adds those of `series` that are selected to `page`, until it has `limit`.
    fn fill(
        &mut self,
        series: &[SeriesId],
        page: &mut Vec<SeriesId>,
        limit: usize,
    ) -> Result<(), Error> {
        let mut rest = series;
        while !rest.is_empty() && page.len() < limit {
            let missing = limit - page.len();
            let (some, more) = rest.split_at(missing.max(LOOKED_UP_AT_ONCE).min(rest.len()));
            rest = more;
            self.settle(some.iter().copied())?;
            page.extend(some.iter().copied().filter(|id| self.contains(*id)).take(missing));
        }
        Ok(())
    }
}

impl Within for Selection {
    fn any_of(&mut self, ids: &RoaringBitmap) -> Result<bool, Error> {
        let here = ids & &self.ids;
        let open = &here & &self.open;
        if here.len() > open.len() {
            return Ok(true);
        }
        let open: Vec<SeriesId> = open.iter().map(SeriesId::new).collect();
        for some in open.chunks(LOOKED_UP_AT_ONCE) {
            if !self.look_up(some)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn prepare(&mut self, sets: &[RoaringBitmap]) -> Result<(), Error> {
        // One or two series of each set: where those had a sample, the set is answered.
        const OF_EACH: usize = 2;
        if self.open.is_empty() {
            return Ok(());
        }
        let mut some = RoaringBitmap::new();
        for set in sets {
            let here = set & &self.ids;
            let open = &here & &self.open;
            if here.len() == open.len() {
                some.extend(open.iter().take(OF_EACH));
            }
        }
        self.settle(some.iter().map(SeriesId::new))
    }

    fn len_at_most(&self) -> u64 {
        self.ids.len()
    }

    fn all(&mut self) -> Result<RoaringBitmap, Error> {
        let open = std::mem::take(&mut self.open);
        let some: Vec<SeriesId> = open.iter().map(SeriesId::new).collect();
        self.look_up(&some)?;
        Ok(self.ids.clone())
    }
}

impl Store {
    /// The series that `selector` selects, ascending by metric, then id.
    ///
    /// # Errors
    /// `Limit` if a regular expression would be run over too much, `Stopped` if RocksDB cannot read.
    pub fn select(&self, tenant: TenantId, selector: &Selector) -> Result<Vec<SeriesId>, Error> {
        let ids = self.selection(tenant, selector)?.all()?;
        let Some(known) = self.shared.index.tenant_by_id(tenant) else { return Ok(Vec::new()) };
        let mut series: Vec<SeriesId> = ids.iter().map(SeriesId::new).collect();
        if selector.metric.is_none() {
            let metrics = known.metrics.read().expect("no code panics while it holds metrics");
            series.sort_by_key(|&id| (metrics.of(id), id));
        }
        Ok(series)
    }

    /// Up to `limit` of the selected series behind `after` (metric name and id), ascending by metric
    /// name in byte order, then id. Looks for samples in the span of only so many series as the page
    /// needs.
    ///
    /// # Errors
    /// As for [`select`](Self::select).
    pub fn select_page(
        &self,
        tenant: TenantId,
        selector: &Selector,
        after: Option<(&str, SeriesId)>,
        limit: usize,
    ) -> Result<Vec<SeriesId>, Error> {
        let mut selection = self.selection(tenant, selector)?;
        let mut page = Vec::new();
        let index = &self.shared.index;
        if selection.ids.len() <= SORTED_TOGETHER_MAX {
            let series = self.by_metric_name(tenant, &selection.ids);
            let from = after.map_or(0, |(name, last)| {
                series.partition_point(|(metric, id)| (&**metric, *id) <= (name, last))
            });
            let behind: Vec<SeriesId> = series.into_iter().skip(from).map(|(_, id)| id).collect();
            selection.fill(&behind, &mut page, limit)?;
            return Ok(page);
        }
        let names = match &selector.metric {
            Some(name) => vec![name.clone()],
            None => index.metrics_of(tenant),
        };
        for name in names.iter().filter(|name| after.is_none_or(|(last, _)| name.as_str() >= last))
        {
            if page.len() >= limit {
                break;
            }
            let ids = index.posting(tenant, PostingKind::Metric, "", name)? & &selection.ids;
            let behind = match after {
                Some((last_name, last)) if last_name == name => last.number().saturating_add(1),
                Some(_) | None => 0,
            };
            let series: Vec<SeriesId> = ids.range(behind..).map(SeriesId::new).collect();
            selection.fill(&series, &mut page, limit)?;
        }
        Ok(page)
    }

    /// Series with the names of their metrics, by name, then id.
    fn by_metric_name(&self, tenant: TenantId, ids: &RoaringBitmap) -> Vec<(Arc<str>, SeriesId)> {
        let Some(tenant) = self.shared.index.tenant_by_id(tenant) else { return Vec::new() };
        let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
        let named = ids.iter().map(SeriesId::new);
        let mut named: Vec<(Arc<str>, SeriesId)> =
            named.filter_map(|id| Some((metrics.name(metrics.of(id))?.clone(), id))).collect();
        drop(metrics);
        named.sort_unstable();
        named
    }

    fn selection(&self, tenant: TenantId, selector: &Selector) -> Result<Selection, Error> {
        self.interrupt.check()?;
        let ids = self.shared.index.select(tenant, selector)?;
        match selector.active {
            Some(range) if !ids.is_empty() => self.visible(tenant, ids, range),
            Some(_) | None => Ok(Selection::of_all(ids)),
        }
    }

    /// Those of `ids` that have a sample in `range` that may be seen. The index tells of what is
    /// stored: of what has expired the span is cut off, what was deleted stays open.
    fn visible(
        &self,
        tenant: TenantId,
        ids: RoaringBitmap,
        range: TimeRange,
    ) -> Result<Selection, Error> {
        let shared = &self.shared;
        let now = shared.retention.hidden_by(shared.clock.now());
        let rules = shared.retention.rules();
        let tombstones = shared.live.lock().tombstones.clone();
        let sieve = TenantSieve::new(tenant, &rules, &shared.index, now, &tombstones, Basis::Seen);
        let Some(sieve) = sieve else { return Ok(Selection::of_all(RoaringBitmap::new())) };
        let (mut certain, mut open) = self.active(tenant, &ids, range)?;
        let last = partition_of(range.end.millis().saturating_sub(1));
        let ends_inside = partition_of(range.end.millis()) == last;
        // Active on whole days behind the one that is looked at: days descend.
        let mut behind = RoaringBitmap::new();
        let mut reached = if ends_inside { last } else { last.saturating_add(1) };
        for (day, floors) in
            self.by_floor(tenant, &sieve, &certain | &open, range.start).iter().rev()
        {
            certain -= &floors.ids;
            open -= &floors.ids;
            if floors.earliest >= range.end.millis() {
                continue;
            }
            if day.saturating_add(1) < reached {
                let days = (day.saturating_add(1), reached.saturating_sub(1));
                behind |= self.active_days(tenant, days.0, days.1)?;
                reached = day.saturating_add(1);
            }
            let mut edges = self.active_days(tenant, *day, *day)?;
            if ends_inside {
                edges |= self.active_days(tenant, last, last)?;
            }
            let some = &behind & &floors.ids;
            open |= (edges & &floors.ids) - &some;
            certain |= some;
        }
        if RollupStep::ALL.into_iter().any(|step| rules.longest(step).is_some()) {
            open |= self.rolled(tenant, &sieve, &ids, range)? - &certain;
        }
        for tombstone in sieve.tombstones().iter().filter(|tombstone| tombstone.overlaps(range)) {
            let doubtful = &certain & &tombstone.series;
            certain -= &doubtful;
            open |= doubtful;
        }
        let samples = (!open.is_empty()).then(|| (self.view(tenant), range));
        Ok(Selection { ids: certain | &open, open, samples })
    }

    /// Series of which a part of the span from `start` on has expired, by the day until which it has.
    fn by_floor(
        &self,
        tenant: TenantId,
        sieve: &TenantSieve,
        ids: RoaringBitmap,
        start: Timestamp,
    ) -> BTreeMap<i32, Expired> {
        let mut days: BTreeMap<i32, Expired> = BTreeMap::new();
        let Some(known) = self.shared.index.tenant_by_id(tenant) else { return days };
        if sieve.greatest_floor() <= start.millis() {
            return days;
        }
        let metrics = known.metrics.read().expect("no code panics while it holds metrics");
        for id in ids {
            let floor = sieve.floor(metrics.of(SeriesId::new(id)));
            if floor > start.millis() {
                let day = days.entry(partition_of(floor)).or_default();
                day.earliest = day.earliest.min(floor);
                day.ids.insert(id);
            }
        }
        days
    }

    /// Series of which there may be rollups of what has expired in `range`.
    fn rolled(
        &self,
        tenant: TenantId,
        sieve: &TenantSieve,
        ids: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<RoaringBitmap, Error> {
        // By the instants before which rollups, and samples, have expired.
        let mut spans: BTreeMap<(i64, i64), RoaringBitmap> = BTreeMap::new();
        if let Some(known) = self.shared.index.tenant_by_id(tenant) {
            let metrics = known.metrics.read().expect("no code panics while it holds metrics");
            for id in ids {
                let metric = metrics.of(SeriesId::new(id));
                let floor = sieve.floor(metric);
                let rolled = |step| sieve.floors().of_rollup(metric, step);
                let rolled = RollupStep::ALL.into_iter().filter_map(rolled).min();
                if let Some(rolled) = rolled.filter(|&rolled| rolled < floor) {
                    spans.entry((rolled, floor)).or_default().insert(id);
                }
            }
        }
        let mut found = RoaringBitmap::new();
        for ((rolled, floor), ids) in spans {
            let start = range.start.max(Timestamp::from_millis(rolled));
            let end = range.end.min(Timestamp::from_millis(floor));
            let (some, others) = self.active(tenant, &ids, TimeRange::new(start, end))?;
            found |= some | others;
        }
        Ok(found)
    }

    /// Those of `ids` that have a sample in `range`, and those that may have one. Days that lie in it
    /// wholly are answered by the activity index; a day at its edge is not.
    fn active(
        &self,
        tenant: TenantId,
        ids: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<(RoaringBitmap, RoaringBitmap), Error> {
        if range.is_empty() {
            return Ok((RoaringBitmap::new(), RoaringBitmap::new()));
        }
        let first = partition_of(range.start.millis());
        let last = partition_of(range.end.millis().saturating_sub(1));
        let starts_inside = partition_of(range.start.millis().saturating_sub(1)) == first;
        let ends_inside = partition_of(range.end.millis()) == last;
        let whole_first = if starts_inside { first.saturating_add(1) } else { first };
        let whole_last = if ends_inside { last.saturating_sub(1) } else { last };
        let certain = self.active_days(tenant, whole_first, whole_last)? & ids;
        let mut edges = RoaringBitmap::new();
        if starts_inside {
            edges |= self.active_days(tenant, first, first)?;
        }
        if ends_inside && !(starts_inside && first == last) {
            edges |= self.active_days(tenant, last, last)?;
        }
        let open = (edges & ids) - &certain;
        Ok((certain, open))
    }

    pub(crate) fn active_days(
        &self,
        tenant: TenantId,
        first: i32,
        last: i32,
    ) -> Result<RoaringBitmap, Error> {
        // The head first: what a flush moves from there to the index in between is seen twice, not
        // missed.
        let mut ids = self.shared.live.lock().active(tenant, first, last);
        ids |= self.shared.index.active(tenant, first, last)?;
        Ok(ids)
    }

    /// What identifies a series.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if the definition does not verify.
    pub fn series(&self, tenant: TenantId, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        self.interrupt.check()?;
        self.shared.index.series(tenant, id)
    }

    /// What identifies each of many series, in order; faster than one by one.
    ///
    /// # Errors
    /// As for [`series`](Self::series).
    pub fn series_of(
        &self,
        tenant: TenantId,
        ids: &[SeriesId],
    ) -> Result<Vec<Option<SeriesKey>>, Error> {
        self.interrupt.check()?;
        let canonicals = self.shared.index.canonicals(tenant, ids)?;
        canonicals
            .into_iter()
            .map(|bytes| bytes.map(|b| SeriesKey::decode(&b)).transpose())
            .collect()
    }

    /// The id of a series, if it exists.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn find_series(
        &self,
        tenant: TenantId,
        key: &SeriesKey,
    ) -> Result<Option<SeriesId>, Error> {
        let canonical = key.encode();
        self.shared.index.find(tenant, &canonical, self.shared.index.hash(&canonical))
    }

    /// Up to `limit` distinct metric names of the selected series that are greater than `after`,
    /// ascending by code point.
    ///
    /// # Errors
    /// As for [`select`](Self::select).
    pub fn metric_names(
        &self,
        tenant: TenantId,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut within = self.within(tenant, selector)?;
        self.shared.index.metric_names(tenant, as_within(&mut within), after, limit)
    }

    /// Up to `limit` distinct dimension names of the selected series, greater than `after`,
    /// ascending by code point.
    ///
    /// # Errors
    /// As for [`select`](Self::select).
    pub fn dimension_names(
        &self,
        tenant: TenantId,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut within = self.within(tenant, selector)?;
        self.shared.index.dimension_names(tenant, as_within(&mut within), after, limit)
    }

    /// Up to `limit` distinct values of one dimension of the selected series, greater than `after`,
    /// ascending by code point.
    ///
    /// # Errors
    /// As for [`select`](Self::select).
    pub fn dimension_values(
        &self,
        tenant: TenantId,
        name: &str,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut within = self.within(tenant, selector)?;
        self.shared.index.dimension_values(tenant, name, as_within(&mut within), after, limit)
    }

    fn within(&self, tenant: TenantId, selector: &Selector) -> Result<Option<Selection>, Error> {
        let everything = *selector == Selector::default();
        if everything { Ok(None) } else { self.selection(tenant, selector).map(Some) }
    }
}

fn as_within(selection: &mut Option<Selection>) -> Option<&mut dyn Within> {
    selection.as_mut().map(|selection| selection as &mut dyn Within)
}
