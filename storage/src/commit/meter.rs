//! How much each tenant uses, against its limits. Belongs to the committer: a request is refused
//! whole, before anything of it is committed.

use std::collections::BTreeMap;

use foldhash::HashMap;
use roaring::RoaringBitmap;

use super::new_series::Place;
use crate::error::Error;
use crate::limits::{Bounds, LimitKind};
use crate::model::{SeriesId, TenantId, Timestamp};
use crate::segment::partition_of;
use crate::threads::Shared;
use crate::write::WriteRequest;

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
/// A quiet tenant may send the samples of so many seconds at once.
const SAMPLES_BURST_SECONDS: u64 = 10;

/// What all tenants use. Bounded by the number of tenants.
#[derive(Default)]
pub(crate) struct Meter {
    tenants: HashMap<TenantId, Usage>,
}

struct Usage {
    samples: Allowance,
    new_series: Allowance,
    /// Series with samples by day, from yesterday on. Read when first needed.
    active: Option<BTreeMap<i32, RoaringBitmap>>,
}

/// An amount that grows with time up to a bound, and is taken from.
struct Allowance {
    kind: LimitKind,
    per: u64,
    /// Milliseconds in which `per` come in.
    span_ms: u64,
    most: u64,
    /// What there is, times `span_ms`: so that a millisecond adds a whole number.
    left: u128,
    at: Timestamp,
}

impl Allowance {
    fn full(kind: LimitKind, per: u64, span_ms: u64, spans: u64, now: Timestamp) -> Self {
        let most = per.saturating_mul(spans);
        let left = u128::from(most) * u128::from(span_ms);
        Allowance { kind, per, span_ms, most, left, at: now }
    }

