//! The keeper: one thread that keeps the store in shape. It sorts the head's batches into runs,
//! flushes generations into segments, and merges segments.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::error::Error;
use crate::head::{Generation, RUN_ROWS, RUNS_PER_LEVEL, Run};
use crate::key::{Fact, Key};
use crate::kv::{Batch, Sync};
use crate::manifest;
use crate::merge::{self, Source};
use crate::model::{MetricNo, Sequence, SeriesId, TenantId};
use crate::segment::{
    SEGMENT_BYTES_MAX, Segment, SegmentAddress, SegmentWriter, SeriesPlace, SeriesRows,
    partition_of,
};
use crate::threads::Shared;

/// How often the keeper looks for itself.
const BEAT: Duration = Duration::from_secs(1);
/// So many neighbouring segments of one level are merged into one of the next.
const SEGMENTS_PER_LEVEL: usize = 8;
/// Series whose keys are looked up at a time for a segment's table.
const TABLE_CHUNK: usize = 1024;

/// Segments written at a time: each has an open file and buffers.
const PARTITIONS_AT_ONCE: usize = 64;

/// The retention class everything belongs to until policies exist.
const CLASS: u8 = 0;

pub(crate) enum Order {
    /// Look whether there is something to do.
    Nudge,
    /// Write the head into segments.
    Flush(mpsc::SyncSender<Result<(), Error>>),
    /// Merge every partition into one segment, as far as sizes allow.
    Merge(mpsc::SyncSender<Result<(), Error>>),
    Stop,
}

/// How other threads reach the keeper.
pub(crate) struct Handle {
    orders: Sender<Order>,
}

impl Handle {
    pub(crate) fn new() -> (Self, Receiver<Order>) {
        let (orders, inbox) = crossbeam_channel::bounded(16);
        (Handle { orders }, inbox)
    }

    /// Tells the keeper that there may be something to do. Lost when orders wait already: it will
    /// look after them anyway.
    pub(crate) fn nudge(&self) {
        let _ = self.orders.try_send(Order::Nudge);
    }

    pub(crate) fn order(&self, order: Order) -> Result<(), Error> {
        let gone = |_| Error::Stopped { reason: "the store is closed".into() };
        self.orders.send(order).map_err(gone)
    }
}

