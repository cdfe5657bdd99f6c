//! A view: everything committed at one moment, immutable, for one tenant.

mod batched;
mod fold;
mod rolled;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};

use foldhash::HashMap;

use self::batched::Located;
use crate::block::row::{RowBlock, Rows};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::live::Moment;
use crate::merge;
use crate::model::{MetricNo, Sequence, SeriesId, TenantId, TimeRange, Timestamp, ValueMeta};
use crate::rollup::Slot;
use crate::segment::{RowEntry, Segment, SeriesEntry, SeriesPlace, SeriesRows};
use crate::sieve::{Basis, TenantSieve};
use crate::threads::Shared;

/// Series read at a time: bounds what is decoded but not yet handed out.
const SERIES_AT_ONCE: usize = 256;

/// Samples of one series, ascending in time, one per timestamp.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesSamples {
    /// Milliseconds since the epoch.
    pub times: Vec<i64>,
    /// One value per time.
    pub values: Vec<f64>,
    /// `value_meta` of the samples that have one: (index into `times`, text), ascending.
    pub metas: Vec<(u32, ValueMeta)>,
}

/// Rows of one series as they were written: ascending in time, then in the order of writes. Of rows
/// with equal times the last one counts; what a flush has merged away is gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesVersions {
    /// Milliseconds since the epoch.
    pub times: Vec<i64>,
    /// One per time.
    pub sequences: Vec<Sequence>,
    /// One per time.
    pub values: Vec<f64>,
}

/// What is known of a block without decoding it. Values are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Value at `first_time`.
    pub first: f64,
    /// Value at `last_time`.
    pub last: f64,
    /// Time of the first sample.
    pub first_time: Timestamp,
    /// Time of the last sample.
    pub last_time: Timestamp,
}

