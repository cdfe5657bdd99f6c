//! What of the stored rows may be seen: nothing that was deleted, nothing that has expired, nothing of
//! a tenant that is gone. Readers, flushes and merges pass every series through the same sieve.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::deletion::Tombstone;
use crate::index::Index;
use crate::merge;
use crate::model::{MetricNo, Sequence, SeriesId, TenantId, TimeRange, Timestamp};
use crate::retention::{Floors, Pending, Rules};
use crate::rollup::{self, Record, Slot};
use crate::segment::{SeriesPlace, SeriesRows};
use crate::threads::Shared;

/// Before which instant rows do not pass.
#[derive(Clone, Copy)]
pub(crate) enum Basis {
    /// What has expired for readers.
    Seen,
    /// What is to be removed: of metrics with rollups not before those are made.
    Removed(Pending),
    /// What is known to be incomplete: rollups are made of all the rest.
    Gone,
}

/// The sieve for the rows of one tenant at one moment.
#[derive(Clone)]
pub(crate) struct TenantSieve {
    floors: Floors,
    basis: Basis,
    tombstones: Vec<Arc<Tombstone>>,
}

impl TenantSieve {
    /// `None` if there is no such tenant.
    pub(crate) fn new(
        tenant: TenantId,
        rules: &Rules,
        index: &Index,
        now: Timestamp,
        tombstones: &[Arc<Tombstone>],
        basis: Basis,
    ) -> Option<Self> {
        let own = tombstones.iter().filter(|tombstone| tombstone.tenant == tenant);
        Some(TenantSieve {
            floors: rules.floors(tenant, index, now)?,
            basis,
            tombstones: own.cloned().collect(),
        })
    }

    /// Whether it lets everything pass.
    pub(crate) fn is_open(&self) -> bool {
        self.tombstones.is_empty() && self.floors.are_none()
    }

    /// Behind this instant nothing of any metric has expired.
    pub(crate) fn greatest_floor(&self) -> i64 {
        self.floors.greatest()
    }

    /// Samples of the metric before this instant do not pass.
    pub(crate) fn floor(&self, metric: MetricNo) -> i64 {
        match &self.basis {
            Basis::Seen => self.floors.of(metric),
            Basis::Removed(pending) => self.floors.removal(metric, pending),
            Basis::Gone => self.floors.gone(metric),
        }
    }

    /// The floors of the tenant's metrics.
    pub(crate) fn floors(&self) -> &Floors {
        &self.floors
    }

    /// Whether something of a slot has been deleted since its rollup was made.
    pub(crate) fn deleted(&self, series: SeriesId, slot: &Slot, rollup: &Record) -> bool {
        let span = TimeRange::new(slot.start, slot.end());
        self.tombstones.iter().any(|tombstone| {
            tombstone.number > rollup.deletions
                && tombstone.overlaps(span)
                && tombstone.series.contains(series.number())
        })
    }

    /// The tenant's tombstones.
    pub(crate) fn tombstones(&self) -> &[Arc<Tombstone>] {
        &self.tombstones
    }

    /// Whether some row of the series in `times`, written at `sequence` or before, may be hidden.
    pub(crate) fn touches(
        &self,
        metric: MetricNo,
        series: SeriesId,
        times: TimeRange,
        sequence: Sequence,
    ) -> bool {
        times.start.millis() < self.floor(metric)
            || self.tombstones.iter().any(|tombstone| {
                tombstone.upto >= sequence
                    && tombstone.overlaps(times)
                    && tombstone.series.contains(series.number())
            })
    }

    /// Removes the rows of a series that may not be seen. The rest stays in order.
    pub(crate) fn sift(&self, metric: MetricNo, series: SeriesId, rows: &mut SeriesRows) {
        if self.is_open() {
            return;
        }
        let floor = self.floor(metric);
        let hiding: Vec<&Tombstone> = self
            .tombstones
            .iter()
            .map(Arc::as_ref)
            .filter(|tombstone| tombstone.series.contains(series.number()))
            .collect();
        let visible = |time: i64, sequence: u64| {
            let hides =
                |tombstone: &&Tombstone| tombstone.hides(series, time, Sequence::new(sequence));
            time >= floor && !hiding.iter().any(hides)
        };
        let columns = || rows.times.iter().zip(&rows.sequences).enumerate();
        if columns().all(|(_, (&time, &sequence))| visible(time, sequence)) {
            return;
        }
        let left: Vec<usize> = columns()
            .filter(|(_, (time, sequence))| visible(**time, **sequence))
            .map(|(at, _)| at)
            .collect();
        merge::reorder(rows, &left);
    }
}

/// The sieve for rows of every tenant, for writing segments.
pub(crate) struct Sieve<'a> {
    rules: Arc<Rules>,
    index: &'a Index,
    now: Timestamp,
    pending: Pending,
    tombstones: Arc<Vec<Arc<Tombstone>>>,
    tenants: RefCell<HashMap<TenantId, Option<TenantSieve>>>,
}

impl<'a> Sieve<'a> {
    /// As of now. The number of a segment must be taken before: a tombstone that comes later than the
    /// number counts the segment among those it has to be applied to.
    pub(crate) fn now(shared: &'a Shared) -> Self {
        // Before the rules.
        let now = shared.retention.removed_by(shared.clock.now());
        let rules = shared.retention.rules();
        Sieve {
            pending: rollup::pending(shared, &rules, now),
            rules,
            index: &shared.index,
            now,
            tombstones: shared.live.lock().tombstones.clone(),
            tenants: RefCell::default(),
        }
    }

    /// Removes the rows of a series that may not be seen.
    pub(crate) fn sift(&self, place: SeriesPlace, rows: &mut SeriesRows) {
        self.with_tenant(place.tenant, |sieve| match sieve {
            Some(sieve) => sieve.sift(place.metric, place.series, rows),
            None => rows.clear(),
        });
    }

    /// Whether there is such a tenant.
    pub(crate) fn knows(&self, tenant: TenantId) -> bool {
        self.with_tenant(tenant, |sieve| sieve.is_some())
    }

    /// Whether all rows of a series in `times` have expired.
    pub(crate) fn has_expired(&self, place: SeriesPlace, times: TimeRange) -> bool {
        self.with_tenant(place.tenant, |sieve| {
            sieve.is_none_or(|sieve| times.end.millis() <= sieve.floor(place.metric))
        })
    }

    /// Whether some row of a series in `times`, written at `sequence` or before, may be hidden.
    pub(crate) fn touches(&self, place: SeriesPlace, times: TimeRange, sequence: Sequence) -> bool {
        self.with_tenant(place.tenant, |sieve| {
            sieve.is_none_or(|sieve| sieve.touches(place.metric, place.series, times, sequence))
        })
    }

    fn with_tenant<T>(&self, tenant: TenantId, with: impl FnOnce(Option<&TenantSieve>) -> T) -> T {
        let mut tenants = self.tenants.borrow_mut();
        let sieve = tenants.entry(tenant).or_insert_with(|| {
            let basis = Basis::Removed(self.pending);
            TenantSieve::new(tenant, &self.rules, self.index, self.now, &self.tombstones, basis)
        });
        with(sieve.as_ref())
    }
}
