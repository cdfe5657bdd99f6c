//! The directory of a segment: which block holds what. Entries are kept as columns, in groups that
//! are compressed by themselves; the top lists the groups with their first and last series.

use super::{GROUP_ENTRIES, SeriesPlace};
use crate::block::{CRC_LEN, join_parts, seal, split_parts, unseal};
use crate::codec::{self, Effort};
use crate::model::{MetricNo, Sequence, SeriesId, TenantId, TimeRange, Timestamp};
use crate::view::Summary;

const ZSTD_LEVEL: i32 = 3;
/// Longest group that is read back, uncompressed.
const GROUP_BYTES_MAX: usize = 1 << 20;
const ROW_COLUMNS: usize = 12;
const SERIES_COLUMNS: usize = 16;

/// Where a part of a file lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) at: u64,
    pub(crate) length: u32,
}

/// A row block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RowEntry {
    pub(crate) first: SeriesPlace,
    pub(crate) last: SeriesPlace,
    pub(crate) times: TimeRange,
    pub(crate) sequences: (Sequence, Sequence),
    pub(crate) rows: u32,
    pub(crate) extent: Extent,
}

/// A series block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct SeriesEntry {
    pub(crate) place: SeriesPlace,
    pub(crate) count: u32,
    /// Half-open.
    pub(crate) times: TimeRange,
    /// `None`: the block holds a value that is not finite, or their sum is not.
    pub(crate) summary: Option<Summary>,
    pub(crate) times_part: Extent,
    pub(crate) values_part: Extent,
}

/// A group of directory entries, or of the series table, as the top lists it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Group {
    pub(crate) first: SeriesPlace,
    pub(crate) last: SeriesPlace,
    pub(crate) times: TimeRange,
    pub(crate) entries: u32,
    pub(crate) extent: Extent,
}

/// Collects columns of integers, times and floats and seals them.
struct Columns(Vec<Vec<u8>>);

impl Columns {
    fn integers(&mut self, column: impl Iterator<Item = u64>) {
        let column: Vec<u64> = column.collect();
        let mut out = Vec::new();
        codec::encode_integers(&column, Effort::Fast, &mut out);
        self.0.push(out);
    }

    fn times(&mut self, column: impl Iterator<Item = i64>) {
        let column: Vec<i64> = column.collect();
        let mut out = Vec::new();
        codec::encode_times(&column, Effort::Fast, &mut out);
        self.0.push(out);
    }

    fn floats(&mut self, column: impl Iterator<Item = f64>) {
        let column: Vec<f64> = column.collect();
        let mut out = Vec::new();
        codec::encode_floats(&column, Effort::Best, &mut out);
        self.0.push(out);
    }

    fn seal(self) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.0.iter().map(Vec::as_slice).collect();
        let mut plain = Vec::new();
        join_parts(&parts, &mut plain);
        compress(&plain)
    }
}

/// zstd with the plain length (u32) before and a checksum after.
pub(crate) fn compress(plain: &[u8]) -> Vec<u8> {
    let length = u32::try_from(plain.len()).expect("a group is far below 4 GiB");
    let mut out = length.to_le_bytes().to_vec();
    out.extend(zstd::bulk::compress(plain, ZSTD_LEVEL).expect("zstd compresses any bytes"));
    seal(&mut out, 0);
    out
}

/// Reads what [`compress`] wrote, up to `bytes_max` plain bytes.
pub(crate) fn decompress(bytes: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (length, packed) = unseal(bytes)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > bytes_max {
        return None;
    }
    let plain = zstd::bulk::decompress(packed, length).ok()?;
    (plain.len() == length).then_some(plain)
}

/// The columns of a group as read.
struct Read<'a> {
    parts: std::slice::Iter<'a, &'a [u8]>,
    count: usize,
}