/// A part of a series as [`View::fold`] hands it out.
pub enum Piece<'a> {
    /// Decoded samples: times in ascending order, one value each.
    Samples(&'a [i64], &'a [f64]),
    /// A block that lies in one window.
    Summary(&'a Summary),
    /// A slot of a rollup: it lies in one window, or the samples it was made of have expired; then it
    /// counts where it begins.
    Slot(&'a Slot),
}

/// Everything committed at one moment, for one tenant. Holding one keeps the files it needs.
pub struct View {
    shared: Arc<Shared>,
    tenant: TenantId,
    moment: Moment,
    upto: Sequence,
    /// `None`: there is no such tenant.
    sieve: Option<TenantSieve>,
    /// Which rollups were asked for.
    generation: u64,
    interrupt: Interrupt,
    /// Made when many series are read.
    located: OnceLock<Located>,
    /// Longest slot, ms, that has answered for windows it does not fit into; 0: none.
    coarsest: AtomicI64,
}

/// What was found of one series: rows, and series blocks that are not decoded yet.
#[derive(Default)]
struct Found {
    rows: SeriesRows,
    blocks: Vec<(Arc<Segment>, SeriesEntry)>,
}

/// A bound on decoded samples.
struct Budget {
    left: u64,
    max: u64,
}

impl Budget {
    fn spend(&mut self, samples: usize) -> Result<(), Error> {
        let samples = u64::try_from(samples).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(samples)
            .ok_or(Error::Limit { limit: "samples read by a query", max: self.max })?;
        Ok(())
    }
}

impl View {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tenant: TenantId,
        upto: Sequence,
        interrupt: Interrupt,
    ) -> Self {
        let moment = shared.live.moment();
        let now = shared.retention.hidden_by(shared.clock.now());
        let rules = shared.retention.rules();
        let sieve =
            TenantSieve::new(tenant, &rules, &shared.index, now, &moment.tombstones, Basis::Seen);
        let generation = rules.generation();
        let (located, coarsest) = (OnceLock::new(), AtomicI64::new(0));
        View { shared, tenant, moment, upto, sieve, generation, interrupt, located, coarsest }
    }

    /// Removes the rows of a series that may not be seen.
    fn sift(&self, series: SeriesId, rows: &mut SeriesRows) {
        if let Some(sieve) = self.sieve.as_ref().filter(|sieve| !sieve.is_open()) {
            sieve.sift(self.metric(series), series, rows);
        }
    }

    /// Whether all samples of a block may be seen.
    fn is_whole(&self, segment: &Segment, entry: &SeriesEntry) -> bool {
        self.sieve.as_ref().filter(|sieve| !sieve.is_open()).is_none_or(|sieve| {
            let place = entry.place;
            !sieve.touches(place.metric, place.series, entry.times, segment.facts.sequences.1)
        })
    }

    fn metric(&self, series: SeriesId) -> MetricNo {
        self.shared.index.tenant_by_id(self.tenant).map_or(MetricNo::new(u32::MAX), |tenant| {
            tenant.metrics.read().expect("no code panics while it holds metrics").of(series)
        })
    }

    /// The tenant whose data this shows.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Reads `series` in `range`, calling `each` once per series that has samples there, with
    /// `value_meta`. Order of calls: as in `series`.
    ///
    /// # Errors
    /// `Corrupt` names the file and offset; `Limit` if more than `samples_max` samples would be
    /// decoded; and what `each` returns.
    pub fn read<E: From<Error>>(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        mut each: impl FnMut(SeriesId, SeriesSamples) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_series(series, range, samples_max, |id, mut rows| {
            merge::resolve(&mut rows);
            let SeriesRows { times, values, metas, .. } = rows;
            each(id, SeriesSamples { times, values, metas })
        })
    }

    /// Reads `series` in `range`, calling `each` once per series that has rows there, with all their
    /// versions. For a reader that wants to know what was there at several moments.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_versions<E: From<Error>>(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        mut each: impl FnMut(SeriesId, SeriesVersions) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_series(series, range, samples_max, |id, mut rows| {
            merge::sort(&mut rows);
            let SeriesRows { times, sequences, values, .. } = rows;
            let sequences = sequences.into_iter().map(Sequence::new).collect();
            each(id, SeriesVersions { times, sequences, values })
        })
    }

    /// Calls `each` with all rows of each series that has some, in no order of time.
    fn each_series<E: From<Error>>(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        mut each: impl FnMut(SeriesId, SeriesRows) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut budget = Budget { left: samples_max, max: samples_max };
        self.locate(series.len());
        for chunk in series.chunks(SERIES_AT_ONCE) {
            let found = self.find(chunk, range, &mut budget)?;
            for (&id, mut found) in chunk.iter().zip(found) {
                self.interrupt.check()?;
                for (segment, entry) in &found.blocks {
                    self.interrupt.check()?;
                    decode_block(segment, entry, range, &mut found.rows, &mut budget)?;
                }
                self.sift(id, &mut found.rows);
                if !found.rows.times.is_empty() {
                    each(id, found.rows)?;
                }
            }
        }
        Ok(())
    }

    /// Which of `series` have a sample in `range`, or a slot of a rollup where samples have expired, in
    /// the order given.
    ///
    /// # Errors
    /// `Corrupt` names the file and offset.
    pub fn with_samples(
        &self,
        series: &[SeriesId],
        range: TimeRange,
    ) -> Result<Vec<SeriesId>, Error> {
        let mut some = Vec::new();
        self.locate(series.len());
        for chunk in series.chunks(SERIES_AT_ONCE) {
            let mut budget = Budget { left: u64::MAX, max: u64::MAX };
            let found = self.find(chunk, range, &mut budget)?;
            for (&id, mut found) in chunk.iter().zip(found) {
                let mut blocks = found.blocks.iter();
                self.sift(id, &mut found.rows);
                while found.rows.times.is_empty()
                    && let Some((segment, entry)) = blocks.next()
                {
                    self.interrupt.check()?;
                    // A block always has a sample at either end of its span.
                    let at_an_end = range.contains(entry.times.start)
                        || range.contains(entry.times.end.plus_millis(-1));
                    if at_an_end && self.is_whole(segment, entry) {
                        found.rows.times.push(entry.times.start.millis());
                    } else {
                        decode_block(segment, entry, range, &mut found.rows, &mut budget)?;
                        self.sift(id, &mut found.rows);
                    }
                }
                if !found.rows.times.is_empty() {
                    some.push(id);
                }
            }
        }
        self.add_rolled(series, range, &mut some)?;
        Ok(some)
    }

    /// Collects what there is of `series` (not too many) in `range`, in the order given.
    fn find(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        budget: &mut Budget,
    ) -> Result<Vec<Found>, Error> {
        self.interrupt.check()?;
        let mut found: Vec<Found> = series.iter().map(|_| Found::default()).collect();
        if self.sieve.is_none() {
            return Ok(found);
        }
        let slots: HashMap<u64, usize> =
            series.iter().enumerate().map(|(slot, id)| (u64::from(id.number()), slot)).collect();
        let places = self.places(series);
        for segment in self.moment.segments.iter() {
            let span = segment.facts.times;
            if !span.overlaps(range) {
                continue;
            }
            for entry in segment.row_blocks(&places, range)? {
                self.interrupt.check()?;
                let rows = segment.with_row_block(&entry, |block| decode_rows(block, &slots))?;
                if let Some(rows) = rows {
                    self.collect(&rows, &slots, range, &mut found, budget)?;
                }
            }
            for entry in segment.series_blocks(&places, range)? {
                let slot = slots.get(&u64::from(entry.place.series.number()));
                if let Some(found) = slot.and_then(|&slot| found.get_mut(slot)) {
                    found.blocks.push((segment.clone(), entry));
                }
            }
        }
        for run in &self.moment.runs {
            for (entry, bytes) in &run.blocks {
                if self.concerns(entry, &places, range) {
                    let rows = RowBlock::verify(bytes)
                        .and_then(|block| decode_rows(&block, &slots))
                        .ok_or_else(|| Error::corrupt("block", "a run in memory"))?;
                    if let Some(rows) = rows {
                        self.collect(&rows, &slots, range, &mut found, budget)?;
                    }
                }
            }
        }
        self.find_in_batches(&slots, range, &mut found, budget)?;
        Ok(found)
    }

    fn places(&self, series: &[SeriesId]) -> Vec<SeriesPlace> {
        let tenant = self.tenant;
        let mut places: Vec<SeriesPlace> = match self.shared.index.tenant_by_id(tenant) {
            Some(known) => {
                let metrics = known.metrics.read().expect("no code panics while it holds metrics");
                let place = |&series| SeriesPlace { tenant, metric: metrics.of(series), series };
                series.iter().map(place).collect()
            }
            None => {
                let place = |&series| SeriesPlace { tenant, metric: MetricNo::new(0), series };
                series.iter().map(place).collect()
            }
        };
        places.sort_unstable();
        places
    }

    fn concerns(&self, entry: &RowEntry, places: &[SeriesPlace], range: TimeRange) -> bool {
        let at = places.partition_point(|place| *place < entry.first);
        entry.times.overlaps(range)
            && entry.sequences.0 <= self.upto
            && places.get(at).is_some_and(|place| *place <= entry.last)
    }

    fn collect(
        &self,
        rows: &Rows,
        slots: &HashMap<u64, usize>,
        range: TimeRange,
        found: &mut [Found],
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let mut start = 0;
        for chunk in rows.series.chunk_by(|a, b| a == b) {
            let from = start;
            start += chunk.len();
            let slot = chunk.first().and_then(|series| slots.get(series));
            let Some(found) = slot.and_then(|&slot| found.get_mut(slot)) else { continue };
            let before = found.rows.times.len();
            append(rows, from..start, range, self.upto, &mut found.rows);
            budget.spend(found.rows.times.len() - before)?;
        }
        Ok(())
    }
}

