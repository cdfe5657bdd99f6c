//! The head: everything committed that is not in a segment yet. The log makes it durable; here it is
//! kept for reading and for the next flush.
//!
//! ```text
//! committer ──▶ batches, unsorted ──(128 Ki rows)──▶ runs, sorted blocks ──(16 of a level)──▶ bigger runs
//!               └───────────── a generation: what one flush writes ──────────────┘
//! ```

mod run;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;

pub(crate) use run::Run;

use crate::batch::Batch;
use crate::model::{Sequence, SeriesId, TenantId, Timestamp};

/// Unsorted rows become a run at this number: 3 MB, which a read looks through in 0.1 ms.
pub(crate) const RUN_ROWS: usize = 128 * 1024;
/// So many rows are sorted at once at most, when that many wait.
pub(crate) const SORT_ROWS: usize = 4 * RUN_ROWS;
/// So many runs of one level become one of the next. A head of 20 million rows is then encoded twice
/// before it is flushed, and a read meets about 20 runs.
pub(crate) const RUNS_PER_LEVEL: usize = 16;
/// So many batches become a run, however few rows they have.
pub(crate) const RUN_BATCHES: usize = 4096;

/// What one flush will write. Batches and runs are in commit order, all runs before all batches.
#[derive(Default, Clone)]
pub(crate) struct Generation {
    /// Sorted parts, oldest first.
    pub(crate) runs: Vec<Arc<Run>>,
    /// Unsorted rest, oldest first.
    pub(crate) batches: Vec<Arc<Batch>>,
    /// Rows in `batches`.
    pub(crate) unsorted_rows: usize,
    /// Rows in all.
    pub(crate) rows: u64,
    /// Bytes of log it holds alive.
    pub(crate) log_bytes: u64,
    /// Sequence of its newest write.
    pub(crate) last: Sequence,
    /// Arrival of its oldest write.
    pub(crate) since: Option<Timestamp>,
    /// Series with samples on a day, where the index does not say so yet.
    pub(crate) activity: HashMap<(TenantId, i32), RoaringBitmap>,
    /// Partitions its rows lie in.
    pub(crate) partitions: BTreeSet<i32>,
    /// Series whose first sample is here.
    pub(crate) new_series: Vec<(TenantId, SeriesId)>,
}

impl Generation {
    /// Appends a committed batch, whose rows lie in `partitions`.
    pub(crate) fn append(&mut self, batch: Arc<Batch>, log_bytes: u64, partitions: BTreeSet<i32>) {
        self.partitions.extend(partitions);
        self.since.get_or_insert(batch.arrival);
        self.last = batch.last_sequence();
        self.rows += u64::try_from(batch.rows.len()).unwrap_or(u64::MAX);
        self.unsorted_rows += batch.rows.len();
        self.log_bytes += log_bytes;
        self.batches.push(batch);
    }

    /// Notes that a series has a sample on a day.
    pub(crate) fn note_activity(&mut self, tenant: TenantId, day: i32, series: SeriesId) {
        self.activity.entry((tenant, day)).or_default().insert(series.number());
    }

    /// The unsorted batches, if there are enough of them for a run.
    pub(crate) fn wants_run(&self) -> bool {
        self.unsorted_rows >= RUN_ROWS || self.batches.len() >= RUN_BATCHES
    }

    /// Takes the unsorted batches away, to be brought back as runs.
    pub(crate) fn take_batches(&mut self) -> Vec<Arc<Batch>> {
        self.unsorted_rows = 0;
        std::mem::take(&mut self.batches)
    }

    /// Replaces the oldest `count` batches by a run of their rows.
    pub(crate) fn replace_batches(&mut self, count: usize, run: Arc<Run>) {
        for batch in self.batches.drain(..count.min(self.batches.len())) {
            self.unsorted_rows -= batch.rows.len();
        }
        self.runs.push(run);
    }

    /// The first of `RUNS_PER_LEVEL` neighbouring runs of one level, if there are so many.
    pub(crate) fn mergeable_runs(&self) -> Option<usize> {
        let mut start = 0;
        for chunk in self.runs.chunk_by(|a, b| a.level == b.level) {
            if chunk.len() >= RUNS_PER_LEVEL {
                return Some(start);
            }
            start += chunk.len();
        }
        None
    }

    /// Replaces runs by one with the same rows.
    pub(crate) fn replace_runs(&mut self, start: usize, count: usize, run: Arc<Run>) {
        self.runs.splice(start..start + count, [run]);
    }
}
