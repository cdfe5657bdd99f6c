//! Writes a segment file: series in order, then directory, series table, top and footer.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::directory::{self, Extent, Group, RowEntry, SeriesEntry, Top};
use super::{
    END_MAGIC, FOOTER_LEN, GROUP_ENTRIES, HEADER_LEN, MAGIC, SegmentFacts, SeriesPlace, VERSION,
    table,
};
use crate::block::row::Rows;
use crate::block::{
    BLOCK_META_BYTES, SERIES_BLOCK_SAMPLES, SERIES_BLOCK_SAMPLES_MIN, row, seal, series,
};
use crate::codec::Effort;
use crate::error::Error;
use crate::model::{Sequence, TimeRange, Timestamp, ValueMeta};

/// How many recent times parts a series block may share.
const SHARED_TIMES: usize = 16;

/// Samples of one series, ascending in time, one per timestamp.
#[derive(Default, Debug, Clone)]
pub(crate) struct SeriesRows {
    pub(crate) times: Vec<i64>,
    pub(crate) sequences: Vec<u64>,
    pub(crate) values: Vec<f64>,
    /// By index, ascending.
    pub(crate) metas: Vec<(u32, ValueMeta)>,
}

impl SeriesRows {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.sequences.clear();
        self.values.clear();
        self.metas.clear();
    }
}

/// A segment file being written. Dropped before [`finish`](Self::finish), it removes the file.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    at: u64,
    effort: Effort,
    level: u8,
    pending: Rows,
    pending_meta_bytes: usize,
    pending_places: Option<(SeriesPlace, SeriesPlace)>,
    row_entries: Vec<RowEntry>,
    series_entries: Vec<SeriesEntry>,
    row_groups: Vec<Group>,
    series_groups: Vec<Group>,
    groups: Groups,
    recent_times: VecDeque<(Vec<i64>, Extent)>,
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
            pending: Rows::default(),
            pending_meta_bytes: 0,
            pending_places: None,
            row_entries: Vec::new(),
            series_entries: Vec::new(),
            row_groups: Vec::new(),
            series_groups: Vec::new(),
            groups: Groups::default(),
            recent_times: VecDeque::new(),
            samples: 0,
            times: None,
        };
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        seal(&mut header, 0);
        writer.append(&header)?;
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

    /// Adds a series. Series come in order of their places, each once.
    pub(crate) fn add(&mut self, place: SeriesPlace, rows: &SeriesRows) -> Result<(), Error> {
        let (Some(&start), Some(&last)) = (rows.times.first(), rows.times.last()) else {
            return Ok(());
        };
        debug_assert!(rows.times.is_sorted_by(|a, b| a < b), "one sample per timestamp");
        self.samples += u64::try_from(rows.times.len()).unwrap_or(u64::MAX);
        let span = TimeRange::new(Timestamp::from_millis(start), end_after(last));
        self.times = Some(unite(self.times, span));
        if self.level > 0 && rows.times.len() >= SERIES_BLOCK_SAMPLES_MIN {
            self.add_series_blocks(place, rows)
        } else {
            self.add_rows(place, rows)
        }
    }

    fn add_series_blocks(&mut self, place: SeriesPlace, rows: &SeriesRows) -> Result<(), Error> {
        let total = rows.times.len();
        let mut start = 0;
        while start < total {
            // A rest too short for a block of its own stays with the last full one.
            let left = total - start;
            let mut take = if left < SERIES_BLOCK_SAMPLES + SERIES_BLOCK_SAMPLES_MIN {
                left
            } else {
                SERIES_BLOCK_SAMPLES
            };
            while take > 1 && meta_bytes(rows, start, take) > BLOCK_META_BYTES {
                take /= 2;
            }
            let times = rows.times.get(start..start + take).unwrap_or_default();
            let values = rows.values.get(start..start + take).unwrap_or_default();
            let metas: Vec<(u32, ValueMeta)> = rows
                .metas
                .iter()
                .filter_map(|(index, meta)| {
                    let index = usize::try_from(*index).ok()?.checked_sub(start)?;
                    (index < take).then_some((u32::try_from(index).ok()?, meta.clone()))
                })
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
        self.series_entries.push(SeriesEntry {
            place,
            count: u32::try_from(times.len()).expect("at most SERIES_BLOCK_SAMPLES_MAX"),
            times: TimeRange::new(Timestamp::from_millis(first), end_after(last)),
            summary: series::summarize(times, values),
            times_part,
            values_part,
        });
        if self.series_entries.len() == GROUP_ENTRIES {
            self.close_series_group();
        }
        Ok(())
    }

    /// Writes a times part, or finds the same times among those just written.
    fn times_part(&mut self, times: &[i64]) -> Result<Extent, Error> {
        if let Some((_, extent)) = self.recent_times.iter().find(|(known, _)| known == times) {
            return Ok(*extent);
        }
        let extent = self.append(&series::encode_times(times, self.effort))?;
        if self.recent_times.len() == SHARED_TIMES {
            self.recent_times.pop_front();
        }
        self.recent_times.push_back((times.to_vec(), extent));
        Ok(extent)
    }

    fn add_rows(&mut self, place: SeriesPlace, rows: &SeriesRows) -> Result<(), Error> {
        if self.pending_places.is_some_and(|(first, _)| first.tenant != place.tenant) {
            self.close_row_block()?;
        }
        let mut metas = rows.metas.iter().peekable();
        let columns = rows.times.iter().zip(&rows.sequences).zip(&rows.values);
        for (index, ((&time, &sequence), &value)) in (0_u32..).zip(columns) {
            if self.pending.is_full(self.pending_meta_bytes) {
                self.close_row_block()?;
            }
            let first = self.pending_places.map_or(place, |(first, _)| first);
            self.pending_places = Some((first, place));
            if let Some((_, meta)) = metas.next_if(|(at, _)| *at == index) {
                let at = u32::try_from(self.pending.len()).expect("at most ROW_BLOCK_ROWS_MAX");
                self.pending_meta_bytes += meta.text().len();
                self.pending.metas.push((at, meta.clone()));
            }
            self.pending.series.push(u64::from(place.series.number()));
            self.pending.times.push(time);
            self.pending.sequences.push(sequence);
            self.pending.values.push(value);
        }
        Ok(())
    }

    fn close_row_block(&mut self) -> Result<(), Error> {
        let Some((first, last)) = self.pending_places.take() else { return Ok(()) };
        let bytes = row::encode(&self.pending, self.effort);
        let extent = self.append(&bytes)?;
        self.row_entries.push(row_entry(first, last, &self.pending, extent));
        self.pending.clear();
        self.pending_meta_bytes = 0;
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
        file.get_ref().sync_all().map_err(failed)?;
        sync_folders(&self.path)?;
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

/// Syncs the folder of a file and those above it up to the data directory, which may be new as well.
fn sync_folders(path: &Path) -> Result<(), Error> {
    for folder in path.ancestors().skip(1).take(4) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| Error::io(folder, &source))?;
    }
    Ok(())
}

