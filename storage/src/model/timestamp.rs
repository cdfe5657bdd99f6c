//! Time: milliseconds since the epoch, UTC, and half-open spans of it.

use std::fmt;
use std::time::Duration;

/// An instant: milliseconds since 1970-01-01T00:00:00Z, negative before it. Arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest instant.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// The instant `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Timestamp(ms)
    }

    /// The instant `seconds` after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This instant plus `ms` milliseconds (which may be negative).
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Timestamp(self.0.saturating_add(ms))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The greatest multiple of `step_ms` (counted from the epoch) that is not after this instant.
    ///
    /// # Panics
    /// If `step_ms` is not positive.
    #[must_use]
    pub fn floor_to(self, step_ms: i64) -> Self {
        assert!(step_ms > 0, "a step is positive");
        Timestamp(self.0.saturating_sub(self.0.rem_euclid(step_ms)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The half-open span `[start, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimeRange {
    /// First instant inside.
    pub start: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of time but its very last millisecond.
    pub const ALL: TimeRange = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };

    /// The span from `start` up to, but without, `end`.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        TimeRange { start, end }
    }

    /// Whether `time` lies inside.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether some time lies inside both. Of one without any time inside: whether it lies inside the
    /// other and not at its start.
    #[must_use]
    pub fn overlaps(&self, other: TimeRange) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The shortest span that holds both.
    #[must_use]
    pub fn unite(&self, other: TimeRange) -> TimeRange {
        TimeRange::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Whether nothing lies inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_toward_the_past_also_before_the_epoch() {
        assert_eq!(Timestamp::from_millis(61_999).floor_to(60_000).millis(), 60_000);
        assert_eq!(Timestamp::from_millis(-1).floor_to(60_000).millis(), -60_000);
        assert_eq!(Timestamp::from_millis(-60_000).floor_to(60_000).millis(), -60_000);
    }

    #[test]
    fn a_range_is_half_open() {
        let range = TimeRange::new(Timestamp::from_millis(1), Timestamp::from_millis(3));
        let inside: Vec<i64> =
            (0..5).filter(|&ms| range.contains(Timestamp::from_millis(ms))).collect();
        assert_eq!(inside, [1, 2]);
    }

    #[test]
    fn ranges_overlap_where_a_time_lies_in_both() {
        let range =
            |start, end| TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        for a in (0..5).flat_map(|start| (start + 1..6).map(move |end| (start, end))) {
            for b in (0..5).flat_map(|start| (start + 1..6).map(move |end| (start, end))) {
                let both = (a.0..a.1).any(|time| (b.0..b.1).contains(&time));
                assert_eq!(range(a.0, a.1).overlaps(range(b.0, b.1)), both, "{a:?} {b:?}");
                let all = range(a.0.min(b.0), a.1.max(b.1));
                assert_eq!(range(a.0, a.1).unite(range(b.0, b.1)), all);
            }
        }
        assert!(range(0, 5).overlaps(range(2, 2)));
        assert!(!range(0, 5).overlaps(range(0, 0)) && !range(0, 5).overlaps(range(5, 5)));
    }
}
