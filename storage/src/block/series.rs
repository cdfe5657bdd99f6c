//! A series block: consecutive samples of one series, in two parts. Series measured together share
//! one times part.
//!
//! ```text
//! times part   ┌──────────────┬───────┐      values part  ┌─────────┬────────────────┬────────┬───────┬───────┐
//!              │ times column │ crc32 │                   │ version │ lengths 2 × u32│ values │ metas │ crc32 │
//!              └──────────────┴───────┘                   └─────────┴────────────────┴────────┴───────┴───────┘
//! ```
//! Count, time range and [`Summary`] stand in the segment's directory.

use super::{SERIES_BLOCK_SAMPLES_MAX, join_parts, metas, seal, split_parts, unseal};
use crate::codec::{self, Effort};
use crate::model::{Timestamp, ValueMeta};
use crate::view::Summary;

const VERSION: u8 = 1;

pub(crate) fn encode_times(times: &[i64], effort: Effort) -> Vec<u8> {
    assert!(times.len() <= SERIES_BLOCK_SAMPLES_MAX, "the caller cuts blocks");
    assert!(times.is_sorted(), "samples of a series ascend in time");
    let mut out = Vec::new();
    codec::encode_times(times, effort, &mut out);
    seal(&mut out, 0);
    out
}

pub(crate) fn decode_times(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut times = Vec::with_capacity(count.min(SERIES_BLOCK_SAMPLES_MAX));
    codec::decode_times(unseal(bytes)?, count, &mut times).ok()?;
    times.is_sorted().then_some(times)
}

pub(crate) fn encode_values(values: &[f64], metas: &[(u32, ValueMeta)], effort: Effort) -> Vec<u8> {
    let mut column = Vec::new();
    codec::encode_floats(values, effort, &mut column);
    let mut meta_part = Vec::new();
    metas::encode(metas, &mut meta_part);
    let mut out = vec![VERSION];
    join_parts(&[&column, &meta_part], &mut out);
    seal(&mut out, 0);
    out
}

/// The encoded values and `value_meta` of a values part.
pub(crate) fn split_values(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, body) = unseal(bytes)?.split_first()?;
    let [column, meta_part] = split_parts::<2>(body)?;
    Some((column, meta_part))
}

/// Values and `value_meta` of a block's samples.
pub(crate) type Values = (Vec<f64>, Vec<(u32, ValueMeta)>);

pub(crate) fn decode_values(bytes: &[u8], count: usize) -> Option<Values> {
    let (&version, body) = unseal(bytes)?.split_first()?;
    let [column, meta_part] = split_parts::<2>(body)?;
    let mut values = Vec::with_capacity(count.min(SERIES_BLOCK_SAMPLES_MAX));
    codec::decode_floats(column, count, &mut values).ok()?;
    let metas = metas::decode(meta_part, count)?;
    (version == VERSION).then_some((values, metas))
}

/// What a reader may use instead of the samples; `None` if a value is not finite, or their sum is not.
pub(crate) fn summarize(times: &[i64], values: &[f64]) -> Option<Summary> {
    let (&first_time, &last_time) = (times.first()?, times.last()?);
    let (&first, &last) = (values.first()?, values.last()?);
    let (mut min, mut max, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
    for &value in values {
        if !value.is_finite() {
            return None;
        }
        min = if value < min { value } else { min };
        max = if value > max { value } else { max };
        sum += value;
    }
    f64::is_finite(sum).then_some(Summary {
        count: u64::try_from(values.len()).ok()?,
        min,
        max,
        sum,
        first,
        last,
        first_time: Timestamp::from_millis(first_time),
        last_time: Timestamp::from_millis(last_time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip_and_a_wrong_count_is_refused() {
        let times: Vec<i64> = (0..300).map(|i| i * 10_000).collect();
        let values: Vec<f64> = (0..300).map(|i| f64::from(i % 7) / 10.0).collect();
        let metas = vec![(7, ValueMeta::new("x").unwrap())];
        for effort in [Effort::Fast, Effort::Best] {
            let times_part = encode_times(&times, effort);
            let values_part = encode_values(&values, &metas, effort);
            assert_eq!(decode_times(&times_part, 300), Some(times.clone()));
            assert_eq!(decode_values(&values_part, 300), Some((values.clone(), metas.clone())));
            assert_eq!(decode_values(&values_part, 5), None);
        }
    }

    #[test]
    fn a_block_with_a_value_that_is_not_finite_has_no_summary() {
        assert_eq!(summarize(&[1, 2], &[1.0, f64::NAN]), None);
        let summary = summarize(&[1, 2, 9], &[3.0, -1.0, 2.0]).unwrap();
        assert_eq!((summary.min, summary.max, summary.sum), (-1.0, 3.0, 4.0));
        assert_eq!((summary.first, summary.last, summary.count), (3.0, 2.0, 3));
    }
}