/// Bytes of the `value_meta` of some samples.
fn meta_bytes(rows: &SeriesRows, start: usize, count: usize) -> usize {
    let inside = |index: u32| {
        usize::try_from(index).is_ok_and(|index| (start..start + count).contains(&index))
    };
    rows.metas.iter().filter(|(index, _)| inside(*index)).map(|(_, meta)| meta.text().len()).sum()
}

fn end_after(last: i64) -> Timestamp {
    Timestamp::from_millis(last).plus_millis(1)
}

fn unite(all: Option<TimeRange>, span: TimeRange) -> TimeRange {
    all.map_or(span, |all| TimeRange::new(all.start.min(span.start), all.end.max(span.end)))
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

/// What the directory says of a row block. Also used for runs, which are blocks in memory.
pub(crate) fn row_entry(
    first: SeriesPlace,
    last: SeriesPlace,
    rows: &Rows,
    extent: Extent,
) -> RowEntry {
    let start = rows.times.iter().copied().min().unwrap_or(0);
    let end = rows.times.iter().copied().max().unwrap_or(0);
    let low = rows.sequences.iter().copied().min().unwrap_or(0);
    let high = rows.sequences.iter().copied().max().unwrap_or(0);
    RowEntry {
        first,
        last,
        times: TimeRange::new(Timestamp::from_millis(start), end_after(end)),
        sequences: (Sequence::new(low), Sequence::new(high)),
        rows: u32::try_from(rows.len()).expect("at most ROW_BLOCK_ROWS_MAX"),
        extent,
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