impl Read<'_> {
    fn integers(&mut self) -> Option<Vec<u64>> {
        let mut column = Vec::with_capacity(self.count);
        codec::decode_integers(self.parts.next()?, self.count, &mut column).ok()?;
        Some(column)
    }

    fn numbers(&mut self) -> Option<Vec<u32>> {
        self.integers()?.into_iter().map(|number| u32::try_from(number).ok()).collect()
    }

    fn times(&mut self) -> Option<Vec<i64>> {
        let mut column = Vec::with_capacity(self.count);
        codec::decode_times(self.parts.next()?, self.count, &mut column).ok()?;
        Some(column)
    }

    fn floats(&mut self) -> Option<Vec<f64>> {
        let mut column = Vec::with_capacity(self.count);
        codec::decode_floats(self.parts.next()?, self.count, &mut column).ok()?;
        Some(column)
    }
}

fn place(tenant: u32, metric: u32, series: u32) -> SeriesPlace {
    SeriesPlace {
        tenant: TenantId::new(tenant),
        metric: MetricNo::new(metric),
        series: SeriesId::new(series),
    }
}

fn span(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
}

pub(crate) fn encode_rows(entries: &[RowEntry]) -> Vec<u8> {
    let mut columns = Columns(Vec::with_capacity(ROW_COLUMNS));
    let ints = |f: fn(&RowEntry) -> u64| entries.iter().map(f);
    columns.integers(ints(|e| u64::from(e.first.tenant.number())));
    columns.integers(ints(|e| u64::from(e.first.metric.number())));
    columns.integers(ints(|e| u64::from(e.first.series.number())));
    columns.integers(ints(|e| u64::from(e.last.metric.number())));
    columns.integers(ints(|e| u64::from(e.last.series.number())));
    columns.times(entries.iter().map(|e| e.times.start.millis()));
    columns.times(entries.iter().map(|e| e.times.end.millis()));
    columns.integers(ints(|e| e.sequences.0.number()));
    columns.integers(ints(|e| e.sequences.1.number()));
    columns.integers(ints(|e| u64::from(e.rows)));
    columns.integers(ints(|e| e.extent.at));
    columns.integers(ints(|e| u64::from(e.extent.length)));
    columns.seal()
}

pub(crate) fn decode_rows(bytes: &[u8], count: u32) -> Option<Vec<RowEntry>> {
    let count = usize::try_from(count).ok().filter(|&count| count <= GROUP_ENTRIES)?;
    let plain = decompress(bytes, GROUP_BYTES_MAX)?;
    let parts = split_parts::<ROW_COLUMNS>(&plain)?;
    let mut read = Read { parts: parts.iter(), count };
    let (tenant, metric, series) = (read.numbers()?, read.numbers()?, read.numbers()?);
    let (last_metric, last_series) = (read.numbers()?, read.numbers()?);
    let (start, end) = (read.times()?, read.times()?);
    let (first_sequence, last_sequence) = (read.integers()?, read.integers()?);
    let (rows, at, length) = (read.numbers()?, read.integers()?, read.numbers()?);
    (0..count)
        .map(|i| {
            let tenant = *tenant.get(i)?;
            Some(RowEntry {
                first: place(tenant, *metric.get(i)?, *series.get(i)?),
                last: place(tenant, *last_metric.get(i)?, *last_series.get(i)?),
                times: span(*start.get(i)?, *end.get(i)?),
                sequences: (
                    Sequence::new(*first_sequence.get(i)?),
                    Sequence::new(*last_sequence.get(i)?),
                ),
                rows: *rows.get(i)?,
                extent: Extent { at: *at.get(i)?, length: *length.get(i)? },
            })
        })
        .collect()
}

pub(crate) fn encode_series(entries: &[SeriesEntry]) -> Vec<u8> {
    let mut columns = Columns(Vec::with_capacity(SERIES_COLUMNS));
    let ints = |f: fn(&SeriesEntry) -> u64| entries.iter().map(f);
    columns.integers(ints(|e| u64::from(e.place.tenant.number())));
    columns.integers(ints(|e| u64::from(e.place.metric.number())));
    columns.integers(ints(|e| u64::from(e.place.series.number())));
    columns.integers(ints(|e| u64::from(e.count)));
    columns.times(entries.iter().map(|e| e.times.start.millis()));
    columns.times(entries.iter().map(|e| e.times.end.millis()));
    columns.integers(ints(|e| e.times_part.at));
    columns.integers(ints(|e| u64::from(e.times_part.length)));
    columns.integers(ints(|e| e.values_part.at));
    columns.integers(ints(|e| u64::from(e.values_part.length)));
    columns.integers(ints(|e| u64::from(e.summary.is_some())));
    for field in [
        |s: &Summary| s.min,
        |s: &Summary| s.max,
        |s: &Summary| s.sum,
        |s: &Summary| s.first,
        |s: &Summary| s.last,
    ] {
        columns.floats(entries.iter().map(|e| e.summary.as_ref().map_or(0.0, field)));
    }
    columns.seal()
}

