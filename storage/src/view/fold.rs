//! Reading for aggregation: what of a series is answered by rollups and by the summaries of its blocks,
//! and handing out the rest around them.

use super::{Budget, Found, Piece, SERIES_AT_ONCE, Summary, View, decode_block};
use crate::error::Error;
use crate::merge;
use crate::model::{SeriesId, TimeRange};
use crate::rollup::plan::Part;
use crate::segment::{Segment, SeriesEntry, SeriesRows};

impl View {
    /// Reads `series` in `range` for aggregation, calling `each` with consecutive pieces of a
    /// series, ascending in time, series in the order given. With `window_ms` a block whose
    /// samples all lie in one window `[k * window_ms, (k + 1) * window_ms)` and in `range`, and of
    /// which nothing has been written again since, comes as its summary; and where there is a rollup
    /// that holds what the samples say, its slots come where they lie in one window and in `range`.
    /// Where samples have expired and a rollup is left, its slots come whatever the window; see
    /// [`resolution`](Self::resolution).
    ///
    /// # Errors
    /// As for [`read`](Self::read); summaries do not count as decoded samples, a slot as one.
    pub fn fold<E: From<Error>>(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
        samples_max: u64,
        mut each: impl FnMut(SeriesId, Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut budget = Budget { left: samples_max, max: samples_max };
        self.locate(series.len());
        for (series, parts) in self.parted(series, range, window_ms) {
            for chunk in series.chunks(SERIES_AT_ONCE) {
                self.fold_parts(chunk, &parts, window_ms, &mut budget, &mut each)?;
            }
        }
        Ok(())
    }

    /// Folds `series` (not too many), which all have the same parts.
    fn fold_parts<E: From<Error>>(
        &self,
        series: &[SeriesId],
        parts: &[Part],
        window_ms: Option<i64>,
        budget: &mut Budget,
        each: &mut impl FnMut(SeriesId, Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut raw = Vec::new();
        for part in parts {
            if let Part::Raw(range) = part {
                raw.push(self.find(series, *range, budget)?.into_iter());
            }
        }
        let mut rolled = self.find_slots(series, parts, budget)?.into_iter();
        for &id in series {
            self.interrupt.check()?;
            let slots = rolled.next().unwrap_or_default();
            let mut raw = raw.iter_mut();
            for part in parts {
                let range = match part {
                    Part::Raw(range) => *range,
                    Part::Rolled { .. } => {
                        for slot in self.slots_in(&slots, part) {
                            each(id, Piece::Slot(slot))?;
                        }
                        continue;
                    }
                };
                let Some(mut found) = raw.next().and_then(Iterator::next) else { continue };
                let whole = |segment: &Segment, entry: &SeriesEntry| self.is_whole(segment, entry);
                let summaries = take_summaries(&mut found, range, window_ms, whole);
                for (segment, entry) in &found.blocks {
                    self.interrupt.check()?;
                    decode_block(segment, entry, range, &mut found.rows, budget)?;
                }
                self.sift(id, &mut found.rows);
                merge::resolve(&mut found.rows);
                hand_out(&found.rows, &summaries, |piece| each(id, piece))?;
            }
        }
        Ok(())
    }
}

/// Takes the blocks out that may be answered by their summaries.
fn take_summaries(
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
        let overlaps = |(other, b): (usize, &TimeRange)| other != at && b.overlaps(span);
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
fn hand_out<E>(
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
