//! Flush: a closed generation becomes segments, one for each partition it has rows in, and the log
//! is trimmed.
//!
//! Rows that come late go to small segments of their own partitions, at the same flush as all
//! others. The log is trimmed in one order, so late rows that waited in memory for company would
//! keep all of it alive, or would have to be logged twice; as files they wait for the merge policy
//! at no cost but the file.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::head::{Generation, Run};
use crate::key::{Fact, Key};
use crate::kv::Batch;
use crate::manifest::Change;
use crate::merge::{self, Source};
use crate::model::{Sequence, SeriesId, TenantId};
use crate::output::{Numbers, Output, discard, metric_lookup};
use crate::segment::{SAMPLES, Segment, SegmentAddress, SeriesPlace, SeriesRows, partition_of};
use crate::sieve::Sieve;
use crate::threads::Shared;

/// Segments written at a time: each has an open file and buffers.
const PARTITIONS_AT_ONCE: usize = 64;

/// Writes the oldest closed generation, which must be `generation`, and trims the log.
pub(crate) fn flush(shared: &Shared, generation: &Generation) -> Result<(), Error> {
    let added = write_segments(shared, generation)?;
    let mut batch = Batch::default();
    batch.delete_range(&Key::Wal(Sequence::ZERO), &Key::Wal(generation.last.next()));
    let fact = |number: u64| number.to_le_bytes().to_vec();
    batch.put(&Key::Fact(Fact::TrimmedTo), fact(generation.last.number()));
    let floor = shared.feed.floor().millis().cast_unsigned();
    batch.put(&Key::Fact(Fact::LastArrival), fact(floor));
    // A tenant may have been removed meanwhile.
    let is_there =
        |&(&(tenant, _), _): &(&(TenantId, i32), _)| shared.index.tenant_by_id(tenant).is_some();
    for (&(tenant, day), ids) in generation.activity.iter().filter(is_there) {
        batch.add_bitmap(&Key::Activity(tenant, day), ids);
    }
    // First the consumer: one that is behind must not find a gap it knows nothing of.
    shared.feed.trimmed(generation.last);
    Change { batch, removed: Vec::new(), added }.commit(shared, |live| {
        live.closed.pop_front();
        live.activity_moves += 1;
        shared.head_log_bytes.store(live.log_bytes(), Ordering::Relaxed);
    })?;
    shared.kv.flush_all()?;
    shared.kv.drop_trimmed(&Key::Wal(generation.last.next()))
}

/// Writes a segment for each partition the generation has rows in. If that fails, those already
/// written are removed: no manifest knows them.
fn write_segments(shared: &Shared, generation: &Generation) -> Result<Vec<Arc<Segment>>, Error> {
    let metric_of = metric_lookup(&shared.index);
    let rest = Run::sort(&generation.batches, &metric_of);
    let runs: Vec<&Run> = generation.runs.iter().map(Arc::as_ref).chain([&rest]).collect();
    let sequences = sequences(&runs);
    let new_series = new_series(generation, &metric_of);
    // The keys of new series go into one file of the flush, the newest partition's.
    let newest = generation.partitions.last().copied();
    let mut numbers = Numbers::take(shared, generation.partitions.len());
    let addresses: Vec<SegmentAddress> = generation
        .partitions
        .iter()
        .zip(&mut numbers)
        .map(|(&partition, number)| SegmentAddress { tier: SAMPLES, partition, number })
        .collect();
    // The numbers have been taken.
    let sieve = Sieve::now(shared);
    let mut segments = Vec::new();
    for some in addresses.chunks(PARTITIONS_AT_ONCE) {
        let written = write_partitions(shared, &runs, some, &sieve).and_then(|outputs| {
            for (partition, output) in outputs {
                let table = if Some(partition) == newest { new_series.as_slice() } else { &[] };
                segments.extend(output.finish(shared, sequences, table)?);
            }
            Ok(())
        });
        if let Err(error) = written {
            discard(&segments);
            return Err(error);
        }
    }
    Ok(segments)
}

fn new_series(
    generation: &Generation,
    metric_of: &impl Fn(TenantId, SeriesId) -> crate::model::MetricNo,
) -> Vec<SeriesPlace> {
    let place =
        |&(tenant, series)| SeriesPlace { tenant, metric: metric_of(tenant, series), series };
    let places: BTreeSet<SeriesPlace> = generation.new_series.iter().map(place).collect();
    places.into_iter().collect()
}

/// Starts a segment for each of `addresses` that has rows, and adds them.
fn write_partitions(
    shared: &Shared,
    runs: &[&Run],
    addresses: &[SegmentAddress],
    sieve: &Sieve<'_>,
) -> Result<BTreeMap<i32, Output>, Error> {
    let metric_of = metric_lookup(&shared.index);
    let sources = runs.iter().map(|run| Source::run(run, &metric_of)).collect();
    let mut outputs: BTreeMap<i32, Output> = BTreeMap::new();
    let mut add = |partition: i32, place: SeriesPlace, rows: &SeriesRows| -> Result<(), Error> {
        let output = match outputs.entry(partition) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let address = addresses.iter().find(|address| address.partition == partition);
                let Some(address) = address else { return Ok(()) };
                entry.insert(Output::create(shared, address.clone(), 0)?)
            }
        };
        output.writer.add(place, rows)
    };
    merge::each_series(sources, |place, gathered| {
        gathered.resolve(place, sieve)?;
        let rows = &gathered.rows;
        match (rows.times.first(), rows.times.last()) {
            (Some(&first), Some(&last)) if partition_of(first) == partition_of(last) => {
                add(partition_of(first), place, rows)
            }
            _ => split_by_partition(rows)
                .iter()
                .try_for_each(|(partition, part)| add(*partition, place, part)),
        }
    })?;
    Ok(outputs)
}

/// Sequence of the first and the last write in `runs`.
fn sequences(runs: &[&Run]) -> (Sequence, Sequence) {
    let entries = || runs.iter().flat_map(|run| &run.blocks).map(|(entry, _)| entry.sequences);
    let first = entries().map(|(first, _)| first).min().unwrap_or(Sequence::ZERO);
    let last = entries().map(|(_, last)| last).max().unwrap_or(Sequence::ZERO);
    (first, last)
}

/// The rows of a series by partition. Rows ascend in time.
fn split_by_partition(rows: &SeriesRows) -> Vec<(i32, SeriesRows)> {
    let mut parts: Vec<(i32, SeriesRows)> = Vec::new();
    let mut start = 0;
    for chunk in rows.times.chunk_by(|a, b| partition_of(*a) == partition_of(*b)) {
        let Some(&time) = chunk.first() else { continue };
        let range = start..start + chunk.len();
        start = range.end;
        parts.push((partition_of(time), rows.part(range)));
    }
    parts
}
