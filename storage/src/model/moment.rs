//! Time to the microsecond, as events carry it.

use std::time::Duration;

use super::Timestamp;

/// An instant: microseconds since 1970-01-01T00:00:00Z, negative before it. Samples need no more than
/// a [`Timestamp`]; several events of one request often share a millisecond, and their order matters.
/// Arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(i64);

impl Moment {
    /// The earliest instant.
    pub const MIN: Moment = Moment(i64::MIN);
    /// The latest instant.
    pub const MAX: Moment = Moment(i64::MAX);

    /// The instant `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Moment(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The millisecond this lies in.
    #[must_use]
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(self.0.div_euclid(1000))
    }

    /// This instant, `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Moment(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant, `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Moment(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Moment(time.millis().saturating_mul(1000))
    }
}
