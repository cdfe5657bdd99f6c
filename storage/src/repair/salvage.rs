//! What is whole in a damaged segment, written into a new one. A block counts only if it verifies and
//! is what the directory says of it.

use std::iter::Peekable;
use std::path::Path;
use std::vec::IntoIter;

use crate::deletion::Tombstone;
use crate::error::Error;
use crate::index as stored;
use crate::key::Key;
use crate::kv::Kv;
use crate::merge;
use crate::model::{MetricNo, Sequence, SeriesId, SeriesKey, TenantId};
use crate::segment::{
    Group, RowEntry, Segment, SegmentFacts, SegmentWriter, SeriesEntry, SeriesPlace, SeriesRows,
};
use crate::verify::{
    Affected, Findings, Part, Removed, of_group, of_rows, of_series, read_rows, read_series,
};

/// Keys of the table that are looked up at a time.
const TABLE_CHUNK: usize = 1024;

/// What a salvage has kept.
#[derive(Default)]
pub(crate) struct Kept {
    /// The new segment; `None` if nothing is left, or nothing was to be written.
    pub(crate) facts: Option<SegmentFacts>,
    pub(crate) samples: u64,
    /// Samples that a deletion hides: they stay away and are no loss.
    pub(crate) hidden: u64,
}

/// What is not to come back.
pub(crate) struct Hidden<'a> {
    pub(crate) tombstones: Vec<Tombstone>,
    pub(crate) removed: &'a Removed,
}

impl Hidden<'_> {
    /// Takes out the rows of a series that are hidden, and counts them. Afterwards the sequences of
    /// rows may be lost, and nobody could tell any more.
    fn take_out(&self, place: SeriesPlace, rows: &mut SeriesRows) -> u64 {
        let count = rows.times.len();
        let own = |tombstone: &&Tombstone| tombstone.tenant == place.tenant;
        let tombstones: Vec<&Tombstone> = self.tombstones.iter().filter(own).collect();
        let hides = |time: i64, sequence: u64| {
            let sequence = Sequence::new(sequence);
            tombstones.iter().any(|tombstone| tombstone.hides(place.series, time, sequence))
        };
        if self.removed.contains(place.tenant) {
            *rows = SeriesRows::default();
        } else if rows.times.iter().zip(&rows.sequences).any(|(&time, &at)| hides(time, at)) {
            let mut kept = SeriesRows::default();
            let columns = rows.times.iter().zip(&rows.sequences).zip(&rows.values).enumerate();
            for (index, ((&time, &sequence), &value)) in columns {
                if hides(time, sequence) {
                    continue;
                }
                let here = |at: u32| usize::try_from(at).is_ok_and(|at| at == index);
                let meta = rows.metas.iter().find(|(at, _)| here(*at));
                let new = u32::try_from(kept.times.len()).unwrap_or(u32::MAX);
                kept.metas.extend(meta.map(|(_, meta)| (new, meta.clone())));
                kept.times.push(time);
                kept.sequences.push(sequence);
                kept.values.push(value);
            }
            *rows = kept;
        }
        u64::try_from(count.saturating_sub(rows.times.len())).unwrap_or(u64::MAX)
    }
}

/// Reads all that is whole in `segment` and writes it to `into`, if that is given. What is not goes to
/// `lost`, as do rows of series without a definition.
pub(crate) fn salvage(
    segment: &Segment,
    kv: Option<&Kv>,
    hidden: &Hidden<'_>,
    into: Option<&Path>,
    lost: &Findings,
) -> Result<Kept, Error> {
    let mut writer = match into {
        Some(path) => Some(SegmentWriter::create(path, segment.facts.level)?),
        None => None,
    };
    let mut kept = Kept::default();
    let mut places = tabled(segment, lost);
    let mut rows = RowStream::new(segment, kv, lost).peekable();
    let mut series = SeriesStream::new(segment, lost).peekable();
    while let Some(place) = least(&mut rows, &mut series) {
        let mut all = SeriesRows::default();
        if let Some((_, more)) = rows.next_if(|(at, _)| *at == place) {
            append(&mut all, more);
        }
        while let Some((_, more)) = series.next_if(|(at, _)| *at == place) {
            append(&mut all, more);
        }
        merge::resolve(&mut all);
        kept.hidden += hidden.take_out(place, &mut all);
        if all.times.is_empty() {
            continue;
        }
        let count = u64::try_from(all.times.len()).unwrap_or(u64::MAX);
        if kv.is_some_and(|kv| metric_of(kv, place.tenant, place.series).is_none()) {
            let affects = Affected {
                tenant: Some(place.tenant),
                series: Some((place.series.number(), place.series.number())),
                series_count: Some(1),
                samples: Some(count),
                times: Some(segment.facts.times),
                ..Affected::default()
            };
            let path = segment.path().display().to_string();
            lost.add(
                Part::Definition,
                path,
                "samples of a series whose definition is lost",
                affects,
            );
            continue;
        }
        kept.samples += count;
        places.push(place);
        if let Some(writer) = &mut writer {
            writer.add(place, &all)?;
        }
    }
    places.sort_unstable();
    places.dedup();
    if let (Some(writer), Some(kv)) = (writer, kv) {
        let keys = places.chunks(TABLE_CHUNK).map(|chunk| Ok(keys(kv, chunk)));
        kept.facts = writer.finish(segment.facts.sequences, keys)?;
    }
    Ok(kept)
}