pub(crate) fn decode_series(bytes: &[u8], count: u32) -> Option<Vec<SeriesEntry>> {
    let count = usize::try_from(count).ok().filter(|&count| count <= GROUP_ENTRIES)?;
    let plain = decompress(bytes, GROUP_BYTES_MAX)?;
    let parts = split_parts::<SERIES_COLUMNS>(&plain)?;
    let mut read = Read { parts: parts.iter(), count };
    let (tenant, metric, series) = (read.numbers()?, read.numbers()?, read.numbers()?);
    let counts = read.numbers()?;
    let (start, end) = (read.times()?, read.times()?);
    let (times_at, times_length) = (read.integers()?, read.numbers()?);
    let (values_at, values_length) = (read.integers()?, read.numbers()?);
    let finite = read.integers()?;
    let (min, max, sum) = (read.floats()?, read.floats()?, read.floats()?);
    let (first, last) = (read.floats()?, read.floats()?);
    (0..count)
        .map(|i| {
            let times = span(*start.get(i)?, *end.get(i)?);
            let count = *counts.get(i)?;
            let summary = Summary {
                count: u64::from(count),
                min: *min.get(i)?,
                max: *max.get(i)?,
                sum: *sum.get(i)?,
                first: *first.get(i)?,
                last: *last.get(i)?,
                first_time: times.start,
                last_time: times.end.plus_millis(-1),
            };
            Some(SeriesEntry {
                place: place(*tenant.get(i)?, *metric.get(i)?, *series.get(i)?),
                count,
                times,
                summary: (*finite.get(i)? == 1).then_some(summary),
                times_part: Extent { at: *times_at.get(i)?, length: *times_length.get(i)? },
                values_part: Extent { at: *values_at.get(i)?, length: *values_length.get(i)? },
            })
        })
        .collect()
}

/// Bytes of a group in the top.
const GROUP_LEN: usize = 56;

/// The lists of groups: of row blocks, of series blocks, of the series table.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Top {
    pub(crate) rows: Vec<Group>,
    pub(crate) series: Vec<Group>,
    pub(crate) table: Vec<Group>,
}

impl Top {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let lists = [&self.rows, &self.series, &self.table];
        for list in lists {
            let count = u32::try_from(list.len()).expect("groups are far fewer than 4 Gi");
            out.extend_from_slice(&count.to_le_bytes());
        }
        for group in lists.into_iter().flatten() {
            for place in [group.first, group.last] {
                out.extend_from_slice(&place.tenant.number().to_le_bytes());
                out.extend_from_slice(&place.metric.number().to_le_bytes());
                out.extend_from_slice(&place.series.number().to_le_bytes());
            }
            out.extend_from_slice(&group.times.start.millis().to_le_bytes());
            out.extend_from_slice(&group.times.end.millis().to_le_bytes());
            out.extend_from_slice(&group.entries.to_le_bytes());
            out.extend_from_slice(&group.extent.at.to_le_bytes());
            out.extend_from_slice(&group.extent.length.to_le_bytes());
        }
        seal(&mut out, 0);
        out
    }

    /// Shortest encoding, and by how much the lengths of encodings differ.
    pub(crate) const BYTES_MIN: usize = 12 + CRC_LEN;
    pub(crate) const BYTES_STEP: usize = GROUP_LEN;

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        // The length first: a search tries many places, and few have one that agrees.
        let agrees = Self::length(bytes) == Some(bytes.len());
        Self::decode_body(agrees.then(|| unseal(bytes))??)
    }

    /// Reads a top whose checksum does not hold. Where a group lies is then a guess that the group's
    /// own checksum decides.
    pub(crate) fn decode_damaged(bytes: &[u8]) -> Option<Self> {
        Self::decode_body(bytes.split_last_chunk::<CRC_LEN>()?.0)
    }

    /// Length of the encoding that begins here, by the numbers of its groups.
    fn length(bytes: &[u8]) -> Option<usize> {
        let counts = bytes.first_chunk::<12>()?.as_chunks::<4>().0;
        let groups = counts.iter().try_fold(0_usize, |sum, count| {
            sum.checked_add(usize::try_from(u32::from_le_bytes(*count)).ok()?)
        })?;
        groups.checked_mul(GROUP_LEN)?.checked_add(Self::BYTES_MIN)
    }

    fn decode_body(bytes: &[u8]) -> Option<Self> {
        let (counts, body) = bytes.split_first_chunk::<12>()?;
        let mut groups = body.as_chunks::<GROUP_LEN>().0.iter().map(decode_group);
        let mut top = Top::default();
        let mut total = 0;
        for (list, count) in [&mut top.rows, &mut top.series, &mut top.table]
            .into_iter()
            .zip(counts.as_chunks::<4>().0)
        {
            let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
            total += count;
            for _ in 0..count {
                list.push(groups.next()??);
            }
        }
        (body.len() == total * GROUP_LEN).then_some(top)
    }
}

