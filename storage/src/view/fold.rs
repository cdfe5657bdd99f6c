//! What of a series is answered by the summaries of its blocks, and handing out the rest around them.

use super::{Found, Piece, Summary};
use crate::model::TimeRange;
use crate::segment::{Segment, SeriesEntry, SeriesRows};

/// Takes the blocks out that may be answered by their summaries.
pub(super) fn take_summaries(
    found: &mut Found,
    range: TimeRange,
    window_ms: Option<i64>,
    is_whole: impl Fn(&Segment, &SeriesEntry) -> bool,
) -> Vec<Summary> {
    let Some(window_ms) = window_ms.filter(|&window| window > 0) else { return Vec::new() };
    if found.blocks.is_empty() {
        return Vec::new();
    }
    let mut loose = found.rows.times.clone();
    loose.sort_unstable();
    let spans: Vec<TimeRange> = found.blocks.iter().map(|(_, entry)| entry.times).collect();
    let alone = |at: usize, span: TimeRange| {
        let next = loose.partition_point(|&time| time < span.start.millis());
        let rows_inside = loose.get(next).is_some_and(|&time| time < span.end.millis());
        let overlaps = |(other, b): (usize, &TimeRange)| {
            other != at && b.start < span.end && span.start < b.end
        };
        !rows_inside && !spans.iter().enumerate().any(overlaps)
    };
    let mut summaries = Vec::new();
    let mut at = 0;
    found.blocks.retain(|(segment, entry)| {
        let span = entry.times;
        let last = span.end.plus_millis(-1);
        let usable = range.start <= span.start
            && span.end <= range.end
            && span.start.floor_to(window_ms) == last.floor_to(window_ms)
            && alone(at, span)
            && is_whole(segment, entry);
        at += 1;
        match entry.summary {
            Some(summary) if usable => {
                summaries.push(summary);
                false
            }
            _ => true,
        }
    });
    summaries.sort_by_key(|summary| summary.first_time);
    summaries
}

/// Hands out rows and summaries in order of time. No row lies inside the span of a summary.
pub(super) fn hand_out<E>(
    rows: &SeriesRows,
    summaries: &[Summary],
    mut each: impl FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut from = 0;
    let samples = |from: usize, to: usize, each: &mut dyn FnMut(Piece<'_>) -> Result<(), E>| match (
        rows.times.get(from..to),
        rows.values.get(from..to),
    ) {
        (Some(times), Some(values)) if !times.is_empty() => each(Piece::Samples(times, values)),
        _ => Ok(()),
    };
    for summary in summaries {
        let before = rows.times.partition_point(|&time| time < summary.first_time.millis());
        samples(from, before, &mut each)?;
        from = before;
        each(Piece::Summary(summary))?;
    }
    samples(from, rows.times.len(), &mut each)
}
