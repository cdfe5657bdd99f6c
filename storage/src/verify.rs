//! Verification: reads every part of every segment and compares it with what else is known of it.

use std::sync::Arc;

use crate::block::series;
use crate::error::Error;
use crate::segment::{Segment, SeriesEntry};
use crate::threads::Shared;

/// What a verification has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segment files.
    pub segments: u64,
    /// Row blocks and series blocks.
    pub blocks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Series whose keys stand in series tables.
    pub table_entries: u64,
}

/// Reads everything. Stops at the first damage.
pub(crate) fn verify(shared: &Shared) -> Result<Verified, Error> {
    let segments = shared.live.moment().segments;
    let mut verified = Verified::default();
    for segment in segments.iter() {
        verified.segments += 1;
        let before = verified.samples;
        rows(segment, &mut verified)?;
        for entry in segment.all_series_blocks()? {
            series_block(segment, &entry)?;
            verified.blocks += 1;
            verified.samples += u64::from(entry.count);
        }
        if verified.samples - before != segment.facts.samples {
            return Err(segment.mismatch("number of samples"));
        }
        table(shared, segment, &mut verified)?;
    }
    Ok(verified)
}

fn rows(segment: &Segment, verified: &mut Verified) -> Result<(), Error> {
    for entry in segment.all_row_blocks()? {
        let rows = segment.with_row_block(&entry, |block| block.with_series(block.series()?))?;
        let inside = rows
            .times
            .iter()
            .all(|&time| entry.times.contains(crate::model::Timestamp::from_millis(time)));
        if !inside || u32::try_from(rows.len()).ok() != Some(entry.rows) {
            return Err(segment.mismatch("row block (not what the directory says)"));
        }
        verified.blocks += 1;
        verified.samples += u64::from(entry.rows);
    }
    Ok(())
}

fn series_block(segment: &Segment, entry: &SeriesEntry) -> Result<(), Error> {
    let times = segment.times(entry)?;
    let (values, _) = segment.values(entry)?;
    let ends = (times.first().copied(), times.last().map(|last| last + 1));
    if ends != (Some(entry.times.start.millis()), Some(entry.times.end.millis())) {
        return Err(segment.mismatch("times (not what the directory says)"));
    }
    if series::summarize(&times, &values) != entry.summary {
        return Err(segment.mismatch("summary"));
    }
    Ok(())
}

fn table(shared: &Shared, segment: &Arc<Segment>, verified: &mut Verified) -> Result<(), Error> {
    for (place, key) in segment.series_table()? {
        verified.table_entries += 1;
        let known = shared.index.canonical(place.tenant, place.series)?;
        let owner = shared.index.tenant_by_id(place.tenant);
        let is_removed = |tenant: std::sync::Arc<crate::index::Tenant>| {
            let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
            metrics.is_removed(place.series)
        };
        if known.is_none() && owner.is_some_and(is_removed) {
            // A table may list a series whose samples were all in files that are gone.
            continue;
        }
        if known.as_deref() != Some(key.as_slice()) {
            return Err(segment.mismatch("series table (not what the index says)"));
        }
    }
    Ok(())
}
