//! The series table of a segment: canonical keys of series, so that the file can be read with
//! nothing else. Front-coded in groups, sorted by (tenant, metric, series).
//!
//! Plain group: lengths of 5 parts, then tenants, metrics, series (integer columns), shared-prefix
//! and suffix lengths (one integer column, interleaved), and the suffixes.

use super::directory::{compress, decompress};
use super::{GROUP_ENTRIES, SeriesPlace};
use crate::block::{join_parts, split_parts};
use crate::codec::{self, Effort};
use crate::model::{MetricNo, SeriesId, TenantId};

/// Longest group that is read back, uncompressed: every key of the greatest length.
const GROUP_BYTES_MAX: usize = GROUP_ENTRIES * 300 * 1024;

pub(crate) fn encode(entries: &[(SeriesPlace, Vec<u8>)]) -> Vec<u8> {
    let column = |field: fn(&SeriesPlace) -> u32| {
        let numbers: Vec<u64> = entries.iter().map(|(place, _)| u64::from(field(place))).collect();
        let mut out = Vec::new();
        codec::encode_integers(&numbers, Effort::Fast, &mut out);
        out
    };
    let mut lengths = Vec::with_capacity(entries.len() * 2);
    let mut suffixes = Vec::new();
    let mut before: &[u8] = &[];
    for (_, key) in entries {
        let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
        let suffix = key.get(shared..).unwrap_or_default();
        lengths.push(u64::try_from(shared).unwrap_or(u64::MAX));
        lengths.push(u64::try_from(suffix.len()).unwrap_or(u64::MAX));
        suffixes.extend_from_slice(suffix);
        before = key;
    }
    let mut length_column = Vec::new();
    codec::encode_integers(&lengths, Effort::Fast, &mut length_column);
    let tenants = column(|place| place.tenant.number());
    let metrics = column(|place| place.metric.number());
    let series = column(|place| place.series.number());
    let mut plain = Vec::new();
    join_parts(&[&tenants, &metrics, &series, &length_column, &suffixes], &mut plain);
    compress(&plain)
}

pub(crate) fn decode(bytes: &[u8], count: u32) -> Option<Vec<(SeriesPlace, Vec<u8>)>> {
    let count = usize::try_from(count).ok().filter(|&count| count <= GROUP_ENTRIES)?;
    let plain = decompress(bytes, GROUP_BYTES_MAX)?;
    let [tenants, metrics, series, lengths, mut suffixes] = split_parts::<5>(&plain)?;
    let column = |bytes: &[u8], count: usize| {
        let mut out = Vec::with_capacity(count);
        codec::decode_integers(bytes, count, &mut out).ok().map(|()| out)
    };
    let tenants = column(tenants, count)?;
    let metrics = column(metrics, count)?;
    let series = column(series, count)?;
    let lengths = column(lengths, count * 2)?;
    let mut entries: Vec<(SeriesPlace, Vec<u8>)> = Vec::with_capacity(count);
    for (((&tenant, &metric), &series), lengths) in
        tenants.iter().zip(&metrics).zip(&series).zip(lengths.as_chunks::<2>().0)
    {
        let [shared, suffix] = lengths.map(|length| usize::try_from(length).ok());
        let (tail, rest) = suffixes.split_at_checked(suffix?)?;
        suffixes = rest;
        let before = entries.last().map_or(&[][..], |(_, key)| key.as_slice());
        let mut key = before.get(..shared?)?.to_vec();
        key.extend_from_slice(tail);
        let place = SeriesPlace {
            tenant: TenantId::new(u32::try_from(tenant).ok()?),
            metric: MetricNo::new(u32::try_from(metric).ok()?),
            series: SeriesId::new(u32::try_from(series).ok()?),
        };
        entries.push((place, key));
    }
    (suffixes.is_empty() && entries.len() == count).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_round_trips() {
        let entries: Vec<(SeriesPlace, Vec<u8>)> = (0..100_u32)
            .map(|i| {
                let place = SeriesPlace {
                    tenant: TenantId::new(1),
                    metric: MetricNo::new(i / 10),
                    series: SeriesId::new(i),
                };
                (place, format!("cpu.idle host{}", i * 7).into_bytes())
            })
            .collect();
        assert_eq!(decode(&encode(&entries), 100), Some(entries));
    }
}
