//! A run: sorted row blocks in memory, encoded as in a segment.

use std::convert::Infallible;
use std::sync::Arc;

use foldhash::HashMap;

use crate::batch::Batch;
use crate::block::row;
use crate::codec::Effort;
use crate::merge::{self, Source};
use crate::model::{MetricNo, SeriesId, TenantId, ValueMeta};
use crate::segment::directory::Extent;
use crate::segment::row_buffer::{Filled, RowBuffer};
use crate::segment::{RowEntry, SeriesPlace, SeriesRows};

/// Where the metric of a series is looked up.
pub(crate) type MetricOf<'a> = &'a dyn Fn(TenantId, SeriesId) -> MetricNo;

/// Sorted rows of consecutive batches. Rows of equal series and time but different sequences are all
/// kept, so that a reader can ask for an earlier moment.
pub(crate) struct Run {
    pub(crate) level: u8,
    pub(crate) blocks: Vec<(RowEntry, Vec<u8>)>,
}

impl Run {
    /// Sorts the rows of `batches`, which follow each other in commit order.
    pub(crate) fn sort(batches: &[Arc<Batch>], metric_of: MetricOf<'_>) -> Self {
        let mut blocks = BlockWriter::default();
        Grouped::of(batches, metric_of).each(|place, rows| {
            merge::sort(rows);
            merge::drop_overwritten_in_request(rows);
            blocks.push(place, rows);
        });
        Run { level: 0, blocks: blocks.finish() }
    }

    /// One run with the rows of `runs`.
    pub(crate) fn merge(runs: &[Arc<Run>], metric_of: MetricOf<'_>) -> Result<Self, crate::Error> {
        let level = runs.iter().map(|run| run.level).max().unwrap_or(0).saturating_add(1);
        let sources = runs.iter().map(|run| Source::run(run, metric_of)).collect();
        let mut blocks = BlockWriter::default();
        merge::each_series(sources, |place, gathered| {
            gathered.sort();
            blocks.push(place, &gathered.rows);
            Ok(())
        })?;
        Ok(Run { level, blocks: blocks.finish() })
    }
}

/// The series of some rows, numbered as they appear.
#[derive(Default)]
struct Slots {
    known: HashMap<(TenantId, SeriesId), u32>,
    counted: Vec<Counted>,
    last: Option<usize>,
}

struct Counted {
    tenant: TenantId,
    series: SeriesId,
    count: usize,
    /// The series that came behind it the last time. A host reports its series in one order, so it
    /// mostly comes again, and costs no look-up.
    successor: usize,
}

impl Slots {
    fn count(&mut self, tenant: TenantId, series: SeriesId) -> u32 {
        let last = self.last.and_then(|last| self.counted.get(last));
        let guess = last.map_or(usize::MAX, |last| last.successor);
        if let Some(next) = self.counted.get_mut(guess)
            && (next.tenant, next.series) == (tenant, series)
        {
            next.count += 1;
            self.last = Some(guess);
            return number(guess);
        }
        let free = number(self.counted.len());
        let slot = *self.known.entry((tenant, series)).or_insert(free);
        let at = index(slot).unwrap_or(usize::MAX);
        if slot == free {
            self.counted.push(Counted { tenant, series, count: 0, successor: usize::MAX });
        }
        if let Some(counted) = self.counted.get_mut(at) {
            counted.count += 1;
        }
        if let Some(last) = self.last.and_then(|last| self.counted.get_mut(last)) {
            last.successor = at;
        }
        self.last = Some(at);
        slot
    }
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).expect("a run is far below 4 Gi rows")
}

/// Rows of batches by series: a counting sort, which keeps the commit order within a series. Rows
/// mostly come in order of time there, so nothing is left to sort.
#[derive(Default)]
struct Grouped {
    /// Ascending, with the index after the series' last row.
    series: Vec<(SeriesPlace, usize)>,
    times: Vec<i64>,
    sequences: Vec<u64>,
    values: Vec<f64>,
    /// By index of row, ascending.
    metas: Vec<(usize, ValueMeta)>,
}

