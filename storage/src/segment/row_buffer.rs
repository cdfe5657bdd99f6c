//! Rows on their way into row blocks, in segments as in runs.

use std::ops::Range;

use super::directory::Extent;
use super::{RowEntry, SeriesPlace, SeriesRows};
use crate::block::row::Rows;
use crate::block::{BLOCK_META_BYTES, ROW_BLOCK_ROWS_MAX};
use crate::model::{Sequence, TimeRange, Timestamp};

/// Rows of one tenant, in order, until they fill a block.
#[derive(Default)]
pub(crate) struct RowBuffer {
    rows: Rows,
    meta_bytes: usize,
    /// The first and the last series in it.
    places: Option<(SeriesPlace, SeriesPlace)>,
}

/// The rows of a block.
pub(crate) struct Filled<'a> {
    pub(crate) rows: &'a Rows,
    first: SeriesPlace,
    last: SeriesPlace,
}

impl RowBuffer {
    /// How many rows wait.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds the rows `range` of a series, handing each block that this fills to `close`.
    pub(crate) fn push<E>(
        &mut self,
        place: SeriesPlace,
        rows: &SeriesRows,
        range: Range<usize>,
        mut close: impl FnMut(&Filled<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.places.is_some_and(|(first, _)| first.tenant != place.tenant) {
            self.close(&mut close)?;
        }
        let mut start = range.start;
        while start < range.end {
            if self.rows.len() >= ROW_BLOCK_ROWS_MAX || self.meta_bytes >= BLOCK_META_BYTES {
                self.close(&mut close)?;
            }
            let room = ROW_BLOCK_ROWS_MAX - self.rows.len();
            let end = self.end_of_metas(rows, start..range.end.min(start + room));
            self.append(place, rows, start..end);
            start = end;
        }
        Ok(())
    }

    /// The end of those rows of `range`, at least one, whose `value_meta` still belong into this block.
    fn end_of_metas(&self, rows: &SeriesRows, range: Range<usize>) -> usize {
        let mut bytes = self.meta_bytes;
        for (index, meta) in rows.metas_of(range.clone()) {
            bytes += meta.text().len();
            if bytes >= BLOCK_META_BYTES {
                return (range.start + index + 1).min(range.end);
            }
        }
        range.end
    }

    fn append(&mut self, place: SeriesPlace, rows: &SeriesRows, range: Range<usize>) {
        let first = self.places.map_or(place, |(first, _)| first);
        self.places = Some((first, place));
        let base = self.rows.len();
        for (index, meta) in rows.metas_of(range.clone()) {
            let at = u32::try_from(base + index).expect("at most ROW_BLOCK_ROWS_MAX");
            self.meta_bytes += meta.text().len();
            self.rows.metas.push((at, meta.clone()));
        }
        let series = u64::from(place.series.number());
        self.rows.series.extend(std::iter::repeat_n(series, range.len()));
        let times = rows.times.get(range.clone()).unwrap_or_default();
        let sequences = rows.sequences.get(range.clone()).unwrap_or_default();
        let values = rows.values.get(range).unwrap_or_default();
        self.rows.times.extend_from_slice(times);
        self.rows.sequences.extend_from_slice(sequences);
        self.rows.values.extend_from_slice(values);
    }

    /// The block that the rows make, if there are any.
    pub(crate) fn filled(&self) -> Option<Filled<'_>> {
        let (first, last) = self.places?;
        Some(Filled { rows: &self.rows, first, last })
    }

    /// Hands over what waits.
    pub(crate) fn close<E>(
        &mut self,
        close: &mut impl FnMut(&Filled<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(filled) = self.filled() else { return Ok(()) };
        close(&filled)?;
        self.rows.clear();
        self.meta_bytes = 0;
        self.places = None;
        Ok(())
    }
}

impl Filled<'_> {
    /// What the directory says of the block.
    pub(crate) fn entry(&self, extent: Extent) -> RowEntry {
        row_entry(self.first, self.last, self.rows, extent)
    }
}

/// What a directory says of a row block.
pub(crate) fn row_entry(
    first: SeriesPlace,
    last: SeriesPlace,
    rows: &Rows,
    extent: Extent,
) -> RowEntry {
    let start = rows.times.iter().copied().min().unwrap_or(0);
    let end = rows.times.iter().copied().max().unwrap_or(0);
    let low = rows.sequences.iter().copied().min().unwrap_or(0);
    let high = rows.sequences.iter().copied().max().unwrap_or(0);
    RowEntry {
        first,
        last,
        times: TimeRange::new(
            Timestamp::from_millis(start),
            Timestamp::from_millis(end).plus_millis(1),
        ),
        sequences: (Sequence::new(low), Sequence::new(high)),
        rows: u32::try_from(rows.len()).expect("at most ROW_BLOCK_ROWS_MAX"),
        extent,
    }
}
