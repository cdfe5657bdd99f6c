//! Merging sorted sources, series by series: runs into a bigger run, a generation into segments,
//! segments into a bigger segment. The same code decides everywhere which of several values for one
//! series and time counts.

use std::sync::Arc;

use crate::block::row::{RowBlock, Rows};
use crate::error::Error;
use crate::head::Run;
use crate::model::{MetricNo, SeriesId, TenantId};
use crate::segment::{RowEntry, Segment, SeriesEntry, SeriesPlace, SeriesRows};

/// A sorted source of rows.
pub(crate) struct Source<'a> {
    blocks: Blocks<'a>,
    metric_of: &'a dyn Fn(TenantId, SeriesId) -> MetricNo,
    rows: Rows,
    at: usize,
    place: Option<SeriesPlace>,
}

enum Blocks<'a> {
    Run(std::slice::Iter<'a, (RowEntry, Vec<u8>)>),
    Rows(&'a Arc<Segment>, std::vec::IntoIter<RowEntry>),
    Series(&'a Arc<Segment>, std::vec::IntoIter<SeriesEntry>),
}

impl<'a> Source<'a> {
    /// The rows of a run.
    pub(crate) fn run(run: &'a Run, metric_of: &'a dyn Fn(TenantId, SeriesId) -> MetricNo) -> Self {
        Source::new(Blocks::Run(run.blocks.iter()), metric_of)
    }

    /// The rows of a segment: those in row blocks, and those in series blocks.
    pub(crate) fn segment(
        segment: &'a Arc<Segment>,
        metric_of: &'a dyn Fn(TenantId, SeriesId) -> MetricNo,
    ) -> Result<[Self; 2], Error> {
        let rows = segment.all_row_blocks()?.into_iter();
        let series = segment.all_series_blocks()?.into_iter();
        Ok([
            Source::new(Blocks::Rows(segment, rows), metric_of),
            Source::new(Blocks::Series(segment, series), metric_of),
        ])
    }

    fn new(blocks: Blocks<'a>, metric_of: &'a dyn Fn(TenantId, SeriesId) -> MetricNo) -> Self {
        Source { blocks, metric_of, rows: Rows::default(), at: 0, place: None }
    }

    /// Makes the next row current, decoding a block if the current one is used up.
    fn advance(&mut self) -> Result<(), Error> {
        while self.at >= self.rows.len() {
            self.at = 0;
            let tenant = match &mut self.blocks {
                Blocks::Run(blocks) => {
                    let Some((entry, bytes)) = blocks.next() else { return self.end() };
                    self.rows = RowBlock::verify(bytes)
                        .and_then(|block| block.with_series(block.series()?))
                        .ok_or_else(|| Error::corrupt("block", "a run in memory"))?;
                    entry.first.tenant
                }
                Blocks::Rows(segment, entries) => {
                    let Some(entry) = entries.next() else { return self.end() };
                    self.rows = segment
                        .with_row_block(&entry, |block| block.with_series(block.series()?))?;
                    entry.first.tenant
                }
                Blocks::Series(segment, entries) => {
                    let Some(entry) = entries.next() else { return self.end() };
                    self.rows = read_series_block(segment, &entry)?;
                    entry.place.tenant
                }
            };
            self.place =
                Some(SeriesPlace { tenant, metric: MetricNo::new(0), series: SeriesId::new(0) });
        }
        if let (Some(place), Some(&series)) = (&mut self.place, self.rows.series.get(self.at)) {
            let series = u32::try_from(series)
                .map_err(|_| Error::corrupt("series id", format!("{series}")))?;
            place.series = SeriesId::new(series);
            place.metric = (self.metric_of)(place.tenant, place.series);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        self.rows.clear();
        self.place = None;
        Ok(())
    }

    /// Moves the rows of the current series to `out`.
    fn take_series(&mut self, out: &mut SeriesRows) -> Result<(), Error> {
        let Some(place) = self.place else { return Ok(()) };
        while self.place == Some(place) {
            let series = u64::from(place.series.number());
            let rest = self.rows.series.get(self.at..).unwrap_or_default();
            let count = rest.iter().take_while(|&&id| id == series).count();
            let range = self.at..self.at + count;
            let base = u32::try_from(out.times.len()).unwrap_or(u32::MAX);
            let first = u32::try_from(range.start).unwrap_or(u32::MAX);
            let end = u32::try_from(range.end).unwrap_or(u32::MAX);
            // Ascending, so the ones of this series are found without looking at all.
            let from = self.rows.metas.partition_point(|(index, _)| *index < first);
            out.metas.extend(
                self.rows
                    .metas
                    .get(from..)
                    .unwrap_or_default()
                    .iter()
                    .take_while(|(index, _)| *index < end)
                    .map(|(index, meta)| (base + (index - first), meta.clone())),
            );
            out.times.extend_from_slice(self.rows.times.get(range.clone()).unwrap_or_default());
            out.sequences
                .extend_from_slice(self.rows.sequences.get(range.clone()).unwrap_or_default());
            out.values.extend_from_slice(self.rows.values.get(range.clone()).unwrap_or_default());
            self.at = range.end;
            self.advance()?;
        }
        Ok(())
    }
}

/// The rows of a series block. Their sequence is the last of the segment: nothing between the
/// segment's first and last write can still tell them apart.
pub(crate) fn read_series_block(segment: &Segment, entry: &SeriesEntry) -> Result<Rows, Error> {
    let times = segment.times(entry)?;
    let (values, metas) = segment.values(entry)?;
    Ok(Rows {
        series: vec![u64::from(entry.place.series.number()); times.len()],
        sequences: vec![segment.facts.sequences.1.number(); times.len()],
        times,
        values,
        metas,
    })
}

/// Calls `each` once per series, in order, with all its rows from all sources. Rows of one source
/// stay in order; those of an earlier source come before those of a later one.
pub(crate) fn for_each_series(
    mut sources: Vec<Source<'_>>,
    mut each: impl FnMut(SeriesPlace, &mut SeriesRows) -> Result<(), Error>,
) -> Result<(), Error> {
    for source in &mut sources {
        source.advance()?;
    }
    let mut rows = SeriesRows::default();
    while let Some(place) = sources.iter().filter_map(|source| source.place).min() {
        rows.clear();
        for source in sources.iter_mut().filter(|source| source.place == Some(place)) {
            source.take_series(&mut rows)?;
        }
        each(place, &mut rows)?;
    }
    Ok(())
}

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
