//! Segments against themselves: every checksum, blocks against the directory and their summaries,
//! groups against the top, everything against the footer.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::Verified;
use super::problem::{Affected, Findings, Part};
use super::reading::Reading;
use crate::block::row::Rows;
use crate::block::series;
use crate::error::Error;
use crate::model::{SeriesKey, TenantId, TimeRange, Timestamp};
use crate::segment::row_buffer::row_entry;
use crate::segment::{Group, RowEntry, SAMPLES, Segment, SeriesEntry, SeriesPlace, partition_of};

/// Which series have rows, by tenant and day.
pub(crate) type Present = BTreeMap<(TenantId, i32), RoaringBitmap>;

/// Gives the stored canonical keys of series of one tenant, in order.
pub(crate) type Definitions<'a> =
    dyn Fn(&[SeriesPlace]) -> Result<Vec<Option<Vec<u8>>>, Error> + Sync + 'a;

/// What else is known of what a segment should hold.
pub(crate) struct Known<'a> {
    pub(crate) definitions: Option<&'a Definitions<'a>>,
    /// Whether a tenant was removed: nothing is said of its series any more, not even in tables.
    pub(crate) removed: &'a (dyn Fn(TenantId) -> bool + Sync),
}

/// What the check of one segment has found out.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) verified: Verified,
    pub(crate) present: Present,
    /// Series in the table.
    tabled: BTreeMap<TenantId, RoaringBitmap>,
    /// Bytes of parts, each counted once.
    accounted: u64,
    /// Where the newest times part begins: one that lies before it is shared.
    newest_times: Option<u64>,
    times: Option<TimeRange>,
    last: Option<SeriesPlace>,
    /// Something was unreadable, so sums say nothing.
    damaged: bool,
}

/// Reads all of a segment.
pub(crate) fn check(
    segment: &Segment,
    known: &Known<'_>,
    findings: &Findings,
    reading: &Reading<'_>,
) -> Checked {
    let mut checked = Checked { accounted: segment.frame_bytes(), ..Checked::default() };
    checked.verified.segments = 1;
    checked.verified.bytes = segment.facts.bytes;
    for group in segment.row_groups() {
        match segment.row_group(group) {
            Ok(entries) => checked.row_group(segment, group, &entries, findings, reading),
            Err(error) => checked.lost_group(group, &error, findings),
        }
        checked.accounted += u64::from(group.extent.length);
    }
    checked.last = None;
    for group in segment.series_groups() {
        match segment.series_group(group) {
            Ok(entries) => checked.series_group(segment, group, &entries, findings, reading),
            Err(error) => checked.lost_group(group, &error, findings),
        }
        checked.accounted += u64::from(group.extent.length);
    }
    checked.last = None;
    for group in segment.table_groups() {
        let done = segment.table_group(group).and_then(|entries| {
            checked.table_group(segment, group, &entries, known.definitions, findings)
        });
        if let Err(error) = done {
            checked.damaged = true;
            findings.error(Part::SeriesTable, &error, of_group(group));
        }
        checked.accounted += u64::from(group.extent.length);
    }
    checked.sums(segment, known, findings);
    checked
}

/// What a group concerns.
pub(crate) fn of_group(group: &Group) -> Affected {
    let one_metric = group.first.metric == group.last.metric;
    let one_tenant = group.first.tenant == group.last.tenant;
    let series = (group.first.series.number(), group.last.series.number());
    Affected {
        tenant: one_tenant.then_some(group.first.tenant),
        series: (one_metric && one_tenant).then_some(series),
        times: Some(group.times),
        ..Affected::default()
    }
}

/// What a row block concerns.
pub(crate) fn of_rows(entry: &RowEntry) -> Affected {
    let one_metric = entry.first.metric == entry.last.metric;
    Affected {
        tenant: Some(entry.first.tenant),
        series: one_metric.then_some((entry.first.series.number(), entry.last.series.number())),
        samples: Some(u64::from(entry.rows)),
        times: Some(entry.times),
        ..Affected::default()
    }
}

/// What a series block concerns.
pub(crate) fn of_series(entry: &SeriesEntry) -> Affected {
    let series = entry.place.series.number();
    Affected {
        tenant: Some(entry.place.tenant),
        series: Some((series, series)),
        series_count: Some(1),
        samples: Some(u64::from(entry.count)),
        times: Some(entry.times),
        ..Affected::default()
    }
}

