//! Writes a segment file: series in order, then directory, series table, top and footer.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::directory::{self, Extent, Group, RowEntry, SeriesEntry, Top};
use super::row_buffer::{Filled, RowBuffer};
use super::shared_times::SharedTimes;
use super::{
    END_MAGIC, FOOTER_LEN, GROUP_ENTRIES, HEADER_LEN, MAGIC, SegmentFacts, SeriesPlace, SeriesRows,
    VERSION, table,
};
use crate::block::{
    BLOCK_META_BYTES, SERIES_BLOCK_SAMPLES, SERIES_BLOCK_SAMPLES_MIN, row, seal, series,
};
use crate::codec::Effort;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::files;
use crate::merge::{Gathered, StoredBlock};
use crate::model::{Sequence, TimeRange, Timestamp, ValueMeta};

/// A segment file being written. Dropped before [`finish`](Self::finish), it removes the file.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    at: u64,
    effort: Effort,
    level: u8,
    rows: RowBuffer,
    row_entries: Vec<RowEntry>,
    series_entries: Vec<SeriesEntry>,
    row_groups: Vec<Group>,
    series_groups: Vec<Group>,
    groups: Groups,
    times_parts: SharedTimes,
    /// The times part copied last: segment and place there, and where it stands here.
    copied_times: Option<(u64, u64, Extent)>,
    samples: u64,
    times: Option<TimeRange>,
}

/// Encoded groups of the directory, written after the blocks. Until then the extent of a group holds
/// its index here.
#[derive(Default)]
struct Groups(Vec<Vec<u8>>);

impl Groups {
    fn next(&self) -> Extent {
        Extent { at: u64::try_from(self.0.len()).unwrap_or(u64::MAX), length: 0 }
    }

    fn bytes(&self) -> u64 {
        // Groups have like sizes; asking each time for all of theirs would take a while.
        let last = self.0.last().map_or(0, Vec::len);
        u64::try_from(last).unwrap_or(0).saturating_mul(self.next().at)
    }
}

