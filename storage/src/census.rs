//! A census: which series have rows where, without reading values. For dry runs, for finding what has
//! expired or was deleted, and for the activity of a day.

use std::sync::Arc;

use crate::block::row::{RowBlock, Rows};
use crate::error::Error;
use crate::live::Moment;
use crate::model::{MetricNo, SeriesId, TenantId, TimeRange, Timestamp};
use crate::segment::{Segment, SeriesEntry, SeriesPlace};

/// Consecutive rows of one series in a segment or in the head. Of rows that were written again since,
/// all versions that are still stored count.
pub(crate) struct Stretch<'a> {
    pub(crate) place: SeriesPlace,
    /// At least the span of the rows' times.
    pub(crate) times: TimeRange,
    pub(crate) rows: u64,
    inside: Inside<'a>,
}

enum Inside<'a> {
    Times(&'a [i64]),
    Block(&'a Segment, &'a SeriesEntry),
}

impl Stretch<'_> {
    /// How many of the rows lie in `range`.
    pub(crate) fn rows_in(&self, range: TimeRange) -> Result<u64, Error> {
        if range.start <= self.times.start && self.times.end <= range.end {
            return Ok(self.rows);
        }
        if !self.times.overlaps(range) {
            return Ok(0);
        }
        let count = |times: &[i64]| {
            times.iter().filter(|&&time| range.contains(Timestamp::from_millis(time))).count()
        };
        let found = match self.inside {
            Inside::Times(times) => count(times),
            Inside::Block(segment, entry) => count(&segment.times(entry)?),
        };
        Ok(u64::try_from(found).unwrap_or(u64::MAX))
    }
}

/// Of what a census is wanted. It may count more: whole blocks are looked at.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    /// `None`: all.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) times: TimeRange,
}

impl Scope {
    pub(crate) const ALL: Scope = Scope { tenant: None, times: TimeRange::ALL };

    /// Whether something between two places may belong to it.
    fn meets(&self, first: SeriesPlace, last: SeriesPlace, times: TimeRange) -> bool {
        self.tenant.is_none_or(|tenant| first.tenant <= tenant && tenant <= last.tenant)
            && self.times.overlaps(times)
    }
}

/// Calls `each` with every stretch of a segment, a group of the directory at a time. Metrics of rows
/// come from `metric_of`.
pub(crate) fn of_segment(
    segment: &Segment,
    scope: Scope,
    metric_of: &dyn Fn(TenantId, SeriesId) -> MetricNo,
    mut each: impl FnMut(&Stretch<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    for group in segment.row_groups() {
        if !scope.meets(group.first, group.last, group.times) {
            continue;
        }
        for entry in segment.row_group(group)? {
            if scope.meets(entry.first, entry.last, entry.times) {
                let rows =
                    segment.with_row_block(&entry, |block| block.with_series(block.series()?))?;
                of_rows(entry.first.tenant, &rows, metric_of, &mut each)?;
            }
        }
    }
    for group in segment.series_groups() {
        if !scope.meets(group.first, group.last, group.times) {
            continue;
        }
        for entry in segment.series_group(group)? {
            if scope.meets(entry.place, entry.place, entry.times) {
                each(&Stretch {
                    place: entry.place,
                    times: entry.times,
                    rows: u64::from(entry.count),
                    inside: Inside::Block(segment, &entry),
                })?;
            }
        }
    }
    Ok(())
}

/// Calls `each` with every stretch of the head.
pub(crate) fn of_head(
    moment: &Moment,
    metric_of: &dyn Fn(TenantId, SeriesId) -> MetricNo,
    mut each: impl FnMut(&Stretch<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    for (entry, bytes) in moment.runs.iter().flat_map(|run| &run.blocks) {
        let rows = RowBlock::verify(bytes)
            .and_then(|block| block.with_series(block.series()?))
            .ok_or_else(|| Error::corrupt("block", "a run in memory"))?;
        of_rows(entry.first.tenant, &rows, metric_of, &mut each)?;
    }
    for row in moment.batches.iter().flat_map(|batch| &batch.rows) {
        let (tenant, series) = (row.tenant, row.series);
        let place = SeriesPlace { tenant, metric: metric_of(tenant, series), series };
        each(&stretch(place, &[row.time]))?;
    }
    Ok(())
}

fn of_rows(
    tenant: TenantId,
    rows: &Rows,
    metric_of: &dyn Fn(TenantId, SeriesId) -> MetricNo,
    each: &mut impl FnMut(&Stretch<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut start = 0;
    for chunk in rows.series.chunk_by(|a, b| a == b) {
        let times = rows.times.get(start..start + chunk.len()).unwrap_or_default();
        start += chunk.len();
        let Some(series) = chunk.first().and_then(|&id| u32::try_from(id).ok()) else { continue };
        let series = SeriesId::new(series);
        let place = SeriesPlace { tenant, metric: metric_of(tenant, series), series };
        each(&stretch(place, times))?;
    }
    Ok(())
}

fn stretch(place: SeriesPlace, times: &[i64]) -> Stretch<'_> {
    let start = times.iter().copied().min().unwrap_or(0);
    let end = times.iter().copied().max().unwrap_or(0);
    Stretch {
        place,
        times: TimeRange::new(
            Timestamp::from_millis(start),
            Timestamp::from_millis(end).plus_millis(1),
        ),
        rows: u64::try_from(times.len()).unwrap_or(u64::MAX),
        inside: Inside::Times(times),
    }
}

/// Segments with a sample in `range`.
pub(crate) fn overlapping(
    segments: &[Arc<Segment>],
    range: TimeRange,
) -> impl Iterator<Item = &Arc<Segment>> {
    segments.iter().filter(move |segment| {
        let span = segment.facts.times;
        span.start < range.end && range.start < span.end
    })
}

/// The bytes of a segment that so many of its samples take, about.
pub(crate) fn share(segment: &Segment, samples: u64) -> u64 {
    let facts = &segment.facts;
    let bytes = u128::from(facts.bytes) * u128::from(samples) / u128::from(facts.samples.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