/// Reads a row block and compares it with its entry.
pub(crate) fn read_rows(segment: &Segment, entry: &RowEntry) -> Result<Rows, Error> {
    let rows = segment.with_row_block(entry, |block| block.with_series(block.series()?))?;
    let wrong = |what| Err(segment.contradiction(what, entry.extent));
    if row_entry(entry.first, entry.last, &rows, entry.extent) != *entry {
        return wrong("row block (not what the directory says)");
    }
    let ends = |place: SeriesPlace| Some(u64::from(place.series.number()));
    if rows.series.first().copied() != ends(entry.first)
        || rows.series.last().copied() != ends(entry.last)
    {
        return wrong("row block (not the series the directory says)");
    }
    let mut pairs = rows.series.iter().zip(&rows.times);
    let mut before = pairs.next();
    for pair in pairs {
        if before.is_some_and(|before| before.0 == pair.0 && before.1 >= pair.1) {
            return wrong("row block (not in order of time)");
        }
        before = Some(pair);
    }
    let (first, last) = segment.facts.sequences;
    if entry.sequences.0 < first || last < entry.sequences.1 {
        return wrong("row block (sequences outside the segment's)");
    }
    Ok(rows)
}

/// Reads a series block and compares it with its entry.
pub(crate) fn read_series(segment: &Segment, entry: &SeriesEntry) -> Result<(), Error> {
    let times = segment.times(entry)?;
    let (values, _) = segment.values(entry)?;
    let wrong = |what, extent| Err(segment.contradiction(what, extent));
    let end = times.last().map(|&last| Timestamp::from_millis(last).plus_millis(1));
    let start = times.first().map(|&first| Timestamp::from_millis(first));
    if (start, end) != (Some(entry.times.start), Some(entry.times.end)) {
        return wrong("times (not what the directory says)", entry.times_part);
    }
    if !times.is_sorted_by(|a, b| a < b) {
        return wrong("times (one of them twice)", entry.times_part);
    }
    if series::summarize(&times, &values) != entry.summary {
        return wrong("summary (not that of the values)", entry.values_part);
    }
    Ok(())
}

impl Checked {
    fn lost_group(&mut self, group: &Group, error: &Error, findings: &Findings) {
        self.damaged = true;
        findings.error(Part::Directory, error, of_group(group));
    }

    /// Whether the entries of a group are what the top says of them.
    fn group(
        &mut self,
        segment: &Segment,
        group: &Group,
        entries: impl Iterator<Item = (SeriesPlace, SeriesPlace, TimeRange)>,
        findings: &Findings,
    ) {
        let mut span: Option<(SeriesPlace, SeriesPlace, TimeRange)> = None;
        for (first, last, times) in entries {
            if self.last.is_some_and(|before| first < before) || last < first {
                let error = segment.contradiction("order of its entries", group.extent);
                findings.error(Part::Directory, &error, of_group(group));
            }
            self.last = Some(last);
            span =
                Some(span.map_or((first, last, times), |(begin, _, all)| {
                    (begin, last, all.unite(times))
                }));
        }
        if span != Some((group.first, group.last, group.times)) {
            let error = segment.contradiction("entries (not those the top names)", group.extent);
            findings.error(Part::Directory, &error, of_group(group));
        }
        if let Some((_, _, times)) = span {
            self.times = Some(self.times.map_or(times, |all| all.unite(times)));
        }
    }

    fn row_group(
        &mut self,
        segment: &Segment,
        group: &Group,
        entries: &[RowEntry],
        findings: &Findings,
        reading: &Reading<'_>,
    ) {
        let spans = entries.iter().map(|entry| (entry.first, entry.last, entry.times));
        self.group(segment, group, spans, findings);
        for entry in entries {
            self.verified.blocks += 1;
            self.accounted += u64::from(entry.extent.length);
            match read_rows(segment, entry) {
                Ok(rows) => {
                    self.verified.samples += u64::from(entry.rows);
                    self.note_rows(segment, entry, &rows);
                }
                Err(error) => {
                    self.damaged = true;
                    findings.error(Part::Block, &error, of_rows(entry));
                }
            }
            reading.add(u64::from(entry.extent.length));
        }
    }

    fn note_rows(&mut self, segment: &Segment, entry: &RowEntry, rows: &Rows) {
        let mut start = 0;
        for chunk in rows.series.chunk_by(|a, b| a == b) {
            let times = rows.times.get(start..start + chunk.len()).unwrap_or_default();
            start += chunk.len();
            let Some(series) = chunk.first().and_then(|&series| u32::try_from(series).ok()) else {
                continue;
            };
            for part in times.chunk_by(|a, b| partition_of(*a) == partition_of(*b)) {
                let Some(&time) = part.first() else { continue };
                let key = (entry.first.tenant, day_of(segment, time));
                self.present.entry(key).or_default().insert(series);
            }
        }
    }

