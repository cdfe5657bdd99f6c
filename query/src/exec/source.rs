//! Where series and samples come from: a view of the store, or memory in tests.

use std::sync::Arc;

use moneta_storage::Store;
use moneta_storage::model::{Selector, SeriesId, SeriesKey, TenantId, TimeRange};
use moneta_storage::view::{Piece, SeriesSamples, View};

use crate::error::Error;
use crate::limits::Exceeded;

/// Why a reading ended before its end.
pub(crate) enum Stop {
    /// The reader has enough.
    Enough,
    /// The samples to decode are more than were allowed.
    SamplesExceeded,
    /// It failed.
    Failed(Error),
}

impl Stop {
    /// Takes having enough for the end of the reading.
    pub(crate) fn enough(self) -> Result<(), Stop> {
        match self {
            Stop::Enough => Ok(()),
            stop @ (Stop::SamplesExceeded | Stop::Failed(_)) => Err(stop),
        }
    }
}

impl From<moneta_storage::Error> for Stop {
    fn from(source: moneta_storage::Error) -> Self {
        match source {
            // The only limit a reading has is the number of samples given to it.
            moneta_storage::Error::Limit { .. } => Stop::SamplesExceeded,
            other @ (moneta_storage::Error::Invalid(_)
            | moneta_storage::Error::Busy { .. }
            | moneta_storage::Error::Rate { .. }
            | moneta_storage::Error::Removed
            | moneta_storage::Error::ReadOnly { .. }
            | moneta_storage::Error::Corrupt { .. }
            | moneta_storage::Error::Stopped { .. }
            | moneta_storage::Error::Interrupted
            | moneta_storage::Error::Io { .. }
            | moneta_storage::Error::Kv(_)) => Stop::Failed(other.into()),
        }
    }
}

impl From<Exceeded> for Stop {
    fn from(_: Exceeded) -> Self {
        Stop::SamplesExceeded
    }
}

/// Receives the samples of a series.
pub(crate) type EachSeries<'a> = &'a mut dyn FnMut(SeriesId, SeriesSamples) -> Result<(), Stop>;

/// Receives a piece of a series.
pub(crate) type EachPiece<'a> = &'a mut dyn FnMut(SeriesId, Piece<'_>) -> Result<(), Stop>;

/// What executing needs of the store; see the methods of the same names there.
pub(crate) trait Source: Sync {
    fn select(&self, selector: &Selector) -> Result<Vec<SeriesId>, Error>;

    fn series(&self, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error>;

    fn read(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        each: EachSeries<'_>,
    ) -> Result<(), Stop>;

    fn fold(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
        samples_max: u64,
        each: EachPiece<'_>,
    ) -> Result<(), Stop>;

    fn resolution(&self) -> Option<i64>;
}

/// The store as one tenant sees it at one moment.
pub(crate) struct StoreSource<'a> {
    store: &'a Store,
    tenant: TenantId,
    view: View,
}

impl<'a> StoreSource<'a> {
    pub(crate) fn new(store: &'a Store, tenant: TenantId) -> Self {
        StoreSource { store, tenant, view: store.view(tenant) }
    }
}

impl Source for StoreSource<'_> {
    fn select(&self, selector: &Selector) -> Result<Vec<SeriesId>, Error> {
        Ok(self.store.select(self.tenant, selector)?)
    }

    fn series(&self, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        Ok(self.store.series(self.tenant, id)?)
    }

    fn read(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        each: EachSeries<'_>,
    ) -> Result<(), Stop> {
        self.view.read(series, range, samples_max, each)
    }

    fn fold(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
        samples_max: u64,
        each: EachPiece<'_>,
    ) -> Result<(), Stop> {
        self.view.fold(series, range, window_ms, samples_max, each)
    }

    fn resolution(&self) -> Option<i64> {
        self.view.resolution()
    }
}
