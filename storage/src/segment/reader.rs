//! Reads a segment file. All reads are positional, so a failing disk is an error value; every part
//! is checked before it is believed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::directory::{self, Extent, Group, RowEntry, SeriesEntry, Top};
use super::open_files::OpenFile;
use super::{
    END_MAGIC, FOOTER_LEN, HEADER_LEN, MAGIC, SegmentAddress, SegmentFacts, SeriesPlace, VERSION,
};
use crate::block::row::RowBlock;
use crate::block::{CRC_LEN, series, unseal};
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::model::{Sequence, TimeRange, Timestamp};

/// Longest part that is read: above any block, group or top the writer makes.
const PART_BYTES_MAX: u32 = 512 << 20;

/// An open segment. The file is removed when a merge has replaced it and the last view is gone.
pub(crate) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: OpenFile,
    pub(crate) address: SegmentAddress,
    pub(crate) facts: SegmentFacts,
    pub(super) top: Top,
    pub(super) replaced: AtomicBool,
}

impl Segment {
    /// Opens the file and reads footer and top.
    pub(crate) fn open(directory: &Path, address: SegmentAddress) -> Result<Self, Error> {
        let path = directory.join(address.path());
        let failed = |source: std::io::Error| Error::io(&path, &source);
        let open_file = OpenFile::new();
        let file = open_file.get(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let corrupt = |what| Error::corrupt(what, format!("{}:0", path.display()));
        let footer_length = u64::try_from(FOOTER_LEN).unwrap_or(u64::MAX);
        let footer_at = bytes
            .checked_sub(footer_length)
            .filter(|&at| at >= HEADER_LEN)
            .ok_or_else(|| corrupt("length"))?;
        let mut header = [0; 16];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let version = unseal(&header).and_then(|header| header.strip_prefix(&MAGIC));
        if version != Some(&VERSION.to_le_bytes()) {
            return Err(corrupt("header"));
        }
        let mut footer = [0; FOOTER_LEN];
        file.read_exact_at(&mut footer, footer_at).map_err(failed)?;
        let (facts, top) = decode_footer(&footer, bytes)
            .ok_or_else(|| Error::corrupt("footer", format!("{}:{footer_at}", path.display())))?;
        let mut segment = Segment {
            path,
            file: open_file,
            address,
            facts,
            top: Top::default(),
            replaced: AtomicBool::new(false),
        };
        let bytes = segment.part(top)?;
        segment.top = Top::decode(&bytes).ok_or_else(|| segment.corrupt("directory top", top))?;
        Ok(segment)
    }

    /// The file may go when nobody reads it any more.
    pub(crate) fn replaced(&self) {
        fail_point::pass(Point::SegmentReplaced);
        self.replaced.store(true, Ordering::Release);
    }

    /// Whether a change of the manifest has removed it.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// A part that is whole but contradicts another.
    pub(crate) fn mismatch(&self, what: &'static str) -> Error {
        Error::corrupt(what, self.path.display().to_string())
    }

    pub(super) fn corrupt(&self, what: &'static str, extent: Extent) -> Error {
        Error::corrupt(what, format!("{}:{}", self.path.display(), extent.at))
    }

    pub(super) fn part(&self, extent: Extent) -> Result<Vec<u8>, Error> {
        let inside = extent.at.checked_add(u64::from(extent.length));
        if extent.length > PART_BYTES_MAX || inside.is_none_or(|end| end > self.facts.bytes) {
            return Err(self.corrupt("extent", extent));
        }
        let mut bytes = vec![0; usize::try_from(extent.length).unwrap_or(0)];
        self.file
            .get(&self.path)
            .and_then(|file| file.read_exact_at(&mut bytes, extent.at))
            .map_err(|source| Error::io(&self.path, &source))?;
        Ok(bytes)
    }

    /// Row blocks that may hold a row of one of `places` (ascending, of one tenant) in `range`.
    pub(crate) fn row_blocks(
        &self,
        places: &[SeriesPlace],
        range: TimeRange,
    ) -> Result<Vec<RowEntry>, Error> {
        let mut found = Vec::new();
        for group in groups_with(&self.top.rows, places, range) {
            let bytes = self.part(group.extent)?;
            let entries = directory::decode_rows(&bytes, group.entries)
                .ok_or_else(|| self.corrupt("directory group", group.extent))?;
            found.extend(entries.into_iter().filter(|entry| {
                entry.times.overlaps(range) && holds(places, entry.first, entry.last)
            }));
        }
        Ok(found)
    }

    /// Series blocks of `places` (ascending, of one tenant) with samples in `range`.
    pub(crate) fn series_blocks(
        &self,
        places: &[SeriesPlace],
        range: TimeRange,
    ) -> Result<Vec<SeriesEntry>, Error> {
        let mut found = Vec::new();
        for group in groups_with(&self.top.series, places, range) {
            let bytes = self.part(group.extent)?;
            let entries = directory::decode_series(&bytes, group.entries)
                .ok_or_else(|| self.corrupt("directory group", group.extent))?;
            found.extend(entries.into_iter().filter(|entry| {
                entry.times.overlaps(range) && places.binary_search(&entry.place).is_ok()
            }));
        }
        Ok(found)
    }

    /// Every series block, in order.
    #[cfg(test)]
    pub(crate) fn all_series_blocks(&self) -> Result<Vec<SeriesEntry>, Error> {
        let mut found = Vec::new();
        for group in &self.top.series {
            found.extend(self.series_group(group)?);
        }
        Ok(found)
    }

    /// A part as it stands in the file, its checksum verified.
    pub(crate) fn sealed_part(&self, extent: Extent) -> Result<Vec<u8>, Error> {
        let bytes = self.part(extent)?;
        match unseal(&bytes) {
            Some(_) => Ok(bytes),
            None => Err(self.corrupt("checksum", extent)),
        }
    }

    /// Hands a verified row block to `each`; `None` from it means that a column does not decode.
    pub(crate) fn with_row_block<T>(
        &self,
        entry: &RowEntry,
        each: impl FnOnce(&RowBlock<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let bytes = self.part(entry.extent)?;
        let block =
            RowBlock::verify(&bytes).ok_or_else(|| self.corrupt("checksum", entry.extent))?;
        each(&block).ok_or_else(|| self.corrupt("column", entry.extent))
    }

    /// The times of a series block.
    pub(crate) fn times(&self, entry: &SeriesEntry) -> Result<Vec<i64>, Error> {
        let bytes = self.part(entry.times_part)?;
        usize::try_from(entry.count)
            .ok()
            .and_then(|count| series::decode_times(&bytes, count))
            .ok_or_else(|| self.corrupt("times", entry.times_part))
    }

    /// Values and `value_meta` of a series block.
    pub(crate) fn values(&self, entry: &SeriesEntry) -> Result<series::Values, Error> {
        let bytes = self.part(entry.values_part)?;
        usize::try_from(entry.count)
            .ok()
            .and_then(|count| series::decode_values(&bytes, count))
            .ok_or_else(|| self.corrupt("values", entry.values_part))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.replaced.load(Ordering::Acquire) {
            return;
        }
        if let Err(source) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %source, "a merged segment was not removed");
        }
        fail_point::pass(Point::SegmentRemoved);
    }
}

