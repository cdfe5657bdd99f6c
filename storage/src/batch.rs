//! A joint batch: the requests that one commit makes durable, as rows in memory and as a log record.
//!
//! ```text
//! log record (little-endian)
//! ┌─────────┬────────────┬────────────┬────────┬───────────────────────┬───────────────┐
//! │ version │ arrival ms │ requests u32│ rows u32│ requests × tenant u32, │ times         │
//! │ u8 = 1  │ i64        │            │        │            rows u32    │ (see below)   │
//! ├─────────┴─────┬──────┴────────┬───┴────────┴───────────────────────┴──┬────────────┤
//! │ rows × series │ rows × value  │ metas u32, metas × (row u32, length   │ crc32 u32  │
//! │ u32           │ f64 bits      │ u32, text)                            │            │
//! └───────────────┴───────────────┴───────────────────────────────────────┴────────────┘
//! times: form u8, base i64, then 0: nothing (all equal), 1: rows × offset u32, 2: rows × time i64
//! ```
//! A log record is written once and read once, so it trades size for speed.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::model::{Sequence, SeriesId, TenantId, Timestamp, ValueMeta};
use crate::segment::partition_of;

/// A sample as the head keeps it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) tenant: TenantId,
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    pub(crate) value: f64,
}

const _: () = assert!(size_of::<Row>() == 24);

/// Rows committed together. Immutable once committed.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    pub(crate) first: Sequence,
    pub(crate) arrival: Timestamp,
    /// For each request: tenant, and the index after its last row.
    pub(crate) requests: Vec<(TenantId, u32)>,
    pub(crate) rows: Vec<Row>,
    /// `value_meta` by index of row, ascending.
    pub(crate) metas: Vec<(u32, ValueMeta)>,
}

/// The partitions that rows lie in.
pub(crate) fn partitions(rows: &[Row]) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut last = None;
    for row in rows {
        let partition = partition_of(row.time);
        if last != Some(partition) {
            last = Some(partition);
            found.insert(partition);
        }
    }
    found
}

const VERSION: u8 = 1;
const TIMES_EQUAL: u8 = 0;
const TIMES_OFFSETS: u8 = 1;
const TIMES_RAW: u8 = 2;

impl Batch {
    /// Sequence of the last request.
    pub(crate) fn last_sequence(&self) -> Sequence {
        let others = u64::try_from(self.requests.len()).unwrap_or(u64::MAX).saturating_sub(1);
        Sequence::new(self.first.number().saturating_add(others))
    }

    /// Rows with their sequences, in order.
    pub(crate) fn sequenced(&self) -> impl Iterator<Item = (Sequence, &Row)> {
        let mut start = 0_usize;
        self.requests.iter().zip(self.first.number()..).flat_map(move |(&(_, end), number)| {
            let from = start;
            start = usize::try_from(end).unwrap_or(usize::MAX);
            let rows = self.rows.get(from..start).unwrap_or_default();
            rows.iter().map(move |row| (Sequence::new(number), row))
        })
    }

