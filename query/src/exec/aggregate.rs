//! Partial aggregates: what is kept of a window until its numbers are asked for.

use moneta_storage::model::{Sum, Timestamp};
use moneta_storage::rollup::Slot;
use moneta_storage::view::{Piece, Summary};

use crate::expr::Aggregate;
use crate::window::Windows;

/// So few values lose no more than 2^-44 of the sum of their magnitudes; keeping what each addition loses
/// would cost a query over samples a third more.
const SUMMED_PLAINLY: usize = 512;

/// Count, sum and extremes of finite values. Partials of disjoint samples can be merged in any order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Partial {
    count: u64,
    sum: Sum,
    min: f64,
    max: f64,
}

impl Partial {
    /// Of the finite ones among `values`; `None` if there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut all = Partial { count: 0, sum: Sum::default(), min, max };
        for few in values.chunks(SUMMED_PLAINLY) {
            let mut sum = 0.0;
            for &value in few {
                if value.is_finite() {
                    all.count += 1;
                    sum += value;
                    all.min = all.min.min(value);
                    all.max = all.max.max(value);
                }
            }
            all.sum.add(sum);
        }
        (all.count > 0).then_some(all)
    }

    /// Joins the partial of other samples.
    pub(crate) fn merge(&mut self, other: &Partial) {
        self.count = self.count.saturating_add(other.count);
        self.sum.join(&other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The number asked for.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) fn value(&self, aggregate: Aggregate) -> f64 {
        match aggregate {
            Aggregate::Avg => self.sum.total() / self.count as f64,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Sum => self.sum.total(),
            Aggregate::Count => self.count as f64,
        }
    }
}

impl From<&Summary> for Partial {
    fn from(summary: &Summary) -> Self {
        let Summary { count, sum, min, max, .. } = *summary;
        Partial { count, sum: Sum::from(sum), min, max }
    }
}

impl From<&Slot> for Partial {
    fn from(slot: &Slot) -> Self {
        let Slot { count, sum, min, max, .. } = *slot;
        Partial { count, sum: Sum::from(sum), min, max }
    }
}

/// A window's start and what is known of it.
pub(crate) type WindowPartial = (Timestamp, Partial);

/// The first windows of one series, built from its pieces in ascending time.
pub(crate) struct SeriesWindows {
    windows: Windows,
    rows_max: usize,
    rows: Vec<WindowPartial>,
}

impl SeriesWindows {
    /// Keeps the first `rows_max` windows; what belongs to later ones is passed over.
    pub(crate) fn new(windows: Windows, rows_max: usize) -> Self {
        SeriesWindows { windows, rows_max, rows: Vec::new() }
    }

    /// Windows begun so far.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The windows, ascending.
    pub(crate) fn into_rows(self) -> Vec<WindowPartial> {
        self.rows
    }

    pub(crate) fn add(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Summary(summary) => {
                self.join(self.windows.start_of(summary.first_time), Partial::from(*summary));
            }
            Piece::Slot(slot) => {
                self.join(self.windows.start_of(slot.start), Partial::from(*slot));
            }
            Piece::Samples(times, values) => self.add_samples(times, values),
        }
    }

    fn add_samples(&mut self, times: &[i64], values: &[f64]) {
        let (mut times, mut values) = (times, values);
        while let Some(&first) = times.first() {
            let start = self.windows.start_of(Timestamp::from_millis(first));
            let end = self.windows.end_of(start).millis();
            let inside = times.iter().position(|&time| time >= end).unwrap_or(times.len()).max(1);
            let (these, later) = values.split_at(inside.min(values.len()));
            if let Some(partial) = Partial::of(these) {
                self.join(start, partial);
            }
            times = times.get(inside..).unwrap_or_default();
            values = later;
        }
    }

    fn join(&mut self, start: Timestamp, partial: Partial) {
        let full = self.rows.len() >= self.rows_max;
        match self.rows.last_mut() {
            Some((last, have)) if *last == start => have.merge(&partial),
            Some(_) | None if !full => self.rows.push((start, partial)),
            Some(_) | None => {}
        }
    }
}

