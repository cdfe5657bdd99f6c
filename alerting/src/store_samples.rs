//! [`Samples`] of a store.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use moneta_storage::Store;
use moneta_storage::model::{
    DimensionMatcher, Dimensions, Selector, Sequence, SeriesId, SeriesKey, TenantId, TimeRange,
    Timestamp, ValueMatcher,
};
use moneta_storage::view::{Piece, SeriesVersions, View};

use crate::engine::Samples;
use crate::error::Error;

/// How far back the search for the newest sample looks first, milliseconds. Each further step looks
/// sixteen times as far.
const FIRST_LOOK_MS: i64 = 3_600_000;

/// The samples of a store, as of any sequence the engine has not released.
pub(crate) struct StoreSamples {
    store: Store,
    /// The view used last: one request is often asked about many times.
    view: RefCell<Option<(TenantId, Sequence, View)>>,
    prefetched: RefCell<Option<Prefetched>>,
}

/// All versions of the samples of some series from a time on, read at once: one by one, each series
/// would cost a search through everything in the head.
struct Prefetched {
    tenant: TenantId,
    from: Timestamp,
    series: HashMap<SeriesId, SeriesVersions>,
}

impl Prefetched {
    /// What [`Samples::read`] would give; `None` if that was not prefetched.
    fn read(
        &self,
        tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
        each: &mut dyn FnMut(i64, f64),
    ) -> Option<()> {
        let versions = self.series.get(&series).filter(|_| self.tenant == tenant)?;
        if range.start < self.from {
            return None;
        }
        let rows = versions.times.iter().zip(&versions.sequences).zip(&versions.values);
        let mut visible = rows
            .map(|((time, sequence), value)| (*time, *sequence, *value))
            .filter(|(time, sequence, _)| {
                *sequence <= upto && range.contains(Timestamp::from_millis(*time))
            })
            .peekable();
        while let Some((time, _, value)) = visible.next() {
            if visible.peek().is_none_or(|(next, ..)| *next != time) {
                each(time, value);
            }
        }
        Some(())
    }
}

impl StoreSamples {
    pub(crate) fn new(store: Store) -> Self {
        StoreSamples { store, view: RefCell::default(), prefetched: RefCell::default() }
    }

    /// Keeps a series of an alarm from being removed while it has no samples.
    pub(crate) fn hold(&self, tenant: TenantId, series: SeriesId) {
        self.store.hold(tenant, &[series]);
    }

    /// Reads what is stored of `series` from `from` on, until [`forget`](Self::forget).
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    pub(crate) fn prefetch(
        &self,
        tenant: TenantId,
        series: &[SeriesId],
        from: Timestamp,
    ) -> Result<(), Error> {
        let mut found: HashMap<SeriesId, SeriesVersions> =
            series.iter().map(|id| (*id, SeriesVersions::default())).collect();
        let range = TimeRange::new(from, Timestamp::MAX);
        self.store.view(tenant).read_versions(series, range, u64::MAX, |id, versions| {
            found.insert(id, versions);
            Ok::<_, Error>(())
        })?;
        *self.prefetched.borrow_mut() = Some(Prefetched { tenant, from, series: found });
        Ok(())
    }

    /// Lets go of what was prefetched.
    pub(crate) fn forget(&self) {
        *self.prefetched.borrow_mut() = None;
    }

    /// Lets go of the view, and so of the files it holds.
    pub(crate) fn rest(&self) {
        *self.view.borrow_mut() = None;
    }
}

impl Samples for StoreSamples {
    fn key(&self, tenant: TenantId, series: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        Ok(self.store.series(tenant, series)?)
    }

    fn select(
        &self,
        tenant: TenantId,
        metric: &str,
        dimensions: &Dimensions,
    ) -> Result<Vec<SeriesId>, Error> {
        let equals = |(name, value): (&str, &str)| DimensionMatcher {
            name: name.to_owned(),
            value: ValueMatcher::Equals(value.to_owned()),
        };
        let selector = Selector {
            metric: Some(metric.to_owned()),
            dimensions: dimensions.iter().map(equals).collect(),
            active: None,
        };
        Ok(self.store.select(tenant, &selector)?)
    }

    fn read(
        &self,
        tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<(), Error> {
        let prefetched = self.prefetched.borrow();
        if prefetched.as_ref().and_then(|p| p.read(tenant, series, range, upto, each)).is_some() {
            return Ok(());
        }
        let mut kept = self.view.borrow_mut();
        let current = kept.as_ref().is_some_and(|(t, s, _)| (*t, *s) == (tenant, upto));
        if !current {
            *kept = Some((tenant, upto, self.store.view_as_of(tenant, upto)));
        }
        let Some((_, _, view)) = kept.as_ref() else { return Ok(()) };
        view.fold(&[series], range, None, u64::MAX, |_, piece| {
            match piece {
                Piece::Samples(times, values) => {
                    for (time, value) in times.iter().zip(values) {
                        each(*time, *value);
                    }
                }
                // Without a window there are none.
                Piece::Summary(_) | Piece::Slot(_) => {}
            }
            Ok(())
        })
    }

    fn newest(
        &self,
        tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
    ) -> Result<Option<(i64, f64)>, Error> {
        let mut end = range.end;
        let mut look = FIRST_LOOK_MS;
        while end > range.start {
            let start = end.plus_millis(-look).max(range.start);
            let mut newest = None;
            self.read(tenant, series, TimeRange::new(start, end), upto, &mut |time, value| {
                newest = Some((time, value));
            })?;
            if newest.is_some() {
                return Ok(newest);
            }
            (end, look) = (start, look.saturating_mul(16));
            if start == Timestamp::MIN {
                break;
            }
        }
        Ok(None)
    }
}