    fn series_group(
        &mut self,
        segment: &Segment,
        group: &Group,
        entries: &[SeriesEntry],
        findings: &Findings,
        reading: &Reading<'_>,
    ) {
        let spans = entries.iter().map(|entry| (entry.place, entry.place, entry.times));
        self.group(segment, group, spans, findings);
        for entry in entries {
            self.verified.blocks += 1;
            let mut bytes = u64::from(entry.values_part.length);
            if self.newest_times.is_none_or(|newest| entry.times_part.at > newest) {
                self.newest_times = Some(entry.times_part.at);
                bytes += u64::from(entry.times_part.length);
            }
            self.accounted += bytes;
            match read_series(segment, entry) {
                Ok(()) => {
                    self.verified.samples += u64::from(entry.count);
                    self.note_series(segment, entry);
                }
                Err(error) => {
                    self.damaged = true;
                    findings.error(Part::Block, &error, of_series(entry));
                }
            }
            reading.add(bytes);
        }
    }

    fn note_series(&mut self, segment: &Segment, entry: &SeriesEntry) {
        // Between the two there may be days without a sample only in a block of several days.
        for day in [entry.times.start.millis(), entry.times.end.millis().saturating_sub(1)] {
            let key = (entry.place.tenant, day_of(segment, day));
            self.present.entry(key).or_default().insert(entry.place.series.number());
        }
    }

    fn table_group(
        &mut self,
        segment: &Segment,
        group: &Group,
        entries: &[(SeriesPlace, Vec<u8>)],
        definitions: Option<&Definitions<'_>>,
        findings: &Findings,
    ) -> Result<(), Error> {
        let wrong = |what, entry: &SeriesPlace| {
            let error = segment.contradiction(what, group.extent);
            let series = entry.series.number();
            let affects = Affected {
                tenant: Some(entry.tenant),
                series: Some((series, series)),
                series_count: Some(1),
                ..Affected::default()
            };
            findings.error(Part::SeriesTable, &error, affects);
        };
        for (place, key) in entries {
            self.verified.table_entries += 1;
            if self.last.is_some_and(|before| *place <= before) {
                wrong("series table (not in order)", place);
            }
            self.last = Some(*place);
            self.tabled.entry(place.tenant).or_default().insert(place.series.number());
            if SeriesKey::decode(key).is_err() {
                wrong("series table (not a key)", place);
            }
        }
        let ends = (entries.first().map(|entry| entry.0), entries.last().map(|entry| entry.0));
        if ends != (Some(group.first), Some(group.last)) {
            return Err(segment.contradiction("series table (not what the top says)", group.extent));
        }
        let Some(definitions) = definitions else { return Ok(()) };
        for chunk in entries.chunk_by(|a, b| a.0.tenant == b.0.tenant) {
            let places: Vec<SeriesPlace> = chunk.iter().map(|(place, _)| *place).collect();
            for ((place, key), known) in chunk.iter().zip(definitions(&places)?) {
                // One that is missing is missed where its rows are counted.
                if known.is_some_and(|known| known != *key) {
                    wrong("series table (not what the index says)", place);
                }
            }
        }
        Ok(())
    }

    fn sums(&mut self, segment: &Segment, known: &Known<'_>, findings: &Findings) {
        if self.damaged {
            return;
        }
        let wrong = |what| {
            let affects = Affected { times: Some(segment.facts.times), ..Affected::default() };
            findings.error(Part::Segment, &segment.mismatch(what), affects);
        };
        if self.verified.samples != segment.facts.samples {
            wrong("number of samples");
        }
        if self.times != Some(segment.facts.times) {
            wrong("span of times");
        }
        if self.accounted != segment.facts.bytes {
            wrong("length (bytes that belong to no part)");
        }
        let listed = segment.facts.level == 0
            || self.present.iter().all(|((tenant, _), ids)| {
                (known.removed)(*tenant)
                    || self.tabled.get(tenant).is_some_and(|tabled| ids.is_subset(tabled))
            });
        if !listed {
            wrong("series table (without some of the series)");
        }
    }
}

/// The day that a row of a segment is about. The times of a rollup's rows carry more than the time.
fn day_of(segment: &Segment, time: i64) -> i32 {
    match segment.address.tier {
        SAMPLES => partition_of(time),
        _ => segment.address.partition,
    }
}