/// Serves orders until told to stop.
pub(crate) fn run(shared: &Arc<Shared>, inbox: &Receiver<Order>) {
    let keeper = Keeper { shared, damaged: RefCell::default() };
    loop {
        match inbox.recv_timeout(BEAT) {
            Ok(Order::Nudge) | Err(RecvTimeoutError::Timeout) => keeper.look(),
            // Those who asked may have gone; then nobody needs the answer.
            Ok(Order::Flush(reply)) => drop(reply.send(keeper.flush())),
            Ok(Order::Merge(reply)) => drop(reply.send(keeper.merge_all())),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Keeper<'a> {
    shared: &'a Arc<Shared>,
    /// Numbers of segments that a merge could not read. They are left alone.
    damaged: RefCell<HashSet<u64>>,
}

/// Looks metrics up, remembering the tenant of the last look-up.
fn metric_lookup(shared: &Shared) -> impl Fn(TenantId, SeriesId) -> MetricNo {
    let last = RefCell::new(None);
    move |tenant, series| {
        let mut last = last.borrow_mut();
        if !matches!(&*last, Some((known, _)) if *known == tenant) {
            *last = shared.index.tenant_by_id(tenant).map(|found| (tenant, found));
        }
        last.as_ref().map_or(MetricNo::new(u32::MAX), |(_, tenant)| {
            tenant.metrics.read().expect("no code panics while it holds metrics").of(series)
        })
    }
}

impl Keeper<'_> {
    fn look(&self) {
        if self.shared.stopped().is_some() {
            // What failed would fail again; the log has everything.
            return;
        }
        let done = self.sort_batches().and_then(|()| self.merge_runs()).and_then(|()| {
            if self.flush_is_due() {
                self.flush()?;
            }
            self.merge_one_level()
        });
        if let Err(error) = done {
            self.shared.stop(&error);
        }
    }

    /// Turns unsorted batches into runs, a run's worth at a time.
    fn sort_batches(&self) -> Result<(), Error> {
        loop {
            let batches = {
                let live = self.shared.live.lock();
                if !live.open.wants_run() {
                    return Ok(());
                }
                let mut rows = 0;
                let enough = |batch: &&Arc<crate::batch::Batch>| {
                    let take = rows < RUN_ROWS * 4;
                    rows += batch.rows.len();
                    take
                };
                live.open.batches.iter().take_while(enough).cloned().collect::<Vec<_>>()
            };
            let run = Arc::new(Run::sort(&batches, &metric_lookup(self.shared)));
            // Generations are closed only when the keeper asks, so the batches are where they were.
            self.shared.live.lock().open.replace_batches(batches.len(), run);
        }
    }

    fn merge_runs(&self) -> Result<(), Error> {
        loop {
            let (start, runs) = {
                let live = self.shared.live.lock();
                let Some(start) = live.open.mergeable_runs() else { return Ok(()) };
                let runs = live.open.runs.get(start..start + RUNS_PER_LEVEL);
                (start, runs.unwrap_or_default().to_vec())
            };
            let run = Arc::new(Run::merge(&runs, &metric_lookup(self.shared))?);
            self.shared.live.lock().open.replace_runs(start, runs.len(), run);
        }
    }

    fn flush_is_due(&self) -> bool {
        let now = self.shared.clock.now();
        let live = self.shared.live.lock();
        let old =
            live.open.since.is_some_and(|since| now.since(since) >= self.shared.config.flush_age);
        !live.closed.is_empty() || old || live.open.log_bytes >= self.shared.config.live_log_bytes
    }

    /// Writes the head, as it is now, into segments and trims the log. What a consumer of the feed
    /// still needs stays in the head, to be tried again.
    fn flush(&self) -> Result<(), Error> {
        // Those that were left earlier first; only then a new one, so that they do not pile up.
        if self.flush_closed()? {
            let (reply, answer) = mpsc::sync_channel(1);
            self.shared.queue.close_generation(reply);
            let gone = |_| Error::Stopped { reason: "the committer has ended".into() };
            answer.recv().map_err(gone)?;
            self.flush_closed()?;
        }
        Ok(())
    }

    /// Whether all closed generations have been written.
    fn flush_closed(&self) -> Result<bool, Error> {
        loop {
            let oldest = self.shared.live.lock().closed.front().cloned();
            let Some(generation) = oldest else { return Ok(true) };
            if !self.flush_generation(&generation)? {
                return Ok(false);
            }
        }
    }

    /// Whether the generation was written.
    fn flush_generation(&self, generation: &Arc<Generation>) -> Result<bool, Error> {
        let shared = self.shared;
        let log_bytes_max = shared.config.live_log_bytes.saturating_mul(4);
        let too_long = || shared.head_log_bytes.load(Ordering::Relaxed) > log_bytes_max;
        if !shared.feed.may_trim(generation.last, too_long) {
            return Ok(false);
        }
        let segments = self.write_segments(generation)?;
        let mut batch = Batch::default();
        for segment in &segments {
            batch.put(&manifest::key(&segment.address), manifest::encode(&segment.facts));
        }
        batch.delete_range(&Key::Wal(Sequence::ZERO), &Key::Wal(generation.last.next()));
        let fact = |number: u64| number.to_le_bytes().to_vec();
        batch.put(&Key::Fact(Fact::TrimmedTo), fact(generation.last.number()));
        let floor = shared.feed.floor().millis().cast_unsigned();
        batch.put(&Key::Fact(Fact::LastArrival), fact(floor));
        self.put_next_segment(&mut batch);
        for (&(tenant, day), ids) in &generation.activity {
            batch.add_bitmap(&Key::Activity(tenant, day), ids);
        }
        // First the consumer: one that is behind must not find a gap it knows nothing of.
        shared.feed.trimmed(generation.last);
        shared.kv.commit(batch, Sync::Disk)?;
        {
            let mut live = shared.live.lock();
            live.closed.pop_front();
            live.swap_segments(&[], segments);
            shared.head_log_bytes.store(live.log_bytes(), Ordering::Relaxed);
        }
        shared.kv.flush_all()?;
        shared.kv.drop_trimmed(&Key::Wal(generation.last.next()))?;
        Ok(true)
    }

    fn put_next_segment(&self, batch: &mut Batch) {
        let next = self.shared.next_segment.load(Ordering::Relaxed);
        batch.put(&Key::Fact(Fact::NextSegment), next.to_le_bytes().to_vec());
    }

    fn new_address(&self, partition: i32) -> SegmentAddress {
        let number = self.shared.next_segment.fetch_add(1, Ordering::Relaxed);
        SegmentAddress { class: CLASS, partition, number }
    }

    fn open_writer(&self, address: &SegmentAddress, level: u8) -> Result<SegmentWriter, Error> {
        SegmentWriter::create(&self.shared.directory.join(address.path()), level)
    }

    /// Writes a segment for each partition the generation has rows in. If that fails, those already
    /// written are removed: no manifest knows them.
    fn write_segments(&self, generation: &Generation) -> Result<Vec<Arc<Segment>>, Error> {
        let metric_of = metric_lookup(self.shared);
        let rest = Run::sort(&generation.batches, &metric_of);
        let runs: Vec<&Run> = generation.runs.iter().map(Arc::as_ref).chain([&rest]).collect();
        let (first, last) = sequences(&runs);
        // The keys of new series go into one file of the flush, the newest partition's.
        let mut new_series: Vec<SeriesPlace> = generation
            .new_series
            .iter()
            .map(|&(tenant, series)| SeriesPlace {
                tenant,
                metric: metric_of(tenant, series),
                series,
            })
            .collect();
        new_series.sort_unstable();
        new_series.dedup();
        let newest = generation.partitions.last().copied();
        let mut segments = Vec::new();
        let partitions: Vec<i32> = generation.partitions.iter().copied().collect();
        for some in partitions.chunks(PARTITIONS_AT_ONCE) {
            let some: BTreeSet<i32> = some.iter().copied().collect();
            let written = self.write_partitions(&runs, &some).and_then(|writers| {
                for (partition, (address, writer)) in writers {
                    let table = if Some(partition) == newest { new_series.as_slice() } else { &[] };
                    segments.extend(self.finish(address, writer, (first, last), table)?);
                }
                Ok(())
            });
            if let Err(error) = written {
                segments.iter().for_each(|segment| segment.replaced());
                return Err(error);
            }
        }
        Ok(segments)
    }

    /// Starts a segment for each of `partitions` and adds the rows that lie in them.
    fn write_partitions(
        &self,
        runs: &[&Run],
        partitions: &BTreeSet<i32>,
    ) -> Result<BTreeMap<i32, (SegmentAddress, SegmentWriter)>, Error> {
        let metric_of = metric_lookup(self.shared);
        let sources = runs.iter().map(|run| Source::run(run, &metric_of)).collect();
        let mut writers: BTreeMap<i32, (SegmentAddress, SegmentWriter)> = BTreeMap::new();
        merge::for_each_series(sources, |place, rows| {
            merge::resolve(rows);
            let mut add = |partition: i32, part: &SeriesRows| -> Result<(), Error> {
                if !partitions.contains(&partition) {
                    return Ok(());
                }
                let writer = match writers.entry(partition) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        let address = self.new_address(partition);
                        let writer = self.open_writer(&address, 0)?;
                        entry.insert((address, writer))
                    }
                };
                writer.1.add(place, part)
            };
            match (rows.times.first(), rows.times.last()) {
                (Some(&first), Some(&last)) if partition_of(first) == partition_of(last) => {
                    add(partition_of(first), rows)
                }
                _ => split_by_partition(rows)
                    .iter()
                    .try_for_each(|(partition, part)| add(*partition, part)),
            }
        })?;
        Ok(writers)
    }

    fn finish(
        &self,
        address: SegmentAddress,
        writer: SegmentWriter,
        sequences: (Sequence, Sequence),
        table: &[SeriesPlace],
    ) -> Result<Option<Arc<Segment>>, Error> {
        let keys = table.chunks(TABLE_CHUNK).map(|chunk| self.keys(chunk));
        let Some(facts) = writer.finish(sequences, keys)? else { return Ok(None) };
        let segment = Segment::open(&self.shared.directory, address)?;
        assert_eq!(segment.facts, facts, "a segment reads back what was written");
        Ok(Some(Arc::new(segment)))
    }

    fn keys(&self, places: &[SeriesPlace]) -> Result<Vec<(SeriesPlace, Vec<u8>)>, Error> {
        let mut keys = Vec::with_capacity(places.len());
        for chunk in places.chunk_by(|a, b| a.tenant == b.tenant) {
            let Some(first) = chunk.first() else { continue };
            let ids: Vec<SeriesId> = chunk.iter().map(|place| place.series).collect();
            let found = self.shared.index.canonicals(first.tenant, &ids)?;
            for (place, key) in chunk.iter().zip(found) {
                let missing = || Error::corrupt("definition", format!("series {}", place.series));
                keys.push((*place, key.ok_or_else(missing)?));
            }
        }
        Ok(keys)
    }

    /// Merges neighbours of one level in one partition, if there are enough of them anywhere.
    fn merge_one_level(&self) -> Result<(), Error> {
        let segments = self.shared.live.mergeable();
        for (_, partition) in by_partition(&segments) {
            for neighbours in partition.chunk_by(|a, b| a.facts.level == b.facts.level) {
                let mut candidates = neighbours.windows(SEGMENTS_PER_LEVEL);
                if let Some(inputs) =
                    candidates.find(|inputs| fits(inputs) && self.is_whole(inputs))
                {
                    return self.merge_or_leave(inputs);
                }
            }
        }
        Ok(())
    }

    fn is_whole(&self, inputs: &[Arc<Segment>]) -> bool {
        let damaged = self.damaged.borrow();
        !inputs.iter().any(|segment| damaged.contains(&segment.address.number))
    }

    /// Merges; where an input cannot be read, it and its neighbours stay as they are. Reading what
    /// is whole and writing go on.
    fn merge_or_leave(&self, inputs: &[Arc<Segment>]) -> Result<(), Error> {
        match self.merge_segments(inputs) {
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(%error, "segments are left unmerged");
                let numbers = inputs.iter().map(|segment| segment.address.number);
                self.damaged.borrow_mut().extend(numbers);
                Ok(())
            }
            done => done,
        }
    }

    /// Merges all segments of each partition, as far as the size of a segment allows.
    fn merge_all(&self) -> Result<(), Error> {
        let segments = self.shared.live.mergeable();
        for (_, partition) in by_partition(&segments) {
            let mut rest = partition.as_slice();
            while !rest.is_empty() {
                let count = (1..=rest.len()).rev().find(|&n| rest.get(..n).is_some_and(fits));
                let (inputs, tail) = rest.split_at(count.unwrap_or(1));
                rest = tail;
                let young = inputs.iter().any(|segment| segment.facts.level == 0);
                if inputs.len() > 1 || young {
                    self.merge_segments(inputs)?;
                }
            }
        }
        Ok(())
    }

    /// Replaces neighbouring segments of a partition by one with the same samples.
    fn merge_segments(&self, inputs: &[Arc<Segment>]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(()) };
        let metric_of = metric_lookup(self.shared);
        let mut sources = Vec::with_capacity(inputs.len() * 2);
        for segment in inputs {
            sources.extend(Source::segment(segment, &metric_of)?);
        }
        let level = inputs.iter().map(|segment| segment.facts.level).max().unwrap_or(0);
        let address = self.new_address(first.address.partition);
        let mut writer = self.open_writer(&address, level.saturating_add(1))?;
        let mut places = Vec::new();
        merge::for_each_series(sources, |place, rows| {
            merge::resolve(rows);
            places.push(place);
            writer.add(place, rows)
        })?;
        let sequences = (first.facts.sequences.0, last.facts.sequences.1);
        let merged = self.finish(address, writer, sequences, &places)?;
        let mut batch = Batch::default();
        for input in inputs {
            batch.delete(&manifest::key(&input.address));
        }
        if let Some(segment) = &merged {
            batch.put(&manifest::key(&segment.address), manifest::encode(&segment.facts));
        }
        self.put_next_segment(&mut batch);
        self.shared.kv.commit(batch, Sync::Disk)?;
        let removed: Vec<u64> = inputs.iter().map(|segment| segment.address.number).collect();
        self.shared.live.lock().swap_segments(&removed, merged.into_iter().collect());
        // The removal of an input's entry must not be lost with a damaged log once its file is gone.
        self.shared.kv.flush_manifest()?;
        for input in inputs {
            input.replaced();
        }
        Ok(())
    }
}

