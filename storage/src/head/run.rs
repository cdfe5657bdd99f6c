//! A run: sorted row blocks in memory, encoded as in a segment.

use std::sync::Arc;

use crate::batch::Batch;
use crate::block::row::{self, Rows};
use crate::codec::Effort;
use crate::merge::{self, Source};
use crate::model::{MetricNo, SeriesId, TenantId, ValueMeta};
use crate::segment::directory::Extent;
use crate::segment::{RowEntry, SeriesPlace, row_entry};

/// Where the metric of a series is looked up.
pub(crate) type MetricOf<'a> = &'a dyn Fn(TenantId, SeriesId) -> MetricNo;

/// Sorted rows of consecutive batches. Rows of equal series and time but different sequences are all
/// kept, so that a reader can ask for an earlier moment.
pub(crate) struct Run {
    pub(crate) level: u8,
    pub(crate) blocks: Vec<(RowEntry, Vec<u8>)>,
}

struct SortRow {
    place: SeriesPlace,
    time: i64,
    sequence: u64,
    value: f64,
    meta: Option<ValueMeta>,
}

impl Run {
    /// Sorts the rows of `batches`, which follow each other in commit order.
    pub(crate) fn sort(batches: &[Arc<Batch>], metric_of: MetricOf<'_>) -> Self {
        let mut rows = Vec::with_capacity(batches.iter().map(|batch| batch.rows.len()).sum());
        for batch in batches {
            let mut metas = batch.metas.iter().peekable();
            for (index, (sequence, row)) in (0_u32..).zip(batch.sequenced()) {
                let metric = metric_of(row.tenant, row.series);
                rows.push(SortRow {
                    place: SeriesPlace { tenant: row.tenant, metric, series: row.series },
                    time: row.time,
                    sequence: sequence.number(),
                    value: row.value,
                    meta: metas.next_if(|(at, _)| *at == index).map(|(_, meta)| meta.clone()),
                });
            }
        }
        // Stable, so that of equal keys the one later in its request stays last.
        rows.sort_by_key(|row| (row.place, row.time, row.sequence));
        let mut blocks = BlockWriter::default();
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            let overwritten = rows.peek().is_some_and(|next| {
                (next.place, next.time, next.sequence) == (row.place, row.time, row.sequence)
            });
            if !overwritten {
                blocks.push(row.place, row.time, row.sequence, row.value, row.meta);
            }
        }
        Run { level: 0, blocks: blocks.finish() }
    }

    /// One run with the rows of `runs`.
    pub(crate) fn merge(runs: &[Arc<Run>], metric_of: MetricOf<'_>) -> Result<Self, crate::Error> {
        let level = runs.iter().map(|run| run.level).max().unwrap_or(0).saturating_add(1);
        let sources = runs.iter().map(|run| Source::run(run, metric_of)).collect();
        let mut blocks = BlockWriter::default();
        merge::for_each_series(sources, |place, rows| {
            merge::sort(rows);
            let mut metas = std::mem::take(&mut rows.metas).into_iter().peekable();
            let columns = rows.times.iter().zip(&rows.sequences).zip(&rows.values);
            for (index, ((&time, &sequence), &value)) in (0_u32..).zip(columns) {
                let meta = metas.next_if(|(at, _)| *at == index).map(|(_, meta)| meta);
                blocks.push(place, time, sequence, value, meta);
            }
            Ok(())
        })?;
        Ok(Run { level, blocks: blocks.finish() })
    }
}

/// Cuts rows into blocks of one tenant each.
#[derive(Default)]
struct BlockWriter {
    rows: Rows,
    meta_bytes: usize,
    places: Option<(SeriesPlace, SeriesPlace)>,
    blocks: Vec<(RowEntry, Vec<u8>)>,
}

impl BlockWriter {
    fn push(
        &mut self,
        place: SeriesPlace,
        time: i64,
        sequence: u64,
        value: f64,
        meta: Option<ValueMeta>,
    ) {
        let other_tenant = self.places.is_some_and(|(first, _)| first.tenant != place.tenant);
        if other_tenant || self.rows.is_full(self.meta_bytes) {
            self.close();
        }
        let first = self.places.map_or(place, |(first, _)| first);
        self.places = Some((first, place));
        if let Some(meta) = meta {
            let at = u32::try_from(self.rows.len()).expect("at most ROW_BLOCK_ROWS_MAX");
            self.meta_bytes += meta.text().len();
            self.rows.metas.push((at, meta));
        }
        self.rows.series.push(u64::from(place.series.number()));
        self.rows.times.push(time);
        self.rows.sequences.push(sequence);
        self.rows.values.push(value);
    }

    fn close(&mut self) {
        if let Some((first, last)) = self.places.take() {
            let bytes = row::encode(&self.rows, Effort::Fast);
            self.blocks.push((row_entry(first, last, &self.rows, Extent::default()), bytes));
            self.rows.clear();
            self.meta_bytes = 0;
        }
    }

    fn finish(mut self) -> Vec<(RowEntry, Vec<u8>)> {
        self.close();
        self.blocks
    }
}