/// Whether one of `places` (ascending) lies between `first` and `last`, both inside.
fn holds(places: &[SeriesPlace], first: SeriesPlace, last: SeriesPlace) -> bool {
    let at = places.partition_point(|place| *place < first);
    places.get(at).is_some_and(|place| *place <= last)
}

fn groups_with<'a>(
    groups: &'a [Group],
    places: &'a [SeriesPlace],
    range: TimeRange,
) -> impl Iterator<Item = &'a Group> {
    groups
        .iter()
        .filter(move |group| group.times.overlaps(range) && holds(places, group.first, group.last))
}

pub(crate) fn decode_footer(
    bytes: &[u8; FOOTER_LEN],
    file_bytes: u64,
) -> Option<(SegmentFacts, Extent)> {
    let sealed = bytes.strip_suffix(&END_MAGIC)?;
    debug_assert_eq!(sealed.len() + END_MAGIC.len(), FOOTER_LEN);
    let mut rest = unseal(sealed)?;
    debug_assert_eq!(rest.len(), sealed.len() - CRC_LEN);
    let mut u64_field = || {
        let (field, tail) = rest.split_first_chunk::<8>()?;
        rest = tail;
        Some(u64::from_le_bytes(*field))
    };
    let at = u64_field()?;
    let (length, tail) = rest.split_first_chunk::<4>()?;
    rest = tail;
    let mut u64_field = || {
        let (field, tail) = rest.split_first_chunk::<8>()?;
        rest = tail;
        Some(u64::from_le_bytes(*field))
    };
    let samples = u64_field()?;
    let sequences = (Sequence::new(u64_field()?), Sequence::new(u64_field()?));
    let start = Timestamp::from_millis(u64_field()?.cast_signed());
    let end = Timestamp::from_millis(u64_field()?.cast_signed());
    let &level = rest.first()?;
    let facts = SegmentFacts {
        samples,
        sequences,
        times: TimeRange::new(start, end),
        bytes: file_bytes,
        level,
    };
    Some((facts, Extent { at, length: u32::from_le_bytes(*length) }))
}