impl SegmentWriter {
    /// A new file. Level 0 writes row blocks only, higher levels write series blocks where a series
    /// has enough samples.
    pub(crate) fn create(path: &Path, level: u8) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| Error::io(folder, &source))?;
        }
        let file = File::create(path).map_err(|source| Error::io(path, &source))?;
        let mut writer = SegmentWriter {
            path: path.to_path_buf(),
            file: Some(BufWriter::with_capacity(256 << 10, file)),
            at: 0,
            effort: if level == 0 { Effort::Fast } else { Effort::Best },
            level,
            rows: RowBuffer::default(),
            row_entries: Vec::new(),
            series_entries: Vec::new(),
            row_groups: Vec::new(),
            series_groups: Vec::new(),
            groups: Groups::default(),
            times_parts: SharedTimes::new(),
            copied_times: None,
            samples: 0,
            times: None,
        };
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        seal(&mut header, 0);
        writer.append(&header)?;
        fail_point::pass(Point::SegmentBegun);
        assert_eq!(writer.at, HEADER_LEN, "the header has its length");
        Ok(writer)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Extent, Error> {
        let at = self.at;
        let file = self.file.as_mut().expect("open until finished");
        file.write_all(bytes).map_err(|source| Error::io(&self.path, &source))?;
        let length = u32::try_from(bytes.len()).expect("a part is far below 4 GiB");
        self.at += u64::from(length);
        Ok(Extent { at, length })
    }

    /// Bytes written so far, about.
    pub(crate) fn bytes(&self) -> u64 {
        // Rows that wait take some bytes each, and so do groups of the directory.
        self.at + u64::try_from(self.rows.len()).unwrap_or(0) * 8 + self.groups.bytes()
    }

    /// Adds a series. Series come in order of their places, each once.
    pub(crate) fn add(&mut self, place: SeriesPlace, rows: &SeriesRows) -> Result<(), Error> {
        self.add_range(place, rows, 0..rows.times.len())
    }

    /// Adds a series of which some blocks are copied as they are.
    pub(crate) fn add_gathered(
        &mut self,
        place: SeriesPlace,
        gathered: &Gathered<'_>,
    ) -> Result<(), Error> {
        let rows = &gathered.rows;
        let mut from = 0;
        for block in &gathered.blocks {
            let start = block.entry.times.start.millis();
            let before = rows.times.partition_point(|&time| time < start);
            self.add_range(place, rows, from..before)?;
            self.copy(block)?;
            from = before;
        }
        self.add_range(place, rows, from..rows.times.len())
    }

    fn add_range(
        &mut self,
        place: SeriesPlace,
        rows: &SeriesRows,
        range: Range<usize>,
    ) -> Result<(), Error> {
        let times = rows.times.get(range.clone()).unwrap_or_default();
        let (Some(&start), Some(&last)) = (times.first(), times.last()) else { return Ok(()) };
        debug_assert!(times.is_sorted_by(|a, b| a < b), "one sample per timestamp");
        self.count(times.len(), TimeRange::new(Timestamp::from_millis(start), end_after(last)));
        if self.level > 0 && times.len() >= SERIES_BLOCK_SAMPLES_MIN {
            self.add_series_blocks(place, rows, range)
        } else {
            self.add_rows(place, rows, range)
        }
    }

    fn count(&mut self, samples: usize, span: TimeRange) {
        self.samples += u64::try_from(samples).unwrap_or(u64::MAX);
        self.times = Some(unite(self.times, span));
    }

    /// Copies a block of another segment, byte for byte.
    fn copy(&mut self, block: &StoredBlock<'_>) -> Result<(), Error> {
        let StoredBlock { segment, entry } = block;
        let from = (segment.address.number, entry.times_part.at);
        let times_part = match self.copied_times {
            Some((number, at, extent)) if (number, at) == from => extent,
            _ => self.times_bytes(&segment.sealed_part(entry.times_part)?)?,
        };
        self.copied_times = Some((from.0, from.1, times_part));
        let values_part = self.append(&segment.sealed_part(entry.values_part)?)?;
        self.count(usize::try_from(entry.count).unwrap_or(0), entry.times);
        self.push_series_entry(SeriesEntry { times_part, values_part, ..*entry });
        Ok(())
    }

    fn add_series_blocks(
        &mut self,
        place: SeriesPlace,
        rows: &SeriesRows,
        range: Range<usize>,
    ) -> Result<(), Error> {
        let mut start = range.start;
        while start < range.end {
            // A rest too short for a block of its own stays with the last full one.
            let left = range.end - start;
            let mut take = if left < SERIES_BLOCK_SAMPLES + SERIES_BLOCK_SAMPLES_MIN {
                left
            } else {
                SERIES_BLOCK_SAMPLES
            };
            while take > 1 && rows.meta_bytes(start..start + take) > BLOCK_META_BYTES {
                take /= 2;
            }
            let part = start..start + take;
            let times = rows.times.get(part.clone()).unwrap_or_default();
            let values = rows.values.get(part.clone()).unwrap_or_default();
            let metas: Vec<(u32, ValueMeta)> = rows
                .metas_of(part)
                .filter_map(|(index, meta)| Some((u32::try_from(index).ok()?, meta.clone())))
                .collect();
            self.add_series_block(place, times, values, &metas)?;
            start += take;
        }
        Ok(())
    }

    fn add_series_block(
        &mut self,
        place: SeriesPlace,
        times: &[i64],
        values: &[f64],
        metas: &[(u32, ValueMeta)],
    ) -> Result<(), Error> {
        let times_part = self.times_part(times)?;
        let values_part = self.append(&series::encode_values(values, metas, self.effort))?;
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Ok(()) };
        self.push_series_entry(SeriesEntry {
            place,
            count: u32::try_from(times.len()).expect("at most SERIES_BLOCK_SAMPLES_MAX"),
            times: TimeRange::new(Timestamp::from_millis(first), end_after(last)),
            summary: series::summarize(times, values),
            times_part,
            values_part,
        });
        Ok(())
    }

    fn push_series_entry(&mut self, entry: SeriesEntry) {
        self.series_entries.push(entry);
        if self.series_entries.len() == GROUP_ENTRIES {
            self.close_series_group();
        }
    }

    /// Writes a times part, or finds the same times among those written.
    fn times_part(&mut self, times: &[i64]) -> Result<Extent, Error> {
        if let Some(extent) = self.times_parts.find(times) {
            return Ok(extent);
        }
        let extent = self.times_bytes(&series::encode_times(times, self.effort))?;
        self.times_parts.learn(times, extent);
        Ok(extent)
    }

    fn times_bytes(&mut self, bytes: &[u8]) -> Result<Extent, Error> {
        if let Some(extent) = self.times_parts.find_encoded(bytes) {
            return Ok(extent);
        }
        let extent = self.append(bytes)?;
        self.times_parts.learn_encoded(bytes, extent);
        Ok(extent)
    }

    fn add_rows(
        &mut self,
        place: SeriesPlace,
        rows: &SeriesRows,
        range: Range<usize>,
    ) -> Result<(), Error> {
        // Apart while blocks are closed, which needs the rest of the writer.
        let mut buffer = std::mem::take(&mut self.rows);
        let done = buffer.push(place, rows, range, |filled| self.add_row_block(filled));
        self.rows = buffer;
        done
    }

    fn close_row_block(&mut self) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.rows);
        buffer.close(&mut |filled: &Filled<'_>| self.add_row_block(filled))
    }

    fn add_row_block(&mut self, filled: &Filled<'_>) -> Result<(), Error> {
        let extent = self.append(&row::encode(filled.rows, self.effort))?;
        self.row_entries.push(filled.entry(extent));
        if self.row_entries.len() == GROUP_ENTRIES {
            self.close_row_group();
        }
        Ok(())
    }

    fn close_row_group(&mut self) {
        let (Some(first), Some(last)) = (self.row_entries.first(), self.row_entries.last()) else {
            return;
        };
        let times = self.row_entries.iter().fold(None, |all, e| Some(unite(all, e.times)));
        let mut closed = group(first.first, last.last, times, self.row_entries.len());
        closed.extent = self.groups.next();
        self.row_groups.push(closed);
        self.groups.0.push(directory::encode_rows(&self.row_entries));
        self.row_entries.clear();
    }

    fn close_series_group(&mut self) {
        let entries = &self.series_entries;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let times = entries.iter().fold(None, |all, e| Some(unite(all, e.times)));
        let mut closed = group(first.place, last.place, times, entries.len());
        closed.extent = self.groups.next();
        self.series_groups.push(closed);
        self.groups.0.push(directory::encode_series(entries));
        self.series_entries.clear();
    }

    /// Writes the directory, the table (in chunks of up to `GROUP_ENTRIES`, in order) and the footer,
    /// and syncs file and folders. `Ok(None)` if nothing was added; there is no file then.
    pub(crate) fn finish(
        mut self,
        sequences: (Sequence, Sequence),
        keys: impl Iterator<Item = Result<Vec<(SeriesPlace, Vec<u8>)>, Error>>,
    ) -> Result<Option<SegmentFacts>, Error> {
        self.close_row_block()?;
        let Some(times) = self.times else { return Ok(None) };
        self.close_row_group();
        self.close_series_group();
        let mut extents = Vec::with_capacity(self.groups.0.len());
        for bytes in std::mem::take(&mut self.groups).0 {
            extents.push(self.append(&bytes)?);
        }
        let mut top = Top {
            rows: std::mem::take(&mut self.row_groups),
            series: std::mem::take(&mut self.series_groups),
            table: Vec::new(),
        };
        for group in top.rows.iter_mut().chain(&mut top.series) {
            let at = usize::try_from(group.extent.at).unwrap_or(usize::MAX);
            group.extent = *extents.get(at).expect("every group was written");
        }
        for entries in keys {
            let entries = entries?;
            let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
                continue;
            };
            let extent = self.append(&table::encode(&entries))?;
            let mut entry = group(*first, *last, Some(times), entries.len());
            entry.extent = extent;
            top.table.push(entry);
        }
        let top_extent = self.append(&top.encode())?;
        let facts = SegmentFacts {
            samples: self.samples,
            sequences,
            times,
            bytes: self.at + u64::try_from(FOOTER_LEN).unwrap_or(0),
            level: self.level,
        };
        self.append(&encode_footer(&facts, top_extent))?;
        self.sync()?;
        Ok(Some(facts))
    }

    fn sync(&mut self) -> Result<(), Error> {
        let failed = |source: std::io::Error| Error::io(&self.path, &source);
        let file = self.file.as_mut().expect("open until finished");
        file.flush().map_err(failed)?;
        fail_point::pass(Point::SegmentUnsynced);
        file.get_ref().sync_all().map_err(failed)?;
        fail_point::pass(Point::SegmentNameless);
        files::sync_above(&self.path)?;
        fail_point::pass(Point::SegmentSynced);
        self.file = None;
        Ok(())
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Never finished: the manifest does not know it. A failure to remove it is mended at
            // the next start, which removes files that the manifest does not list.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn end_after(last: i64) -> Timestamp {
    Timestamp::from_millis(last).plus_millis(1)
}