/// Sequence of the first and the last write in `runs`.
fn sequences(runs: &[&Run]) -> (Sequence, Sequence) {
    let entries = || runs.iter().flat_map(|run| &run.blocks).map(|(entry, _)| entry.sequences);
    let first = entries().map(|(first, _)| first).min().unwrap_or(Sequence::ZERO);
    let last = entries().map(|(_, last)| last).max().unwrap_or(Sequence::ZERO);
    (first, last)
}

fn fits(inputs: &[Arc<Segment>]) -> bool {
    inputs.iter().map(|segment| segment.facts.bytes).sum::<u64>() <= SEGMENT_BYTES_MAX
}

fn by_partition(segments: &[Arc<Segment>]) -> BTreeMap<(u8, i32), Vec<Arc<Segment>>> {
    let mut partitions: BTreeMap<(u8, i32), Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in segments {
        let key = (segment.address.class, segment.address.partition);
        partitions.entry(key).or_default().push(segment.clone());
    }
    partitions
}

/// The rows of a series by partition. Rows ascend in time.
fn split_by_partition(rows: &SeriesRows) -> Vec<(i32, SeriesRows)> {
    let mut parts: Vec<(i32, SeriesRows)> = Vec::new();
    let mut start = 0;
    for chunk in rows.times.chunk_by(|a, b| partition_of(*a) == partition_of(*b)) {
        let Some(&time) = chunk.first() else { continue };
        let range = start..start + chunk.len();
        let first = u32::try_from(range.start).unwrap_or(u32::MAX);
        let end = u32::try_from(range.end).unwrap_or(u32::MAX);
        let part = SeriesRows {
            times: chunk.to_vec(),
            sequences: rows.sequences.get(range.clone()).unwrap_or_default().to_vec(),
            values: rows.values.get(range.clone()).unwrap_or_default().to_vec(),
            metas: rows
                .metas
                .iter()
                .filter(|(index, _)| (first..end).contains(index))
                .map(|(index, meta)| (index - first, meta.clone()))
                .collect(),
        };
        parts.push((partition_of(time), part));
        start = range.end;
    }
    parts
}
