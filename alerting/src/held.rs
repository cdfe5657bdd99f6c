//! Samples that lie too far ahead of the clock: stored, but to be judged only when the clock comes
//! near. Only their places are kept; the value is the one stored by then.

use std::collections::{BTreeMap, HashMap};

use moneta_storage::model::{SeriesId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// Most samples that wait. What comes on top is stored, but makes no judgement when its time comes.
pub(crate) const HELD_BACK_MAX: usize = 1_000_000;

/// A sample that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Number of the tenant.
    pub tenant: u32,
    /// Number of the series.
    pub series: u32,
    /// Its time, milliseconds.
    pub time: i64,
    /// Order of receipt.
    pub order: u64,
}

type Place = (TenantId, SeriesId, i64);

/// The samples that wait, by time and order of receipt.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    queue: BTreeMap<(i64, u64), (TenantId, SeriesId)>,
    known: HashMap<Place, u64>,
    next: u64,
    /// Samples that did not fit in.
    pub(crate) refused: u64,
    /// What has come since the last checkpoint.
    added: Vec<Held>,
    /// What has gone since the last checkpoint.
    gone: Vec<Held>,
}

impl HeldBack {
    /// Keeps a sample, unless it is kept already.
    pub(crate) fn hold(&mut self, tenant: TenantId, series: SeriesId, time: i64) {
        if self.known.contains_key(&(tenant, series, time)) {
            return;
        }
        if self.known.len() >= HELD_BACK_MAX {
            self.refused += 1;
            return;
        }
        let held =
            Held { tenant: tenant.number(), series: series.number(), time, order: self.next + 1 };
        self.restore(held);
        self.added.push(held);
    }

    /// Puts a stored one back.
    pub(crate) fn restore(&mut self, held: Held) {
        let (tenant, series) = (TenantId::new(held.tenant), SeriesId::new(held.series));
        self.next = self.next.max(held.order);
        self.known.insert((tenant, series, held.time), held.order);
        self.queue.insert((held.time, held.order), (tenant, series));
    }

    /// Whether a sample waits.
    pub(crate) fn holds(&self, tenant: TenantId, series: SeriesId, time: i64) -> bool {
        !self.known.is_empty() && self.known.contains_key(&(tenant, series, time))
    }

    /// Time of the sample that is released first.
    pub(crate) fn first_time(&self) -> Option<i64> {
        self.queue.first_key_value().map(|((time, _), _)| *time)
    }

    /// Takes out the first one with this time.
    pub(crate) fn release(&mut self, at: i64) -> Option<(TenantId, SeriesId, Timestamp)> {
        let ((time, order), (tenant, series)) = self.queue.first_key_value()?;
        let (time, order, tenant, series) = (*time, *order, *tenant, *series);
        if time > at {
            return None;
        }
        self.queue.remove(&(time, order));
        self.known.remove(&(tenant, series, time));
        self.gone.push(Held { tenant: tenant.number(), series: series.number(), time, order });
        Some((tenant, series, Timestamp::from_millis(time)))
    }

    /// What came and what went since this was last asked for.
    pub(crate) fn take_changes(&mut self) -> (Vec<Held>, Vec<Held>) {
        (std::mem::take(&mut self.added), std::mem::take(&mut self.gone))
    }

    /// Whether anything came or went since [`take_changes`](Self::take_changes).
    pub(crate) fn has_changes(&self) -> bool {
        !self.added.is_empty() || !self.gone.is_empty()
    }

    /// All that wait, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Held> {
        self.queue.iter().map(|((time, order), (tenant, series))| Held {
            tenant: tenant.number(),
            series: series.number(),
            time: *time,
            order: *order,
        })
    }
}
