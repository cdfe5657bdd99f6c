//! A row block: consecutive rows of one tenant, in order of (metric, series, time, sequence).
//!
//! ```text
//! ┌─────────┬──────────┬───────────────────────┬────────┬───────┬───────────┬────────┬───────┬───────┐
//! │ version │ rows u32 │ lengths of the 5 parts │ series │ times │ sequences │ values │ metas │ crc32 │
//! │ u8 = 1  │          │ 5 × u32                │        │       │           │        │       │       │
//! └─────────┴──────────┴───────────────────────┴────────┴───────┴───────────┴────────┴───────┴───────┘
//! ```
//! Readers decode the series column first and the others only if it holds what they look for.

use super::{ROW_BLOCK_ROWS_MAX, join_parts, metas, seal, split_parts, unseal};
use crate::codec::{self, Effort};
use crate::model::ValueMeta;

const VERSION: u8 = 1;

/// The columns of rows, all of one length.
#[derive(Default, Debug, PartialEq, Clone)]
pub(crate) struct Rows {
    pub(crate) series: Vec<u64>,
    pub(crate) times: Vec<i64>,
    pub(crate) sequences: Vec<u64>,
    pub(crate) values: Vec<f64>,
    /// By index of row, ascending.
    pub(crate) metas: Vec<(u32, ValueMeta)>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn clear(&mut self) {
        self.series.clear();
        self.times.clear();
        self.sequences.clear();
        self.values.clear();
        self.metas.clear();
    }
}

pub(crate) fn encode(rows: &Rows, effort: Effort) -> Vec<u8> {
    let count = rows.len();
    assert!(count <= ROW_BLOCK_ROWS_MAX, "the caller cuts blocks");
    assert!(
        [rows.series.len(), rows.sequences.len(), rows.values.len()] == [count; 3],
        "columns have one length"
    );
    let mut series = Vec::new();
    codec::encode_integers(&rows.series, effort, &mut series);
    let mut times = Vec::new();
    codec::encode_times(&rows.times, effort, &mut times);
    let mut sequences = Vec::new();
    codec::encode_integers(&rows.sequences, effort, &mut sequences);
    let mut values = Vec::new();
    codec::encode_floats(&rows.values, effort, &mut values);
    let mut meta_part = Vec::new();
    metas::encode(&rows.metas, &mut meta_part);
    let mut out = vec![VERSION];
    out.extend_from_slice(&u32::try_from(count).expect("at most ROW_BLOCK_ROWS_MAX").to_le_bytes());
    join_parts(&[&series, &times, &sequences, &values, &meta_part], &mut out);
    seal(&mut out, 0);
    out
}

/// A row block whose checksum and lengths hold. Only `verify` makes one.
pub(crate) struct RowBlock<'a> {
    rows: usize,
    parts: [&'a [u8]; 5],
}

impl<'a> RowBlock<'a> {
    /// Checks bytes as read; `None` if they are not a row block.
    pub(crate) fn verify(bytes: &'a [u8]) -> Option<Self> {
        let body = unseal(bytes)?;
        let (&version, body) = body.split_first()?;
        let (rows, body) = body.split_first_chunk::<4>()?;
        let rows = usize::try_from(u32::from_le_bytes(*rows)).ok()?;
        let parts = split_parts::<5>(body)?;
        (version == VERSION && rows <= ROW_BLOCK_ROWS_MAX).then_some(RowBlock { rows, parts })
    }

    /// The encoded columns: series, times, sequences, values, and the `value_meta`.
    pub(crate) fn columns(&self) -> [&'a [u8]; 5] {
        self.parts
    }

    /// Which series each row belongs to.
    pub(crate) fn series(&self) -> Option<Vec<u64>> {
        let mut series = Vec::with_capacity(self.rows);
        codec::decode_integers(self.parts[0], self.rows, &mut series).ok()?;
        Some(series)
    }

    /// Everything but the series column, which the caller has decoded.
    pub(crate) fn with_series(&self, series: Vec<u64>) -> Option<Rows> {
        let mut rows = Rows { series, ..Rows::default() };
        codec::decode_times(self.parts[1], self.rows, &mut rows.times).ok()?;
        codec::decode_integers(self.parts[2], self.rows, &mut rows.sequences).ok()?;
        codec::decode_floats(self.parts[3], self.rows, &mut rows.values).ok()?;
        rows.metas = metas::decode(self.parts[4], self.rows)?;
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(seed: Vec<(u8, i64, u64)>) -> Rows {
        let mut rows = Rows::default();
        for (at, (series, time, bits)) in seed.into_iter().enumerate() {
            rows.series.push(u64::from(series));
            rows.times.push(time);
            rows.sequences.push(at as u64 / 3);
            rows.values.push(f64::from_bits(bits));
            if series % 4 == 0 {
                rows.metas.push((u32::try_from(at).unwrap(), ValueMeta::new("m").unwrap()));
            }
        }
        rows
    }

    proptest! {
        #[test]
        fn blocks_round_trip_and_any_damage_is_noticed(
            seed in proptest::collection::vec((any::<u8>(), any::<i64>(), any::<u64>()), 0..60),
            effort in prop_oneof![Just(Effort::Fast), Just(Effort::Best)],
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let written = rows(seed);
            let mut bytes = encode(&written, effort);
            let block = RowBlock::verify(&bytes).unwrap();
            let read = block.with_series(block.series().unwrap()).unwrap();
            let bits = |rows: &Rows| rows.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&written));
            prop_assert_eq!(&read.series, &written.series);
            prop_assert_eq!(&read.times, &written.times);
            prop_assert_eq!(&read.sequences, &written.sequences);
            prop_assert_eq!(&read.metas, &written.metas);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(RowBlock::verify(&bytes).is_none());
        }
    }
}