/// The metric of a series, if it is defined.
pub(crate) fn metric_of(kv: &Kv, tenant: TenantId, series: SeriesId) -> Option<MetricNo> {
    let value = kv.get(&Key::Series(tenant, series)).ok()??;
    stored::split_definition(&value).ok().map(|(metric, _)| metric)
}

/// A series as people write it, if it is defined.
pub(crate) fn describe(kv: Option<&Kv>, tenant: TenantId, series: SeriesId) -> String {
    let key = || {
        let value = kv?.get(&Key::Series(tenant, series)).ok()??;
        let (_, canonical) = stored::split_definition(&value).ok()?;
        SeriesKey::decode(canonical).ok()
    };
    match key() {
        Some(key) => {
            let pairs = key.dimensions.iter().map(|(name, value)| format!("{name}={value}"));
            format!("{}{{{}}}", key.metric, pairs.collect::<Vec<_>>().join(","))
        }
        None => format!("series {series}"),
    }
}

fn keys(kv: &Kv, places: &[SeriesPlace]) -> Vec<(SeriesPlace, Vec<u8>)> {
    let canonical = |place: &SeriesPlace| {
        let value = kv.get(&Key::Series(place.tenant, place.series)).ok()??;
        let (_, canonical) = stored::split_definition(&value).ok()?;
        Some((*place, canonical.to_vec()))
    };
    places.iter().filter_map(canonical).collect()
}

/// Series that the readable groups of the table name. A flush names its new series in one of its
/// segments, whose rows may lie in another.
fn tabled(segment: &Segment, lost: &Findings) -> Vec<SeriesPlace> {
    let mut places = Vec::new();
    for group in segment.table_groups() {
        match segment.table_group(group) {
            Ok(entries) => places.extend(entries.into_iter().map(|(place, _)| place)),
            Err(error) => lost.error(Part::SeriesTable, &error, of_group(group)),
        }
    }
    places
}

fn least<'a>(
    rows: &mut Peekable<RowStream<'a>>,
    series: &mut Peekable<SeriesStream<'a>>,
) -> Option<SeriesPlace> {
    let of = |next: Option<&(SeriesPlace, SeriesRows)>| next.map(|(place, _)| *place);
    match (of(rows.peek()), of(series.peek())) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn append(all: &mut SeriesRows, more: SeriesRows) {
    let base = u32::try_from(all.times.len()).unwrap_or(u32::MAX);
    all.metas.extend(more.metas.into_iter().map(|(at, meta)| (base.saturating_add(at), meta)));
    all.times.extend(more.times);
    all.sequences.extend(more.sequences);
    all.values.extend(more.values);
}

/// The rows of the whole row blocks, series by series.
struct RowStream<'a> {
    segment: &'a Segment,
    kv: Option<&'a Kv>,
    lost: &'a Findings,
    groups: std::slice::Iter<'a, Group>,
    entries: IntoIter<RowEntry>,
    /// The series of the current block.
    ready: IntoIter<(SeriesPlace, SeriesRows)>,
    /// The last series of the block before: it may go on.
    held: Option<(SeriesPlace, SeriesRows)>,
}

impl<'a> RowStream<'a> {
    fn new(segment: &'a Segment, kv: Option<&'a Kv>, lost: &'a Findings) -> Self {
        let groups = segment.row_groups().iter();
        let (entries, ready) = (Vec::new().into_iter(), Vec::new().into_iter());
        RowStream { segment, kv, lost, groups, entries, ready, held: None }
    }

