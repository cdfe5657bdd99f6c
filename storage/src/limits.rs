//! What a tenant may use: the limits, and how often each has refused something.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Limits of each tenant. The defaults are meant for a machine with two cores: far above what a
/// well-behaved tenant needs, and low enough that one that runs wild leaves the others room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Series with a sample today or yesterday (or later, while the clock lags), by UTC days of the
    /// samples' times. Default 5 million.
    pub active_series: u64,
    /// Series created within a minute. Default 6 million; as many at once if none were before.
    pub new_series_per_minute: u64,
    /// Samples within a second. Default 5 million; a quiet tenant may send those of ten seconds at
    /// once.
    pub samples_per_second: u64,
    /// Dimensions of a series. Default 256.
    pub dimensions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            active_series: 5_000_000,
            new_series_per_minute: 6_000_000,
            samples_per_second: 5_000_000,
            dimensions: 256,
        }
    }
}

/// One of the [`Limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitKind {
    /// `active_series`
    ActiveSeries,
    /// `new_series_per_minute`
    NewSeries,
    /// `samples_per_second`
    Samples,
    /// `dimensions`
    Dimensions,
}

impl LimitKind {
    /// All of them.
    pub const ALL: [LimitKind; 4] =
        [LimitKind::ActiveSeries, LimitKind::NewSeries, LimitKind::Samples, LimitKind::Dimensions];

    /// Its name in settings and figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LimitKind::ActiveSeries => "active_series",
            LimitKind::NewSeries => "new_series_per_minute",
            LimitKind::Samples => "samples_per_second",
            LimitKind::Dimensions => "dimensions",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            LimitKind::ActiveSeries => "the number of active series of a tenant (active_series)",
            LimitKind::NewSeries => {
                "the number of new series of a tenant in a minute (new_series_per_minute)"
            }
            LimitKind::Samples => {
                "the number of samples of a tenant in a second (samples_per_second)"
            }
            LimitKind::Dimensions => "the number of dimensions of a series (dimensions)",
        }
    }
}

/// The limits of a store and what they have refused since it was opened.
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    refused: [AtomicU64; LimitKind::ALL.len()],
}

impl Bounds {
    pub(crate) fn new(limits: Limits) -> Self {
        Bounds { limits, refused: Default::default() }
    }

    fn of(&self, kind: LimitKind) -> u64 {
        match kind {
            LimitKind::ActiveSeries => self.limits.active_series,
            LimitKind::NewSeries => self.limits.new_series_per_minute,
            LimitKind::Samples => self.limits.samples_per_second,
            LimitKind::Dimensions => self.limits.dimensions,
        }
    }

    /// Counts a refusal that repeating the request will not change.
    pub(crate) fn refuse(&self, kind: LimitKind) -> Error {
        self.count(kind);
        Error::Limit { limit: kind.text(), max: self.of(kind) }
    }

    /// Counts a refusal of what may be repeated in `wait_ms`.
    pub(crate) fn refuse_for_now(&self, kind: LimitKind, wait_ms: u64) -> Error {
        self.count(kind);
        Error::Rate { limit: kind.text(), max: self.of(kind), wait_ms }
    }

    fn count(&self, kind: LimitKind) {
        for (at, refused) in LimitKind::ALL.iter().zip(&self.refused) {
            if *at == kind {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Refusals so far.
    pub(crate) fn refused(&self) -> [(LimitKind, u64); LimitKind::ALL.len()] {
        let mut counts = LimitKind::ALL.map(|kind| (kind, 0));
        for (count, refused) in counts.iter_mut().zip(&self.refused) {
            count.1 = refused.load(Ordering::Relaxed);
        }
        counts
    }
}
