//! Merging sorted sources, series by series: runs into a bigger run, a generation into segments,
//! segments into a bigger segment. The same code decides everywhere which of several values for one
//! series and time counts.

mod gather;
pub(crate) mod merger;
mod policy;
mod source;
#[cfg(test)]
mod whole;

#[cfg(test)]
pub(crate) use whole::merge_in_pieces;

pub(crate) use gather::{Gathered, each_series};
pub(crate) use merger::{QUIET, SPLIT_BYTES};
pub(crate) use source::{Source, StoredBlock, read_series_block};

use crate::segment::SeriesRows;

/// Sorts rows of one series by time, then sequence; rows that are equal in both keep their order.
pub(crate) fn sort(rows: &mut SeriesRows) {
    let sorted = rows.times.iter().zip(&rows.sequences).is_sorted_by(|a, b| a <= b);
    if sorted {
        return;
    }
    let mut order: Vec<usize> = (0..rows.times.len()).collect();
    let key = |&at: &usize| (rows.times.get(at).copied(), rows.sequences.get(at).copied());
    order.sort_by_key(key);
    reorder(rows, &order);
}

/// Of sorted rows that are equal in time and sequence leaves the last: it stood later in its request.
pub(crate) fn drop_overwritten_in_request(rows: &mut SeriesRows) {
    let key = |at: usize| (rows.times.get(at), rows.sequences.get(at));
    let count = rows.times.len();
    if (1..count).all(|at| key(at - 1) != key(at)) {
        return;
    }
    let order: Vec<usize> =
        (0..count).filter(|&at| at + 1 == count || key(at) != key(at + 1)).collect();
    reorder(rows, &order);
}

/// Leaves one row per timestamp, ascending: the one with the greatest sequence, the last of equals.
pub(crate) fn resolve(rows: &mut SeriesRows) {
    if rows.times.is_sorted_by(|a, b| a < b) {
        return;
    }
    sort(rows);
    let last_of_time = |&at: &usize| rows.times.get(at) != rows.times.get(at + 1);
    let order: Vec<usize> = (0..rows.times.len()).filter(last_of_time).collect();
    reorder(rows, &order);
}

/// Leaves the rows at the places `order`, in that order.
pub(crate) fn reorder(rows: &mut SeriesRows, order: &[usize]) {
    fn pick<T: Copy>(column: &[T], order: &[usize]) -> Vec<T> {
        order.iter().filter_map(|&at| column.get(at).copied()).collect()
    }
    if !rows.metas.is_empty() {
        let mut metas: Vec<_> = rows.times.iter().map(|_| None).collect();
        for (index, meta) in rows.metas.drain(..) {
            if let Some(slot) = usize::try_from(index).ok().and_then(|at| metas.get_mut(at)) {
                *slot = Some(meta);
            }
        }
        let picked = order.iter().map(|&at| metas.get(at).cloned().flatten());
        rows.metas =
            (0_u32..).zip(picked).filter_map(|(index, meta)| Some((index, meta?))).collect();
    }
    rows.times = pick(&rows.times, order);
    rows.sequences = pick(&rows.sequences, order);
    rows.values = pick(&rows.values, order);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ValueMeta;

    fn check(rows: &[(i64, u64, f64, &str)], want: &[(i64, f64, &str)]) {
        let mut columns = SeriesRows {
            times: rows.iter().map(|row| row.0).collect(),
            sequences: rows.iter().map(|row| row.1).collect(),
            values: rows.iter().map(|row| row.2).collect(),
            metas: (0_u32..)
                .zip(rows)
                .filter(|(_, row)| !row.3.is_empty())
                .map(|(at, row)| (at, ValueMeta::new(row.3).unwrap()))
                .collect(),
        };
        resolve(&mut columns);
        let meta_at = |at: u32| {
            columns.metas.iter().find(|(index, _)| *index == at).map_or("", |(_, m)| m.text())
        };
        let got: Vec<(i64, f64, &str)> = (0_u32..)
            .zip(columns.times.iter().zip(&columns.values))
            .map(|(at, (&time, &value))| (time, value, meta_at(at)))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_greater_sequence_wins_wherever_it_stands() {
        check(&[(5, 9, 1.0, ""), (5, 3, 2.0, ""), (4, 1, 0.0, "")], &[(4, 0.0, ""), (5, 1.0, "")]);
    }

    #[test]
    fn of_equal_sequences_the_later_row_wins() {
        check(&[(5, 3, 1.0, ""), (5, 3, 2.0, "")], &[(5, 2.0, "")]);
    }

    #[test]
    fn a_later_write_without_meta_removes_the_meta() {
        check(
            &[(5, 3, 1.0, "old"), (6, 3, 1.0, "kept"), (5, 4, 1.0, "")],
            &[(5, 1.0, ""), (6, 1.0, "kept")],
        );
    }
}