const _: () = assert!(GROUP_LEN == 6 * 4 + 2 * 8 + 4 + 8 + 4);

fn decode_group(bytes: &[u8; GROUP_LEN]) -> Option<Group> {
    let (places, rest) = bytes.split_first_chunk::<24>()?;
    let places: Vec<u32> =
        places.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let &[t1, m1, s1, t2, m2, s2] = places.as_slice() else { return None };
    let (start, rest) = rest.split_first_chunk::<8>()?;
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let (entries, rest) = rest.split_first_chunk::<4>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    Some(Group {
        first: place(t1, m1, s1),
        last: place(t2, m2, s2),
        times: span(i64::from_le_bytes(*start), i64::from_le_bytes(*end)),
        entries: u32::from_le_bytes(*entries),
        extent: Extent {
            at: u64::from_le_bytes(*at),
            length: u32::from_le_bytes(rest.try_into().ok()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_round_trip() {
        let rows: Vec<RowEntry> = (0..40_u32)
            .map(|i| RowEntry {
                first: place(1, i, i * 3),
                last: place(1, i + 1, i * 3 + 2),
                times: span(i64::from(i) * 1000, i64::from(i) * 1000 + 777),
                sequences: (Sequence::new(u64::from(i)), Sequence::new(1 << 40)),
                rows: 8192 - i,
                extent: Extent { at: u64::from(i) * 9999, length: 100 + i },
            })
            .collect();
        let bytes = encode_rows(&rows);
        assert_eq!(decode_rows(&bytes, 40), Some(rows.clone()));

        let series: Vec<SeriesEntry> = (0..40_u32)
            .map(|i| SeriesEntry {
                place: place(2, 0, i),
                count: 4096,
                times: span(5, 500),
                summary: (i % 5 != 0).then(|| Summary {
                    count: 4096,
                    min: f64::from(i),
                    max: 1e9,
                    sum: 0.1,
                    first: -0.5,
                    last: f64::from(i) / 3.0,
                    first_time: Timestamp::from_millis(5),
                    last_time: Timestamp::from_millis(499),
                }),
                times_part: Extent { at: 16, length: 30 },
                values_part: Extent { at: 46 + u64::from(i) * 99, length: 99 },
            })
            .collect();
        assert_eq!(decode_series(&encode_series(&series), 40), Some(series));

        let group = |n: u32| Group {
            first: place(1, n, 0),
            last: place(1, n, 99),
            times: span(-5, 5),
            entries: n,
            extent: Extent { at: 1 << 33, length: n },
        };
        let top = Top { rows: vec![group(1), group(2)], series: vec![], table: vec![group(3)] };
        assert_eq!(Top::decode(&top.encode()), Some(top));
    }
}