/// The rows of a block, if it holds one of the series in `slots`. `None`: a column does not decode.
fn decode_rows(block: &RowBlock<'_>, slots: &HashMap<u64, usize>) -> Option<Option<Rows>> {
    let series = block.series()?;
    if series
        .chunk_by(|a, b| a == b)
        .any(|run| run.first().is_some_and(|id| slots.contains_key(id)))
    {
        block.with_series(series).map(Some)
    } else {
        Some(None)
    }
}

/// Appends rows `from` that lie in `range` and are not newer than `upto`.
fn append(
    rows: &Rows,
    from: std::ops::Range<usize>,
    range: TimeRange,
    upto: Sequence,
    out: &mut SeriesRows,
) {
    let mut metas = rows.metas.as_slice();
    for index in from {
        let (Some(&time), Some(&sequence), Some(&value)) =
            (rows.times.get(index), rows.sequences.get(index), rows.values.get(index))
        else {
            return;
        };
        if !range.contains(Timestamp::from_millis(time)) || sequence > upto.number() {
            continue;
        }
        if !metas.is_empty() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let skip = metas.partition_point(|(at, _)| *at < number);
            metas = metas.get(skip..).unwrap_or_default();
            if let Some((at, meta)) = metas.first()
                && *at == number
            {
                let at = u32::try_from(out.times.len()).unwrap_or(u32::MAX);
                out.metas.push((at, meta.clone()));
            }
        }
        out.times.push(time);
        out.sequences.push(sequence);
        out.values.push(value);
    }
}

fn decode_block(
    segment: &Segment,
    entry: &SeriesEntry,
    range: TimeRange,
    out: &mut SeriesRows,
    budget: &mut Budget,
) -> Result<(), Error> {
    let rows = merge::read_series_block(segment, entry)?;
    budget.spend(rows.times.len())?;
    append(&rows, 0..rows.times.len(), range, Sequence::MAX, out);
    Ok(())
}