/// Joins `other` into `rows`, window by window, and keeps the first `rows_max`. Both ascend. A window
/// that is dropped has that many before it, so none that is in the end among the first was ever
/// dropped: those are whole.
pub(crate) fn merge_windows(
    rows: &mut Vec<WindowPartial>,
    other: Vec<WindowPartial>,
    rows_max: usize,
) {
    if rows.is_empty() {
        *rows = other;
        return;
    }
    if other.is_empty() {
        return;
    }
    let mut merged = Vec::with_capacity(rows.len().max(other.len()));
    let mut left = std::mem::take(rows).into_iter().peekable();
    for (start, partial) in other {
        while let Some(earlier) = left.next_if(|row| row.0 < start) {
            merged.push(earlier);
        }
        match left.next_if(|row| row.0 == start) {
            Some((_, mut both)) => {
                both.merge(&partial);
                merged.push((start, both));
            }
            None => merged.push((start, partial)),
        }
    }
    merged.extend(left);
    merged.truncate(rows_max);
    *rows = merged;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::WindowLength;

    fn tens() -> Windows {
        Windows::Every(WindowLength::from_millis(10).unwrap())
    }

    /// `start:count,sum,min,max` of each window.
    fn shown(rows: &[WindowPartial]) -> String {
        let row = |(start, p): &WindowPartial| {
            format!("{start}:{},{},{},{}", p.count, p.sum.total(), p.min, p.max)
        };
        rows.iter().map(row).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(windows: Windows, pieces: &[Piece<'_>], want: &str) {
        let mut series = SeriesWindows::new(windows, 100);
        for piece in pieces {
            series.add(piece);
        }
        assert_eq!(shown(&series.into_rows()), want);
    }

    const SUMMARY: Summary = Summary {
        count: 3,
        min: -1.0,
        max: 5.0,
        sum: 6.0,
        first: 2.0,
        last: 5.0,
        first_time: Timestamp::from_millis(11),
        last_time: Timestamp::from_millis(19),
    };

    #[test]
    fn pieces_fall_into_their_windows() {
        check(tens(), &[], "");
        check(
            tens(),
            &[Piece::Samples(&[-1, 0, 9, 10, 35], &[1.0, 2.0, 4.0, 8.0, 16.0])],
            "-10:1,1,1,1 0:2,6,2,4 10:1,8,8,8 30:1,16,16,16",
        );
    }

    #[test]
    fn a_window_may_come_in_several_pieces_and_as_a_summary() {
        check(
            tens(),
            &[
                Piece::Samples(&[3, 10], &[1.0, 2.0]),
                Piece::Summary(&SUMMARY),
                Piece::Samples(&[19, 20], &[7.0, 9.0]),
            ],
            "0:1,1,1,1 10:5,15,-1,7 20:1,9,9,9",
        );
    }

    #[test]
    fn values_that_are_not_finite_do_not_count() {
        let values = [f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY];
        check(tens(), &[Piece::Samples(&[0, 1, 2, 10], &values)], "0:1,1,1,1");
    }

    /// A day of a sample a second, read as samples and as slots of five minutes, each rounded.
    #[test]
    fn a_long_sum_does_not_depend_on_where_it_was_cut() {
        for value in [0.1, 0.7, 99.9] {
            let all = Partial::of(&vec![value; 86_400]).unwrap();
            let slot = Partial::of(&vec![value; 300]).unwrap().value(Aggregate::Sum);
            let slot = Partial { sum: Sum::from(slot), ..Partial::of(&vec![value; 300]).unwrap() };
            let mut joined = slot;
            (1..288).for_each(|_| joined.merge(&slot));
            for aggregate in [Aggregate::Sum, Aggregate::Avg] {
                let (a, b) = (all.value(aggregate), joined.value(aggregate));
                assert!((a - b).abs() <= 1e-12 * a.abs(), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_whole_is_one_window_with_the_label_of_the_span() {
        let whole = Windows::Whole { start: Timestamp::from_millis(-7) };
        check(
            whole,
            &[Piece::Samples(&[-7, 500], &[1.0, 2.0]), Piece::Summary(&SUMMARY)],
            "-7:5,9,-1,5",
        );
    }

    #[test]
    fn merges_window_by_window() {
        let rows = |starts: &[i64]| -> Vec<WindowPartial> {
            let one = Partial::of(&[1.0]).unwrap();
            starts.iter().map(|&start| (Timestamp::from_millis(start), one)).collect()
        };
        let merge = |left: &[i64], right: &[i64]| {
            let mut left = rows(left);
            merge_windows(&mut left, rows(right), 5);
            left.iter().map(|(start, p)| (start.millis(), p.count)).collect::<Vec<_>>()
        };
        assert_eq!(
            merge(&[0, 20, 30], &[10, 20, 40]),
            [(0, 1), (10, 1), (20, 2), (30, 1), (40, 1)]
        );
        assert_eq!(
            merge(&[0, 10, 20, 30, 50], &[40]),
            [(0, 1), (10, 1), (20, 1), (30, 1), (40, 1)]
        );
        assert_eq!(merge(&[], &[10]), [(10, 1)]);
        assert_eq!(merge(&[10], &[]), [(10, 1)]);
    }

    proptest! {
        /// Cutting a series into pieces anywhere does not change its windows (sums of integers are exact).
        #[test]
        fn pieces_may_be_cut_anywhere(
            steps in prop::collection::vec(1_i64..25, 1..60),
            values in prop::collection::vec(-100_i32..100, 60),
            cut in 0_usize..60,
        ) {
            let times: Vec<i64> = steps.iter().scan(-300, |now, step| { *now += step; Some(*now) }).collect();
            let values: Vec<f64> = values.iter().take(times.len()).map(|&v| f64::from(v)).collect();
            let cut = cut.min(times.len());
            let mut whole = SeriesWindows::new(tens(), 100);
            whole.add(&Piece::Samples(&times, &values));
            let mut parts = SeriesWindows::new(tens(), 100);
            parts.add(&Piece::Samples(&times[..cut], &values[..cut]));
            parts.add(&Piece::Samples(&times[cut..], &values[cut..]));
            prop_assert_eq!(whole.into_rows(), parts.into_rows());
        }
    }
}
