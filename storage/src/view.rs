//! A view: everything committed at one moment, immutable, for one tenant.

use crate::error::Error;
use crate::model::{SeriesId, TenantId, TimeRange, Timestamp, ValueMeta};

/// Samples of one series, ascending in time, one per timestamp.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSamples {
    /// Milliseconds since the epoch.
    pub times: Vec<i64>,
    /// One value per time.
    pub values: Vec<f64>,
    /// `value_meta` of the samples that have one: (index into `times`, text), ascending.
    pub metas: Vec<(u32, ValueMeta)>,
}

/// What is known of a block without decoding it. Values are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Value at `first_time`.
    pub first: f64,
    /// Value at `last_time`.
    pub last: f64,
    /// Time of the first sample.
    pub first_time: Timestamp,
    /// Time of the last sample.
    pub last_time: Timestamp,
}

/// A part of a series as [`View::fold`] hands it out.
pub enum Piece<'a> {
    /// Decoded samples: times in ascending order, one value each.
    Samples(&'a [i64], &'a [f64]),
    /// A block that lies in one window.
    Summary(&'a Summary),
}

/// Everything committed at one moment, for one tenant. Holding one keeps the files it needs.
pub struct View {}

impl View {
    /// The tenant whose data this shows.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        unimplemented!()
    }

    /// Reads `series` in `range`, calling `each` once per series that has samples there, with
    /// `value_meta`. Order of calls: as in `series`.
    ///
    /// # Errors
    /// `Corrupt` names the file and offset; `Limit` if more than `samples_max` samples would be
    /// decoded; and what `each` returns.
    pub fn read<E: From<Error>>(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        each: impl FnMut(SeriesId, SeriesSamples) -> Result<(), E>,
    ) -> Result<(), E> {
        let _ = (series, range, samples_max, each);
        unimplemented!()
    }

    /// Reads `series` in `range` for aggregation, calling `each` with consecutive pieces of a
    /// series, ascending in time, series in the order given. With `window_ms` a block whose
    /// samples all lie in one window `[k * window_ms, (k + 1) * window_ms)` and in `range`, and of
    /// which nothing has been written again since, comes as its summary.
    ///
    /// # Errors
    /// As for [`read`](Self::read); summaries do not count as decoded samples.
    pub fn fold<E: From<Error>>(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
        samples_max: u64,
        each: impl FnMut(SeriesId, Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let _ = (series, range, window_ms, samples_max, each);
        unimplemented!()
    }
}