    /// Whether `count` may be taken now.
    fn check(&mut self, count: u64, now: Timestamp, bounds: &Bounds) -> Result<(), Error> {
        let passed = now.millis().saturating_sub(self.at.millis());
        if let Ok(passed) = u64::try_from(passed) {
            let full = u128::from(self.most) * u128::from(self.span_ms);
            self.left = (self.left + u128::from(self.per) * u128::from(passed)).min(full);
        }
        // A clock that was set back gives nothing until it has caught up, from where it stands now.
        self.at = now;
        if count > self.most {
            return Err(bounds.refuse(self.kind));
        }
        let wanted = u128::from(count) * u128::from(self.span_ms);
        let missing = wanted.saturating_sub(self.left);
        if missing == 0 {
            return Ok(());
        }
        let wait = missing.div_ceil(u128::from(self.per.max(1)));
        Err(bounds.refuse_for_now(self.kind, u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    fn take(&mut self, count: u64) {
        self.left = self.left.saturating_sub(u128::from(count) * u128::from(self.span_ms));
    }
}

impl Meter {
    /// Checks a request, whose unknown series are in `places`, and counts it if it may pass.
    pub(crate) fn admit(
        &mut self,
        shared: &Shared,
        request: &WriteRequest,
        places: &[Place],
    ) -> Result<(), Error> {
        let bounds = &shared.bounds;
        let now = shared.clock.now();
        let usage = self.tenants.entry(request.tenant).or_insert_with(|| Usage::new(bounds, now));
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let samples = count(request.len());
        usage.samples.check(samples, now, bounds)?;
        let new = places.iter().filter(|place| matches!(place, Place::New(_))).count();
        if new > 0 {
            usage.new_series.check(count(new), now, bounds)?;
        }
        if !places.is_empty() || !request.days.is_empty() {
            usage.check_active(shared, request, places, now)?;
        }
        usage.samples.take(samples);
        usage.new_series.take(count(new));
        Ok(())
    }

    /// Notes the days of a request that has passed; `ids` are those of its unknown series.
    pub(crate) fn note(&mut self, request: &WriteRequest, ids: &[SeriesId]) {
        let usage = self.tenants.get_mut(&request.tenant);
        let Some(active) = usage.and_then(|usage| usage.active.as_mut()) else { return };
        let Some((&first, _)) = active.first_key_value() else { return };
        let unknown = request.unknown.iter().zip(ids);
        let unknown =
            unknown.flat_map(|(series, &id)| series.days.iter().map(move |&day| (id, day)));
        for (id, day) in request.days.iter().copied().chain(unknown) {
            if day >= first {
                active.entry(day).or_default().insert(id.number());
            }
        }
    }

    /// Forgets a tenant that has been removed.
    pub(crate) fn forget(&mut self, tenant: TenantId) {
        self.tenants.remove(&tenant);
    }

    /// Forgets series that have been removed.
    pub(crate) fn remove(&mut self, tenant: TenantId, ids: &RoaringBitmap) {
        let active = self.tenants.get_mut(&tenant).and_then(|usage| usage.active.as_mut());
        for day in active.into_iter().flat_map(BTreeMap::values_mut) {
            *day -= ids;
        }
    }
}

impl Usage {
    fn new(bounds: &Bounds, now: Timestamp) -> Self {
        let limits = &bounds.limits;
        let samples = limits.samples_per_second;
        let series = limits.new_series_per_minute;
        Usage {
            samples: Allowance::full(
                LimitKind::Samples,
                samples,
                SECOND_MS,
                SAMPLES_BURST_SECONDS,
                now,
            ),
            new_series: Allowance::full(LimitKind::NewSeries, series, MINUTE_MS, 1, now),
            active: None,
        }
    }

    fn check_active(
        &mut self,
        shared: &Shared,
        request: &WriteRequest,
        places: &[Place],
        now: Timestamp,
    ) -> Result<(), Error> {
        let yesterday = partition_of(now.millis()).saturating_sub(1);
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(read_active(shared, request.tenant, yesterday)?),
        };
        *active = active.split_off(&yesterday);
        active.entry(yesterday).or_default();
        let is_active = |id: SeriesId| active.values().any(|day| day.contains(id.number()));
        let mut joining = RoaringBitmap::new();
        let mut new = 0_u64;
        for (unknown, place) in request.unknown.iter().zip(places) {
            if unknown.days.iter().all(|&day| day < yesterday) {
                continue;
            }
            match place {
                Place::New(_) => new += 1,
                Place::Known(id) if !is_active(*id) => {
                    joining.insert(id.number());
                }
                Place::Known(_) => {}
            }
        }
        for &(id, day) in &request.days {
            if day >= yesterday && !is_active(id) {
                joining.insert(id.number());
            }
        }
        let more = new.saturating_add(joining.len());
        // The days together are at most their sum: the union is counted only near the limit.
        let sum: u64 = active.values().map(RoaringBitmap::len).sum();
        let limit = shared.bounds.limits.active_series;
        if more == 0 || sum.saturating_add(more) <= limit {
            return Ok(());
        }
        let mut union = RoaringBitmap::new();
        for day in active.values() {
            union |= day;
        }
        if union.len().saturating_add(more) > limit {
            return Err(shared.bounds.refuse(LimitKind::ActiveSeries));
        }
        Ok(())
    }
}

fn read_active(
    shared: &Shared,
    tenant: TenantId,
    yesterday: i32,
) -> Result<BTreeMap<i32, RoaringBitmap>, Error> {
    // A sample may lie a day ahead of the clock, which may have been set back since.
    (yesterday..=yesterday.saturating_add(3))
        .map(|day| {
            let mut ids = shared.live.lock().active(tenant, day, day);
            ids |= shared.index.active(tenant, day, day)?;
            Ok((day, ids))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn an_allowance_comes_back_with_time_and_never_exceeds_its_bound() {
        let bounds = Bounds::new(Limits::default());
        let start = Timestamp::from_millis(1_000_000);
        let mut allowance = Allowance::full(LimitKind::Samples, 10, SECOND_MS, 2, start);
        let mut check = |after_ms: i64, count: u64, want: Option<u64>| {
            let now = start.plus_millis(after_ms);
            match (allowance.check(count, now, &bounds), want) {
                (Ok(()), None) => allowance.take(count),
                (Err(Error::Rate { wait_ms, .. }), Some(wait)) => assert_eq!(wait_ms, wait),
                (got, want) => panic!("at {after_ms}: {got:?}, not {want:?}"),
            }
        };
        check(0, 20, None);
        check(0, 1, Some(100));
        check(50, 1, Some(50));
        check(100, 1, None);
        check(1_000_000, 20, None);
        check(1_000_000, 1, Some(100));
        // Set back: no gift, and no wait until the old time comes again.
        check(0, 1, Some(100));
        check(100, 1, None);
        let error = allowance.check(21, start, &bounds).unwrap_err();
        assert!(matches!(error, Error::Limit { max: 5_000_000, .. }), "can never pass: {error}");
    }
}
