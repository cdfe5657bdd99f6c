//! Segment files: immutable, checksummed in every part, sorted by (tenant, metric, series).
//!
//! ```text
//! ┌────────┬──────────────────────┬──────────────────┬────────────────────┬─────────┬────────┐
//! │ header │ row blocks, series   │ directory groups │ series table       │ top     │ footer │
//! │ 16 B   │ blocks, times parts  │                  │ groups             │         │ 80 B   │
//! └────────┴──────────────────────┴──────────────────┴────────────────────┴─────────┴────────┘
//! ```
//! The footer finds the top, the top finds groups by their first and last series, a group finds
//! blocks. Opening a segment reads footer and top. `FORMAT.md` gives every field.

pub(crate) mod directory;
mod open_files;
mod parts;
mod reader;
pub(crate) mod row_buffer;
mod rows;
mod salvage;
mod shared_times;
pub(crate) mod table;
mod writer;

use std::path::PathBuf;

pub(crate) use directory::{Group, RowEntry, SeriesEntry};
pub(crate) use reader::Segment;
#[cfg(test)]
pub(crate) use reader::decode_footer;
pub(crate) use rows::SeriesRows;
pub(crate) use writer::SegmentWriter;
#[cfg(test)]
pub(crate) use writer::encode_footer;

use crate::model::{MetricNo, Sequence, SeriesId, TenantId, TimeRange};

pub(crate) const MAGIC: [u8; 8] = *b"MONETSEG";
pub(crate) const END_MAGIC: [u8; 8] = *b"MONETEND";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_LEN: u64 = 16;
pub(crate) const FOOTER_LEN: usize = 80;
/// Entries of a directory group, and series of a table group.
pub(crate) const GROUP_ENTRIES: usize = 1024;
/// Segments are not merged beyond this size.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The place of a series in the order of segments and runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SeriesPlace {
    pub(crate) tenant: TenantId,
    pub(crate) metric: MetricNo,
    pub(crate) series: SeriesId,
}

/// What is known of a segment as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentFacts {
    /// Samples in it.
    pub(crate) samples: u64,
    /// Sequence of the first and the last write it may hold. Never overlaps that of another segment
    /// of the partition, unless it is the same and the two are of disjoint series.
    pub(crate) sequences: (Sequence, Sequence),
    /// Span of the samples' times.
    pub(crate) times: TimeRange,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// 0 for a flush; one more than its inputs for a merge.
    pub(crate) level: u8,
}

/// Where a segment lies.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SegmentAddress {
    /// Which data: 0 samples, 1 slots of five minutes, 2 slots of an hour.
    pub(crate) tier: u8,
    /// Days since the epoch.
    pub(crate) partition: i32,
    /// Never reused.
    pub(crate) number: u64,
}

impl SegmentAddress {
    /// Path below the data directory.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("segments");
        path.push(self.below());
        path
    }

    /// Path below `segments/` and `quarantine/`.
    pub(crate) fn below(&self) -> PathBuf {
        let mut path = PathBuf::from(format!("tier-{}", self.tier));
        path.push(format!("day{:+06}", self.partition));
        path.push(format!("{:012}.seg", self.number));
        path
    }
}

/// The tier of samples; the others hold [rollups](crate::rollup).
pub(crate) const SAMPLES: u8 = 0;

/// Milliseconds of a partition.
pub(crate) const PARTITION_MS: i64 = 24 * 3600 * 1000;

/// The partition a time lies in: days since the epoch.
pub(crate) fn partition_of(time: i64) -> i32 {
    let day = time.div_euclid(PARTITION_MS);
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}