impl Grouped {
    fn of(batches: &[Arc<Batch>], metric_of: MetricOf<'_>) -> Self {
        let total = batches.iter().map(|batch| batch.rows.len()).sum();
        let mut slots = Slots::default();
        let mut slot_of_row: Vec<u32> = Vec::with_capacity(total);
        for row in batches.iter().flat_map(|batch| &batch.rows) {
            slot_of_row.push(slots.count(row.tenant, row.series));
        }
        let counted = slots.counted;
        let mut order: Vec<(SeriesPlace, usize, usize)> = counted
            .iter()
            .enumerate()
            .map(|(slot, &Counted { tenant, series, count, .. })| {
                let metric = metric_of(tenant, series);
                (SeriesPlace { tenant, metric, series }, slot, count)
            })
            .collect();
        order.sort_unstable();
        let mut next = vec![0; counted.len()];
        let mut grouped = Grouped {
            series: Vec::with_capacity(order.len()),
            times: vec![0; total],
            sequences: vec![0; total],
            values: vec![0.0; total],
            metas: Vec::new(),
        };
        let mut end = 0;
        for (place, slot, count) in order {
            if let Some(next) = next.get_mut(slot) {
                *next = end;
            }
            end += count;
            grouped.series.push((place, end));
        }
        let mut slots = slot_of_row.into_iter();
        for batch in batches {
            let mut metas = batch.metas.iter().peekable();
            for (number, (sequence, row)) in (0_u32..).zip(batch.sequenced()) {
                let next = slots.next().and_then(index).and_then(|slot| next.get_mut(slot));
                let Some(next) = next else { continue };
                grouped.put(*next, row.time, sequence.number(), row.value);
                if let Some((_, meta)) = metas.next_if(|(at, _)| *at == number) {
                    grouped.metas.push((*next, meta.clone()));
                }
                *next += 1;
            }
        }
        grouped.metas.sort_unstable_by_key(|(at, _)| *at);
        grouped
    }

    fn put(&mut self, at: usize, time: i64, sequence: u64, value: f64) {
        if let (Some(a), Some(b), Some(c)) =
            (self.times.get_mut(at), self.sequences.get_mut(at), self.values.get_mut(at))
        {
            (*a, *b, *c) = (time, sequence, value);
        }
    }

    fn each(&self, mut each: impl FnMut(SeriesPlace, &mut SeriesRows)) {
        let mut rows = SeriesRows::default();
        let mut start = 0;
        let mut metas = self.metas.iter().peekable();
        for &(place, end) in &self.series {
            rows.clear();
            rows.times.extend_from_slice(self.times.get(start..end).unwrap_or_default());
            rows.sequences.extend_from_slice(self.sequences.get(start..end).unwrap_or_default());
            rows.values.extend_from_slice(self.values.get(start..end).unwrap_or_default());
            while let Some((at, meta)) = metas.next_if(|(at, _)| *at < end) {
                let at = u32::try_from(at - start).expect("a run is far below 4 Gi rows");
                rows.metas.push((at, meta.clone()));
            }
            each(place, &mut rows);
            start = end;
        }
    }
}

fn index(slot: u32) -> Option<usize> {
    usize::try_from(slot).ok()
}

/// Encodes rows as blocks in memory.
#[derive(Default)]
struct BlockWriter {
    rows: RowBuffer,
    blocks: Vec<(RowEntry, Vec<u8>)>,
}

impl BlockWriter {
    fn push(&mut self, place: SeriesPlace, rows: &SeriesRows) {
        let range = 0..rows.times.len();
        let blocks = &mut self.blocks;
        let Ok(()) = self.rows.push(place, rows, range, |filled| {
            close(filled, blocks);
            Ok::<(), Infallible>(())
        });
    }

    fn finish(self) -> Vec<(RowEntry, Vec<u8>)> {
        let mut blocks = self.blocks;
        if let Some(filled) = self.rows.filled() {
            close(&filled, &mut blocks);
        }
        blocks
    }
}

fn close(filled: &Filled<'_>, blocks: &mut Vec<(RowEntry, Vec<u8>)>) {
    // Kept as long as the head: no spare room.
    let mut bytes = row::encode(filled.rows, Effort::Fast);
    bytes.shrink_to_fit();
    blocks.push((filled.entry(Extent::default()), bytes));
}
