//! Where the engine reads samples that it does not keep: the store as of a moment, or a map in tests.

use std::sync::Arc;

use moneta_storage::model::{Dimensions, Sequence, SeriesId, SeriesKey, TenantId, TimeRange};

use crate::error::Error;

/// Stored samples, as of any sequence that may still be replayed.
pub trait Samples {
    /// What identifies a series.
    ///
    /// # Errors
    /// `Store` if it cannot be read.
    fn key(&self, tenant: TenantId, series: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error>;

    /// The series with this metric name and at least these dimensions, in a fixed order.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    fn select(
        &self,
        tenant: TenantId,
        metric: &str,
        dimensions: &Dimensions,
    ) -> Result<Vec<SeriesId>, Error>;

    /// Calls `each` with (time in milliseconds, value) of every sample of `series` in `range` that was
    /// committed up to and with `upto`, one per time, ascending.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    fn read(
        &self,
        tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<(), Error>;

    /// The newest of the samples that [`read`](Self::read) would give.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    fn newest(
        &self,
        tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
    ) -> Result<Option<(i64, f64)>, Error>;
}