    /// A row with its sequence.
    pub(crate) fn row(&self, index: u32) -> Option<(Sequence, &Row)> {
        let row = self.rows.get(usize::try_from(index).ok()?)?;
        let request = self.requests.partition_point(|(_, end)| *end <= index);
        let sequence = self.first.number().checked_add(u64::try_from(request).ok()?)?;
        Some((Sequence::new(sequence), row))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.rows.len() * 16);
        out.push(VERSION);
        out.extend_from_slice(&self.arrival.millis().to_le_bytes());
        put_count(&mut out, self.requests.len());
        put_count(&mut out, self.rows.len());
        let mut start = 0;
        for &(tenant, end) in &self.requests {
            out.extend_from_slice(&tenant.number().to_le_bytes());
            out.extend_from_slice(&(end - start).to_le_bytes());
            start = end;
        }
        self.encode_times(&mut out);
        for row in &self.rows {
            out.extend_from_slice(&row.series.number().to_le_bytes());
        }
        for row in &self.rows {
            out.extend_from_slice(&row.value.to_bits().to_le_bytes());
        }
        put_count(&mut out, self.metas.len());
        for (row, meta) in &self.metas {
            out.extend_from_slice(&row.to_le_bytes());
            put_count(&mut out, meta.text().len());
            out.extend_from_slice(meta.text().as_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn encode_times(&self, out: &mut Vec<u8>) {
        let (min, max) = self
            .rows
            .iter()
            .fold((i64::MAX, i64::MIN), |(min, max), row| (min.min(row.time), max.max(row.time)));
        let fits =
            min <= max && max.checked_sub(min).is_some_and(|span| span <= i64::from(u32::MAX));
        if min >= max {
            out.push(TIMES_EQUAL);
            out.extend_from_slice(&self.rows.first().map_or(0, |row| row.time).to_le_bytes());
        } else if fits {
            out.push(TIMES_OFFSETS);
            out.extend_from_slice(&min.to_le_bytes());
            for row in &self.rows {
                let offset = u32::try_from(row.time - min).expect("the span fits in 32 bits");
                out.extend_from_slice(&offset.to_le_bytes());
            }
        } else {
            out.push(TIMES_RAW);
            out.extend_from_slice(&0_i64.to_le_bytes());
            for row in &self.rows {
                out.extend_from_slice(&row.time.to_le_bytes());
            }
        }
    }

    /// Reads a log record.
    pub(crate) fn decode(first: Sequence, bytes: &[u8]) -> Result<Self, Error> {
        decode(first, bytes)
            .ok_or_else(|| Error::corrupt("checksum or length", format!("log record {first}")))
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a batch is far below 4 Gi of anything");
    out.extend_from_slice(&count.to_le_bytes());
}

fn decode(first: Sequence, bytes: &[u8]) -> Option<Batch> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
        return None;
    }
    let mut rest = Reader(body);
    if rest.take::<1>()? != [VERSION] {
        return None;
    }
    let arrival = Timestamp::from_millis(i64::from_le_bytes(rest.take()?));
    let request_count = rest.count()?;
    let row_count = rest.count()?;
    let mut requests = Vec::with_capacity(request_count.min(body.len() / 8));
    let mut end = 0_u32;
    for _ in 0..request_count {
        let tenant = TenantId::new(rest.u32()?);
        end = end.checked_add(rest.u32()?)?;
        requests.push((tenant, end));
    }
    if usize::try_from(end).ok()? != row_count {
        return None;
    }
    let [form] = rest.take::<1>()?;
    let base = i64::from_le_bytes(rest.take()?);
    let times: Vec<i64> = match form {
        TIMES_EQUAL => vec![base; row_count.min(body.len())],
        TIMES_OFFSETS => rest
            .column::<4>(row_count)?
            .iter()
            .map(|offset| base.checked_add(i64::from(u32::from_le_bytes(*offset))))
            .collect::<Option<_>>()?,
        TIMES_RAW => rest.column::<8>(row_count)?.iter().map(|t| i64::from_le_bytes(*t)).collect(),
        _ => return None,
    };
    let series = rest.column::<4>(row_count)?;
    let values = rest.column::<8>(row_count)?;
    let mut tenants = requests.iter();
    let mut current = (TenantId::SYSTEM, 0_u32);
    let mut rows = Vec::with_capacity(row_count);
    for ((&time, series), value) in times.iter().zip(series).zip(values) {
        while u32::try_from(rows.len()).ok()? >= current.1 {
            current = *tenants.next()?;
        }
        rows.push(Row {
            tenant: current.0,
            series: SeriesId::new(u32::from_le_bytes(*series)),
            time,
            value: f64::from_bits(u64::from_le_bytes(*value)),
        });
    }
    let meta_count = rest.count()?;
    let mut metas = Vec::with_capacity(meta_count.min(body.len() / 8));
    for _ in 0..meta_count {
        let row = rest.u32()?;
        let length = rest.count()?;
        let text = std::str::from_utf8(rest.slice(length)?).ok()?;
        metas.push((row, ValueMeta::new(text)?));
    }
    (rest.0.is_empty() && rows.len() == row_count).then_some(Batch {
        first,
        arrival,
        requests,
        rows,
        metas,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn column<const N: usize>(&mut self, count: usize) -> Option<&'a [[u8; N]]> {
        Some(self.slice(count.checked_mul(N)?)?.as_chunks::<N>().0)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take()?))
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: Vec<(u32, i64, u64)>, splits: &[usize]) -> Batch {
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|(series, time, bits)| Row {
                tenant: TenantId::new(1),
                series: SeriesId::new(series),
                time,
                value: f64::from_bits(bits),
            })
            .collect();
        let mut ends: Vec<usize> = splits.iter().map(|at| at % (rows.len() + 1)).collect();
        ends.push(rows.len());
        ends.sort_unstable();
        Batch {
            first: Sequence::new(9),
            arrival: Timestamp::from_millis(77),
            requests: ends
                .iter()
                .map(|&end| (TenantId::new(1), u32::try_from(end).unwrap()))
                .collect(),
            metas: rows
                .iter()
                .enumerate()
                .filter(|(_, row)| row.series.number() % 3 == 0)
                .map(|(at, _)| (u32::try_from(at).unwrap(), ValueMeta::new("{\"é\":1}").unwrap()))
                .collect(),
            rows,
        }
    }

    fn bits(batch: &Batch) -> Vec<(u32, i64, u64)> {
        batch.rows.iter().map(|r| (r.series.number(), r.time, r.value.to_bits())).collect()
    }

    proptest! {
        #[test]
        fn log_records_round_trip_bit_for_bit(
            rows in proptest::collection::vec((0_u32..9, prop_oneof![Just(5_i64), 0..9_i64, any::<i64>()], any::<u64>()), 0..40),
            splits in proptest::collection::vec(0_usize..50, 0..4),
        ) {
            let written = batch(rows, &splits);
            let read = Batch::decode(written.first, &written.encode()).unwrap();
            prop_assert_eq!(bits(&read), bits(&written));
            prop_assert_eq!(&read.requests, &written.requests);
            prop_assert_eq!(&read.metas, &written.metas);
            prop_assert_eq!(read.arrival, written.arrival);
        }

        #[test]
        fn a_changed_record_is_refused(at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<bool>()) {
            let mut bytes = batch(vec![(1, 2, 3), (3, 9, 4)], &[1]).encode();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit }
            let error = Batch::decode(Sequence::new(4), &bytes).unwrap_err();
            prop_assert!(error.to_string().contains("log record 4"));
        }
    }

    #[test]
    fn each_row_has_the_sequence_of_its_request() {
        let batch = batch(vec![(1, 1, 0), (2, 2, 0), (3, 3, 0)], &[1, 1]);
        let sequences: Vec<u64> = batch.sequenced().map(|(s, _)| s.number()).collect();
        assert_eq!(sequences, [9, 11, 11]);
        assert_eq!(batch.last_sequence().number(), 11);
    }
}