    /// The next whole block, split by series.
    fn block(&mut self) -> Option<Vec<(SeriesPlace, SeriesRows)>> {
        loop {
            let Some(entry) = self.entries.next() else {
                let group = self.groups.next()?;
                match self.segment.row_group(group) {
                    Ok(entries) => self.entries = entries.into_iter(),
                    Err(error) => self.lost.error(Part::Directory, &error, of_group(group)),
                }
                continue;
            };
            match read_rows(self.segment, &entry) {
                Ok(rows) => return Some(self.split(&entry, &rows)),
                Err(error) => {
                    let tenant = entry.first.tenant;
                    let named = |place: SeriesPlace| describe(self.kv, tenant, place.series);
                    let (first, last) = (named(entry.first), named(entry.last));
                    let what = format!("rows from {first} to {last}: {error}");
                    let path = self.segment.path().display();
                    let place = format!("{path}:{}", entry.extent.at);
                    self.lost.add(Part::Block, place, what, of_rows(&entry));
                }
            }
        }
    }

    fn split(
        &self,
        entry: &RowEntry,
        rows: &crate::block::row::Rows,
    ) -> Vec<(SeriesPlace, SeriesRows)> {
        let tenant = entry.first.tenant;
        let mut start = 0;
        let mut all = Vec::new();
        for chunk in rows.series.chunk_by(|a, b| a == b) {
            let range = start..start + chunk.len();
            start = range.end;
            let number = chunk.first().and_then(|&id| u32::try_from(id).ok()).unwrap_or(u32::MAX);
            let series = SeriesId::new(number);
            let known = self.kv.and_then(|kv| metric_of(kv, tenant, series));
            let place = SeriesPlace { tenant, metric: known.unwrap_or(entry.first.metric), series };
            let inside = |at: u32| usize::try_from(at).is_ok_and(|at| range.contains(&at));
            let first = u32::try_from(range.start).unwrap_or(u32::MAX);
            let metas = rows.metas.iter().filter(|(at, _)| inside(*at));
            all.push((
                place,
                SeriesRows {
                    times: rows.times.get(range.clone()).unwrap_or_default().to_vec(),
                    sequences: rows.sequences.get(range.clone()).unwrap_or_default().to_vec(),
                    values: rows.values.get(range.clone()).unwrap_or_default().to_vec(),
                    metas: metas.map(|(at, meta)| (at - first, meta.clone())).collect(),
                },
            ));
        }
        all
    }
}

impl Iterator for RowStream<'_> {
    type Item = (SeriesPlace, SeriesRows);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.ready.next() {
                Some(next) => Some(next),
                None => match self.block() {
                    Some(block) => {
                        self.ready = block.into_iter();
                        continue;
                    }
                    None => None,
                },
            };
            match (self.held.take(), next) {
                (None, None) => return None,
                (None, Some(next)) => self.held = Some(next),
                (Some(held), None) => return Some(held),
                (Some((place, mut rows)), Some((at, more))) if at == place => {
                    append(&mut rows, more);
                    self.held = Some((place, rows));
                }
                (Some(held), Some(next)) => {
                    self.held = Some(next);
                    return Some(held);
                }
            }
        }
    }
}

/// The whole series blocks, one at a time.
struct SeriesStream<'a> {
    segment: &'a Segment,
    lost: &'a Findings,
    groups: std::slice::Iter<'a, Group>,
    entries: IntoIter<SeriesEntry>,
}

impl<'a> SeriesStream<'a> {
    fn new(segment: &'a Segment, lost: &'a Findings) -> Self {
        let groups = segment.series_groups().iter();
        SeriesStream { segment, lost, groups, entries: Vec::new().into_iter() }
    }
}

impl Iterator for SeriesStream<'_> {
    type Item = (SeriesPlace, SeriesRows);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(entry) = self.entries.next() else {
                let group = self.groups.next()?;
                match self.segment.series_group(group) {
                    Ok(entries) => self.entries = entries.into_iter(),
                    Err(error) => self.lost.error(Part::Directory, &error, of_group(group)),
                }
                continue;
            };
            let read = read_series(self.segment, &entry)
                .and_then(|()| Ok((self.segment.times(&entry)?, self.segment.values(&entry)?)));
            match read {
                Ok((times, (values, metas))) => {
                    let newest = self.segment.facts.sequences.1.number();
                    let sequences = vec![newest; times.len()];
                    return Some((entry.place, SeriesRows { times, sequences, values, metas }));
                }
                Err(error) => self.lost.error(Part::Block, &error, of_series(&entry)),
            }
        }
    }
}
