//! Segment files on their way into the store: numbered, written, finished with their series table,
//! opened. They belong to the store only when a [`manifest::Change`](crate::manifest::Change) that
//! adds them is committed.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::index::Index;
use crate::model::{MetricNo, Sequence, SeriesId, TenantId};
use crate::segment::{Segment, SegmentAddress, SegmentWriter, SeriesPlace};
use crate::threads::Shared;

/// Series whose keys are looked up at a time for a segment's table.
const TABLE_CHUNK: usize = 1024;

/// Numbers for the segments of one flush or merge, taken together and in advance: whatever is looked
/// at afterwards is at least as new as every one of them.
pub(crate) struct Numbers(Range<u64>);

impl Numbers {
    /// The next `count` numbers.
    pub(crate) fn take(shared: &Shared, count: usize) -> Self {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let first = shared.next_segment.fetch_add(count, Ordering::Relaxed);
        Numbers(first..first.saturating_add(count))
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        usize::try_from(self.0.end - self.0.start).unwrap_or(usize::MAX)
    }
}

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}

/// A segment being written.
pub(crate) struct Output {
    address: SegmentAddress,
    level: u8,
    pub(crate) writer: SegmentWriter,
}

impl Output {
    /// Starts a file.
    pub(crate) fn create(
        shared: &Shared,
        address: SegmentAddress,
        level: u8,
    ) -> Result<Self, Error> {
        let writer = SegmentWriter::create(&shared.directory.join(address.path()), level)?;
        Ok(Output { address, level, writer })
    }

    /// Ends the file and opens it; `None` if it would be empty. `table` are the series whose keys it
    /// lists, ascending.
    ///
    /// # Errors
    /// `Removed` if a tenant that a merge has rows of is gone: a merged segment lists all it holds.
    pub(crate) fn finish(
        self,
        shared: &Shared,
        sequences: (Sequence, Sequence),
        table: &[SeriesPlace],
    ) -> Result<Option<Arc<Segment>>, Error> {
        let keys = table.chunks(TABLE_CHUNK).map(|chunk| keys(shared, chunk, self.level));
        let Some(facts) = self.writer.finish(sequences, keys)? else { return Ok(None) };
        let segment = Segment::open(&shared.directory, self.address)?;
        assert_eq!(segment.facts, facts, "a segment reads back what was written");
        let counter = if facts.level == 0 { &shared.flushed_bytes } else { &shared.merged_bytes };
        counter.fetch_add(facts.bytes, Ordering::Relaxed);
        Ok(Some(Arc::new(segment)))
    }
}

/// Marks files that did not come to their commit for removal.
pub(crate) fn discard(segments: &[Arc<Segment>]) {
    segments.iter().for_each(|segment| segment.replaced());
}

fn keys(
    shared: &Shared,
    places: &[SeriesPlace],
    level: u8,
) -> Result<Vec<(SeriesPlace, Vec<u8>)>, Error> {
    let mut keys = Vec::with_capacity(places.len());
    for chunk in places.chunk_by(|a, b| a.tenant == b.tenant) {
        let Some(first) = chunk.first() else { continue };
        let ids: Vec<SeriesId> = chunk.iter().map(|place| place.series).collect();
        let found = shared.index.canonicals(first.tenant, &ids)?;
        for (place, key) in chunk.iter().zip(found) {
            match key {
                Some(key) => keys.push((*place, key)),
                // A tenant may be removed while its rows are on their way.
                None if shared.index.is_removed(place.tenant)? => {
                    if level > 0 {
                        return Err(Error::Removed);
                    }
                }
                None => {
                    let series = format!("series {}", place.series);
                    return Err(Error::corrupt("definition", series));
                }
            }
        }
    }
    Ok(keys)
}

/// Looks metrics up, remembering the tenant of the last look-up.
pub(crate) fn metric_lookup(index: &Index) -> impl Fn(TenantId, SeriesId) -> MetricNo {
    let last = RefCell::new(None);
    move |tenant, series| {
        let mut last = last.borrow_mut();
        if !matches!(&*last, Some((known, _)) if *known == tenant) {
            *last = index.tenant_by_id(tenant).map(|found| (tenant, found));
        }
        last.as_ref().map_or(MetricNo::new(u32::MAX), |(_, tenant)| {
            tenant.metrics.read().expect("no code panics while it holds metrics").of(series)
        })
    }
}
