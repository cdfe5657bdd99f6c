//! A tombstone hides the rows of some series in a span of time that were written up to a moment.
//!
//! It carries the sequence of that moment: a later write to the same place is seen again. Every flush
//! and merge leaves out what a tombstone hides, so a segment that was begun after it holds nothing of
//! it; and a series block, whose rows only know the last sequence of their segment, is hidden by a
//! tombstone either wholly or not at all.

use roaring::RoaringBitmap;

use crate::model::{Sequence, SeriesId, TenantId, TimeRange, Timestamp};

const VERSION: u8 = 1;

/// Hides rows.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Tombstone {
    /// The deletion it belongs to.
    pub(crate) number: u64,
    pub(crate) tenant: TenantId,
    pub(crate) series: RoaringBitmap,
    pub(crate) times: TimeRange,
    /// The newest write it hides.
    pub(crate) upto: Sequence,
    /// Segments with this number or a greater one were begun after it.
    pub(crate) clean_from: u64,
}

impl Tombstone {
    /// Whether it hides a whole tenant that was removed.
    pub(crate) fn is_of_tenant(&self) -> bool {
        self.series.is_empty()
    }

    /// Whether it hides a row.
    pub(crate) fn hides(&self, series: SeriesId, time: i64, sequence: Sequence) -> bool {
        sequence <= self.upto
            && self.times.contains(Timestamp::from_millis(time))
            && self.series.contains(series.number())
    }

    pub(crate) fn overlaps(&self, times: TimeRange) -> bool {
        self.times.overlaps(times)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.tenant.number().to_le_bytes());
        for number in [
            self.times.start.millis().cast_unsigned(),
            self.times.end.millis().cast_unsigned(),
            self.upto.number(),
            self.clean_from,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.series.serialize_into(&mut out).expect("writing to memory does not fail");
        out
    }

    pub(crate) fn decode(number: u64, value: &[u8]) -> Option<Self> {
        let (tenant, rest) = value.strip_prefix(&[VERSION])?.split_first_chunk::<4>()?;
        let (numbers, series) = rest.split_first_chunk::<32>()?;
        let numbers = numbers.as_chunks::<8>().0;
        let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let &[start, end, upto, clean_from] = numbers.as_slice() else { return None };
        Some(Tombstone {
            number,
            tenant: TenantId::new(u32::from_le_bytes(*tenant)),
            series: RoaringBitmap::deserialize_from(series).ok()?,
            times: TimeRange::new(
                Timestamp::from_millis(start.cast_signed()),
                Timestamp::from_millis(end.cast_signed()),
            ),
            upto: Sequence::new(upto),
            clean_from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_round_trip_and_hide() {
        let tombstone = Tombstone {
            number: 3,
            tenant: TenantId::new(2),
            series: [1, 5, 900_000].into_iter().collect(),
            times: TimeRange::new(Timestamp::from_millis(-10), Timestamp::from_millis(20)),
            upto: Sequence::new(7),
            clean_from: 11,
        };
        assert_eq!(Tombstone::decode(3, &tombstone.encode()), Some(tombstone.clone()));
        assert_eq!(Tombstone::decode(3, &tombstone.encode()[..20]), None);
        let check = |series, time, sequence, want| {
            let (series, sequence) = (SeriesId::new(series), Sequence::new(sequence));
            assert_eq!(tombstone.hides(series, time, sequence), want);
        };
        check(5, -10, 7, true);
        check(5, 19, 1, true);
        check(5, 20, 1, false);
        check(5, 0, 8, false);
        check(6, 0, 1, false);
    }
}
