//! Windows: half-open spans that cut time without gaps, aligned to the epoch.
//!
//! A window is named by its start. Whoever cuts time (a question over the store, an alarm, a
//! continuous aggregation) asks here, so that all of them agree on where a window begins.

use moneta_storage::model::{TimeRange, Timestamp};

/// A cut of time into windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Windows {
    /// `[k * length_ms, (k + 1) * length_ms)` for every integer k.
    Every(WindowLength),
    /// One window for everything, labelled with `start`.
    Whole {
        /// The label.
        start: Timestamp,
    },
}

/// Length of a window: at least a millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WindowLength(i64);

impl WindowLength {
    /// `ms` milliseconds, unless that is zero or negative.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Option<Self> {
        if ms > 0 { Some(WindowLength(ms)) } else { None }
    }

    /// The length in milliseconds, positive.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// A window length so great that every sample this side of the epoch shares one window, and small
/// enough that adding two of them does not overflow.
const WHOLE_MS: i64 = 1 << 61;

impl Windows {
    /// The start of the window that holds `time`.
    ///
    /// ```
    /// use moneta_query::window::{WindowLength, Windows};
    /// use moneta_storage::model::Timestamp;
    ///
    /// let minutes = Windows::Every(WindowLength::from_millis(60_000).unwrap());
    /// assert_eq!(minutes.start_of(Timestamp::from_millis(119_999)).millis(), 60_000);
    /// assert_eq!(minutes.start_of(Timestamp::from_millis(120_000)).millis(), 120_000);
    /// ```
    #[must_use]
    pub fn start_of(&self, time: Timestamp) -> Timestamp {
        match self {
            Windows::Every(length) => time.floor_to(length.0),
            Windows::Whole { start } => *start,
        }
    }

    /// The first instant after the window that begins at `start`.
    #[must_use]
    pub fn end_of(&self, start: Timestamp) -> Timestamp {
        match self {
            Windows::Every(length) => start.plus_millis(length.0),
            Windows::Whole { .. } => Timestamp::MAX,
        }
    }

    /// The part of `range` whose windows have labels greater than `after`.
    #[must_use]
    pub fn after(&self, range: TimeRange, after: Timestamp) -> TimeRange {
        let start = match self {
            Windows::Every(_) => range.start.max(self.end_of(self.start_of(after))),
            Windows::Whole { start } if after >= *start => range.end,
            Windows::Whole { .. } => range.start,
        };
        TimeRange::new(start, range.end)
    }

    /// No more windows than this touch `range`.
    #[must_use]
    pub fn count_max(&self, range: TimeRange) -> u64 {
        match self {
            Windows::Every(length) => {
                range.end.millis().abs_diff(range.start.millis()) / length.0.unsigned_abs() + 2
            }
            Windows::Whole { .. } => 1,
        }
    }

    /// The window length to give [`View::fold`](moneta_storage::view::View::fold).
    pub(crate) fn fold_ms(&self) -> i64 {
        match self {
            Windows::Every(length) => length.0,
            Windows::Whole { .. } => WHOLE_MS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[track_caller]
    fn check_after(windows: Windows, range: (i64, i64), after: i64, want: (i64, i64)) {
        let got = windows.after(TimeRange::new(ms(range.0), ms(range.1)), ms(after));
        assert_eq!((got.start.millis(), got.end.millis()), want);
    }

    #[test]
    fn goes_on_with_the_window_after_the_one_delivered() {
        let tens = Windows::Every(WindowLength::from_millis(10).unwrap());
        check_after(tens, (11, 50), 10, (20, 50));
        check_after(tens, (11, 50), 15, (20, 50));
        check_after(tens, (11, 50), -7, (11, 50));
        check_after(tens, (11, 50), 40, (50, 50));
        let whole = Windows::Whole { start: ms(11) };
        check_after(whole, (11, 50), 10, (11, 50));
        check_after(whole, (11, 50), 11, (50, 50));
    }

    #[test]
    fn counts_windows_generously_and_without_overflow() {
        let tens = Windows::Every(WindowLength::from_millis(10).unwrap());
        assert!(tens.count_max(TimeRange::new(ms(9), ms(21))) >= 3);
        assert!(tens.count_max(TimeRange::ALL) > 1 << 60);
        assert_eq!(WindowLength::from_millis(0), None);
    }
}