fn unite(all: Option<TimeRange>, span: TimeRange) -> TimeRange {
    all.map_or(span, |all| all.unite(span))
}

fn group(first: SeriesPlace, last: SeriesPlace, times: Option<TimeRange>, entries: usize) -> Group {
    Group {
        first,
        last,
        times: times.unwrap_or(TimeRange::ALL),
        entries: u32::try_from(entries).expect("at most GROUP_ENTRIES"),
        extent: Extent::default(),
    }
}

/// ```text
/// ┌────────┬─────────┬─────────┬────────────┬───────────┬──────────┬─────────┬───────┬───────┬───────┬───────┐
/// │ top at │ top len │ samples │ first seq. │ last seq. │ start ms │ end ms  │ level │ zeros │ crc32 │ magic │
/// │ u64    │ u32     │ u64     │ u64        │ u64       │ i64      │ i64     │ u8    │ 15    │ u32   │ 8 B   │
/// └────────┴─────────┴─────────┴────────────┴───────────┴──────────┴─────────┴───────┴───────┴───────┴───────┘
/// ```
pub(crate) fn encode_footer(facts: &SegmentFacts, top: Extent) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_LEN);
    out.extend_from_slice(&top.at.to_le_bytes());
    out.extend_from_slice(&top.length.to_le_bytes());
    out.extend_from_slice(&facts.samples.to_le_bytes());
    out.extend_from_slice(&facts.sequences.0.number().to_le_bytes());
    out.extend_from_slice(&facts.sequences.1.number().to_le_bytes());
    out.extend_from_slice(&facts.times.start.millis().to_le_bytes());
    out.extend_from_slice(&facts.times.end.millis().to_le_bytes());
    out.push(facts.level);
    out.extend_from_slice(&[0; 15]);
    seal(&mut out, 0);
    out.extend_from_slice(&END_MAGIC);
    assert_eq!(out.len(), FOOTER_LEN, "the footer has its length");
    out
}
